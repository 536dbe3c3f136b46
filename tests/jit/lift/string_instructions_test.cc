// movs, stos and lods beyond what the CPU comparison sees: the direction flag, their use of registers, and that rep is
// a loop that loop analysis understands.

#include <gtest/gtest.h>

#include "jit/artifact.h"
#include "tests/jit/buffer_reader.h"
#include "tests/jit/lift/loop_lifting.h"

namespace tracelift::jit {
namespace {

constexpr uint64_t kDirection = 0x400;

TEST(StringInstructions, AreLeftToTheOriginalWhenTheyRunDownwards) {
  uint8_t bytes[4] = {};
  LoopCase loop{.text = "stosb; dec rcx; jnz @L",
                .gpr = {{kRax, 7}, {kRcx, 9}, {kRdi, reinterpret_cast<uint64_t>(bytes)}},
                .passes = 2};
  EXPECT_EQ(RunLoop(loop).flags, 0u);
  EXPECT_EQ(bytes[1], 7);
  EXPECT_EQ(bytes[2], 0);
  loop.rflags = kDirection;
  EXPECT_EQ(RunLoop(loop).flags, kFlagDetour);
}

TEST(StringInstructions, RepeatAsInnerLoopsWithAffineAddresses) {
  EXPECT_EQ(ShapeOf("mov rdi, rdx; mov ecx, 4; rep stosq; add rdx, 64; dec rbx; jnz @L").accesses, "store i64 affine");
}

RegisterUse UseOfBytes(std::vector<uint8_t> bytes) {
  bytes.push_back(0xc3);
  const BufferReader reader(0x400000, std::move(bytes));
  return UseOf((*DecodeFunction(reader, reader.range()))->decoded().instructions[0]);
}

RegisterSet Gprs(std::initializer_list<Gpr> gprs) {
  RegisterSet set;
  for (const Gpr gpr : gprs) set.AddGpr(gpr);
  return set;
}

TEST(StringInstructions, UseTheirImpliedRegisters) {
  const RegisterUse copy = UseOfBytes({0xf3, 0x48, 0xa5});  // rep movsq
  EXPECT_EQ(copy.reads & Gprs({kRcx, kRsi, kRdi}), Gprs({kRcx, kRsi, kRdi}));
  EXPECT_EQ(copy.writes, Gprs({kRcx, kRsi, kRdi}));
  const RegisterUse fill = UseOfBytes({0xf3, 0xab});  // rep stosd
  EXPECT_EQ(fill.reads & Gprs({kRax, kRcx, kRdi}), Gprs({kRax, kRcx, kRdi}));
  EXPECT_EQ(fill.writes, Gprs({kRcx, kRdi}));
  const RegisterUse one = UseOfBytes({0xa4});  // movsb
  EXPECT_EQ(one.reads & Gprs({kRsi, kRdi}), Gprs({kRsi, kRdi}));
  EXPECT_EQ(one.writes, Gprs({kRsi, kRdi}));
  const RegisterUse load = UseOfBytes({0xac});  // lodsb keeps the rest of rax
  EXPECT_EQ(load.reads & Gprs({kRax, kRsi}), Gprs({kRax, kRsi}));
  EXPECT_EQ(load.writes, Gprs({kRax, kRsi}));
}

TEST(LoopInstruction, CountsInRcx) {
  const RegisterUse use = UseOfBytes({0xe2, 0x00});
  EXPECT_EQ(use.reads, Gprs({kRcx}));
  EXPECT_EQ(use.writes, Gprs({kRcx}));
}

}  // namespace
}  // namespace tracelift::jit
