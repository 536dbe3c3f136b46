#include "jit/patch/relocate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "jit/patch/code_writer.h"
#include "tests/jit/buffer_reader.h"

namespace tracelift::jit {
namespace {

constexpr uint64_t kHere = 0x400000;

/// The instruction that `bytes` decode to at kHere.
Instruction Decode(std::vector<uint8_t> bytes) {
  bytes.push_back(0xc3);
  const BufferReader reader(kHere, bytes);
  const auto function = DecodeFunction(reader, reader.range());
  EXPECT_TRUE(function.has_value());
  return (*function)->decoded().instructions[0];
}

/// What it becomes at `to`, as text; jumps lead to `taken`.
std::string Relocated(std::vector<uint8_t> bytes, uint64_t to, uint64_t taken = 0) {
  const Instruction instruction = Decode(std::move(bytes));
  if (!CanRelocate(instruction)) return "cannot";
  CodeWriter writer(to);
  if (IsDirectJump(instruction)) {
    RelocateJump(instruction, writer.LabelOf(taken), &writer);
  } else {
    RelocateInstruction(instruction, &writer);
  }
  if (!writer.Finish()) return "out of range";
  std::string text;
  const std::vector<uint8_t> code(writer.bytes().begin(), writer.bytes().end());
  for (size_t at = 0; at < code.size();) {
    ZydisDisassembledInstruction line;
    if (!ZYAN_SUCCESS(
            ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, to + at, code.data() + at, code.size() - at, &line))) {
      return text + "undecodable";
    }
    text += std::string(text.empty() ? "" : "; ") + line.text;
    at += line.info.length;
  }
  return text;
}

TEST(Relocate, KeepsOrdinaryInstructionsAsTheyAre) {
  EXPECT_EQ(Relocated({0x48, 0x03, 0x04, 0xcf}, 0x500000), "add rax, [rdi+rcx*8]");
}

TEST(Relocate, KeepsTheAddressThatARipRelativeOperandMeans) {
  // add rax, [rip+0x10], at 0x400000: 0x400017
  EXPECT_EQ(Relocated({0x48, 0x03, 0x05, 0x10, 0, 0, 0}, 0x500000), "add rax, [0x0000000000400017]");
  EXPECT_EQ(Relocated({0x48, 0x03, 0x05, 0x10, 0, 0, 0}, 0x300000), "add rax, [0x0000000000400017]");
  // An immediate follows the displacement: mov dword [rip+0x10], 7
  EXPECT_EQ(Relocated({0xc7, 0x05, 0x10, 0, 0, 0, 7, 0, 0, 0}, 0x500000), "mov dword ptr [0x000000000040001A], 0x07");
  // EVEX: vaddpd zmm1, zmm2, [rip+0x40]
  EXPECT_EQ(Relocated({0x62, 0xf1, 0xed, 0x48, 0x58, 0x0d, 0x40, 0, 0, 0}, 0x500000),
            "vaddpd zmm1, zmm2, [0x000000000040004A]");
}

TEST(Relocate, RefusesAnOperandOutOfReach) {
  EXPECT_EQ(Relocated({0x48, 0x03, 0x05, 0x10, 0, 0, 0}, 0x400000 + (uint64_t{3} << 30)), "out of range");
}

TEST(Relocate, MakesShortJumpsLong) {
  EXPECT_EQ(Relocated({0x74, 0x10}, 0x500000, 0x600000), "jz 0x0000000000600000");
  EXPECT_EQ(Relocated({0x0f, 0x8f, 0, 1, 0, 0}, 0x500000, 0x600000), "jnle 0x0000000000600000");
  EXPECT_EQ(Relocated({0xeb, 0x10}, 0x500000, 0x600000), "jmp 0x0000000000600000");
}

TEST(Relocate, TakesLoopAndJrcxzOverAnIsland) {
  EXPECT_EQ(Relocated({0xe3, 0x10}, 0x500000, 0x600000),
            "jrcxz 0x0000000000500004; jmp 0x0000000000500009; jmp 0x0000000000600000");
  EXPECT_EQ(Relocated({0x67, 0xe3, 0x10}, 0x500000, 0x600000),
            "jecxz 0x0000000000500005; jmp 0x000000000050000A; jmp 0x0000000000600000");
  EXPECT_EQ(Relocated({0xe2, 0xfe}, 0x500000, 0x600000),
            "loop 0x0000000000500004; jmp 0x0000000000500009; jmp 0x0000000000600000");
}

TEST(Relocate, RefusesWhatWouldMeanSomethingElse) {
  EXPECT_EQ(Relocated({0xe8, 0x10, 0, 0, 0}, 0x500000), "cannot") << "call: its return address shows";
  EXPECT_EQ(Relocated({0xff, 0xd0}, 0x500000), "cannot") << "call rax";
  EXPECT_EQ(Relocated({0xc7, 0xf8, 0x10, 0, 0, 0}, 0x500000), "cannot") << "xbegin";
  EXPECT_EQ(Relocated({0x67, 0x48, 0x8b, 0x05, 0x10, 0, 0, 0}, 0x500000), "cannot") << "mov rax, [eip+0x10]";
}

}  // namespace
}  // namespace tracelift::jit
