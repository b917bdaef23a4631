/* Flushes and renames of a process, written down in their order, and flushes that fail.
 *
 * SYNC_LOG is a file to which a line goes for each: `flush NAME`, `rename NAME`, the name being
 * the last part of the path, of a rename that of its target. SYNC_FAIL is how many times
 * fdatasync(2) fails with EIO before it works, as Linux tells of a write that was lost once.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int failed;

static void tell(const char *what, const char *path)
{
    const char *log = getenv("SYNC_LOG"), *last = strrchr(path, '/');
    char line[PATH_MAX + 16];
    if (!log)
        return;
    int length = snprintf(line, sizeof line, "%s %s\n", what, last ? last + 1 : path);
    int file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0 || write(file, line, length) != length)
        abort();
    close(file);
}

static void tell_of(int descriptor)
{
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(name, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    tell("flush", path);
}

int fsync(int descriptor)
{
    tell_of(descriptor);
    return (int)syscall(SYS_fsync, descriptor);
}

int fdatasync(int descriptor)
{
    const char *times = getenv("SYNC_FAIL");
    if (times && failed < atoi(times)) {
        failed++;
        errno = EIO;
        return -1;
    }
    tell_of(descriptor);
    return (int)syscall(SYS_fdatasync, descriptor);
}

int rename(const char *from, const char *to)
{
    int result = renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
    if (result == 0)
        tell("rename", to);
    return result;
}
