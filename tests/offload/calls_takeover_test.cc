// Loops with calls, through the whole chain: callees spliced in, also those of libm as this process has it loaded. The
// same bytes as natively.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "tests/offload/same_results.h"

#define KERNELS(LEVEL)                                                                  \
  void call_square_##LEVEL(double*, const double*, size_t);                             \
  void call_collatz_##LEVEL(int*, const int*, size_t);                                  \
  void call_nested_##LEVEL(double*, const double*, size_t);                             \
  void call_tail_##LEVEL(double*, const double*, size_t);                               \
  void call_checked_##LEVEL(double*, const double*, size_t);                            \
  void call_message_##LEVEL(double*, const double*, size_t);                            \
  void call_rare_array_##LEVEL(double*, const double*, size_t);                         \
  void call_recursive_##LEVEL(int*, const int*, size_t);                                \
  void call_pointer_##LEVEL(double*, const double*, size_t, double (*)(double));        \
  void call_through_variable_##LEVEL(double*, const double*, size_t);                   \
  void call_stub_##LEVEL(double*, const double*, size_t);                               \
  void call_fill_##LEVEL(int*, const int*, size_t);                                     \
  extern void* (*call_fill_variable_##LEVEL)(void*, int, size_t);                       \
  void call_array_##LEVEL(int*, const int*, size_t);                                    \
  void call_by_reference_##LEVEL(double*, const double*, size_t);                       \
  void call_of_many_##LEVEL(double*, const double*, size_t);                            \
  void call_exp_##LEVEL(double*, const double*, size_t);                                \
  void call_log_##LEVEL(double*, const double*, size_t);                                \
  void call_sin_##LEVEL(double*, const double*, size_t);                                \
  void call_cos_##LEVEL(double*, const double*, size_t);                                \
  void call_erf_##LEVEL(double*, const double*, size_t);                                \
  void call_tanh_##LEVEL(double*, const double*, size_t);                               \
  void call_atan_##LEVEL(double*, const double*, size_t);                               \
  void call_cbrt_##LEVEL(double*, const double*, size_t);                               \
  void call_floor_##LEVEL(double*, const double*, size_t);                              \
  void call_pow_##LEVEL(double*, const double*, size_t);                                \
  void call_all_##LEVEL(double*, const double*, size_t);                                \
  void call_sometimes_##LEVEL(double*, const double*, size_t);                          \
  void call_expf_##LEVEL(float*, const float*, size_t);
extern "C" {
KERNELS(O0)
KERNELS(O2)
void loop_stack_pushes(double*, const double*, size_t);
void loop_stack_frame(double*, const double*, size_t);
void loop_stack_two_entries(double*, const double*, size_t);
void loop_stack_without_frame_pointer(double*, const double*, size_t);
void loop_stack_other_rounding(double*, const double*, size_t);
void loop_stack_holds_exceptions(double*, const double*, size_t);
void loop_stack_reads_exceptions(double*, const double*, size_t);
void loop_stack_uninitialised(double*, const double*, size_t);
void loop_stack_garbage(double*, const double*, size_t);
void pushes_values(double*, const double*, size_t);
void reuses_a_spill_slot(double*, const double*, size_t);
void counts_in_the_frame(double*, const double*, size_t);
void pushes_on_one_way(double*, const double*, size_t);
void leaves_while_pushed(double*, const double*, size_t);
void calls_while_pushed(double*, const double*, size_t);
void pushes_arguments(double*, const double*, size_t);
void stores_arguments(double*, const double*, size_t);
void changes_a_pushed_pointer(double*, const double*, size_t);
void local_of_another_address(double*, const double*, size_t);
volatile int call_errors = 0;
static void CountError(double x) { call_errors = call_errors + (x > 0 ? 1 : 2); }
void (*volatile call_on_error)(double) = &CountError;
}

namespace tracelift::offload {
namespace {

template <typename T>
std::vector<T> Random(size_t count) {
  std::mt19937_64 random(count);
  std::vector<T> values(count);
  for (T& value : values) {
    if constexpr (std::is_floating_point_v<T>) {
      value = static_cast<T>(std::uniform_real_distribution<double>(-9, 9)(random));
    } else {
      value = static_cast<T>(random() >> 40);
    }
  }
  return values;
}

/// The kernel's output lies ahead of its input.
template <typename T>
void ExpectSame(void (*kernel)(T*, const T*, size_t), const std::vector<T>& in, bool accelerated = true) {
  std::vector<T> data(in.size());
  data.insert(data.end(), in.begin(), in.end());
  const auto run = [kernel, n = in.size()](std::vector<T>& v) { kernel(v.data(), v.data() + n, n); };
  const Becomes becomes = accelerated ? Becomes::kAccelerated : Becomes::kAny;
  offload::ExpectSame<T>(reinterpret_cast<const void*>(kernel), data, run, becomes);
}

constexpr size_t kMany = 300'000;

#define AT_BOTH(TYPE, KERNEL)                                                              \
  TEST(Calls, KERNEL##_O0) { ExpectSame<TYPE>(call_##KERNEL##_O0, Random<TYPE>(kMany)); }  \
  TEST(Calls, KERNEL##_O2) { ExpectSame<TYPE>(call_##KERNEL##_O2, Random<TYPE>(kMany)); }

AT_BOTH(double, square)
AT_BOTH(int, collatz)
AT_BOTH(double, nested)
AT_BOTH(double, tail)
AT_BOTH(double, checked)
AT_BOTH(double, message)
AT_BOTH(double, by_reference)
AT_BOTH(double, of_many)
AT_BOTH(double, exp)
AT_BOTH(double, sin)
AT_BOTH(double, cos)
AT_BOTH(double, erf)
AT_BOTH(double, tanh)
AT_BOTH(double, atan)
AT_BOTH(double, cbrt)
AT_BOTH(double, floor)
AT_BOTH(double, pow)
AT_BOTH(double, all)
AT_BOTH(double, sometimes)
AT_BOTH(float, expf)

// Two passes go the rare way. With them wherever chance puts them, what is left behind them can be too little work.
std::vector<double> WithRareWays() {
  std::vector<double> values = Random<double>(kMany);
  for (double& value : values) value = std::min(value, 8.5);
  values[1000] = values[2000] = 8.99995;
  return values;
}
TEST(Calls, rare_array_O0) { ExpectSame<double>(call_rare_array_O0, WithRareWays()); }
TEST(Calls, rare_array_O2) { ExpectSame<double>(call_rare_array_O2, WithRareWays()); }

// The call of itself is a detour of the callee.
TEST(Calls, RecursionRunsNatively) { ExpectSame<int>(call_recursive_O2, Random<int>(kMany), /*accelerated=*/false); }

std::vector<double> Positive(std::vector<double> values) {
  for (double& value : values) value = std::fabs(value) + 1e-9;
  return values;
}
TEST(Calls, log_O0) { ExpectSame<double>(call_log_O0, Positive(Random<double>(kMany))); }
TEST(Calls, log_O2) { ExpectSame<double>(call_log_O2, Positive(Random<double>(kMany))); }

TEST(Calls, ThroughAPointerStaysACall) {
  TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(&call_pointer_O2), [] {});
  ASSERT_EQ(taken.region, nullptr);
  EXPECT_NE(taken.why.find("where it leads is not known"), std::string::npos) << taken.why;
}

TEST(Calls, ThroughAVariableStaysACall) {
  for (auto* kernel : {call_through_variable_O2, call_stub_O2}) {
    TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [] {});
    ASSERT_EQ(taken.region, nullptr);
    EXPECT_NE(taken.why.find("it calls a function"), std::string::npos) << taken.why;
  }
}

// The variable holds memset while the loop is looked at, and something else afterwards.
TEST(Calls, OfMemsetThroughAVariableStaysACall) {
  const auto run = [] {
    std::vector<int> out(kMany);
    call_fill_O2(out.data(), nullptr, out.size());
    return out;
  };
  TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(&call_fill_O2), [&] { run(); });
  const std::vector<int> before = run();
  const auto memset_itself = call_fill_variable_O2;
  call_fill_variable_O2 = [](void* to, int value, size_t) -> void* {
    *static_cast<int*>(to) = ~value;
    return to;
  };
  const std::vector<int> after = run();
  call_fill_variable_O2 = memset_itself;
  ASSERT_EQ(before[5], 0x05050505);
  for (size_t i = 0; i < kMany; ++i) ASSERT_EQ(after[i], ~static_cast<int>(i & 63)) << i;
  EXPECT_EQ(taken.region, nullptr);
  EXPECT_NE(taken.why.find("where it leads is not known"), std::string::npos) << taken.why;
  if (taken.region != nullptr) PutBack(taken);
}

// The stack, instruction by instruction: push, pop, leave, stmxcsr, ldmxcsr (call_stack.S).
TEST(CalleeStack, Pushes) { ExpectSame<double>(loop_stack_pushes, Random<double>(kMany)); }
TEST(CalleeStack, Frame) { ExpectSame<double>(loop_stack_frame, Random<double>(kMany)); }
TEST(CalleeStack, CycleOfTwoEntries) { ExpectSame<double>(loop_stack_two_entries, Random<double>(kMany)); }
TEST(CalleeStack, WithoutFramePointer) { ExpectSame<double>(loop_stack_without_frame_pointer, Random<double>(kMany)); }
TEST(CalleeStack, ReadsThatDoNotMatter) { ExpectSame<double>(loop_stack_uninitialised, Random<double>(kMany)); }
TEST(CalleeStack, HoldsExceptionFlags) { ExpectSame<double>(loop_stack_holds_exceptions, Random<double>(kMany)); }
TEST(CalleeStack, OtherRoundingRunsNatively) {
  ExpectSame<double>(loop_stack_other_rounding, Random<double>(kMany), /*accelerated=*/false);
}

// Loops that push and pop themselves (stack_loops.S).
TEST(StackLoop, ReusesASpillSlot) {
  std::vector<double> in(kMany);
  for (size_t i = 0; i < kMany; ++i) {
    const float pair[2] = {static_cast<float>(i) * 0.25f, i % 8 == 0 ? 2.0f : std::bit_cast<float>(0x3f800001)};
    std::memcpy(&in[i], pair, sizeof(pair));
  }
  ExpectSame<double>(reuses_a_spill_slot, in);
}
TEST(StackLoop, PushesValues) { ExpectSame<double>(pushes_values, Random<double>(kMany)); }
TEST(StackLoop, CountsInTheFrame) { ExpectSame<double>(counts_in_the_frame, Random<double>(kMany)); }
TEST(StackLoop, PushesOnOneWay) { ExpectSame<double>(pushes_on_one_way, Random<double>(kMany)); }
TEST(StackLoop, LeavesWhilePushed) { ExpectSame<double>(leaves_while_pushed, Random<double>(kMany)); }
TEST(StackLoop, PushesArguments) { ExpectSame<double>(pushes_arguments, Random<double>(kMany)); }
TEST(StackLoop, StoresArguments) { ExpectSame<double>(stores_arguments, Random<double>(kMany)); }

// What seems to hold the address of a local does not, and lifted code sees it.
TEST(StackLoop, ChangesAPushedPointer) {
  ExpectSame<double>(changes_a_pushed_pointer, Random<double>(kMany), /*accelerated=*/false);
}

TEST(StackLoop, LocalOfAnotherAddressThanItsFunctionTells) {
  ExpectSame<double>(local_of_another_address, Random<double>(kMany), /*accelerated=*/false);
}

TEST(StackLoop, CallsWhilePushedRunNatively) {
  for (const bool often : {false, true}) {  // when there are many, the native clone meets them
    std::vector<double> in = Random<double>(10 * kMany);
    for (size_t i = often ? 1 : in.size() / 2; i < in.size(); i += often ? 97 : 700'000) in[i] = 1e308;
    call_errors = 0;
    std::vector<double> out(in.size());
    calls_while_pushed(out.data(), in.data(), in.size());
    const int errors = call_errors;
    ASSERT_GT(errors, 0);
    call_errors = 0;
    ExpectSame<double>(calls_while_pushed, in, /*accelerated=*/!often);
    EXPECT_EQ(call_errors, 5 * errors);
  }
}

// The native clone runs the whole of them.
TEST(StackLoop, ShortOnesLeaveWhilePushed) {
  const std::vector<double> in = Random<double>(kMany);
  const auto run = [&](size_t size) {
    std::vector<double> out(size);
    leaves_while_pushed(out.data(), in.data(), size);
    return out;
  };
  TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(&leaves_while_pushed), [&] { run(kMany); });
  ASSERT_NE(taken.region, nullptr) << Explain(taken);
  std::vector<std::vector<double>> results;
  for (size_t size = 1; size < 300; ++size) results.push_back(run(size));
  PutBack(taken);
  for (const std::vector<double>& result : results) {
    EXPECT_EQ(std::memcmp(result.data(), run(result.size()).data(), 8 * result.size()), 0) << result.size();
  }
}

void ExpectUnknown(void (*kernel)(double*, const double*, size_t)) {
  const std::vector<double> in = Random<double>(1000);
  std::vector<double> out(in.size());
  TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] { kernel(out.data(), in.data(), in.size()); });
  EXPECT_EQ(taken.region, nullptr);
  EXPECT_NE(taken.why.find("did not write"), std::string::npos) << taken.why;
}
TEST(CalleeStack, ExceptionFlagsThatMatterAreNotLifted) { ExpectUnknown(loop_stack_reads_exceptions); }
TEST(CalleeStack, GarbageThatMattersIsNotLifted) { ExpectUnknown(loop_stack_garbage); }

