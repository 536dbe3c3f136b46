// The lifter against the CPU under every mode that MXCSR knows: four roundings, flush-to-zero, denormals-are-zero.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/jit/lift/differential.h"
#include "tests/jit/lift/snippet.h"

namespace tracelift::jit {
namespace {

constexpr DifferentialOptions kAllModes = {.states = 250, .float_modes = true};

DifferentialResult RunAll(const std::vector<std::string>& texts, const DifferentialOptions& options) {
  std::vector<Snippet> snippets;
  for (const std::string& text : texts) snippets.push_back({text, text});
  const DifferentialResult result = RunDifferential(snippets, options);
  std::printf("%zu snippets, %llu comparisons, %llu with other NaN bits\n", snippets.size(),
              static_cast<unsigned long long>(result.comparisons),
              static_cast<unsigned long long>(result.nan_differences));
  return result;
}

void ExpectSame(const DifferentialResult& result) {
  EXPECT_EQ(result.failure, "");
  for (const std::string& one : result.not_lifted) ADD_FAILURE() << "not lifted: " << one;
  for (const Mismatch& one : result.mismatches) {
    ADD_FAILURE() << one.snippet << " (" << one.variant << "): " << one.difference;
  }
}

void ExpectCasesSame(const char* file) {
  ExpectSame(RunAll(ReadCases(std::string(TL_CASES) + "/" + file), kAllModes));
}

bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

bool Differs(const std::string& native, const std::string& lifted, bool float_modes) {
  return !RunDifferential({{native, lifted}}, {.states = 2000, .float_modes = float_modes}).mismatches.empty();
}

// What is right in the default mode only: what LLVM may do to operations that it takes for its own.
TEST(FloatModes, AreToldApartByTheHarness) {
  EXPECT_TRUE(Differs("roundsd xmm1, xmm2, 4", "roundsd xmm1, xmm2, 0", true));
  EXPECT_FALSE(Differs("roundsd xmm1, xmm2, 4", "roundsd xmm1, xmm2, 0", false));
  // A minimum flushes what it chooses, a comparison and a choice do not.
  const std::string clear = "; xorps xmm0, xmm0; xorps xmm3, xmm3; xorps xmm4, xmm4";
  const std::string minimum = "minsd xmm1, xmm2" + clear;
  const std::string choice = "movapd xmm0, xmm1; cmpltsd xmm0, xmm2; movapd xmm4, xmm0; andpd xmm4, xmm1; "
                             "andnpd xmm0, xmm2; orpd xmm4, xmm0; movsd xmm1, xmm4" + clear;
  EXPECT_TRUE(Differs(minimum, choice, true));
  EXPECT_FALSE(Differs(minimum, choice, false));
  // x - y * c and x + y * -c are rounded to different sides.
  const std::string difference = "movq rax, xmm3; btc rax, 63; mulsd xmm1, xmm3; subsd xmm2, xmm1; xorps xmm1, xmm1" + clear;
  const std::string sum = "movq rax, xmm3; btc rax, 63; movq xmm3, rax; mulsd xmm1, xmm3; addsd xmm2, xmm1; xorps xmm1, xmm1" + clear;
  EXPECT_TRUE(Differs(difference, sum, true));
  EXPECT_FALSE(Differs(difference, sum, false));
  // x * 1 is x, but for denormals.
  const std::string one = "mov rax, 0x3ff0000000000000; movq xmm3, rax";
  EXPECT_TRUE(Differs(one + "; mulsd xmm1, xmm3", one, true));
}

TEST(FloatModes, AgreeWithTheCpuOnFloats) { ExpectCasesSame("sse_float.cases"); }

TEST(FloatModes, AgreeWithTheCpuOnShortPrograms) { ExpectCasesSame("programs.cases"); }

TEST(FloatModes, AgreeWithTheCpuOnVexFloats) {
  if (!HasAvx2()) GTEST_SKIP() << "no AVX2";
  ExpectCasesSame("vex_float.cases");
}

TEST(FloatModes, AgreeWithTheCpuOnFusedArithmetic) {
  if (!HasAvx2()) GTEST_SKIP() << "no FMA";
  ExpectCasesSame("vex_fused.cases");
}

TEST(FloatModes, AgreeWithTheCpuOnVexPrograms) {
  if (!HasAvx2()) GTEST_SKIP() << "no AVX2";
  ExpectCasesSame("vex_programs.cases");
}

// --- constants, which LLVM sees and could fold ----------------------------------------------------------------------

constexpr uint64_t kDoubles[] = {
    0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,  // 0 -0 1 -1
    0x0000000000000001, 0x800fffffffffffff, 0x0008000000000000, 0x0010000000000000,  // denormals, smallest
    0x8010000000000000, 0x0010000000000001, 0x001fffffffffffff, 0x7fefffffffffffff,
    0x3fe0000000000000, 0x3ff0000000000001, 0x3fefffffffffffff, 0x4000000000000000,  // around 1, 2
    0x3fd5555555555555, 0xbfd5555555555555, 0x3fe8000000000000, 0x4008000000000000,  // 1/3 -1/3 0.75 3
    0x3810000000000000, 0x380fffffffffffff, 0x36a0000000000000, 0xb800000000000000,  // at the floats' smallest
    0x1ff0000000000000, 0x2000000000000001, 0x7ff0000000000000, 0xfff0000000000000,  // 2^-512, infinities
    0x41dfffffffe00000, 0xc1e0000000100000, 0x43e0000000000000, 0x3fdfffffffffffff};

constexpr uint32_t kFloats[] = {0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x00000001, 0x807fffff, 0x00400000,
                                0x00800000, 0x80800000, 0x00800001, 0x00ffffff, 0x7f7fffff, 0x3f000000, 0x3f800001,
                                0x3f7fffff, 0x40000000, 0x3eaaaaab, 0xbeaaaaab, 0x40400000, 0x20000000, 0x1f800001,
                                0x7f800000, 0xff800000, 0x4effffff, 0xcf000001, 0x33000000, 0x387fe000, 0x3effffff};

class ConstantSnippets {
 public:
  explicit ConstantSnippets(uint64_t seed) : random_(seed) {}

