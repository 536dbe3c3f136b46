/* Stands in for NVIDIA's driver (libcuda.so.1) where there is none: keeps memory, checks arguments, links and loads kernels.
 *
 * Work on streams is put off for as long as the driver may: until somebody asks for it, and has asked for nothing else for a while. Then
 * what was asked for last runs first, as far as streams and events allow, so that whoever forgot to say what must wait for what gets the
 * wrong bytes.
 *
 * A kernel does nothing, unless its text has the line "// stand-in: add one" (tests/offload/device_kernel.cc says what it does then).
 *
 * FAKE_CUDA says what goes wrong: no-device, no-memory, no-pinning, no-link, bad-ptx, fail (launches fail), fault (kernels fail, later),
 * hang (in a launch), endless (kernels are), stuck (no work ever ends); "idle" is nothing of these. FAKE_CUDA_DEVICES is how many there are, FAKE_CUDA_DRIVER the
 * version, FAKE_CUDA_GPU their kind, which loads nothing that was linked for others, FAKE_CUDA_LOG a file that gets a line for each device
 * taken, and for each kernel linked or loaded. CUDA_VISIBLE_DEVICES is a list of ordinals. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
  kGood = 0, kInvalid = 1, kOutOfMemory = 2, kNoDevice = 100, kNoBinary = 209, kInvalidPtx = 218, kNotFound = 500, kNotReady = 600, kIllegalAddress = 700,
  kLaunchFailed = 719, kNotSupported = 801
};
enum { kDeviceHandle = 7, kMostDevices = 8, kContext = 0x100, kNonBlocking = 1, kNoTiming = 2, kPtx = 1, kMostMemories = 48, kBlockThreads = 256 };
#define QUIET_NS 200000
#define MEMORY_BYTES ((size_t)8 << 30)
#define ADD_ONE "// stand-in: add one\n"

typedef unsigned long long address;

static int acts(const char *what) {
  const char *wanted = getenv("FAKE_CUDA");
  return wanted && strcmp(wanted, what) == 0;
}

static void tell(const char *line) {
  const char *log = getenv("FAKE_CUDA_LOG");
  FILE *file = log ? fopen(log, "a") : NULL;
  if (!file) return;
  fprintf(file, "%s\n", line);
  fclose(file);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Ranges of memory: of the device's, and of the host's that is pinned. */

struct range { uint64_t begin, end; };
struct ranges { struct range *all; size_t count; };

static void add_range(struct ranges *to, uint64_t begin, uint64_t bytes) {
  to->all = realloc(to->all, (to->count + 1) * sizeof(*to->all));
  to->all[to->count++] = (struct range){begin, begin + bytes};
}

static struct range *range_with(const struct ranges *ranges, uint64_t begin, uint64_t bytes) {
  for (size_t i = 0; i < ranges->count; i++)
    if (ranges->all[i].begin <= begin && begin <= ranges->all[i].end && bytes <= ranges->all[i].end - begin) return &ranges->all[i];
  return NULL;
}

static struct ranges device_memory, pinned;

/* Work. */

struct launch {  /* what the kernels get */
  uint64_t state, flags, partial, zero;
  int64_t first, count, extent[3];
  uint64_t distance[kMostMemories];
};

struct stream { int created; };
struct event { long recorded; };  /* number of the work, -1: never */

struct work {
  enum { kCopy, kKernel, kRecord, kWait } kind;
  int done;
  struct stream *stream;
  void *to;
  const void *from;
  void *own;       /* what `from` is, where that had to be kept */
  size_t bytes;
  int adds_one;
  unsigned blocks;
  struct launch launch;
  long awaited;    /* number of work */
};

static struct work *works;
static long work_count, first_undone;
static int64_t last_asked;
static int broken;  /* the error that all get from now on */

static int is_memory(uint64_t begin, uint64_t bytes) { return range_with(&device_memory, begin, bytes) != NULL; }

