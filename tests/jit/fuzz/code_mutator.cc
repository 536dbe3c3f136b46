#include "tests/jit/fuzz/code_mutator.h"

#include <algorithm>
#include <set>

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

}  // namespace

CodeMutator::CodeMutator(const std::vector<std::string>& libraries) {
  std::set<Bytes> known;
  for (const std::string& name : libraries) {
    const std::optional<LoadedLibrary> library = LoadedLibrary::Open(name);
    if (!library.has_value()) continue;
    for (const uint64_t begin : library->TableBegins()) {
      const auto bounds = FindFunctionBounds(*library, library->eh_frame_hdr(), begin);
      if (!bounds.has_value() || bounds->size() > kMostFunctionBytes) continue;
      const auto function = DecodeFunction(*library, *bounds);
      if (!function.has_value()) continue;
      Bytes bytes(bounds->size());
      if (!library->Read(bounds->begin, bytes)) continue;
      functions_.push_back(std::move(bytes));
      for (const Instruction& instruction : (*function)->decoded().instructions) {
        Bytes encoding(instruction.bytes.begin(), instruction.bytes.end());
        if (!instruction.valid || !known.insert(encoding).second) continue;
        const bool falls_through = ControlFlowOf(instruction.info) == BlockEnd::kFallThrough;
        if (falls_through && IsSupported(instruction)) liftable_.push_back(encoding);
        instructions_.push_back(std::move(encoding));
      }
    }
  }
}

std::vector<uint8_t> CodeMutator::Make(std::mt19937_64& random) const {
  const uint64_t kind = functions_.empty() ? 0 : Below(random, 8);
  Bytes code;
  if (kind == 0) {
    code = RandomBytes(random);
  } else if (kind < 5) {
    code = LoopOfInstructions(random);
    if (Below(random, 2) == 0) Damage(random, &code);
  } else {
    code = functions_[Below(random, functions_.size())];
    Damage(random, &code);
  }
  code.resize(std::clamp<size_t>(code.size(), 1, kMostInputBytes));
  return code;
}

std::vector<uint8_t> CodeMutator::RandomBytes(std::mt19937_64& random) const {
  Bytes code(1 + Below(random, 200));
  for (uint8_t& byte : code) {
    byte = Below(random, 4) == 0 ? kTelling[Below(random, std::size(kTelling))] : AnyByte(random);
  }
  return code;
}

/// A few instructions, jumps between them, and a conditional one back.
std::vector<uint8_t> CodeMutator::LoopOfInstructions(std::mt19937_64& random) const {
  Bytes code;
  std::vector<size_t> starts;
  const bool only_liftable = Below(random, 4) != 0;
  const std::vector<Bytes>& pool = only_liftable && !liftable_.empty() ? liftable_ : instructions_;
  const auto jump = [&](size_t target) {
    const auto condition = static_cast<uint8_t>(Below(random, 16));
    if (Below(random, 16) == 0) {
      const auto distance = static_cast<int64_t>(target) - static_cast<int64_t>(code.size() + 2);
      code.insert(code.end(), {static_cast<uint8_t>(0xe0 + condition % 4), static_cast<uint8_t>(distance)});  // loop
      return;
    }
    const auto distance = static_cast<uint32_t>(static_cast<int64_t>(target) - static_cast<int64_t>(code.size() + 6));
    code.insert(code.end(), {0x0f, static_cast<uint8_t>(0x80 | condition)});
    for (int i = 0; i < 4; ++i) code.push_back(static_cast<uint8_t>(distance >> (8 * i)));
  };
  const uint64_t count = 1 + Below(random, 16);
  for (uint64_t i = 0; i < count; ++i) {
    starts.push_back(code.size());
    const Bytes& instruction = pool[Below(random, pool.size())];
    code.insert(code.end(), instruction.begin(), instruction.end());
    if (Below(random, 8) == 0)
      jump(Below(random, 2) == 0 ? starts[Below(random, starts.size())] : code.size() + 6 + Below(random, 12));
  }
  jump(Below(random, 4) == 0 ? starts[Below(random, starts.size())] : 0);
  code.push_back(0xc3);
  return code;
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
        const Bytes& instruction = instructions_.empty() ? *code : instructions_[Below(random, instructions_.size())];
        const Bytes copy = instruction;
        code->insert(where, copy.begin(), copy.end());
        break;
      }
      default:
        if (Below(random, 8) == 0) code->resize(at + 1);
        break;  // ends in the middle
    }
  }
}

}  // namespace tracelift::jit
