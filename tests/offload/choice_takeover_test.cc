// Where the entries of one loop run: by their size, on a device or on the cores; and how the two are compared.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/offload/random_data.h"
#include "tests/offload/taken_loop.h"

extern "C" void stencil2d_O2(double*, const double*, int, int);

namespace tracelift::offload {
namespace {

constexpr int kHeight = 600, kWidth = 800;

class Choice : public testing::Test {
 protected:
  void SetUp() override {
    Run(native_);
    taken_ = TakeOverLoop(reinterpret_cast<const void*>(&stencil2d_O2), [&] { Run(traced_); }, 0, Math::kStrict, Place::kReferenceDevice);
    ASSERT_NE(taken_.region, nullptr) << taken_.why;
    on_cores_ = AddRival(taken_);
    ASSERT_NE(on_cores_, nullptr) << taken_.why;
    taken_.region->only_on_device = false;
  }
  void TearDown() override {
    if (taken_.region) {
      EXPECT_TRUE(PutBack(taken_));
    }
  }

  static void Run(std::vector<double>& values) {
    values = RandomDoubles(2 * kHeight * kWidth);
    stencil2d_O2(values.data(), values.data() + kHeight * kWidth, kHeight, kWidth);
  }
  // Once more, whatever it cost before.
  void RunAgain() {
    taken_.region->image->SkipNext(0);
    Run(traced_);
    ASSERT_EQ(std::memcmp(traced_.data(), native_.data(), native_.size() * sizeof(double)), 0) << Explain(taken_);
  }

  std::vector<double> native_, traced_;
  TakenLoop taken_;
  const Variant* on_cores_ = nullptr;
};

TEST_F(Choice, SizesAtWhichTheDeviceLosesRunOnTheCores) {
  Region& region = *taken_.region;
  region.rival.store(nullptr);
  region.on_cores.store(on_cores_);
  for (int i = 0; i < 4; ++i) {
    taken_.Forgive();
    RunAgain();
  }
  EXPECT_GT(region.executions.load(), 0u) << Explain(taken_);
  EXPECT_EQ(region.executions_on_cores.load(), 0u) << "nothing was lost yet";
  for (int loss = 0; loss < 3; ++loss) {
    for (double work = 1; work < 1e13; work *= 2) {
      for (double iterations = 1; iterations < 1e12; iterations *= 2) region.losses.Add(work, true, iterations);
    }
  }
  const uint64_t before = region.executions.load();
  for (int i = 0; i < 10; ++i) {
    region.losses_on_cores.Forgive();
    RunAgain();
  }
  EXPECT_GT(region.executions_on_cores.load(), 0u) << Explain(taken_);
  EXPECT_EQ(region.executions_on_cores.load(), region.executions.load() - before);
  const uint64_t there = region.executions_on_cores.load();
  for (int i = 0; i < 4; ++i) {
    taken_.Forgive();
    RunAgain();
  }
  EXPECT_EQ(region.executions_on_cores.load(), there) << "it is the device's again";
}

TEST_F(Choice, DeviceAndCoresTakeTurnsOfSeveralSlices) {
  Region& region = *taken_.region;
  std::vector<bool> on_device;
  for (int i = 0; i < 400 && region.rival_ratio.count() < 3; ++i) {
    taken_.Forgive();
    const uint64_t before = region.executions.load();
    RunAgain();
    if (region.executions.load() > before && region.last_run) on_device.push_back(region.last_run->artifact.kernel.has_value());
  }
  EXPECT_GE(region.rival_ratio.count(), 3u) << Explain(taken_);
  int longest = 0, turn = 0;
  for (size_t i = 0; i < on_device.size(); ++i) {
    turn = i > 0 && on_device[i] == on_device[i - 1] ? turn + 1 : 1;
    longest = std::max(longest, turn);
  }
  EXPECT_GT(longest, 1);
}

}  // namespace
}  // namespace tracelift::offload
