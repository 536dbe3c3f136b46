#include <gtest/gtest.h>

#include "tests/jit/code/test_functions.h"

TL_LABEL(live_leaf);
TL_LABEL(live_leaf_end);
TL_LABEL(live_call);
TL_LABEL(live_call_after);
TL_LABEL(live_call_end);
TL_LABEL(live_tail);
TL_LABEL(live_tail_end);
TL_LABEL(live_trap);
TL_LABEL(live_trap_end);
TL_LABEL(live_indirect);
TL_LABEL(live_indirect_end);
TL_LABEL(live_loop);
TL_LABEL(live_loop_top);
TL_LABEL(live_loop_end);
TL_LABEL(live_vex);
TL_LABEL(live_vex_top);
TL_LABEL(live_vex_end);
TL_LABEL(live_mixed);
TL_LABEL(live_mixed_end);
TL_LABEL(live_cleared);
TL_LABEL(live_cleared_end);

namespace tracelift::jit {
namespace {

RegisterSet Gprs(std::initializer_list<Gpr> gprs, std::initializer_list<int> vectors = {}) {
  RegisterSet set;
  for (Gpr gpr : gprs) set.AddGpr(gpr);
  for (int vector : vectors) set.AddVector(vector);
  return set;
}

const RegisterSet kCalleeSaved = Gprs({kRbx, kRsp, kRbp, kR12, kR13, kR14, kR15});

RegisterSet LiveAt(const FunctionCode& function, const char* label) {
  return function.decoded().live_in[static_cast<size_t>(function.decoded().BlockAt(Address(label)))];
}

TEST(Liveness, AReturnReadsResultsAndCalleeSavedRegisters) {
  EXPECT_EQ(LiveAt(*TL_DECODE(live_leaf), live_leaf), kCalleeSaved | Gprs({kRdi, kRsi, kRdx}, {0, 1}));
}

TEST(Liveness, ACallReadsArgumentsAndClearsNothing) {
  const auto function = TL_DECODE(live_call);
  EXPECT_EQ(LiveAt(*function, live_call_after), kCalleeSaved | Gprs({kR9, kR11}, {0, 1}));
  // r11 is written before the call; r9 lives across it: the caller may know that the callee leaves it alone.
  EXPECT_EQ(LiveAt(*function, live_call),
            kCalleeSaved | Gprs({kRdi, kRsi, kRdx, kRcx, kR8, kR9, kR10, kRax}, {0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(Liveness, EverythingIsLiveWhereAJumpLeavesTheFunction) {
  RegisterSet overwritten = Gprs({kRax, kR11});
  overwritten.AddFlags();
  EXPECT_EQ(LiveAt(*TL_DECODE(live_tail), live_tail), RegisterSet::All() - overwritten);
}

TEST(Liveness, EverythingIsLiveAtAnIndirectJump) {
  RegisterSet overwritten = Gprs({kRax});
  overwritten.AddFlags();
  EXPECT_EQ(LiveAt(*TL_DECODE(live_indirect), live_indirect), RegisterSet::All() - overwritten);
}

TEST(Liveness, NothingIsLiveAtATrap) { EXPECT_EQ(LiveAt(*TL_DECODE(live_trap), live_trap), Gprs({kRdi})); }

TEST(Liveness, TemporariesOfALoopAreDeadAtItsHeader) {
  // Live: pointers, bound, counter, accumulator, and what only the code after the loop reads. Dead: rdx and xmm1 would
  // be results of the function, but the loop overwrites them before it ends; xmm2 and the flags.
  const RegisterSet expected = kCalleeSaved | Gprs({kRdi, kRsi, kR8, kRcx, kR9}, {0});
  const auto function = TL_DECODE(live_loop);
  EXPECT_EQ(LiveAt(*function, live_loop_top), expected);
  const auto facts = AnalyseLoop(function->decoded(), LoopWithHeader(*function, live_loop_top));
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->live_at_header, expected);
}

RegisterSet LowHalves(std::initializer_list<int> vectors) {
  RegisterSet set;
  for (int vector : vectors) set.AddVectorLow(vector);
  return set;
}

TEST(Liveness, TemporariesOfAVexLoopAreDeadAtItsHeader) {
  // Of xmm6, accumulated, the low half; of xmm7, a factor, too.
  EXPECT_EQ(LiveAt(*TL_DECODE(live_vex), live_vex_top),
            kCalleeSaved | Gprs({kRdx, kRdi, kRsi, kR8, kRcx}, {4}) | LowHalves({6, 7}));
}

TEST(Liveness, LegacyInstructionsLeaveUpperHalvesToVexCode) {
  RegisterSet upper;
  upper.AddVector(0);
  upper.RemoveVectorLow(0);
  EXPECT_EQ(LiveAt(*TL_DECODE(live_mixed), live_mixed), kCalleeSaved | Gprs({kRax, kRdx}, {2}) | upper);
}

TEST(Liveness, PassesThroughVzeroupper) {
  EXPECT_EQ(LiveAt(*TL_DECODE(live_cleared), live_cleared),
            kCalleeSaved | Gprs({kRax, kRdx}, {2, 3, 4}) | LowHalves({5}));
}

}  // namespace
}  // namespace tracelift::jit