  /// `text` on constants: xmm1, xmm2 and xmm3 hold numbers of that width, rcx and rdx integers.
  std::string Make(const std::string& text, int bits) {
    std::string snippet;
    for (int number = 1; number <= 3; ++number) {
      snippet += fmt::format("mov rax, {:#x}; movq xmm{}, rax; ", Constant(bits), number);
    }
    return snippet + fmt::format("mov rcx, {:#x}; ", random_() >> random_() % 64) + text;
  }

 private:
  template <size_t N, typename T>
  T Any(const T (&values)[N]) {
    return values[random_() % N];
  }
  uint64_t Constant(int bits) {
    return bits == 64 ? Any(kDoubles) : static_cast<uint64_t>(Any(kFloats)) << 32 | Any(kFloats);
  }

  std::mt19937_64 random_;
};

std::vector<std::string> OnConstants(const std::string& templates, int bits, int each, uint64_t seed) {
  ConstantSnippets constants(seed);
  std::vector<std::string> snippets;
  for (const std::string& text : ExpandTemplate(templates)) {
    for (int i = 0; i < each; ++i) snippets.push_back(constants.Make(text, bits));
  }
  return snippets;
}

// Both operands are constants, or one of them: x * 1, x + 0, x - 0, 0 - x, x / 1, comparisons with zero.
void ExpectSameOnConstants(const std::string& templates, int bits, int each) {
  ExpectSame(RunAll(OnConstants(templates, bits, each, 7), {.states = 120, .float_modes = true}));
}

TEST(FloatModes, AgreeWithTheCpuOnConstantDoubles) {
  ExpectSameOnConstants("{add|sub|mul|div|min|max}sd {xmm1, xmm2|xmm4, xmm2|xmm1, xmm5}", 64, 12);
  ExpectSameOnConstants("cmp{lt|eq|le|unord|neq|nlt}sd {xmm1, xmm2|xmm4, xmm2}", 64, 6);
  ExpectSameOnConstants("ucomisd {xmm1, xmm2|xmm4, xmm2}; seta al; setz bl", 64, 12);
  ExpectSameOnConstants("{sqrtsd xmm4, xmm1|cvtsd2ss xmm4, xmm1|cvtsd2si rax, xmm1|cvttsd2si eax, xmm1|cvtsi2sd xmm4, rcx}", 64, 30);
  ExpectSameOnConstants("roundsd xmm4, xmm1, {0|1|2|3|4}", 64, 20);
}

TEST(FloatModes, AgreeWithTheCpuOnConstantFloats) {
  ExpectSameOnConstants("{add|sub|mul|div|min|max}ss {xmm1, xmm2|xmm4, xmm2|xmm1, xmm5}", 32, 12);
  ExpectSameOnConstants("{add|sub|mul|div|min|max}ps {xmm1, xmm2|xmm4, xmm2|xmm1, xmm5}", 32, 6);
  ExpectSameOnConstants("cmp{lt|eq|le|unord|neq|nlt}ps {xmm1, xmm2|xmm4, xmm2}", 32, 6);
  ExpectSameOnConstants("{sqrtss xmm4, xmm1|cvtss2sd xmm4, xmm1|cvtss2si rax, xmm1|cvttss2si eax, xmm1|cvtsi2ss xmm4, rcx|cvtdq2ps xmm4, xmm1}", 32, 30);
  ExpectSameOnConstants("cvtss2sd xmm4, xmm1; cvtsd2ss xmm4, xmm4", 32, 20);
  ExpectSameOnConstants("cvtss2sd xmm4, xmm5; cvtsd2ss xmm4, xmm4", 32, 2);
}

TEST(FloatModes, AgreeWithTheCpuOnConstantFusedOperands) {
  if (!HasAvx2()) GTEST_SKIP() << "no FMA";
  ExpectSameOnConstants("vf{madd|nmadd|msub|nmsub}213sd {xmm1, xmm2, xmm3|xmm4, xmm2, xmm3|xmm1, xmm5, xmm3|xmm1, xmm2, xmm4}", 64, 8);
  ExpectSameOnConstants("vcvtps2ph xmm4, xmm1, {0|4}; vcvtph2ps xmm5, {xmm1|xmm4}", 32, 10);
}

// What compilers and LLVM turn into one another: each must stay what it is.
TEST(FloatModes, KeepShortIdioms) {
  const char* idioms =
      "{mulsd xmm4, xmm5; addsd xmm4, xmm6|mulsd xmm4, xmm5; xorpd xmm7, xmm7; subsd xmm7, xmm4|subsd xmm4, xmm4|divsd xmm4, xmm4"
      "|movapd xmm7, xmm4; cmpltsd xmm7, xmm5; andpd xmm4, xmm7; andnpd xmm7, xmm5; orpd xmm4, xmm7"
      "|ucomisd xmm4, xmm5; ja @La; movapd xmm4, xmm5; @La: nop|ucomisd xmm4, xmm5; jb @La; movapd xmm4, xmm5; @La: nop"
      "|xorpd xmm7, xmm7; ucomisd xmm4, xmm7; jp @La; jne @La; mov eax, 5; @La: nop"
      "|xorpd xmm7, xmm7; maxsd xmm4, xmm7|xorpd xmm7, xmm7; addsd xmm4, xmm7|xorpd xmm7, xmm7; subsd xmm4, xmm7"
      "|cvtss2sd xmm4, xmm5; mulsd xmm4, xmm4; cvtsd2ss xmm4, xmm4|cvtss2sd xmm4, xmm5; sqrtsd xmm4, xmm4; cvtsd2ss xmm4, xmm4"
      "|cvttsd2si rax, xmm4; cvtsi2sd xmm4, rax|cvtsi2sd xmm4, ecx; cvttsd2si eax, xmm4|cvtsi2ss xmm4, rcx; cvttss2si rax, xmm4"
      "|mov eax, ecx; cvtsi2sd xmm4, rax|mov eax, ecx; cvtsi2ss xmm4, rax|movzx eax, cx; cvtsi2ss xmm4, eax"
      "|roundsd xmm4, xmm5, 1; cvttsd2si eax, xmm4|roundsd xmm4, xmm5, 4; subsd xmm5, xmm4|mulps xmm4, xmm5; subps xmm6, xmm4}";
  ExpectSame(RunAll(ExpandTemplate(idioms), {.states = 1500, .float_modes = true}));
}

}  // namespace
}  // namespace tracelift::jit
