/* A stand-in for libcuda.so.1: it tells its CUDA version and refuses all that makes a context.
 *
 * The file that SIM_NVML_FILE names is the one of libnvml.c; of it these lines count:
 *
 *   libcuda 13000                1000 * major + 10 * minor, CUDA_VERSION if there is none
 *   fail cuDriverGetVersion 999  the code that it answers
 *   hang cuDriverGetVersion      never answer
 *   crash cuDriverGetVersion     abort
 *
 * With NOTE, a text, the library carries the note of a forward compatibility package.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef CUDA_VERSION
#define CUDA_VERSION 13000
#endif

#define LINE 1024

#ifdef NOTE
__asm__(".pushsection .note.cuda.fwd_compatibility,\"a\",%note\n"
        ".balign 4\n"
        ".long 2f-1f, 4f-3f, 1\n"
        "1: .asciz \"NVIDIA Corporation\"\n"
        "2: .balign 4\n"
        "3: .ascii \"" NOTE "\"\n"
        "4: .balign 4\n"
        ".popsection\n");
#endif

static int find(const char *start, char *rest) {
    const char *path = getenv("SIM_NVML_FILE");
    FILE *file = path != NULL ? fopen(path, "r") : NULL;
    int found = 0;
    char line[LINE];
    if (file == NULL) {
        return 0;
    }
    while (!found && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, start, strlen(start)) == 0) {
            strcpy(rest, line + strlen(start));
            found = 1;
        }
    }
    fclose(file);
    return found;
}

int cuDriverGetVersion(int *version) {
    char rest[LINE];
    if (find("hang cuDriverGetVersion", rest)) {
        for (;;) {
            pause();
        }
    }
    if (find("crash cuDriverGetVersion", rest)) {
        abort();
    }
    if (find("fail cuDriverGetVersion ", rest)) {
        return atoi(rest);
    }
    *version = find("libcuda ", rest) ? atoi(rest) : CUDA_VERSION;
    return 0;
}

/* The first step to a context, which takes memory of a GPU: nothing may ask for it. */
int cuInit(unsigned int flags) {
    (void)flags;
    abort();
}
