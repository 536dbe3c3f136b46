// Memory at a fixed address that a loop accesses in different sizes: whatever the mixture, lifted as a slot it holds the
// bytes that memory would.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/jit/lift/differential.h"
#include "tests/jit/lift/loop_lifting.h"

namespace tracelift::jit {
namespace {

void ExpectSame(const std::vector<std::string>& texts, const DifferentialOptions& options) {
  std::vector<Snippet> snippets;
  for (const std::string& text : texts) snippets.push_back({text, text});
  const DifferentialResult result = RunDifferential(snippets, options);
  EXPECT_EQ(result.failure, "");
  for (const std::string& one : result.not_lifted) ADD_FAILURE() << "not lifted: " << one;
  for (const Mismatch& one : result.mismatches) ADD_FAILURE() << one.snippet << " (" << one.variant << "): " << one.difference;
}

TEST(SlotAreas, HoldWhatMemoryWouldHold) {
  ExpectSame({"mov [rsp+8], rax; mov ecx, [rsp+8]; add dword ptr [rsp+12], ecx; mov rdx, [rsp+8]",
              "mov dword ptr [rsp+8], 7; inc byte ptr [rsp+9]; mov rax, [rsp+8]",
              "movups [rsp+16], xmm1; mov rax, [rsp+24]; movss xmm2, [rsp+20]; mov ecx, [rsp+16]",
              "movsd [rsp+8], xmm1; movss xmm2, [rsp+12]; movss [rsp+8], xmm2; movsd xmm3, [rsp+8]",
              "movss [rsp+8], xmm1; movss [rsp+12], xmm2; movq xmm3, [rsp+8]; mov rax, [rsp+8]",
              "vmovups [rsp+32], ymm1; vaddpd xmm2, xmm2, [rsp+40]; mov rax, [rsp+56]; mov [rsp+32], eax",
              "mov [rsp+8], rax; mov [rsp+12], rcx; mov rdx, [rsp+8]; mov r8d, [rsp+10]; movzx r9d, word ptr [rsp+15]",
              "movups xmm1, [rsp]; movups [rsp+8], xmm1; movups xmm2, [rsp+4]; movsd [rsp+6], xmm2",
              "cvtsi2sd xmm1, dword ptr [rsp+8]; movsd [rsp+8], xmm1; cvttsd2si eax, qword ptr [rsp+8]; mov [rsp+10], ax"},
             {.states = 200});
}

/// Loads, stores and arithmetic of every width on 40 bytes, which are one area or several by the luck of the draw.
std::string RandomAccesses(std::mt19937_64* random) {
  constexpr const char* kAccesses[] = {
      "mov rax, [rsp{}]",          "mov ecx, [rsp{}]",           "movzx edx, word ptr [rsp{}]", "mov bl, [rsp{}]",
      "mov [rsp{}], rax",          "mov [rsp{}], ecx",           "mov [rsp{}], dx",             "mov [rsp{}], bl",
      "add [rsp{}], rcx",          "xor [rsp{}], eax",           "inc word ptr [rsp{}]",        "neg byte ptr [rsp{}]",
      "movss xmm1, [rsp{}]",       "movsd xmm2, [rsp{}]",        "movss [rsp{}], xmm2",         "movsd [rsp{}], xmm1",
      "movups xmm3, [rsp{}]",      "movups [rsp{}], xmm3",       "movlps xmm1, [rsp{}]",        "movhps [rsp{}], xmm1",
      "vmovups ymm1, [rsp{}]",     "vmovups [rsp{}], ymm2",      "vpaddd ymm2, ymm3, [rsp{}]",  "vmovdqu xmm2, [rsp{}]",
      "cvtsi2ss xmm1, dword ptr [rsp{}]", "subsd xmm1, [rsp{}]", "movq [rsp{}], xmm3",          "movd xmm3, [rsp{}]"};
  const auto below = [&](uint64_t limit) { return (*random)() % limit; };
  std::string text;
  const uint64_t count = 2 + below(6);
  const bool aligned = below(2) == 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t offset = aligned ? 4 * below(9) : below(36);
    text += (i == 0 ? "" : "; ") + fmt::format(fmt::runtime(kAccesses[below(std::size(kAccesses))]), fmt::format("+{}", offset));
  }
  return text;
}

TEST(SlotAreas, HoldWhatMemoryWouldHoldWhateverTheAccesses) {
  std::mt19937_64 random(20);
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back(RandomAccesses(&random));
  ExpectSame(texts, {.states = 40});
}

// A long that is also read as an int, as unoptimised code does for a[(int)i].
TEST(SlotAreas, AreCountersOfTheWidthTheyAreCountedIn) {
  const LoopShapeText wide = ShapeOf("movsxd rax, dword ptr [rsp+8]; mov [rdi+rax*4], eax; add qword ptr [rsp+8], 1; "
                                     "cmp qword ptr [rsp+8], 1000; jb @L");
  EXPECT_EQ(wide.phis, "slot0:i64:affine");
}

TEST(SlotAreas, CarryNothingThroughBytesThatArePassedOn) {
  const LoopShapeText shape = ShapeOf("mov rax, [rsi+rcx*8]; mov [rsp+16], rax; movss xmm0, [rsp+16]; addss xmm0, [rsp+20]; "
                                      "movss [rdi+rcx*4], xmm0; add rcx, 1; cmp rcx, 1000; jb @L");
  EXPECT_EQ(shape.phis, "rcx:i64:affine");
}

TEST(SlotAreas, KeepTheBytesThatNobodyWrites) {
  const LoopRun run = RunLoop({.text = "mov rax, [rsp+8]; add dword ptr [rsp+12], 1; dec rcx; jnz @L",
                               .gpr = {{kRcx, 9}}, .slots = {0x1122334455667788}, .passes = 2});
  EXPECT_EQ(run.first_slot, 0x1122334655667788u);
}

TEST(SlotAreas, FoldKnownValues) {
  const LoopRun run = RunLoop({.text = "add rax, [rsp+8]; add eax, [rsp+12]; dec rcx; jnz @L", .gpr = {{kRax, 1}, {kRcx, 9}},
                               .slots = {100}, .known = {{.slot = 0, .low = 0x500000002}}, .passes = 1});
  EXPECT_EQ(run.state.gpr[kRax], 8u);  // 1 + 2 + 5, of 32 bits
}

}  // namespace
}  // namespace tracelift::jit
