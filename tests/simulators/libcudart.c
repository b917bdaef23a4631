/* A stand-in for libcudart.so.13, as far as `gpuenv check` uses it.
 *
 * The file that SIM_CUDART_FILE names describes the machine, and is read at each call; without
 * one there is no driver, and whatever needs it answers 35, as the real library does. Lines:
 *
 *   gpu 9.0                 a GPU and its compute capability
 *   fail function[@GPU] 35  the code that a function answers, at large or for one GPU
 *   hang function[@GPU]     never answer
 *   crash function[@GPU]    abort
 *   wrong function[@GPU]    do it with one byte wrong
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INSUFFICIENT_DRIVER 35
#define NO_DEVICE 100
#define INVALID_DEVICE 101
#define TO_HOST 2
#define LINE 1024
#ifndef RUNTIME_VERSION
#define RUNTIME_VERSION 13000
#endif

static int current = 0;

/* The rest of the n-th line that starts so; 0: there is none, -1: there is no file. */
static int find(const char *start, int number, char *rest) {
    const char *path = getenv("SIM_CUDART_FILE");
    FILE *file = path != NULL ? fopen(path, "r") : NULL;
    int found = 0;
    char line[LINE];
    if (file == NULL) {
        return -1;
    }
    while (!found && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, start, strlen(start)) == 0 && number-- == 0) {
            strcpy(rest, line + strlen(start));
            found = 1;
        }
    }
    fclose(file);
    return found;
}

static int said(const char *verb, const char *function, char *rest) {
    char start[LINE];
    snprintf(start, sizeof start, "%s %s@%d", verb, function, current);
    if (find(start, 0, rest) == 1) {
        return 1;
    }
    snprintf(start, sizeof start, "%s %s ", verb, function);
    if (find(start, 0, rest) == 1) {
        return 1;
    }
    start[strlen(start) - 1] = '\0';
    return find(start, 0, rest) == 1 && rest[0] == '\0';
}

static int begin(const char *function) {
    char rest[LINE];
    if (find("", 0, rest) < 0) {
        return INSUFFICIENT_DRIVER;
    }
    if (said("hang", function, rest)) {
        for (;;) {
            pause();
        }
    }
    if (said("crash", function, rest)) {
        abort();
    }
    return said("fail", function, rest) ? atoi(rest) : 0;
}

static int count(void) {
    char rest[LINE];
    int gpus = 0;
    while (find("gpu ", gpus, rest) == 1) {
        gpus++;
    }
    return gpus;
}

int cudaRuntimeGetVersion(int *version) {
    *version = RUNTIME_VERSION;
    return 0;
}

const char *cudaGetErrorName(int code) {
    return code == INSUFFICIENT_DRIVER ? "cudaErrorInsufficientDriver"
           : code == NO_DEVICE         ? "cudaErrorNoDevice"
           : code == 209               ? "cudaErrorNoKernelImageForDevice"
                                       : "cudaErrorSimulated";
}

const char *cudaGetErrorString(int code) {
    return code == INSUFFICIENT_DRIVER
               ? "CUDA driver version is insufficient for CUDA runtime version"
           : code == NO_DEVICE ? "no CUDA-capable device is detected"
           : code == 209       ? "no kernel image is available for execution on the device"
                               : "simulated";
}

int cudaGetDeviceCount(int *gpus) {
    int code = begin("cudaGetDeviceCount");
    *gpus = code ? 0 : count();
    return code ? code : *gpus ? 0 : NO_DEVICE;
}

int cudaDeviceGetAttribute(int *value, int attribute, int gpu) {
    char rest[LINE];
    int major = 0, minor = 0;
    int code;
    current = gpu;
    code = begin("cudaDeviceGetAttribute");
    if (code || find("gpu ", gpu, rest) != 1) {
        return code ? code : INVALID_DEVICE;
    }
    sscanf(rest, "%d.%d", &major, &minor);
    *value = attribute == 75 ? major : minor;
    return 0;
}

int cudaSetDevice(int gpu) {
    current = gpu;
    return begin("cudaSetDevice");
}

int cudaMalloc(void **memory, size_t size) {
    int code = begin("cudaMalloc");
    if (!code) {
        *memory = malloc(size);
    }
    return code;
}

int cudaMemcpy(void *to, const void *from, size_t size, int kind) {
    char rest[LINE];
    int code = begin("cudaMemcpy");
    if (!code) {
        memcpy(to, from, size);
        if (kind == TO_HOST && said("wrong", "cudaMemcpy", rest)) {
            ((unsigned char *)to)[7] ^= 1;
        }
    }
    return code;
}

int cudaMemset(void *memory, int value, size_t size) {
    char rest[LINE];
    int code = begin("cudaMemset");
    if (!code) {
        memset(memory, value, said("wrong", "cudaMemset", rest) ? size - 1 : size);
    }
    return code;
}

int cudaFree(void *memory) {
    int code = begin("cudaFree");
    if (!code) {
        free(memory);
    }
    return code;
}
