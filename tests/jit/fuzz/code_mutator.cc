#include "tests/jit/fuzz/code_mutator.h"

#include <algorithm>
#include <cstdlib>
#include <span>

#include "jit/code/decoded_function.h"
#include "jit/code/reachable_code.h"
#include "jit/lift/lifter.h"
#include "tests/jit/code/loaded_library.h"

namespace tracelift::jit {
namespace {

constexpr uint64_t kMostFunctionBytes = 4096;

uint64_t Below(std::mt19937_64& random, uint64_t limit) { return random() % limit; }
uint8_t AnyByte(std::mt19937_64& random) { return static_cast<uint8_t>(random()); }

/// Prefixes, escapes, and starts of VEX, EVEX and jumps: bytes that change the meaning of all that follows.
constexpr uint8_t kTelling[] = {0x0f, 0x26, 0x2e, 0x3e, 0x40, 0x48, 0x4f, 0x62, 0x64, 0x66,
                                0x67, 0x74, 0x75, 0x8f, 0xa4, 0xab, 0xc3, 0xc4, 0xc5, 0xcc,
                                0xd5, 0xe2, 0xe3, 0xe8, 0xe9, 0xeb, 0xf0, 0xf2, 0xf3, 0xff};

std::vector<InstructionBytes> EachOnce(std::vector<InstructionBytes> encodings) {
  const auto less = [](const InstructionBytes& a, const InstructionBytes& b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  };
  std::ranges::sort(encodings, less);
  const auto [first, last] = std::ranges::unique(
      encodings, [](const InstructionBytes& a, const InstructionBytes& b) { return std::ranges::equal(a, b); });
  encodings.erase(first, last);
  encodings.shrink_to_fit();
  return encodings;
}

}  // namespace

CodeMutator::CodeMutator(const std::vector<std::string>& libraries) {
  // Each of the first is worth having once; the second are what lifting is about.
  std::vector<InstructionBytes> all, liftable;
  for (const std::string& name : libraries) {
    std::optional<LoadedLibrary> opened = LoadedLibrary::Open(name);
    if (!opened.has_value()) continue;
    const LoadedLibrary* library = libraries_.emplace_back(std::make_unique<LoadedLibrary>(*opened)).get();
    for (const uint64_t begin : library->TableBegins()) {
      const auto bounds = FindFunctionBounds(*library, library->eh_frame_hdr(), begin);
      if (!bounds.has_value() || bounds->size() > kMostFunctionBytes) continue;
      const auto function = DecodeFunction(*library, *bounds);
      if (!function.has_value()) continue;
      functions_.push_back({library, *bounds});
      for (const Instruction& instruction : (*function)->decoded().instructions) {
        if (!instruction.valid) continue;
        const bool falls_through = ControlFlowOf(instruction.info) == BlockEnd::kFallThrough;
        if (falls_through && IsSupported(instruction)) liftable.push_back(instruction.bytes);
        all.push_back(instruction.bytes);
      }
    }
  }
  instructions_ = EachOnce(std::move(all));
  liftable_ = EachOnce(std::move(liftable));
}

FuzzInput CodeMutator::Make(std::mt19937_64& random) const {
  const uint64_t kind = functions_.empty() ? 0 : Below(random, 8);
  FuzzInput input;
  input.base = Below(random, 4) == 0 ? 0x10 : 0x5555'0000'0000 + Below(random, 4096);
  if (kind == 0) {
    input.code = RandomBytes(random);
  } else if (kind < 5) {
    LoopOfInstructions(random, &input);
    if (Below(random, 2) == 0) Damage(random, Below(random, 4) != 0 ? &input.code : &input.constants);
  } else {
    const Function& function = functions_[Below(random, functions_.size())];
    input.code.resize(function.bounds.size());
    if (!function.library->Read(function.bounds.begin, input.code)) std::abort();
    input.library = function.library;
    input.origin = function.bounds.begin;
    Damage(random, &input.code);
  }
  input.code.resize(std::clamp<size_t>(input.code.size(), 1, kMostInputBytes));
  return input;
}

std::vector<uint8_t> CodeMutator::RandomBytes(std::mt19937_64& random) const {
  Bytes code(1 + Below(random, 200));
  for (uint8_t& byte : code) {
    byte = Below(random, 4) == 0 ? kTelling[Below(random, std::size(kTelling))] : AnyByte(random);
  }
  return code;
}

/// Code that grows, with jumps between its instructions, calls, and switches as compilers write them.
class CodeMutator::Loop {
 public:
  Loop(std::mt19937_64& random, FuzzInput* input) : random_(random), code_(input->code), input_(*input) {}

