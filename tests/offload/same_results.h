// Kernels run natively on one copy of the data and taken over on others: the bytes must be equal. Built with ON_DEVICE, tests run
// them on the reference device: all that are accelerated but those named in kNoKernels.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string_view>
#include <vector>

#include "tests/offload/taken_loop.h"

namespace tracelift::offload {

enum class Becomes {
  kAccelerated,  // passes run elsewhere, and are verified
  kAny,          // taken over, whether or not passes run elsewhere
  kPerhaps,      // compilers differ in whether there is a loop to take over
  kLeftAlone,    // no pass runs elsewhere
};

#ifdef ON_DEVICE
inline constexpr Place kPlace = Place::kReferenceDevice;

/// Tests, by how they begin, of loops that cannot be a grid, or whose entries come to nothing there.
extern const std::vector<std::string_view> kNoKernels;

/// What the test that runs expects on a device.
inline Becomes OnDevice(Becomes becomes) {
  const std::string_view test = testing::UnitTest::GetInstance()->current_test_info()->name();
  const bool excepted = std::ranges::any_of(kNoKernels, [&](std::string_view name) { return test.starts_with(name); });
  return becomes == Becomes::kAccelerated && !excepted ? becomes : Becomes::kPerhaps;
}
#else
inline constexpr Place kPlace = Place::kCores;
inline Becomes OnDevice(Becomes becomes) { return becomes; }
#endif

template <typename T>
void ExpectSame(const void* function, const std::vector<T>& data, const std::function<void(std::vector<T>&)>& kernel,
                Becomes expected = Becomes::kAccelerated) {
  const Becomes becomes = OnDevice(expected);
  std::vector<T> native = data, traced = data;
  const auto expect_same_bytes = [&](const std::function<std::string()>& when) {
    const auto same = [](const T& a, const T& b) { return std::memcmp(&a, &b, sizeof(T)) == 0; };
    const auto [in_traced, in_native] = std::ranges::mismatch(traced, native, same);
    EXPECT_EQ(in_native, native.end()) << "element " << in_native - native.begin() << " is " << *in_traced << ", natively "
                                       << *in_native << ", " << when();
  };
  kernel(native);
  bool captured = false;  // else it was rejected before
  const TakenLoop taken = TakeOverLoop(function, [&] {
    traced = data;
    kernel(traced);
    captured = true;
  }, 0, Math::kStrict, kPlace);
  if (captured) expect_same_bytes([] { return "while capturing"; });
  if (becomes == Becomes::kAccelerated || becomes == Becomes::kAny) {
    ASSERT_NE(taken.region, nullptr) << taken.why;
  }
  const auto has_run = [&] { return taken.region->executions.load() > 0 && taken.region->verified.load() > 0; };
  // On a busy machine passes seem to take long, slices are short, and what needs longer ones comes to nothing for a while.
  constexpr int kRepeats = 3, kMostRepeats = 40;
  const auto goes_on = [&](int repeat) {
    return repeat < kRepeats || (becomes == Becomes::kAccelerated && repeat < kMostRepeats && !has_run());
  };
  for (int repeat = 0; goes_on(repeat); ++repeat) {
    if (repeat >= kRepeats) taken.Forgive();
    traced = data;
    kernel(traced);
    expect_same_bytes([&] { return Explain(taken); });
  }
  if (taken.region == nullptr) return;
  EXPECT_EQ(taken.region->mismatches.load(), 0u) << Explain(taken);
  const bool ran = has_run();
  if (becomes == Becomes::kAccelerated || becomes == Becomes::kLeftAlone) {
    EXPECT_EQ(ran, becomes == Becomes::kAccelerated) << Explain(taken);
  }
  ASSERT_TRUE(PutBack(taken));
}

}  // namespace tracelift::offload
