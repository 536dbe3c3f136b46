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
                                      "strings.cases",   "vex_gather.cases",  "evex_float.cases",
                                      "evex_convert.cases", "evex_integer.cases", "evex_move.cases",
                                      "evex_mask.cases", "thread_data.cases", "vex_thread_data.cases",
                                      "evex_thread_data.cases"};

std::vector<std::string> CasesOf(const char* file) { return ReadCases(std::string(TL_CASES) + "/" + file); }

DifferentialResult RunFile(const char* file, int states) {
  std::vector<Snippet> snippets;
  for (const std::string& text : CasesOf(file)) snippets.push_back({text, text});
  DifferentialResult result = RunDifferential(snippets, {.states = states});
  const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf("%s: %zu snippets, %llu comparisons, %llu of them interpreted, %llu with other NaN bits, %llu divide "
              "faults, %llu declined\n",
              file, snippets.size(), number(result.comparisons),
              number(result.comparisons_in[kVariantNames[static_cast<int>(Variant::kPlainInterpreted)]]),
              number(result.nan_differences), number(result.faults), number(result.declined));
  return result;
}

void ExpectSame(const DifferentialResult& result) {
  EXPECT_EQ(result.failure, "");
  for (const std::string& one : result.not_lifted) ADD_FAILURE() << "not lifted: " << one;
  for (const Mismatch& one : result.mismatches) {
    ADD_FAILURE() << one.snippet << " (" << one.variant << "): " << one.difference;
  }
  for (const auto& [snippet, what] : result.not_interpreted) {
    std::printf("not interpreted: %s: %s\n", snippet.c_str(), what.c_str());
  }
}

DifferentialResult RunWrong(const char* native, const char* lifted) {
  return RunDifferential({{native, lifted}}, {.states = 300, .interpreted_states = 100});
}

/// Variants that noticed that `lifted` does something else than `native`.
std::set<std::string> NoticedBy(const char* native, const char* lifted) {
  std::set<std::string> variants;
  for (const Mismatch& one : RunWrong(native, lifted).mismatches) variants.insert(one.variant);
  return variants;
}

TEST(Differential, ReportsAWrongLiftingInEachWayOfRunningIt) {
  const std::set<std::string> plain(kVariantNames, kVariantNames + kPlainVariants);
  EXPECT_EQ(NoticedBy("lzcnt eax, ecx", "bsr eax, ecx"), plain);           // register
  EXPECT_EQ(NoticedBy("inc eax", "add eax, 1"), plain);                    // flags only
  EXPECT_EQ(NoticedBy("minsd xmm1, xmm2", "maxsd xmm1, xmm2"), plain);     // vector
  EXPECT_EQ(NoticedBy("div rcx", "nop"), plain);                           // a fault that does not come
  std::set<std::string> with_slots = plain, with_dead_flags = plain;
  with_slots.insert(kVariantNames[static_cast<int>(Variant::kSlotsO3)]);
  with_dead_flags.insert(kVariantNames[static_cast<int>(Variant::kDeadFlagsO3)]);
  EXPECT_EQ(NoticedBy("mov [rdi], eax", "mov [rdi], ax"), with_slots);     // memory only
  EXPECT_EQ(NoticedBy("lzcnt eax, ecx; mov edx, eax", "bsr eax, ecx; mov edx, eax"), with_dead_flags);
  EXPECT_EQ(NoticedBy("lzcnt eax, ecx", "lzcnt eax, ecx"), std::set<std::string>());
}

TEST(Differential, ReportsAWrongLifting) {
  EXPECT_FALSE(RunWrong("lzcnt eax, ecx", "bsr eax, ecx").mismatches.empty());          // register
  EXPECT_FALSE(RunWrong("add eax, ecx", "adc eax, ecx").mismatches.empty());            // carry in
  EXPECT_FALSE(RunWrong("inc eax", "add eax, 1").mismatches.empty());                   // flags only
  EXPECT_FALSE(RunWrong("mov [rdi], eax", "mov [rdi], ax").mismatches.empty());         // memory only
  EXPECT_FALSE(RunWrong("minsd xmm1, xmm2", "maxsd xmm1, xmm2").mismatches.empty());    // vector
  EXPECT_FALSE(RunWrong("mov eax, fs:[rsp+8]", "mov eax, [rsp+8]").mismatches.empty());  // without the base of fs
  EXPECT_FALSE(RunWrong("rcpps xmm1, xmm2", "rsqrtps xmm1, xmm2").mismatches.empty());
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

TEST(Differential, ReportsWrongMasks) {
  if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) GTEST_SKIP() << "no AVX-512";
  EXPECT_FALSE(RunWrong("vaddps zmm1{k1}, zmm2, zmm3", "vaddps zmm1{k2}, zmm2, zmm3").mismatches.empty());
  EXPECT_FALSE(RunWrong("vaddps zmm1{k1}, zmm2, zmm3", "vaddps zmm1{k1}{z}, zmm2, zmm3").mismatches.empty());
  EXPECT_FALSE(RunWrong("vaddpd zmm17, zmm2, zmm3", "vaddpd ymm17, ymm2, ymm3").mismatches.empty());
  EXPECT_FALSE(RunWrong("kmovw k1, k2", "kmovb k1, k2").mismatches.empty());
  EXPECT_FALSE(RunWrong("vpcmpgtd k1, zmm1, zmm2", "vpcmpgtq k1, zmm1, zmm2").mismatches.empty());
  EXPECT_FALSE(RunWrong("vaddsd xmm1, xmm2, xmm3, {rd-sae}", "vaddsd xmm1, xmm2, xmm3").mismatches.empty());
  EXPECT_FALSE(RunWrong("vmovups [rdi]{k1}, zmm1", "vmovups [rdi], zmm1").mismatches.empty());
}

