#include "tests/jit/lift/machine_states.h"

#include <bit>
#include <cstring>

#include "jit/float_environment.h"

namespace tracelift::jit {
namespace {

constexpr uint64_t kIntegers[] = {0,          1,          2,          0x7f,       0x80,       0xff,       0x100,
                                  0x7fff,     0x8000,     0xffff,     0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
                                  INT64_MAX,  1ull << 63, ~0ull,      ~0ull - 1,  31,         32,         33,
                                  63,         64,         15,         16,         17,         0xffffffff80000000};

constexpr uint64_t kDoubles[] = {
    0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,  // 0 -0 1 -1
    0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0xfff8000000000000,  // inf -inf qnan -qnan
    0x7ff8000000001234, 0xfff800000000abcd, 0x7ff4000000000001, 0xfff0000000000001,  // payloads, signalling
    0x0000000000000001, 0x800fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff,  // denormals, smallest, largest
    0x41dfffffffc00000, 0x41dfffffffe00000, 0x41e0000000000000, 0xc1e0000000000000,  // around 2^31
    0xc1e0000000100000, 0xc1e0000000200000, 0x43dfffffffffffff, 0x43e0000000000000,  // around -2^31, 2^63
    0xc3e0000000000000, 0x3fe0000000000000, 0x3ff8000000000000, 0x4004000000000000,  // -2^63, 0.5 1.5 2.5
    0xbfe0000000000000, 0x36a0000000000000, 0x47efffffe0000000, 0x47efffffffffffff};  // float denormal and maximum

constexpr uint32_t kFloats[] = {0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
                                0xffc00000, 0x7fc01234, 0xffc0abcd, 0x7fa00001, 0xff800001, 0x00000001, 0x807fffff,
                                0x00800000, 0x7f7fffff, 0x4effffff, 0x4f000000, 0xcf000000, 0xcf000001, 0x5effffff,
                                0x5f000000, 0xdf000000, 0x3f000000, 0x3fc00000, 0x40200000, 0xbf000000};

bool IsInBrackets(const std::string& text, const std::string& name) {
  for (size_t open = text.find('['); open != std::string::npos; open = text.find('[', open + 1)) {
    if (text.substr(open, text.find(']', open) - open).find(name) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

uint64_t StateGenerator::Integer() {
  switch (Below(4)) {
    case 0: return random_();
    case 1: return Below(200);
    case 2: return static_cast<uint64_t>(static_cast<int64_t>(random_()) >> Below(64));
    default: return kIntegers[Below(std::size(kIntegers))];
  }
}

// Around the smallest normal numbers of both widths and zero, and what gives such a product or quotient. Significands with
// few bits give exact results as often as others.
uint64_t StateGenerator::TinyDouble() {
  constexpr uint64_t kBias = 1023;
  constexpr uint64_t kExponents[] = {0, 0, 1, kBias - 149, kBias - 127, kBias - 126, kBias - 511, kBias - 512, kBias, 53};
  const uint64_t exponent = kExponents[Below(std::size(kExponents))] + Below(3);
  const uint64_t significands[] = {0, 1, (uint64_t{1} << 52) - 1, random_() >> 12, (random_() >> 62) << 50, Below(4)};
  const uint64_t zero = Below(8) == 0 ? 0 : ~uint64_t{0};
  return (random_() & uint64_t{1} << 63) | ((exponent << 52 | significands[Below(std::size(significands))]) & zero);
}

uint32_t StateGenerator::TinyFloat() {
  constexpr uint32_t kBias = 127;
  constexpr uint32_t kExponents[] = {0, 0, 1, kBias - 24, kBias - 14, kBias - 63, kBias - 64, kBias, 24};
  const uint32_t exponent = kExponents[Below(std::size(kExponents))] + static_cast<uint32_t>(Below(3));
  const auto random = static_cast<uint32_t>(random_());
  const uint32_t significands[] = {0, 1, (1u << 23) - 1, random >> 9, (random >> 30) << 21, random >> 30};
  const uint32_t zero = Below(8) == 0 ? 0 : ~0u;
  return (random & 1u << 31) | ((exponent << 23 | significands[Below(std::size(significands))]) & zero);
}

uint64_t StateGenerator::Double() {
  if (varies_modes_ && Below(2) == 0) return TinyDouble();
  switch (Below(4)) {
    case 0: return kDoubles[Below(std::size(kDoubles))];
    case 1: return std::bit_cast<uint64_t>(static_cast<double>(static_cast<int64_t>(random_())) / 0x1p40);
    case 2: return std::bit_cast<uint64_t>((static_cast<double>(Below(2000)) - 1000) / 8);
    default: return random_();
  }
}

uint32_t StateGenerator::Float() {
  if (varies_modes_ && Below(2) == 0) return TinyFloat();
  switch (Below(4)) {
    case 0: return kFloats[Below(std::size(kFloats))];
    case 1: return std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(random_())) / 0x1p10f);
    case 2: return std::bit_cast<uint32_t>((static_cast<float>(Below(2000)) - 1000) / 8);
    default: return static_cast<uint32_t>(random_());
  }
}

/// The base of fs, so that the operands of `snippet` that count from it lie in the buffer around `middle`, and the
/// registers that they name. 0 when there is none.
void StateGenerator::PlaceThreadData(const std::string& snippet, uint64_t middle, MachineState* machine) {
  constexpr std::pair<const char*, Gpr> kBases[] = {{"rdi", kRdi}, {"rbp", kRbp}, {"r12", kR12}, {"r13", kR13}};
  machine->fs_base = 0;
  const size_t at = snippet.find("fs:[");
  if (at == std::string::npos) return;
  const std::string operand = snippet.substr(at, snippet.find(']', at) - at);
  if (operand.find("rsp") != std::string::npos) {  // which must point to memory itself
    machine->fs_base = 8 * (1 + Below(4));
    return;
  }
  if (operand.find("rip") != std::string::npos) {  // the numbers behind the snippet
    machine->fs_base = 8 * (1 + Below(2));
    return;
  }
  machine->fs_base = middle;
  for (const auto& [name, gpr] : kBases) {
    if (operand.find(name) == std::string::npos) continue;
    machine->fs_base = random_() >> 17;  // of user space
    machine->gpr[gpr] = middle - machine->fs_base;
    return;
  }
}

/// None, all, some, and as remainder loops have them: the first few.
uint64_t StateGenerator::Mask() {
  switch (Below(5)) {
    case 0: return 0;
    case 1: return ~uint64_t{0};
    case 2: return (uint64_t{1} << Below(64)) - 1;
    case 3: return random_() & random_();
    default: return random_();
  }
}

uint64_t StateGenerator::Cell() {
  switch (Below(3)) {
    case 0: return Integer();
    case 1: return Double();
    default: return static_cast<uint64_t>(Float()) << 32 | Float();
  }
}

void StateGenerator::Fill(const std::string& snippet, uint64_t buffer, TestState* state) {
  for (uint64_t& gpr : state->machine.gpr) gpr = Integer();
  state->machine.rflags = (random_() & 0x8d5) | 0x202;
  state->machine.mxcsr = MxcsrFor(varies_modes_ ? FloatControlOf(static_cast<uint32_t>(random_())) : kDefaultFloatControl);
  for (int i = 0; i < kVectorCount; ++i) {
    // All elements of one kind more often than not, as programs have it.
    const uint64_t kind = Below(4);
    for (size_t half = 0; half < sizeof(VectorRegister) / 8; ++half) {
      const uint64_t bits = kind == 0   ? Double()
                            : kind == 1 ? static_cast<uint64_t>(Float()) << 32 | Float()
                            : kind == 2 ? Integer()
                                        : Cell();
      std::memcpy(state->machine.vector[i].bytes.data() + 8 * half, &bits, 8);
    }
  }
  if (Below(4) == 0) state->machine.vector[2] = state->machine.vector[1];
  for (uint64_t& mask : state->machine.mask) mask = Mask();
  // Distances of shifts: mostly near the element's width.
  if ((snippet.find("vps") == 0 || snippet.find("vpro") == 0) && Below(2) == 0) {
    for (size_t at = 0; at < sizeof(VectorRegister); at += 4) {
      const auto distance = static_cast<uint32_t>(Below(70));
      std::memcpy(state->machine.vector[3].bytes.data() + at, &distance, 4);
    }
  }
  for (size_t at = 0; at < kBufferBytes; at += 8) {
    const uint64_t cell = Cell();
    std::memcpy(state->memory.data() + at, &cell, 8);
  }

  // A signal of the host would be delivered below rsp.
  state->machine.gpr[kRsp] = buffer + kBufferBytes / 2;
  constexpr std::pair<const char*, Gpr> kBases[] = {{"rdi", kRdi}, {"rbp", kRbp}, {"r12", kR12}, {"r13", kR13}};
  for (const auto& [name, gpr] : kBases) {
    if (IsInBrackets(snippet, name)) state->machine.gpr[gpr] = buffer + kBufferBytes / 2;
  }
  PlaceThreadData(snippet, buffer + kBufferBytes / 2, &state->machine);
  for (const auto& [name, gpr] : {std::pair{"rsi", kRsi}, std::pair{"r14", kR14}}) {
    if (IsInBrackets(snippet, name)) state->machine.gpr[gpr] = Below(5);
  }
  // What compilers put before a division, most of the time.
  const bool is_signed = snippet.find("idiv") != std::string::npos;
  if (snippet.find("div ") != std::string::npos && Below(8) != 0) {
    auto& gpr = state->machine.gpr;
    if (Below(4) == 0) gpr[kRcx] = ~0ull;
    if (Below(4) == 0) gpr[kRax] = is_signed ? 1ull << (16 * (1 << Below(3)) - 1) : gpr[kRax];
    gpr[kRdx] = 0;
    if (is_signed && Below(3) == 0 && static_cast<int32_t>(gpr[kRax]) < 0) gpr[kRdx] = 0xffffffff;
    if (is_signed && static_cast<int64_t>(gpr[kRax]) < 0) gpr[kRdx] = ~0ull;
  }
}

}  // namespace tracelift::jit