static int run_kernel(const struct work *work) {
  if (acts("fault")) return kLaunchFailed;
  if (!work->adds_one) return kGood;
  const struct launch *launch = &work->launch;
  if (!is_memory(launch->state, 16 * 8) || !is_memory(launch->flags, 4) || !is_memory(launch->partial, 8)) return kIllegalAddress;
  const uint64_t *gpr = (const uint64_t *)(uintptr_t)launch->state;
  const uint64_t threads = (uint64_t)work->blocks * kBlockThreads, bytes = gpr[1] < threads ? gpr[1] : threads;
  const uint64_t from = gpr[6] + launch->distance[0], to = gpr[7] + launch->distance[1];
  if (!is_memory(from, bytes) || !is_memory(to, bytes)) return kIllegalAddress;
  for (uint64_t i = 0; i < bytes; i++) {
    const uint8_t value = ((uint8_t *)(uintptr_t)to)[i] = (uint8_t)(((const uint8_t *)(uintptr_t)from)[i] + 1);
    *(uint64_t *)(uintptr_t)launch->partial += value;
  }
  *(uint32_t *)(uintptr_t)launch->flags |= (uint32_t)gpr[0];
  return kGood;
}

static int may_run(long number) {
  const struct work *work = &works[number];
  if (work->kind == kKernel && acts("endless")) return 0;
  if (work->kind == kWait && work->awaited >= 0 && !works[work->awaited].done) return 0;
  for (long i = first_undone; i < number; i++)
    if (!works[i].done && works[i].stream == work->stream) return 0;
  return 1;
}

static void run(struct work *work) {
  if (work->kind == kKernel) broken = run_kernel(work);
  if (work->kind == kCopy) memmove(work->to, work->own ? work->own : work->from, work->bytes);
  free(work->own);
  work->own = NULL;
  work->done = 1;
  while (first_undone < work_count && works[first_undone].done) first_undone++;
}

/* All that can, the latest first, until `number` is done. */
static void run_until(long number) {
  if (acts("stuck")) return;
  for (long i = work_count - 1; i >= first_undone && !broken && !works[number].done; i--) {
    if (works[i].done || !may_run(i)) continue;
    run(&works[i]);
    i = work_count;
  }
}

static struct work *add_work(struct stream *stream) {
  works = realloc(works, (size_t)(work_count + 1) * sizeof(*works));
  struct work *work = &works[work_count++];
  memset(work, 0, sizeof(*work));
  work->stream = stream;
  last_asked = now_ns();
  return work;
}

static int copy(void *to, const void *from, size_t bytes, struct stream *stream, void *own) {
  if (broken) return broken;
  if (!stream || !stream->created) return kInvalid;
  struct work *work = add_work(stream);
  work->kind = kCopy;
  work->to = to;
  work->from = from;
  work->own = own;
  work->bytes = bytes;
  return kGood;
}

int cuStreamCreate(struct stream **stream, unsigned flags) {
  *stream = calloc(1, sizeof(**stream));
  (*stream)->created = 1;
  return flags == kNonBlocking ? kGood : kInvalid;
}
int cuEventCreate(struct event **event, unsigned flags) {
  *event = malloc(sizeof(**event));
  (*event)->recorded = -1;
  return flags == kNoTiming ? kGood : kInvalid;
}
int cuEventRecord(struct event *event, struct stream *stream) {
  if (broken) return broken;
  add_work(stream)->kind = kRecord;
  event->recorded = work_count - 1;
  return kGood;
}
int cuStreamWaitEvent(struct stream *stream, struct event *event, unsigned flags) {
  if (broken) return broken;
  struct work *work = add_work(stream);
  work->kind = kWait;
  work->awaited = event->recorded;
  return flags == 0 ? kGood : kInvalid;
}
int cuEventQuery(struct event *event) {
  if (broken) return broken;
  if (event->recorded < 0 || works[event->recorded].done) return kGood;
  if (now_ns() - last_asked > QUIET_NS) run_until(event->recorded);
  return broken ? broken : works[event->recorded].done ? kGood : kNotReady;
}
int cuEventSynchronize(struct event *event) {
  while (acts("stuck")) sleep(1);
  if (event->recorded >= 0) run_until(event->recorded);
  return broken;
}

