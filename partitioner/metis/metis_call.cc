// METIS 5.1.0 is written for programs that are METIS and nothing else: each call reseeds and draws from the C
// library's rand(), replaces the process's SIGABRT and SIGTERM handlers (and restores them without their flags), leaves
// by raising SIGTERM or calling exit, and prints warnings to stdout. We plan inside other people's processes, where
// any of these changes what the program does. So, before the first call, libmetis's own import slots for these
// functions are pointed at the stand-ins below. They act only for a thread that is inside BisectWithMetis; for
// everybody else who uses the same libmetis (octave brings it along) they pass the call on unchanged.
#include "partitioner/metis/metis_call.h"

#include <elf.h>
#include <fmt/format.h>
#include <link.h>
#include <metis.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>

namespace tracelift::partitioner {
namespace {

static_assert(sizeof(idx_t) == 4 && sizeof(real_t) == 4, "this METIS was built with other integer or float widths");

using SignalHandler = void (*)(int);
extern "C" SignalHandler __sysv_signal(int, SignalHandler);

// METIS is C with process-wide state, so what stands around it is process-wide too.
std::mutex call_mutex;                  // held during a call
std::atomic<pthread_t> calling_thread;  // 0: none. Relaxed: a thread only ever looks for its own value
std::jmp_buf escape;                    // guarded by call_mutex
uint32_t random_state = 1;              // guarded by call_mutex

bool IsOurs() { return calling_thread.load(std::memory_order_relaxed) == pthread_self(); }

void SeedStandIn(unsigned seed) {
  if (!IsOurs()) return std::srand(seed);
  random_state = seed * 2654435761u | 1;
}

int RandomStandIn() {
  if (!IsOurs()) return std::rand();
  random_state ^= random_state << 13;  // xorshift32 (Marsaglia 2003)
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return static_cast<int>(random_state >> 1);
}

SignalHandler SignalStandIn(int signal, SignalHandler handler) {
  return IsOurs() ? SIG_DFL : __sysv_signal(signal, handler);
}

int RaiseStandIn(int signal) {
  if (IsOurs()) std::longjmp(escape, 1);
  return raise(signal);
}

[[noreturn]] void ExitStandIn(int status) {
  if (IsOurs()) std::longjmp(escape, 1);
  std::exit(status);
}

int PrintStandIn(int, const char* format, ...) {
  if (IsOurs()) return 0;
  va_list arguments;
  va_start(arguments, format);
  int written = std::vprintf(format, arguments);
  va_end(arguments);
  return written;
}

int PrintListToFileStandIn(std::FILE* file, int, const char* format, va_list arguments) {
  return IsOurs() ? 0 : std::vfprintf(file, format, arguments);
}

int PrintToFileStandIn(std::FILE* file, int, const char* format, ...) {
  if (IsOurs()) return 0;
  va_list arguments;
  va_start(arguments, format);
  int written = std::vfprintf(file, format, arguments);
  va_end(arguments);
  return written;
}

struct StandIn {
  const char* name;
  void* function;
};
const StandIn kStandIns[] = {
    {"srand", reinterpret_cast<void*>(SeedStandIn)},
    {"rand", reinterpret_cast<void*>(RandomStandIn)},
    {"__sysv_signal", reinterpret_cast<void*>(SignalStandIn)},
    {"raise", reinterpret_cast<void*>(RaiseStandIn)},
    {"exit", reinterpret_cast<void*>(ExitStandIn)},
    {"__printf_chk", reinterpret_cast<void*>(PrintStandIn)},
    {"__fprintf_chk", reinterpret_cast<void*>(PrintToFileStandIn)},
    {"__vfprintf_chk", reinterpret_cast<void*>(PrintListToFileStandIn)},
};

struct Library {
  uint64_t bias = 0;
  const ElfW(Dyn) * dynamic = nullptr;
  uint64_t relro_begin = 0, relro_end = 0;
};

int FindLibrary(dl_phdr_info* info, size_t, void* data) {
  uint64_t function = reinterpret_cast<uint64_t>(&METIS_PartGraphRecursive);
  Library library;
  library.bias = info->dlpi_addr;
  bool contains = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    uint64_t begin = library.bias + header.p_vaddr;
    if (header.p_type == PT_LOAD) contains |= function >= begin && function < begin + header.p_memsz;
    if (header.p_type == PT_DYNAMIC) library.dynamic = reinterpret_cast<const ElfW(Dyn)*>(begin);
    if (header.p_type == PT_GNU_RELRO) {
      library.relro_begin = begin;
      library.relro_end = begin + header.p_memsz;
    }
  }
  if (!contains) return 0;
  *static_cast<Library*>(data) = library;
  return 1;
}

bool StoreSlot(const Library& library, uint64_t slot, void* function) {
  // Read-only once relocated (a METIS linked with -z now): opened for the store, one aligned word that no thread sees
  // half of.
  uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  void* start = reinterpret_cast<void*>(slot & ~(page - 1));
  bool read_only = slot >= library.relro_begin && slot < library.relro_end;
  if (read_only && mprotect(start, page, PROT_READ | PROT_WRITE) != 0) return false;
  std::atomic_ref<void*>(*reinterpret_cast<void**>(slot)).store(function, std::memory_order_release);
  if (read_only) mprotect(start, page, PROT_READ);
  return true;
}

/// A program may have brought a METIS of its own with 64-bit integers, which then answers our calls too. It shows by
/// how much it writes.
bool HasNarrowIntegers() {
  idx_t options[2 * METIS_NOPTIONS];
  constexpr idx_t kUntouched = 0x5a5a5a5a;
  std::fill(std::begin(options), std::end(options), kUntouched);
  METIS_SetDefaultOptions(options);
  return std::all_of(options + METIS_NOPTIONS, std::end(options), [](idx_t word) { return word == kUntouched; });
}

/// Redirects the imports. Functions that this METIS does not import need no stand-in.
std::expected<void, std::string> Isolate() {
  if (!HasNarrowIntegers()) return std::unexpected("the METIS in this process has integers of another width");
  Library library;
  if (dl_iterate_phdr(FindLibrary, &library) == 0 || library.dynamic == nullptr) {
    return std::unexpected("METIS is not a shared library here, its imports cannot be redirected");
  }
  auto pointer = [&](uint64_t value) { return value < library.bias ? value + library.bias : value; };
  uint64_t strings = 0, symbols = 0, tables[2] = {}, bytes[2] = {};
  for (const ElfW(Dyn)* entry = library.dynamic; entry->d_tag != DT_NULL; ++entry) {
    switch (entry->d_tag) {
      case DT_STRTAB:
        strings = pointer(entry->d_un.d_ptr);
        break;
      case DT_SYMTAB:
        symbols = pointer(entry->d_un.d_ptr);
        break;
      case DT_JMPREL:
        tables[0] = pointer(entry->d_un.d_ptr);
        break;
      case DT_PLTRELSZ:
        bytes[0] = entry->d_un.d_val;
        break;
      case DT_RELA:
        tables[1] = pointer(entry->d_un.d_ptr);
        break;
      case DT_RELASZ:
        bytes[1] = entry->d_un.d_val;
        break;
      default:
        break;
    }
  }
  bool saw_random = false;
  for (int table = 0; table < 2; ++table) {
    auto* relocation = reinterpret_cast<const ElfW(Rela)*>(tables[table]);
    for (size_t i = 0; i < bytes[table] / sizeof *relocation; ++i) {
      auto type = ELF64_R_TYPE(relocation[i].r_info);
      if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT) continue;
      auto* symbol = reinterpret_cast<const ElfW(Sym)*>(symbols) + ELF64_R_SYM(relocation[i].r_info);
      const char* name = reinterpret_cast<const char*>(strings) + symbol->st_name;
      for (const StandIn& stand_in : kStandIns) {
        if (std::strcmp(name, stand_in.name) != 0) continue;
        if (!StoreSlot(library, library.bias + relocation[i].r_offset, stand_in.function)) {
          return std::unexpected("METIS's import table could not be made writable");
        }
        saw_random |= std::strcmp(name, "rand") == 0;
      }
    }
  }
  if (!saw_random) return std::unexpected("this METIS does not draw from rand(): its build is not known, so not used");
  return {};
}

