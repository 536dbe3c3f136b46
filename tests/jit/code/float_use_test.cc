#include "jit/code/float_use.h"

#include <gtest/gtest.h>

#include "tests/jit/buffer_reader.h"

namespace tracelift::jit {
namespace {

Instruction Decode(std::vector<uint8_t> bytes) {
  const size_t size = bytes.size();
  bytes.push_back(0xc3);  // ret
  const BufferReader reader(0x1000, bytes);
  const auto function = DecodeFunction(reader, reader.range());
  EXPECT_TRUE(function.has_value());
  const Instruction first = (*function)->decoded().instructions[0];
  EXPECT_EQ(first.bytes.size(), size) << Disassemble(first);
  return first;
}

TEST(FloatUse, TellsPackedScalarAndOtherInstructionsApart) {
  const struct {
    const char* text;
    std::vector<uint8_t> bytes;
    FloatUse use;
  } cases[] = {
      {"addps xmm0, xmm1", {0x0f, 0x58, 0xc1}, FloatUse::kVector},
      {"haddps xmm0, xmm1", {0xf2, 0x0f, 0x7c, 0xc1}, FloatUse::kVector},
      {"cvtdq2ps xmm0, xmm1", {0x0f, 0x5b, 0xc1}, FloatUse::kVector},
      {"cvttpd2dq xmm0, xmm1", {0x66, 0x0f, 0xe6, 0xc1}, FloatUse::kVector},
      {"vaddpd ymm0, ymm1, ymm0", {0xc5, 0xf5, 0x58, 0xc0}, FloatUse::kVector},
      {"addsd xmm0, xmm1", {0xf2, 0x0f, 0x58, 0xc1}, FloatUse::kScalar},
      {"vfmadd231sd xmm0, xmm1, xmm2", {0xc4, 0xe2, 0xf1, 0xb9, 0xc2}, FloatUse::kScalar},
      {"ucomisd xmm0, xmm1", {0x66, 0x0f, 0x2e, 0xc1}, FloatUse::kScalar},
      {"cvtsi2sd xmm0, eax", {0xf2, 0x0f, 0x2a, 0xc0}, FloatUse::kScalar},
      {"cvttsd2si eax, xmm0", {0xf2, 0x0f, 0x2c, 0xc0}, FloatUse::kScalar},
      {"cvtss2sd xmm0, xmm1", {0xf3, 0x0f, 0x5a, 0xc1}, FloatUse::kScalar},
      {"movss xmm0, [rcx]", {0xf3, 0x0f, 0x10, 0x01}, FloatUse::kScalar},
      {"fadd st0, st1", {0xd8, 0xc1}, FloatUse::kScalar},
      {"movsd", {0xa5}, FloatUse::kNone},  // the string instruction
      {"cmpsd", {0xa7}, FloatUse::kNone},  // also
      {"movups xmm0, [rcx]", {0x0f, 0x10, 0x01}, FloatUse::kNone},
      {"andps xmm0, xmm1", {0x0f, 0x54, 0xc1}, FloatUse::kNone},
      {"vbroadcastss ymm0, [rcx]", {0xc4, 0xe2, 0x7d, 0x18, 0x01}, FloatUse::kNone},
      {"pabsd xmm0, xmm1", {0x66, 0x0f, 0x38, 0x1e, 0xc1}, FloatUse::kNone},
      {"pmaxsd xmm0, xmm1", {0x66, 0x0f, 0x38, 0x3d, 0xc1}, FloatUse::kNone},
      {"add eax, eax", {0x01, 0xc0}, FloatUse::kNone},
  };
  for (const auto& c : cases) EXPECT_EQ(FloatUseOf(Decode(c.bytes)), c.use) << c.text;
}

TEST(FloatUse, NamesTheFormOfAnInstruction) {
  EXPECT_EQ(FormOf(Decode({0xf2, 0x0f, 0x58, 0xc1})), "addsd");
  EXPECT_EQ(FormOf(Decode({0xf0, 0x01, 0x08})), "lock add");
  EXPECT_EQ(FormOf(Decode({0xf3, 0x48, 0xab})), "rep stosq");
  EXPECT_EQ(FormOf(Decode({0x0f, 0xfe, 0xc1})), "paddd (MMX)");
  EXPECT_EQ(FormOf(Decode({0x62, 0xf1, 0xf5, 0x48, 0x58, 0xc1})), "vaddpd (EVEX)");
  EXPECT_EQ(FormOf(Decode({0x64, 0x8b, 0x04, 0x25, 0, 0, 0, 0})), "mov (thread-local)");
  EXPECT_EQ(FormOf(Decode({0x67, 0x8b, 0x01})), "mov (32-bit address)");
}

}  // namespace
}  // namespace tracelift::jit