int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t bytes, struct stream *stream) {
  if (!is_memory(to, bytes)) return kInvalid;
  void *own = NULL;
  if (!range_with(&pinned, (uintptr_t)from, bytes)) memcpy(own = malloc(bytes + 1), from, bytes);
  return copy((void *)(uintptr_t)to, from, bytes, stream, own);
}
int cuMemcpyDtoHAsync_v2(void *to, address from, size_t bytes, struct stream *stream) {
  if (!is_memory(from, bytes)) return kInvalid;
  const int error = copy(to, (const void *)(uintptr_t)from, bytes, stream, NULL);
  if (!error && !range_with(&pinned, (uintptr_t)to, bytes)) run_until(work_count - 1);
  return error ? error : broken;
}
int cuMemcpyDtoDAsync_v2(address to, address from, size_t bytes, struct stream *stream) {
  if (!is_memory(from, bytes) || !is_memory(to, bytes)) return kInvalid;
  return copy((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes, stream, NULL);
}

/* Memory. */

static uint64_t allocated(void) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < device_memory.count; i++) bytes += device_memory.all[i].end - device_memory.all[i].begin;
  return bytes;
}

int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) { return *free_bytes = MEMORY_BYTES - allocated(), *total = MEMORY_BYTES, kGood; }
int cuMemAlloc_v2(address *memory, size_t bytes) {
  static int allocations = 0;
  if (broken) return broken;
  if (acts("no-memory") && ++allocations > 1) return kOutOfMemory;
  if (bytes > MEMORY_BYTES - allocated()) return kOutOfMemory;
  void *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (made == MAP_FAILED) return kOutOfMemory;
  *memory = (address)(uintptr_t)made;
  add_range(&device_memory, *memory, bytes);
  return kGood;
}
/* The driver would wait for what uses the memory. Here, who frees it should have. */
int cuMemFree_v2(address memory) {
  struct range *range = range_with(&device_memory, memory, 0);
  if (!range || range->begin != memory) return kInvalid;
  for (long i = first_undone; i < work_count; i++) {
    const struct work *work = &works[i];
    const uint64_t to = (uintptr_t)work->to, from = (uintptr_t)work->from;
    const int uses = (to >= range->begin && to < range->end) || (from >= range->begin && from < range->end);
    if (!work->done && work->kind == kCopy && uses) broken = kIllegalAddress;
  }
  munmap((void *)(uintptr_t)memory, range->end - range->begin);
  *range = device_memory.all[--device_memory.count];
  return broken;
}
int cuMemHostRegister_v2(void *memory, size_t bytes, unsigned flags) {
  if ((uintptr_t)memory % 4096 != 0 || flags != 0) return kInvalid;
  if (acts("no-pinning")) return kOutOfMemory;
  add_range(&pinned, (uintptr_t)memory, bytes);
  return kGood;
}

/* Devices. */

static int visible[kMostDevices], visible_count = -1;

static void find_devices(void) {
  const char *count = getenv("FAKE_CUDA_DEVICES"), *list = getenv("CUDA_VISIBLE_DEVICES");
  const int all = count ? atoi(count) : 1;
  visible_count = 0;
  for (int i = 0; !list && i < all; i++) visible[visible_count++] = i;
  for (; list && *list; list = strchr(list, ',') ? strchr(list, ',') + 1 : "")
    if (atoi(list) < all && visible_count < kMostDevices) visible[visible_count++] = atoi(list);
}

static int is_device(int device) { return device >= kDeviceHandle && device < kDeviceHandle + kMostDevices; }

