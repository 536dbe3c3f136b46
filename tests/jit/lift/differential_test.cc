#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "jit/lift/allow_list.h"
#include "tests/jit/lift/differential.h"
#include "tests/jit/lift/snippet.h"

namespace tracelift::jit {
namespace {

constexpr const char* kCaseFiles[] = {"integer.cases",   "division.cases",    "sse_float.cases",
                                      "sse_move.cases",  "sse_integer.cases", "programs.cases",
                                      "vex_float.cases", "vex_fused.cases",   "vex_move.cases",
                                      "vex_integer.cases", "vex_programs.cases",  "integer_bits.cases",
                                      "strings.cases"};

std::vector<std::string> CasesOf(const char* file) { return ReadCases(std::string(TL_CASES) + "/" + file); }

DifferentialResult RunFile(const char* file, int states) {
  std::vector<Snippet> snippets;
  for (const std::string& text : CasesOf(file)) snippets.push_back({text, text});
  DifferentialResult result = RunDifferential(snippets, {.states = states});
  std::printf("%s: %zu snippets, %llu comparisons, %llu with other NaN bits, %llu divide faults, %llu declined\n", file,
              snippets.size(), static_cast<unsigned long long>(result.comparisons),
              static_cast<unsigned long long>(result.nan_differences), static_cast<unsigned long long>(result.faults),
              static_cast<unsigned long long>(result.declined));
  return result;
}

void ExpectSame(const DifferentialResult& result) {
  EXPECT_EQ(result.failure, "");
  for (const std::string& one : result.not_lifted) ADD_FAILURE() << "not lifted: " << one;
  for (const Mismatch& one : result.mismatches) {
    ADD_FAILURE() << one.snippet << " (" << one.variant << "): " << one.difference;
  }
}

DifferentialResult RunWrong(const char* native, const char* lifted) {
  return RunDifferential({{native, lifted}}, {.states = 300});
}

TEST(Differential, ReportsAWrongLifting) {
  EXPECT_FALSE(RunWrong("lzcnt eax, ecx", "bsr eax, ecx").mismatches.empty());          // register
  EXPECT_FALSE(RunWrong("add eax, ecx", "adc eax, ecx").mismatches.empty());            // carry in
  EXPECT_FALSE(RunWrong("inc eax", "add eax, 1").mismatches.empty());                   // flags only
  EXPECT_FALSE(RunWrong("mov [rdi], eax", "mov [rdi], ax").mismatches.empty());         // memory only
  EXPECT_FALSE(RunWrong("minsd xmm1, xmm2", "maxsd xmm1, xmm2").mismatches.empty());    // vector
  EXPECT_FALSE(RunWrong("movss xmm1, [rdi]", "movd xmm1, [rdi+4]").mismatches.empty());  // other address
  EXPECT_FALSE(RunWrong("subsd xmm1, xmm2", "movsd xmm3, xmm1; movsd xmm1, xmm2; subsd xmm1, xmm3; movsd xmm3, xmm1")
                   .mismatches.empty());
}

TEST(Differential, ReportsWrongUpperHalves) {
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "no AVX2";
  EXPECT_FALSE(RunWrong("vaddpd xmm1, xmm1, xmm2", "addpd xmm1, xmm2").mismatches.empty());    // clears above 128 bits
  EXPECT_FALSE(RunWrong("vaddpd ymm1, ymm1, ymm2", "vaddpd xmm1, xmm1, xmm2").mismatches.empty());
  EXPECT_FALSE(RunWrong("vsubsd xmm1, xmm2, xmm3", "vsubsd xmm1, xmm1, xmm3").mismatches.empty());
  EXPECT_FALSE(RunWrong("vmovups [rdi], ymm1", "vmovups [rdi], xmm1").mismatches.empty());
  EXPECT_FALSE(RunWrong("vzeroupper", "nop").mismatches.empty());
  EXPECT_FALSE(RunWrong("vfmadd213sd xmm1, xmm2, xmm3", "vmulsd xmm1, xmm1, xmm2; vaddsd xmm1, xmm1, xmm3")
                   .mismatches.empty());  // rounds twice
}

TEST(Differential, ReportsInstructionsThatAreNotLifted) {
  EXPECT_EQ(RunWrong("cpuid", "cpuid").not_lifted.size(), 1u);
  EXPECT_NE(RunWrong("no such instruction", "nop").failure, "");
}

TEST(Lifter, AgreesWithTheCpuOnIntegers) { ExpectSame(RunFile("integer.cases", 250)); }

TEST(Lifter, AgreesWithTheCpuOnBits) { ExpectSame(RunFile("integer_bits.cases", 300)); }

TEST(Lifter, AgreesWithTheCpuOnStrings) { ExpectSame(RunFile("strings.cases", 500)); }

TEST(Lifter, AgreesWithTheCpuOnDivision) {
  const DifferentialResult result = RunFile("division.cases", 2000);
  ExpectSame(result);
  EXPECT_GT(result.faults, 100u);
  EXPECT_LT(result.declined, result.comparisons / 4);
}

TEST(Lifter, AgreesWithTheCpuOnFloats) {
  const DifferentialResult result = RunFile("sse_float.cases", 1000);
  ExpectSame(result);
  EXPECT_LT(result.nan_differences, result.comparisons / 20);
}

TEST(Lifter, AgreesWithTheCpuOnVectorMoves) { ExpectSame(RunFile("sse_move.cases", 200)); }

TEST(Lifter, AgreesWithTheCpuOnPackedIntegers) { ExpectSame(RunFile("sse_integer.cases", 300)); }

TEST(Lifter, AgreesWithTheCpuOnShortPrograms) { ExpectSame(RunFile("programs.cases", 1000)); }

bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

TEST(Lifter, AgreesWithTheCpuOnVexFloats) {
  if (!HasAvx2()) GTEST_SKIP() << "no AVX2";
  const DifferentialResult result = RunFile("vex_float.cases", 250);
  ExpectSame(result);
  EXPECT_LT(result.nan_differences, result.comparisons / 20);
}

TEST(Lifter, AgreesWithTheCpuOnFusedArithmetic) {
  if (!HasAvx2()) GTEST_SKIP() << "no FMA";
  const DifferentialResult result = RunFile("vex_fused.cases", 500);
  ExpectSame(result);
  EXPECT_LT(result.nan_differences, result.comparisons / 5);
}

TEST(Lifter, AgreesWithTheCpuOnVexMoves) {
  if (!HasAvx2()) GTEST_SKIP() << "no AVX2";
  ExpectSame(RunFile("vex_move.cases", 100));
}

TEST(Lifter, AgreesWithTheCpuOnVexIntegers) {
  if (!HasAvx2()) GTEST_SKIP() << "no AVX2";
  ExpectSame(RunFile("vex_integer.cases", 100));
}

TEST(Lifter, AgreesWithTheCpuOnVexPrograms) {
  if (!HasAvx2()) GTEST_SKIP() << "no AVX2";
  ExpectSame(RunFile("vex_programs.cases", 500));
}

TEST(Lifter, HasACaseForEveryInstructionOnTheAllowList) {
  std::vector<std::string> snippets;
  for (const char* file : kCaseFiles) {
    for (std::string& text : CasesOf(file)) snippets.push_back(std::move(text));
  }
  std::string failure;
  const std::set<std::string> used = MnemonicsOf(snippets, &failure);
  ASSERT_EQ(failure, "");
  for (int i = 0; i <= ZYDIS_MNEMONIC_MAX_VALUE; ++i) {
    const auto mnemonic = static_cast<ZydisMnemonic>(i);
    if (FamilyOf(mnemonic) == InstructionFamily::kNone) continue;
    EXPECT_TRUE(used.contains(ZydisMnemonicGetString(mnemonic))) << ZydisMnemonicGetString(mnemonic);
  }
}

TEST(Lifter, DeclinesWhatItDoesNotKnow) {
  const std::vector<std::string> snippets = CasesOf("declined.cases");
  std::string failure;
  const std::vector<bool> supported = AreSupported(snippets, &failure);
  ASSERT_EQ(failure, "");
  ASSERT_EQ(supported.size(), snippets.size());
  for (size_t i = 0; i < snippets.size(); ++i) EXPECT_FALSE(supported[i]) << snippets[i];
}

}  // namespace
}  // namespace tracelift::jit
