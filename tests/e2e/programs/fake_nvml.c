/* Stands in for NVIDIA's management library (libnvidia-ml.so.1), for the GPUs of fake_cuda.c, in the opposite order. FAKE_NVML has for each
 * of them how many percent it is busy and how many MiB are in use: "90:100,5:4000"; "-" for one that does not tell. FAKE_NVML_BY says how
 * they can be found: uuid, or pci. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kGood = 0, kInvalid = 2, kNotSupported = 3, kNotFound = 6, kMostGpus = 8 };
#define MIB 1048576ull
#define MEMORY_MIB 8192ull

struct gpu { int ordinal, tells; unsigned busy; unsigned long long used_mib; };
static struct gpu gpus[kMostGpus];
static unsigned count;

int nvmlInit_v2(void) {
  const char *text = getenv("FAKE_NVML");
  if (!text) return kNotSupported;
  for (count = 0; *text && count < kMostGpus; count++) {
    struct gpu *gpu = &gpus[count];
    gpu->ordinal = (int)count;
    gpu->tells = sscanf(text, "%u:%llu", &gpu->busy, &gpu->used_mib) == 2;
    text = strchr(text, ',') ? strchr(text, ',') + 1 : "";
  }
  return kGood;
}
const char *nvmlErrorString(int error) { return error == kNotSupported ? "Not Supported" : "Unknown Error"; }
int nvmlDeviceGetCount_v2(unsigned *all) { return *all = count, kGood; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **gpu) {
  if (index >= count) return kInvalid;
  return *gpu = &gpus[count - 1 - index], kGood;
}

static int can_be_found_by(const char *what) {
  const char *by = getenv("FAKE_NVML_BY");
  return by && strcmp(by, what) == 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, struct gpu **gpu) {
  for (unsigned i = 0; i < count && can_be_found_by("uuid"); i++) {
    char own[64];
    const unsigned byte = 0xa0 + i, pair = byte << 8 | byte;
    snprintf(own, sizeof(own), "GPU-%04x%04x-%04x-%04x-%04x-%04x%04x%04x", pair, pair, pair, pair, pair, pair, pair, pair);
    if (strcmp(own, uuid) == 0) return *gpu = &gpus[i], kGood;
  }
  return kNotFound;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, struct gpu **gpu) {
  for (unsigned i = 0; i < count && can_be_found_by("pci"); i++) {
    char own[32];
    snprintf(own, sizeof(own), "0000:%02X:00.0", 0x3b + i);
    if (strcmp(own, id) == 0) return *gpu = &gpus[i], kGood;
  }
  return kNotFound;
}

int nvmlDeviceGetName(struct gpu *gpu, char *name, unsigned size) { return snprintf(name, size, "Fake GPU %d", gpu->ordinal), kGood; }
int nvmlDeviceGetUtilizationRates(struct gpu *gpu, unsigned *gpu_and_memory) {
  gpu_and_memory[0] = gpu->busy;
  gpu_and_memory[1] = 1;
  return gpu->tells ? kGood : kNotSupported;
}
int nvmlDeviceGetMemoryInfo(struct gpu *gpu, unsigned long long *total_free_used) {
  total_free_used[0] = MEMORY_MIB * MIB;
  total_free_used[1] = (MEMORY_MIB - gpu->used_mib) * MIB;
  total_free_used[2] = gpu->used_mib * MIB;
  return gpu->tells ? kGood : kNotSupported;
}
int nvmlDeviceGetCurrPcieLinkGeneration(struct gpu *gpu, unsigned *generation) { return *generation = 5, gpu->tells ? kGood : kNotSupported; }
int nvmlDeviceGetCurrPcieLinkWidth(struct gpu *gpu, unsigned *lanes) { return *lanes = 16, gpu->tells ? kGood : kNotSupported; }
int nvmlDeviceGetPowerUsage(struct gpu *gpu, unsigned *milliwatts) { return *milliwatts = 123456, gpu->tells ? kGood : kNotSupported; }