int cuInit(unsigned flags) { return find_devices(), flags != 0 ? kInvalid : acts("no-device") ? kNoDevice : kGood; }
int cuDriverGetVersion(int *version) { return *version = getenv("FAKE_CUDA_DRIVER") ? atoi(getenv("FAKE_CUDA_DRIVER")) : 12040, kGood; }
int cuDeviceGetCount(int *count) { return *count = visible_count, kGood; }
int cuDeviceGet(int *device, int ordinal) {
  if (ordinal < 0 || ordinal >= visible_count) return kInvalid;
  return *device = kDeviceHandle + visible[ordinal], kGood;
}
int cuDeviceGetName(char *name, int size, int device) {
  if (!is_device(device)) return kInvalid;
  snprintf(name, (size_t)size, device == kDeviceHandle ? "Fake GPU" : "Fake GPU %d", device - kDeviceHandle);
  return kGood;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = MEMORY_BYTES, is_device(device) ? kGood : kInvalid; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { return *value = attribute == 75 ? 9 : 0, is_device(device) ? kGood : kInvalid; }
int cuDeviceGetUuid(unsigned char *uuid, int device) { return memset(uuid, 0xa0 + device - kDeviceHandle, 16), is_device(device) ? kGood : kInvalid; }
int cuDeviceGetPCIBusId(char *id, int size, int device) {
  snprintf(id, (size_t)size, "0000:%02X:00.0", 0x3b + device - kDeviceHandle);
  return is_device(device) ? kGood : kInvalid;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = (void *)(uintptr_t)(kContext + device), is_device(device) ? kGood : kInvalid; }
int cuCtxSetCurrent(void *context) {
  const int device = (int)(uintptr_t)context - kContext;
  char line[32];
  snprintf(line, sizeof(line), "device %d", device - kDeviceHandle);
  tell(line);
  return is_device(device) ? kGood : kInvalid;
}

/* Kernels. */

struct module { int adds_one; };
struct linker { char *cubin; };

static const char *cubin_begin(void) {
  static char begin[64];
  snprintf(begin, sizeof(begin), "\177ELF stand-in for %s\n", getenv("FAKE_CUDA_GPU") ? getenv("FAKE_CUDA_GPU") : "sm_90");
  return begin;
}

static int is_ptx(const char *text) { return strstr(text, ".visible .entry tl_kernel(") != NULL && !acts("bad-ptx"); }

int cuLinkCreate_v2(unsigned options, int *names, void **values, struct linker **linker) {
  (void)names, (void)values;
  *linker = calloc(1, sizeof(**linker));
  return acts("no-link") ? kNotSupported : options == 0 ? kGood : kInvalid;
}
int cuLinkAddData_v2(struct linker *linker, int type, void *data, size_t size, const char *name, unsigned options, int *names, void **values) {
  (void)names, (void)values;
  if (type != kPtx || size == 0 || ((char *)data)[size - 1] != 0 || !name || options != 0) return kInvalid;
  if (!is_ptx(data)) return kInvalidPtx;
  linker->cubin = malloc(strlen(cubin_begin()) + size);
  return strcpy(linker->cubin, cubin_begin()), strcat(linker->cubin, data), kGood;
}
int cuLinkComplete(struct linker *linker, void **cubin, size_t *size) {
  if (!linker->cubin) return kInvalid;
  tell("link");
  return *cubin = linker->cubin, *size = strlen(linker->cubin) + 1, kGood;
}
int cuLinkDestroy(struct linker *linker) { return free(linker->cubin), free(linker), kGood; }

int cuModuleLoadDataEx(struct module **module, const void *image, unsigned options, int *names, void **values) {
  (void)names, (void)values;
  const int is_cubin = strncmp(image, "\177ELF", 4) == 0;
  if (options != 0) return kInvalid;
  if (is_cubin && strncmp(image, cubin_begin(), strlen(cubin_begin())) != 0) return kNoBinary;
  if (!is_ptx(image)) return kInvalidPtx;
  tell(is_cubin ? "load cubin" : "load ptx");
  *module = malloc(sizeof(**module));
  (*module)->adds_one = strstr(image, ADD_ONE) != NULL;
  return kGood;
}
int cuModuleGetFunction(struct module **function, struct module *module, const char *name) {
  return *function = module, strcmp(name, "tl_kernel") == 0 ? kGood : kNotFound;
}
int cuModuleUnload(struct module *module) { return free(module), kGood; }
int cuLaunchKernel(struct module *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   struct stream *stream, void **parameters, void **extra) {
  if (broken) return broken;
  if (acts("fail")) return kLaunchFailed;
  while (acts("hang")) sleep(1);
  if (gx == 0 || gy != 1 || gz != 1 || bx != kBlockThreads || by != 1 || bz != 1 || shared != 0 || !parameters || extra || !stream->created) return kInvalid;
  struct work *work = add_work(stream);
  work->kind = kKernel;
  work->adds_one = function->adds_one;
  work->blocks = gx;
  memcpy(&work->launch, parameters[0], sizeof(work->launch));
  return kGood;
}

int cuGetErrorString(int error, const char **text) {
  *text = error == kLaunchFailed ? "unspecified launch failure" : error == kOutOfMemory ? "out of memory"
          : error == kNoDevice ? "no CUDA-capable device is detected" : error == kInvalidPtx ? "a PTX JIT compilation failed"
          : error == kIllegalAddress ? "an illegal memory access was encountered" : error == kNotFound ? "named symbol not found"
          : error == kNotSupported ? "operation not supported" : error == kNoBinary ? "no kernel image is available" : "invalid argument";
  return kGood;
}
