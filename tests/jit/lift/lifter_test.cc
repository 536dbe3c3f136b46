// What LiftLoop promises beyond single instructions: its shape, passes, exits, known values, and that loops come out
// clean enough for loop analysis.

#include <gtest/gtest.h>

#include <string>

#include "tests/jit/lift/loop_lifting.h"

namespace tracelift::jit {
namespace {

// for (i = rax; i != rcx; ++i) rdi[i] = rsi[i] * xmm1;
constexpr const char* kScale =
    "movsd xmm0, [rsi+rax*8]; mulsd xmm0, xmm1; movsd [rdi+rax*8], xmm0; add rax, 1; cmp rax, rcx; jne @L";

TEST(LiftLoop, RunsAsManyPassesAsAskedAndPausesAtTheHeader) {
  const LoopRun run = RunLoop({.text = "add rax, 3; add rcx, rax; cmp rax, 1000; jb @L", .gpr = {{kRax, 1}}, .passes = 4});
  EXPECT_EQ(run.returned, -1);
  EXPECT_EQ(run.state.gpr[kRax], 13u);
  EXPECT_EQ(run.state.gpr[kRcx], 4u + 7 + 10 + 13);
}

TEST(LiftLoop, LeavesThroughTheExitWithTheWholeState) {
  const LoopRun run = RunLoop({.text = "add rax, 3; add rcx, rax; cmp rax, 10; jb @L", .gpr = {{kRax, 1}}, .passes = 99});
  EXPECT_EQ(run.returned, 0);
  EXPECT_EQ(run.state.gpr[kRax], 10u);
  EXPECT_EQ(run.state.rflags & 0x41, 0x40u);  // cmp 10, 10: zero, no carry
}

TEST(LiftLoop, NumbersExitsByAddress) {
  const char* text = "dec rax; jz .Lout; dec rcx; jnz @L; nop; .Lout: nop";
  EXPECT_EQ(RunLoop({.text = text, .gpr = {{kRax, 9}, {kRcx, 2}}, .passes = 99}).returned, 0);  // falls through
  EXPECT_EQ(RunLoop({.text = text, .gpr = {{kRax, 2}, {kRcx, 9}}, .passes = 99}).returned, 1);
}

/// Four cases chosen by the low bits of rcx, which counts passes; `dispatch` jumps through the table at rdx.
// Ahead of the table lies what is no instruction: addresses in it could read as code that jumps into the loop.
std::string SwitchLoop(const std::string& dispatch, const std::string& entries) {
  return "lea rdx, [rip+@Ltable]; mov eax, ecx; and eax, 3; " + dispatch +
         "; @Lcase0: add rsi, 1; jmp @Lnext; @Lcase1: add rsi, 10; jmp @Lnext; @Lcase2: add rsi, 100; "
         "@Lcase3: add rsi, 1000; @Lnext: add ecx, 1; cmp ecx, 1000; jb @L; jmp @Lout; .byte 6, 6, 6, 6; @Ltable: " +
         entries + "; @Lout: nop";
}

void ExpectSwitches(const std::string& text, const std::vector<uint64_t>& by_passes) {
  for (size_t passes = 1; passes <= by_passes.size(); ++passes) {
    const LoopRun run = RunLoop({.text = text, .gpr = {{kRcx, 0}, {kRsi, 0}}, .passes = static_cast<int64_t>(passes)});
    EXPECT_EQ(run.returned, -1);
    EXPECT_EQ(run.state.gpr[kRsi], by_passes[passes - 1]) << passes << " passes of " << text;
  }
}

TEST(LiftLoop, FollowsJumpTables) {
  const char* distances = ".long @Lcase0-@Ltable, @Lcase1-@Ltable, @Lcase2-@Ltable, @Lcase3-@Ltable";
  const char* addresses = ".quad @Lcase0, @Lcase1, @Lcase2, @Lcase3";
  const std::vector<uint64_t> expected = {1, 11, 1111, 2111, 2112, 2122, 3222, 4222};
  ExpectSwitches(SwitchLoop("movsxd rax, dword ptr [rdx+rax*4]; add rax, rdx; jmp rax", distances), expected);
  ExpectSwitches(SwitchLoop("movsxd rbx, dword ptr [rdx+rax*4]; add rdx, rbx; jmp rdx", distances), expected);
  ExpectSwitches(SwitchLoop("jmp qword ptr [rdx+rax*8]", addresses), expected);
  ExpectSwitches(SwitchLoop("mov rbx, [rdx+rax*8]; jmp rbx", addresses), expected);
}

// One case is the next pass, and one leaves the loop.
TEST(LiftLoop, FollowsJumpTablesOutOfTheLoopAndToItsHeader) {
  const std::string text =
      "add rcx, 1; lea rdx, [rip+@Ltable]; mov eax, ecx; and eax, 3; movsxd rax, dword ptr [rdx+rax*4]; add rax, rdx; "
      "jmp rax; @Lcase: add rsi, 1; jmp @L; "
      "@Ltable: .long @Lout-@Ltable, @L-@Ltable, @Lcase-@Ltable, @Lcase-@Ltable; @Lout: test rsi, rsi";
  EXPECT_EQ(RunLoop({.text = text, .gpr = {{kRcx, 0}, {kRsi, 0}}, .passes = 3}).returned, -1);
  const LoopRun run = RunLoop({.text = text, .gpr = {{kRcx, 0}, {kRsi, 0}}, .passes = 9});
  EXPECT_EQ(run.returned, 0);
  EXPECT_EQ(run.state.gpr[kRcx], 4u);
  EXPECT_EQ(run.state.gpr[kRsi], 2u);
}

TEST(LiftLoop, FoldsKnownValues) {
  const LoopCase loop{.text = "add rax, rcx; cmp rax, 1000; jb @L", .gpr = {{kRax, 1}, {kRcx, 7}},
                      .known = {{.gpr = kRcx, .low = 5}}, .passes = 2};
  EXPECT_EQ(RunLoop(loop).state.gpr[kRax], 11u);  // the known value, not the register
}

TEST(LiftLoop, KeepsSlotsInTheState) {
  const LoopCase loop{.text = "mov rax, [rsp+8]; add rax, rcx; mov [rsp+8], rax; cmp rax, 1000; jb @L",
                      .gpr = {{kRcx, 7}}, .slots = {100}, .passes = 3};
  const LoopRun run = RunLoop(loop);
  EXPECT_EQ(run.slot_count, 1);
  EXPECT_EQ(run.first_slot, 121u);
}

TEST(LiftLoop, FoldsKnownSlots) {
  const LoopCase loop{.text = "add rax, [rsp+8]; cmp rax, 1000; jb @L", .gpr = {{kRax, 1}}, .slots = {100},
                      .known = {{.slot = 0, .low = 5}}, .passes = 2};
  EXPECT_EQ(RunLoop(loop).state.gpr[kRax], 11u);
}

TEST(LiftLoop, TakesTheUpperHalfForZeroWhenTold) {
  LoopCase loop{.text = "mov rdx, rcx; add ecx, 1; cmp ecx, 100; jb @L", .gpr = {{kRcx, 0x500000001}}, .passes = 1};
  EXPECT_EQ(RunLoop(loop).state.gpr[kRdx], 0x500000001u);
  loop.upper_zero.AddGpr(kRcx);
  EXPECT_EQ(RunLoop(loop).state.gpr[kRdx], 1u);
}

TEST(LiftLoop, ReportsADivisionByZero) {
  LoopCase loop{.text = "mov rax, rsi; xor edx, edx; div rdi; dec rcx; jnz @L",
                .gpr = {{kRsi, 7}, {kRdi, 2}, {kRcx, 5}}, .passes = 1};
  EXPECT_EQ(RunLoop(loop).flags, 0u);
  loop.gpr = {{kRsi, 7}, {kRdi, 0}, {kRcx, 5}};
  EXPECT_EQ(RunLoop(loop).flags, 2u);
}

TEST(LiftLoop, NamesTheInstructionItCannotLift) {
  const std::string why = RejectionOf("cpuid; dec rcx; jnz @L");
  EXPECT_NE(why.find("cpuid"), std::string::npos) << why;
}

TEST(LiftedLoop, IsACountedNestOfScalars) {
  const LoopShapeText shape = ShapeOf(kScale);
  EXPECT_EQ(shape.phis, "rax:i64:affine");
  EXPECT_EQ(shape.trip_count, "(-1 + (-1 * %rax.in) + %rcx.in)");
  EXPECT_EQ(shape.accesses, "load double affine, store double affine");
}

TEST(LiftedLoop, Keeps32BitCountersIn32Bits) {
  const LoopShapeText shape = ShapeOf("movsxd rdx, eax; movss xmm0, [rsi+rdx*4]; movss [rdi+rdx*4], xmm0; add eax, ebx; "
                                      "add r8d, 1; cmp r8d, ecx; jne @L");
  EXPECT_EQ(shape.phis, "r8:i32:affine rax:i32:affine");
}

TEST(LiftedLoop, HoldsPackedFloatsAsScalars) {
  const LoopShapeText shape = ShapeOf("movups xmm0, [rsi+rax]; mulpd xmm0, xmm1; addpd xmm0, [rdx+rax]; "
                                      "movups [rdi+rax], xmm0; add rax, 16; cmp rax, 1600; jne @L");
  EXPECT_EQ(shape.phis, "rax:i64:affine");
  EXPECT_EQ(shape.accesses, "load double affine, load double affine, load double affine, load double affine, "
                            "store double affine, store double affine");
}

TEST(LiftedLoop, HoldsWideVectorsAsScalars) {
  const LoopShapeText shape = ShapeOf("vmovupd ymm0, [rsi+rax]; vfmadd213pd ymm0, ymm1, [rdx+rax]; "
                                      "vmovupd [rdi+rax], ymm0; add rax, 32; cmp rax, 3200; jne @L");
  EXPECT_EQ(shape.phis, "rax:i64:affine");
  std::string accesses = "load double affine";
  for (int i = 1; i < 8; ++i) accesses += ", load double affine";
  for (int i = 0; i < 4; ++i) accesses += ", store double affine";
  EXPECT_EQ(shape.accesses, accesses);
}

TEST(LiftedLoop, CarriesNothingThroughClearedUpperHalves) {
  const LoopShapeText shape = ShapeOf("vcvtsi2sd xmm0, xmm7, eax; vmulsd xmm0, xmm0, [rsi+rax*8]; "
                                      "vmovsd [rdi+rax*8], xmm0; vzeroupper; add rax, 1; cmp rax, rcx; jne @L");
  EXPECT_EQ(shape.phis, "rax:i64:affine");
  EXPECT_EQ(shape.accesses, "load double affine, store double affine");
}

// As gcc -O2 ends the pixel loop of a Mandelbrot set: once after the escape, once after the last iteration.
constexpr const char* kTwoEnds =
    "mov eax, 0; .Lpixel: cmp rsi, [rdx+rax*8]; jb .Lsecond; mov [rdi+rax*8], rsi; add rax, 1; cmp rcx, rax; "
    "jne .Lpixel; .Lrow: add rdi, 32; sub r9, 1; jne @L; jmp .Lout; "
    ".Lsecond: mov esi, 5; mov [rdi+rax*8], rsi; add rax, 1; cmp rcx, rax; jne .Lpixel; jmp .Lrow; .Lout: nop";

TEST(LiftedLoop, SharesDuplicatedEnds) {
  EXPECT_EQ(ShapeOf(kTwoEnds).accesses, "load i64 affine, store i64 affine");
}

TEST(LiftLoop, ComputesTheSameWithSharedEnds) {
  const uint64_t limits[4] = {3, 9, 4, 7};
  uint64_t out[8] = {};
  const LoopRun run = RunLoop({.text = kTwoEnds,
                               .gpr = {{kRsi, 8}, {kRcx, 4}, {kR9, 2}, {kRdx, reinterpret_cast<uint64_t>(limits)},
                                       {kRdi, reinterpret_cast<uint64_t>(out)}},
                               .passes = 99});
  EXPECT_EQ(run.returned, 0);
  const uint64_t expected[8] = {8, 5, 5, 5, 5, 5, 5, 5};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(out[i], expected[i]) << i;
  EXPECT_EQ(run.state.gpr[kRdi], reinterpret_cast<uint64_t>(out + 8));
}

TEST(LiftedLoop, HasAnExactTripCountForCountdowns) {
  EXPECT_EQ(ShapeOf("mov [rdi+rcx*8], rax; sub rcx, 1; jne @L").trip_count, "(-1 + %rcx.in)");
  EXPECT_EQ(ShapeOf("mov [rdi+rcx*8], rax; dec rcx; jns @L").trip_count, "(-1 + (-1 * (-1 smin (-1 + %rcx.in))) + %rcx.in)");  // max(rcx, 0)
}

}  // namespace
}  // namespace tracelift::jit
