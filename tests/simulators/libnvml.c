/* A stand-in for libnvidia-ml.so.1, as far as pynvml asks which GPUs there are.
 *
 * A file, which SIM_NVML_FILE names, describes the machine and is read at each call; the
 * first line of a kind counts, but for lines of GPUs, of which there is one each:
 *
 *   driver 580.65.06          the version of the driver
 *   cuda 13000                1000 * major + 10 * minor, or `libcuda`: ask libcuda.so.1
 *   gpu name|uuid|memory in bytes|9.0|brand|PCI address|MIG devices, -1: off, empty: none
 *   fail function[@index] 15  the code that a function answers, at large or for one GPU
 *   hang function[@index]     never answer
 *   crash function[@index]    abort
 *   log PATH                  where each call is written down
 *
 * Function names are as in pynvml, without _v2 but for the CUDA version.
 */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUCCESS 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define INSUFFICIENT_SIZE 7
#define LIBRARY_NOT_FOUND 12
#define MAX_GPUS 64
#define MAX_MIG_DEVICES 7
#define FIELD 256
#define LINE 1024

typedef struct {
    char name[FIELD];
    char uuid[FIELD];
    unsigned long long memory;
    int major;
    int minor;
    int brand;
    char pci[FIELD];
    char mig[FIELD];
} gpu_t;

typedef struct {
    unsigned long long total, free, used;
} memory_t;

typedef struct {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} memory_v2_t;

typedef struct {
    char legacy[16];
    unsigned int domain, bus, device, id, subsystem;
    char address[32];
} pci_t;

/* Handles point here, and are never followed. */
static char handles[MAX_GPUS];
static int references = 0;

/* Copies the rest of the nth line of a kind; whether there is one. */
static int find(const char *kind, int nth, char *to) {
    const char *path = getenv("SIM_NVML_FILE");
    FILE *file = path != NULL ? fopen(path, "r") : NULL;
    size_t length = strlen(kind);
    int found = 0;
    char line[LINE];
    if (file == NULL) {
        return 0;
    }
    while (!found && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, kind, length) == 0 && line[length] == ' ' && nth-- == 0) {
            strcpy(to, line + length + 1);
            found = 1;
        }
    }
    fclose(file);
    return found;
}

/* Copies up to the next bar; returns where to go on. */
static const char *take(const char *from, char *to) {
    size_t length = strcspn(from, "|");
    size_t kept = length < FIELD - 1 ? length : FIELD - 1;
    memcpy(to, from, kept);
    to[kept] = '\0';
    return from[length] == '|' ? from + length + 1 : from + length;
}

static unsigned int gpus(gpu_t *into) {
    unsigned int count = 0;
    char line[LINE], number[FIELD];
    while (count < MAX_GPUS && find("gpu", (int)count, line)) {
        gpu_t *gpu = &into[count++];
        const char *at = line;
        memset(gpu, 0, sizeof *gpu);
        at = take(at, gpu->name);
        at = take(at, gpu->uuid);
        at = take(at, number);
        gpu->memory = strtoull(number, NULL, 10);
        at = take(at, number);
        sscanf(number, "%d.%d", &gpu->major, &gpu->minor);
        at = take(at, number);
        gpu->brand = atoi(number);
        at = take(at, gpu->pci);
        take(at, gpu->mig);
    }
    return count;
}

/* Whether a line of a kind names the function, at large or for this GPU; what follows it. */
static int named(const char *kind, const char *function, int index, char *rest) {
    char line[LINE], key[LINE], special[LINE];
    int nth = 0;
    snprintf(special, sizeof special, "%s@%d", function, index);
    while (find(kind, nth++, line)) {
        size_t length = strcspn(line, " ");
        memcpy(key, line, length);
        key[length] = '\0';
        if (strcmp(key, function) == 0 || (index >= 0 && strcmp(key, special) == 0)) {
            strcpy(rest, line[length] == ' ' ? line + length + 1 : "");
            return 1;
        }
    }
    return 0;
}

