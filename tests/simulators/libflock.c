/* A file system whose locks do not work, for the files below a folder.
 *
 * FLOCK_BELOW is the folder; FLOCK_ERRNO is what flock(2) fails with there, and 0 grants every
 * lock to everybody. Elsewhere flock(2) is the system's own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int flock(int descriptor, int operation)
{
    const char *below = getenv("FLOCK_BELOW"), *fault = getenv("FLOCK_ERRNO");
    char name[64], path[PATH_MAX];
    if (below && fault) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
        ssize_t length = readlink(name, path, sizeof path - 1);
        if (length > 0) {
            path[length] = 0;
            if (strncmp(path, below, strlen(below)) == 0) {
                errno = atoi(fault);
                return errno ? -1 : 0;
            }
        }
    }
    return (int)syscall(SYS_flock, descriptor, operation);
}
