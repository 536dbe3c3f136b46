// libunwind's remote mode over a copied stack: all of its questions (memory, registers, which unwind table) are
// answered from the sample and from the modules' memory (by SafeMemory, which cannot fault), so it takes no lock of the
// loader and needs nothing from the sampled thread, which has long gone on.
#include "profiler/unwind.h"

#include <libunwind.h>

#include <algorithm>
#include <cstring>

#include "profiler/unwind/safe_memory.h"

// Part of libunwind's library but not of its headers; perf and others use it in this way.
extern "C" int UNW_OBJ(dwarf_search_unwind_table)(unw_addr_space_t, unw_word_t, unw_dyn_info_t*, unw_proc_info_t*, int,
                                                  void*);

namespace tracelift::profiler {
namespace {

struct Walk {
  const TlStackSample& sample;
  const ModuleList& modules;
  SafeMemory memory;
  uint64_t stack_bytes;
};

Walk& WalkOf(void* argument) { return *static_cast<Walk*>(argument); }

bool ReadWord(Walk& walk, uint64_t address, uint64_t* value) {
  const TlStackSample& sample = walk.sample;
  if (address >= sample.sp && walk.stack_bytes >= sizeof *value &&
      address - sample.sp <= walk.stack_bytes - sizeof *value) {
    std::memcpy(value, sample.stack + (address - sample.sp), sizeof *value);
    return true;
  }
  // The tables lie in constant segments, but point to personality routines through a word of writable data.
  return walk.modules.Find(address) != nullptr && walk.memory.Read(address, value, sizeof *value);
}

/// DW_EH_PE_* as used in .eh_frame_hdr.
enum : uint8_t { kAbsolutePointer = 0x00, kUnsigned4 = 0x03, kSigned4Relative = 0x3b };

int FindProcInfo(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t* info, int need_unwind_info, void* argument) {
  Walk& walk = WalkOf(argument);
  const Module* module = walk.modules.Find(ip);
  if (module == nullptr || !module->IsText(ip)) return -UNW_ENOINFO;
  uint64_t header_at = module->eh_frame_hdr.begin;
  uint8_t header[12];  // version, three encodings, pointer to .eh_frame, number of entries
  if (module->eh_frame_hdr.end - header_at < sizeof header || !walk.memory.Read(header_at, header, sizeof header)) {
    return -UNW_ENOINFO;
  }
  bool known = header[0] == 1 && (header[1] & 0x0f) != kAbsolutePointer && header[2] == kUnsigned4 &&
               header[3] == kSigned4Relative;
  if (!known) return -UNW_ENOINFO;
  uint32_t entries = 0;
  std::memcpy(&entries, header + 8, sizeof entries);
  uint64_t table_bytes = module->eh_frame_hdr.end - header_at - sizeof header;
  if (entries == 0 || entries > table_bytes / 8) return -UNW_ENOINFO;

  unw_dyn_info_t table{};
  table.format = UNW_INFO_FORMAT_REMOTE_TABLE;
  table.start_ip = module->extent.begin;
  table.end_ip = module->extent.end;
  table.u.rti.segbase = header_at;
  table.u.rti.table_data = header_at + sizeof header;
  table.u.rti.table_len = entries * uint64_t{8} / sizeof(unw_word_t);
  return UNW_OBJ(dwarf_search_unwind_table)(space, ip, &table, info, need_unwind_info, argument);
}

void PutUnwindInfo(unw_addr_space_t, unw_proc_info_t*, void*) {}

int NoDynamicInfo(unw_addr_space_t, unw_word_t*, void*) { return -UNW_ENOINFO; }

int AccessMemory(unw_addr_space_t, unw_word_t address, unw_word_t* value, int write, void* argument) {
  if (write) return -UNW_EINVAL;
  uint64_t word = 0;
  if (!ReadWord(WalkOf(argument), address, &word)) return -UNW_EINVAL;
  *value = word;
  return 0;
}

int AccessRegister(unw_addr_space_t, unw_regnum_t number, unw_word_t* value, int write, void* argument) {
  // libunwind counts registers as DWARF does: rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8...
  static constexpr uint8_t kEncoding[16] = {0, 2, 1, 3, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15};
  const TlStackSample& sample = WalkOf(argument).sample;
  if (write) return -UNW_EREADONLYREG;
  if (number == UNW_X86_64_RIP) {
    *value = sample.ip;
  } else if (number == UNW_X86_64_RSP) {
    *value = sample.sp;
  } else if (number == UNW_X86_64_RBP) {
    *value = sample.bp;
  } else if (number >= UNW_X86_64_RAX && number <= UNW_X86_64_R15) {
    *value = sample.gpr[kEncoding[number]];
  } else {
    return -UNW_EBADREG;
  }
  return 0;
}

int NoFloatRegister(unw_addr_space_t, unw_regnum_t, unw_fpreg_t*, int, void*) { return -UNW_EINVAL; }
int NoResume(unw_addr_space_t, unw_cursor_t*, void*) { return -UNW_EINVAL; }
int NoProcName(unw_addr_space_t, unw_word_t, char*, size_t, unw_word_t*, void*) { return -UNW_EINVAL; }

class AddressSpace {
 public:
  AddressSpace() {
    static unw_accessors_t accessors = {
        .find_proc_info = FindProcInfo,
        .put_unwind_info = PutUnwindInfo,
        .get_dyn_info_list_addr = NoDynamicInfo,
        .access_mem = AccessMemory,
        .access_reg = AccessRegister,
        .access_fpreg = NoFloatRegister,
        .resume = NoResume,
        .get_proc_name = NoProcName,
    };
    space_ = unw_create_addr_space(&accessors, 0);
    // No cache: the next sample may come after a module was replaced at the same place.
    if (space_ != nullptr) unw_set_caching_policy(space_, UNW_CACHE_NONE);
  }
  ~AddressSpace() {
    if (space_ != nullptr) unw_destroy_addr_space(space_);
  }
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;
  unw_addr_space_t get() const { return space_; }

 private:
  unw_addr_space_t space_;
};

}  // namespace

std::vector<uint64_t> Unwind(const TlStackSample& sample, const ModuleList& modules) {
  std::vector<uint64_t> addresses;
  AddressSpace space;
  if (space.get() == nullptr) return addresses;
  Walk walk{sample, modules, {}, std::min<uint64_t>(sample.stack_bytes, kTlStackBytes)};
  unw_cursor_t cursor;
  if (unw_init_remote(&cursor, space.get(), &walk) != 0) return addresses;
  uint64_t last_sp = sample.sp;
  while (addresses.size() < kMaxUnwindDepth && unw_step(&cursor) > 0) {
    unw_word_t ip = 0, sp = 0;
    if (unw_get_reg(&cursor, UNW_REG_IP, &ip) != 0 || unw_get_reg(&cursor, UNW_REG_SP, &sp) != 0) break;
    // Stacks grow downwards: a caller's frame lies above, and code lies in a module. Anything else is a misreading.
    const Module* module = modules.Find(ip);
    if (sp <= last_sp || module == nullptr || !module->IsText(ip)) break;
    addresses.push_back(ip);
    last_sp = sp;
  }
  return addresses;
}

}  // namespace tracelift::profiler
