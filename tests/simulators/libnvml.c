/* A stand-in for libnvidia-ml.so.1, as far as pynvml asks which GPUs there are.
 *
 * The environment describes the machine and is read at each call:
 *
 *   SIM_NVML_DRIVER      version of the driver, 580.65.06 if unset
 *   SIM_NVML_CUDA        1000 * major + 10 * minor, 13000 if unset
 *   SIM_NVML_GPUS        name|uuid|memory in bytes|9.0;... none if unset
 *   SIM_NVML_INIT_ERROR  code that opening NVML answers with
 *   SIM_NVML_FAILURES    function=code;function@index=code;...
 *                        (function names as in pynvml, without _v2)
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUCCESS 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define INSUFFICIENT_SIZE 7
#define MAX_GPUS 64
#define FIELD 256

typedef struct {
    char name[FIELD];
    char uuid[FIELD];
    unsigned long long memory;
    int major;
    int minor;
} gpu_t;

typedef struct {
    unsigned long long total, free, used;
} memory_t;

typedef struct {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} memory_v2_t;

/* Handles point here, and are never followed. */
static char handles[MAX_GPUS];
static int references = 0;

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : otherwise;
}

/* Copies up to any of the stops; returns where it stopped. */
static const char *take(const char *from, const char *stops, char *to) {
    size_t length = strcspn(from, stops);
    size_t kept = length < FIELD - 1 ? length : FIELD - 1;
    memcpy(to, from, kept);
    to[kept] = '\0';
    from += length;
    return *from == '|' ? from + 1 : from;
}

static unsigned int gpus(gpu_t *into) {
    const char *at = setting("SIM_NVML_GPUS", "");
    unsigned int count = 0;
    char number[FIELD];
    while (*at != '\0' && count < MAX_GPUS) {
        gpu_t *gpu = &into[count++];
        memset(gpu, 0, sizeof *gpu);
        at = take(at, "|;", gpu->name);
        at = take(at, "|;", gpu->uuid);
        at = take(at, "|;", number);
        gpu->memory = strtoull(number, NULL, 10);
        at = take(at, "|;", number);
        sscanf(number, "%d.%d", &gpu->major, &gpu->minor);
        at += strcspn(at, ";");
        if (*at == ';') {
            at++;
        }
    }
    return count;
}

static int failure(const char *function, int index) {
    const char *at = setting("SIM_NVML_FAILURES", "");
    char general[FIELD], special[FIELD], key[FIELD];
    snprintf(general, sizeof general, "%s", function);
    snprintf(special, sizeof special, "%s@%d", function, index);
    while (*at != '\0') {
        at = take(at, "=;", key);
        if (*at == '=') {
            int code = atoi(++at);
            if (strcmp(key, general) == 0 || (index >= 0 && strcmp(key, special) == 0)) {
                return code;
            }
        }
        at += strcspn(at, ";");
        if (*at == ';') {
            at++;
        }
    }
    return SUCCESS;
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
    int code = atoi(setting("SIM_NVML_INIT_ERROR", "0"));
    (void)flags;
    if (code == SUCCESS) {
        code = failure("nvmlInit", -1);
    }
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
    int code = enter("nvmlSystemGetDriverVersion", -1);
    return code != SUCCESS ? code
                           : answer_text(setting("SIM_NVML_DRIVER", "580.65.06"), version, length);
}

static int cuda_version(const char *function, int *version) {
    int code = enter(function, -1);
    if (code == SUCCESS) {
        *version = atoi(setting("SIM_NVML_CUDA", "13000"));
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