// Huge, tiny, special: the ways through libm that are rarely taken, some of them detours.
TEST(Calls, SpecialValuesTakeTheOriginalsWays) {
  std::vector<double> in = Random<double>(kMany);
  const double special[] = {0.0, -0.0, 1e-310, -4.9e-324, 1e308, -1e308, 745.2, -745.2, 709.79, 1e22, 3.14159265358979,
                            std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                            std::numeric_limits<double>::quiet_NaN(), 1.0, -1.0, 0.5, 1e-20};
  std::mt19937_64 random(7);
  for (size_t i = in.size() / 2; i + 1000 < in.size(); i += 50'000) in[i + random() % 1000] = special[random() % std::size(special)];
  for (auto* kernel : {call_exp_O2, call_log_O2, call_sin_O2, call_cos_O2, call_pow_O2, call_erf_O2, call_tanh_O2}) {
    ExpectSame<double>(kernel, in, /*accelerated=*/kernel != call_log_O2);  // of negative numbers it sets errno
  }
}

TEST(Calls, DetoursOfCalleesRunNatively) {
  std::vector<double> in = Random<double>(10 * kMany);
  for (size_t i = in.size() / 2; i < in.size(); i += 700'000) in[i] = 2e300;
  call_errors = 0;
  std::vector<double> out(in.size());
  call_checked_O2(out.data(), in.data(), in.size());
  const int errors = call_errors;
  ASSERT_GT(errors, 0);
  call_errors = 0;
  ExpectSame<double>(call_checked_O2, in);
  EXPECT_EQ(call_errors, 5 * errors);  // natively, captured, three times taken over
}

}  // namespace
}  // namespace tracelift::offload