TEST(Differential, ReportsInstructionsThatAreNotLifted) {
  EXPECT_EQ(RunWrong("cpuid", "cpuid").not_lifted.size(), 1u);
  EXPECT_NE(RunWrong("no such instruction", "nop").failure, "");
}

TEST(Lifter, AgreesWithTheCpuOnIntegers) {
  const DifferentialResult result = RunFile("integer.cases", 250);
  ExpectSame(result);
  EXPECT_TRUE(result.not_interpreted.empty());
}

TEST(Lifter, AgreesWithTheCpuOnBits) { ExpectSame(RunFile("integer_bits.cases", 300)); }

TEST(Lifter, AgreesWithTheCpuOnStrings) { ExpectSame(RunFile("strings.cases", 500)); }

TEST(Lifter, AgreesWithTheCpuOnDataOfTheThread) {
  ExpectSame(RunFile("thread_data.cases", 300));
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) ExpectSame(RunFile("vex_thread_data.cases", 300));
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    ExpectSame(RunFile("evex_thread_data.cases", 300));
  }
}

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

TEST(Lifter, AgreesWithTheCpuOnPackedIntegers) {
  const DifferentialResult result = RunFile("sse_integer.cases", 300);
  ExpectSame(result);
  EXPECT_TRUE(result.not_interpreted.empty());
}

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

TEST(Lifter, AgreesWithTheCpuOnGathers) {
  if (!HasAvx2()) GTEST_SKIP() << "no AVX2";
  ExpectSame(RunFile("vex_gather.cases", 400));
}

// Of Intel's server processors since Ice Lake, and AMD's since Zen 4.
bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("avx512bitalg") &&
         __builtin_cpu_supports("avx512vpopcntdq");
}

TEST(Lifter, AgreesWithTheCpuOnEvexFloats) {
  if (!HasAvx512()) GTEST_SKIP() << "no AVX-512";
  ExpectSame(RunFile("evex_float.cases", 200));
}

TEST(Lifter, AgreesWithTheCpuOnEvexConversions) {
  if (!HasAvx512()) GTEST_SKIP() << "no AVX-512";
  ExpectSame(RunFile("evex_convert.cases", 200));
}

TEST(Lifter, AgreesWithTheCpuOnEvexIntegers) {
  if (!HasAvx512()) GTEST_SKIP() << "no AVX-512";
  ExpectSame(RunFile("evex_integer.cases", 100));
}

TEST(Lifter, AgreesWithTheCpuOnEvexMoves) {
  if (!HasAvx512()) GTEST_SKIP() << "no AVX-512";
  ExpectSame(RunFile("evex_move.cases", 100));
}

TEST(Lifter, AgreesWithTheCpuOnMasks) {
  if (!HasAvx512()) GTEST_SKIP() << "no AVX-512";
  ExpectSame(RunFile("evex_mask.cases", 200));
}

// A loop may hold code for other processors that it jumps over; what this one cannot run cannot be compiled for it either.
TEST(Lifter, LiftsOnlyWhatThisProcessorRuns) {
  std::string failure;
  const std::vector<bool> supported = AreSupported({".byte 0xc4, 0xe2, 0x69, 0x50, 0xcb  # {vex} vpdpbusd xmm1, xmm2, xmm3"}, &failure);
  ASSERT_EQ(supported.size(), 1u) << failure;
  EXPECT_EQ(supported[0], __builtin_cpu_supports("avxvnni") != 0);
}

/// A snippet has no stack of its own: these are compared with the CPU in callees (tests/offload/call_stack.S).
const std::set<ZydisMnemonic>& InCallees() {
  static const std::set<ZydisMnemonic> mnemonics = {
      ZYDIS_MNEMONIC_PUSH,    ZYDIS_MNEMONIC_POP,      ZYDIS_MNEMONIC_LEAVE,   ZYDIS_MNEMONIC_STMXCSR,
      ZYDIS_MNEMONIC_LDMXCSR, ZYDIS_MNEMONIC_VSTMXCSR, ZYDIS_MNEMONIC_VLDMXCSR};
  return mnemonics;
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
    if (FamilyOf(mnemonic) == InstructionFamily::kNone || InCallees().contains(mnemonic)) continue;
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