  void Add(const InstructionBytes& instruction) {
    starts_.push_back(code_.size());
    Append(instruction);
  }

  size_t AnyStart() { return starts_[Below(random_, starts_.size())]; }
  size_t here() const { return code_.size(); }

  void Branch(size_t target) {
    const auto condition = static_cast<uint8_t>(Below(random_, 16));
    if (Below(random_, 16) == 0) {
      const auto distance = static_cast<int64_t>(target) - static_cast<int64_t>(code_.size() + 2);
      Append({static_cast<uint8_t>(0xe0 + condition % 4), static_cast<uint8_t>(distance)});  // loop, jrcxz
      return;
    }
    Append({0x0f, static_cast<uint8_t>(0x80 | condition)});
    Distance(target);
  }

  /// Of one of the callees, straight or through the linkage table.
  void Call() {
    if (Below(random_, 3) == 0) {
      Append({0xff, 0x15});
      Distance(kConstantsOffset - 8 * Below(random_, 16));
    } else {
      Append({0xe8});
      Distance(kCalleesOffset + Below(random_, 3) * kCalleeDistance + (Below(random_, 8) == 0 ? Below(random_, 32) : 0));
    }
  }

  void Switch() {
    const uint64_t cases = uint64_t{1} << (1 + Below(random_, 4));
    const uint64_t table = input_.constants.size();
    const bool wide = Below(random_, 4) == 0;
    if (Below(random_, 2) == 0) {
      Append({0x83, 0xe0, static_cast<uint8_t>(cases - 1)});  // and eax, cases - 1
    } else {
      Append({0x83, 0xf8, static_cast<uint8_t>(cases - 1), 0x0f, 0x87});  // cmp eax, cases - 1; ja out
      to_out_.push_back(code_.size());
      Append({0, 0, 0, 0, 0x89, 0xc0});  // mov eax, eax
    }
    Append({0x48, 0x8d, 0x15});  // lea rdx, [rip+table]
    Distance(kConstantsOffset + table);
    if (wide) {
      Append({0xff, 0x24, 0xc2});  // jmp [rdx+rax*8]
    } else {
      Append({0x48, 0x63, 0x04, 0x82, 0x48, 0x01, 0xd0, 0xff, 0xe0});  // movsxd rax, [rdx+rax*4]; add rax, rdx; jmp rax
    }
    tables_.push_back({table, cases, wide});
    input_.constants.resize(table + cases * (wide ? 8 : 4));
  }

  /// The end of all ways, and what was open until then.
  void Finish() {
    for (const size_t at : to_out_) Store(&code_, at, code_.size() - (at + 4), 4);
    Append({0xc3});
    for (const Table& table : tables_) {
      for (uint64_t i = 0; i < table.cases; ++i) {
        const uint64_t target = Below(random_, 16) == 0 ? code_.size() - 1 : AnyStart();
        const size_t bytes = table.wide ? 8 : 4;
        const uint64_t entry = table.wide ? input_.base + target : target - (kConstantsOffset + table.at);
        Store(&input_.constants, table.at + i * bytes, entry, bytes);
      }
    }
  }

 private:
  struct Table {
    uint64_t at, cases;
    bool wide;
  };