/* Writes a call down, hangs or crashes in it if it has to; the code that it answers. */
static int failure(const char *function, int index) {
    char rest[LINE];
    if (find("log", 0, rest)) {
        FILE *log = fopen(rest, "a");
        if (log != NULL) {
            fprintf(log, "%s\n", function);
            fclose(log);
        }
    }
    if (named("hang", function, index, rest)) {
        for (;;) {
            pause();
        }
    }
    if (named("crash", function, index, rest)) {
        abort();
    }
    return named("fail", function, index, rest) ? atoi(rest) : SUCCESS;
}

static int enter(const char *function, int index) {
    int code = failure(function, index);
    if (code != SUCCESS) {
        return code;
    }
    return references > 0 ? SUCCESS : UNINITIALIZED;
}

static int answer_text(const char *text, char *buffer, unsigned int length) {
    if (buffer == NULL) {
        return INVALID_ARGUMENT;
    }
    if (strlen(text) + 1 > length) {
        return INSUFFICIENT_SIZE;
    }
    strcpy(buffer, text);
    return SUCCESS;
}

/* Finds the GPU of a handle; 0 or the code to answer. */
static int device(const char *function, const char *handle, gpu_t *found) {
    gpu_t all[MAX_GPUS];
    unsigned int count = gpus(all);
    long index = handle == NULL ? -1 : (long)(handle - handles);
    int code = enter(function, index < 0 || index >= MAX_GPUS ? -1 : (int)index);
    if (code != SUCCESS) {
        return code;
    }
    if (index < 0 || index >= (long)count) {
        return INVALID_ARGUMENT;
    }
    *found = all[index];
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned int flags) {
    int code = failure("nvmlInit", -1);
    (void)flags;
    if (code == SUCCESS) {
        references++;
    }
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlInit(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    int code = enter("nvmlShutdown", -1);
    if (code == SUCCESS) {
        references--;
    }
    return code;
}

const char *nvmlErrorString(int code) {
    switch (code) {
    case 0: return "The operation was successful";
    case 1: return "Uninitialized";
    case 2: return "Invalid Argument";
    case 3: return "Not Supported";
    case 4: return "Insufficient Permissions";
    case 6: return "Not Found";
    case 7: return "Insufficient Size";
    case 9: return "Driver Not Loaded";
    case 12: return "NVML Shared Library Not Found";
    case 13: return "Function Not Found";
    case 15: return "GPU is lost";
    case 17: return "The operating system has blocked the request.";
    case 18: return "RM has detected an NVML/RM version mismatch.";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    char text[LINE] = "580.65.06";
    int code = enter("nvmlSystemGetDriverVersion", -1);
    find("driver", 0, text);
    return code != SUCCESS ? code : answer_text(text, version, length);
}

/* As NVML does it: libcuda is loaded by its name. */
static int ask_libcuda(int *version) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    int (*ask)(int *) = NULL;
    if (library != NULL) {
        *(void **)&ask = dlsym(library, "cuDriverGetVersion");
    }
    return ask != NULL && ask(version) == 0 ? SUCCESS : LIBRARY_NOT_FOUND;
}

static int cuda_version(const char *function, int *version) {
    char text[LINE] = "13000";
    int code = enter(function, -1);
    find("cuda", 0, text);
    if (code == SUCCESS && strcmp(text, "libcuda") == 0) {
        return ask_libcuda(version);
    }
    if (code == SUCCESS) {
        *version = atoi(text);
    }
    return code;
}

int nvmlSystemGetCudaDriverVersion(int *version) {
    return cuda_version("nvmlSystemGetCudaDriverVersion", version);
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    return cuda_version("nvmlSystemGetCudaDriverVersion_v2", version);
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    gpu_t all[MAX_GPUS];
    int code = enter("nvmlDeviceGetCount", -1);
    if (code == SUCCESS) {
        *count = gpus(all);
    }
    return code;
}

int nvmlDeviceGetCount(unsigned int *count) { return nvmlDeviceGetCount_v2(count); }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, char **handle) {
    gpu_t all[MAX_GPUS];
    int code = enter("nvmlDeviceGetHandleByIndex", index < MAX_GPUS ? (int)index : -1);
    if (code != SUCCESS) {
        return code;
    }
    if (index >= gpus(all)) {
        return INVALID_ARGUMENT;
    }
    *handle = &handles[index];
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex(unsigned int index, char **handle) {
    return nvmlDeviceGetHandleByIndex_v2(index, handle);
}

int nvmlDeviceGetName(const char *handle, char *name, unsigned int length) {
    gpu_t gpu;
    int code = device("nvmlDeviceGetName", handle, &gpu);
    return code != SUCCESS ? code : answer_text(gpu.name, name, length);
}

int nvmlDeviceGetUUID(const char *handle, char *uuid, unsigned int length) {
    gpu_t gpu;
    int code = device("nvmlDeviceGetUUID", handle, &gpu);
    return code != SUCCESS ? code : answer_text(gpu.uuid, uuid, length);
}

int nvmlDeviceGetMemoryInfo(const char *handle, memory_t *memory) {
    gpu_t gpu;
    int code = device("nvmlDeviceGetMemoryInfo", handle, &gpu);
    if (code == SUCCESS) {
        memory->total = memory->free = gpu.memory;
        memory->used = 0;
    }
    return code;
}

int nvmlDeviceGetMemoryInfo_v2(const char *handle, memory_v2_t *memory) {
    gpu_t gpu;
    int code = device("nvmlDeviceGetMemoryInfo", handle, &gpu);
    if (code == SUCCESS) {
        memory->total = memory->free = gpu.memory;
        memory->reserved = memory->used = 0;
    }
    return code;
}

int nvmlDeviceGetCudaComputeCapability(const char *handle, int *major, int *minor) {
    gpu_t gpu;
    int code = device("nvmlDeviceGetCudaComputeCapability", handle, &gpu);
    if (code == SUCCESS) {
        *major = gpu.major;
        *minor = gpu.minor;
    }
    return code;
}

int nvmlDeviceGetBrand(const char *handle, unsigned int *brand) {
    gpu_t gpu;
    int code = device("nvmlDeviceGetBrand", handle, &gpu);
    if (code == SUCCESS) {
        *brand = (unsigned int)gpu.brand;
    }
    return code;
}

int nvmlDeviceGetPciInfo_v3(const char *handle, pci_t *pci) {
    gpu_t gpu;
    int code = device("nvmlDeviceGetPciInfo", handle, &gpu);
    if (code == SUCCESS) {
        memset(pci, 0, sizeof *pci);
        snprintf(pci->address, sizeof pci->address, "%.31s", gpu.pci);
    }
    return code;
}

int nvmlDeviceGetMigMode(const char *handle, unsigned int *current, unsigned int *pending) {
    gpu_t gpu;
    int code = device("nvmlDeviceGetMigMode", handle, &gpu);
    if (code != SUCCESS) {
        return code;
    }
    if (gpu.mig[0] == '\0') {
        return NOT_SUPPORTED;
    }
    *current = *pending = atoi(gpu.mig) >= 0;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(const char *handle, unsigned int *count) {
    gpu_t gpu;
    int code = device("nvmlDeviceGetMaxMigDeviceCount", handle, &gpu);
    if (code == SUCCESS) {
        *count = MAX_MIG_DEVICES;
    }
    return code;
}

int nvmlDeviceGetMigDeviceHandleByIndex(const char *handle, unsigned int index,
                                        const char **mig_device) {
    gpu_t gpu;
    int code = device("nvmlDeviceGetMigDeviceHandleByIndex", handle, &gpu);
    if (code != SUCCESS) {
        return code;
    }
    if ((int)index >= atoi(gpu.mig)) {
        return NOT_FOUND;
    }
    *mig_device = handle;
    return SUCCESS;
}