/// METIS's status, or 0 when it wanted to end the process. Holds nothing that a longjmp could skip.
int CallGuarded(idx_t* vertices, MetisInput* input, idx_t* part) {
  idx_t constraints = 1, parts = 2, cut = 0;
  idx_t options[METIS_NOPTIONS];
  METIS_SetDefaultOptions(options);
  options[METIS_OPTION_SEED] = 1;
  real_t shares[4] = {input->first_share, 1 - input->first_share};  // with room to be misread as two doubles
  if (setjmp(escape) != 0) return 0;
  return METIS_PartGraphRecursive(vertices, &constraints, input->row_begin.data(), input->neighbours.data(),
                                  input->vertex_weights.data(), nullptr, input->edge_weights.data(), &parts, shares,
                                  nullptr, options, &cut, part);
}

}  // namespace

std::expected<std::vector<uint8_t>, std::string> BisectWithMetis(MetisInput input) {
  idx_t vertices = static_cast<idx_t>(input.vertex_weights.size());
  std::vector<idx_t> part(input.vertex_weights.size(), 0);
  int status = 0;
  {
    std::lock_guard lock(call_mutex);
    static const std::expected<void, std::string> isolated = Isolate();
    if (!isolated) return std::unexpected(isolated.error());
    calling_thread.store(pthread_self(), std::memory_order_relaxed);
    status = CallGuarded(&vertices, &input, part.data());
    calling_thread.store(0, std::memory_order_relaxed);
  }
  if (status != METIS_OK) return std::unexpected(fmt::format("METIS gave up with status {}", status));
  std::vector<uint8_t> side;
  for (idx_t p : part) {
    if (p != 0 && p != 1) return std::unexpected(fmt::format("METIS answered part {} of 2", p));
    side.push_back(static_cast<uint8_t>(p));
  }
  return side;
}

}  // namespace tracelift::partitioner