  static void Store(Bytes* bytes, size_t at, uint64_t value, size_t count) {
    for (size_t i = 0; i < count; ++i) (*bytes)[at + i] = static_cast<uint8_t>(value >> (8 * i));
  }
  void Append(std::span<const uint8_t> bytes) { code_.insert(code_.end(), bytes.begin(), bytes.end()); }
  void Append(std::initializer_list<uint8_t> bytes) { code_.insert(code_.end(), bytes); }
  void Distance(uint64_t target) {
    const uint64_t distance = target - (code_.size() + 4);
    Append({0, 0, 0, 0});
    Store(&code_, code_.size() - 4, distance, 4);
  }

  std::mt19937_64& random_;
  Bytes& code_;
  FuzzInput& input_;
  std::vector<size_t> starts_, to_out_;
  std::vector<Table> tables_;
};

void CodeMutator::LoopOfInstructions(std::mt19937_64& random, FuzzInput* input) const {
  const bool only_liftable = Below(random, 4) != 0, calls = Below(random, 4) == 0, switches = Below(random, 4) == 0;
  for (uint64_t i = calls ? 1 + Below(random, 3) : 0; i > 0; --i) input->callees.push_back(Callee(random));
  Loop loop(random, input);
  const uint64_t count = 1 + Below(random, 16);
  for (uint64_t i = 0; i < count; ++i) {
    loop.Add(AnyInstruction(random, only_liftable));
    if (Below(random, 8) == 0) loop.Branch(Below(random, 2) == 0 ? loop.AnyStart() : loop.here() + 6 + Below(random, 12));
    if (calls && Below(random, 6) == 0) loop.Call();
    if (switches && Below(random, 6) == 0) loop.Switch();
  }
  loop.Branch(Below(random, 4) == 0 ? loop.AnyStart() : 0);
  loop.Finish();
}

/// A short function: a few instructions, sometimes with a loop of its own.
std::vector<uint8_t> CodeMutator::Callee(std::mt19937_64& random) const {
  FuzzInput input;
  Loop loop(random, &input);
  const uint64_t count = 1 + Below(random, 6);
  for (uint64_t i = 0; i < count; ++i) loop.Add(AnyInstruction(random, true));
  if (Below(random, 4) == 0) loop.Branch(loop.AnyStart());
  loop.Finish();
  if (Below(random, 8) == 0) Damage(random, &input.code);
  input.code.resize(std::clamp<size_t>(input.code.size(), 1, kCalleeDistance));
  return input.code;
}

const InstructionBytes& CodeMutator::AnyInstruction(std::mt19937_64& random, bool liftable) const {
  const std::vector<InstructionBytes>& pool = liftable && !liftable_.empty() ? liftable_ : instructions_;
  return pool[Below(random, pool.size())];
}

void CodeMutator::Damage(std::mt19937_64& random, Bytes* code) const {
  const uint64_t count = Below(random, 8);
  for (uint64_t i = 0; i < count && !code->empty(); ++i) {
    const size_t at = Below(random, code->size());
    const auto where = code->begin() + static_cast<ptrdiff_t>(at);
    switch (Below(random, 7)) {
      case 0:
        (*code)[at] = AnyByte(random);
        break;
      case 1:
        (*code)[at] ^= static_cast<uint8_t>(1 << Below(random, 8));
        break;
      case 2:
        (*code)[at] = kTelling[Below(random, std::size(kTelling))];
        break;
      case 3:
        code->insert(where, kTelling[Below(random, std::size(kTelling))]);
        break;
      case 4:
        code->erase(where, where + static_cast<ptrdiff_t>(1 + Below(random, std::min<size_t>(8, code->size() - at))));
        break;
      case 5: {
        if (instructions_.empty()) break;
        const InstructionBytes& instruction = AnyInstruction(random, false);
        code->insert(where, instruction.begin(), instruction.end());
        break;
      }
      default:
        if (Below(random, 8) == 0) code->resize(at + 1);
        break;  // ends in the middle
    }
  }
}

}  // namespace tracelift::jit
