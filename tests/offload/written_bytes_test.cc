#include "offload/host/written_bytes.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <set>
#include <vector>

namespace tracelift::offload {
namespace {

jit::AccessForm Write(uint64_t base, uint32_t bytes, std::vector<int64_t> strides, uint64_t slack = 0) {
  jit::AccessForm form;
  form.base = base;
  form.bytes = bytes;
  form.slack = slack;
  form.write = true;
  std::copy(strides.begin(), strides.end(), form.stride.begin());
  return form;
}

jit::Footprint Of(const std::vector<jit::AccessForm>& forms, const std::vector<int64_t>& trips) {
  jit::Footprint footprint;
  footprint.loop_count = static_cast<int>(trips.size());
  std::copy(trips.begin(), trips.end(), footprint.trip);
  for (const jit::AccessForm& form : forms) footprint.forms[footprint.form_count++] = form;
  return footprint;
}

// The addresses of all bytes that the passes write, one by one.
std::set<uint64_t> BytesOf(const jit::Footprint& footprint, int64_t passes) {
  std::set<uint64_t> bytes;
  for (const jit::AccessForm& form : footprint.all()) {
    if (!form.write) continue;
    std::vector<uint64_t> at{form.base};
    for (int k = 0; k < footprint.loop_count; ++k) {
      std::vector<uint64_t> next;
      const int64_t trip = k == 0 && footprint.phases == 1 ? passes : footprint.TripOf(form, k);
      for (const uint64_t a : at) {
        for (int64_t i = 0; i < trip; ++i) next.push_back(a + static_cast<uint64_t>(i * form.stride[static_cast<size_t>(k)]));
      }
      at = std::move(next);
    }
    for (const uint64_t a : at) {
      for (uint64_t b = 0; b < form.bytes + form.slack; ++b) bytes.insert(a + b);
    }
  }
  return bytes;
}

std::vector<uint8_t> RandomMemory(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> memory(size);
  for (uint8_t& byte : memory) byte = static_cast<uint8_t>(random());
  return memory;
}

// Saves, overwrites everything, restores: exactly the planned bytes must be back.
void ExpectExact(std::vector<uint8_t>& memory, const jit::Footprint& footprint, int64_t passes) {
  const std::vector<uint8_t> before = memory;
  WritePlan plan;
  ASSERT_TRUE(plan.Make(footprint, passes));
  WriteCopy copy;
  ASSERT_TRUE(copy.Reserve(plan));
  for (int64_t pass = 0; pass < passes; ++pass) copy.Save(plan, 0, pass, 1);  // in pieces, as chunks do
  uint64_t where = 0;
  EXPECT_TRUE(copy.Equals(plan, &where));
  for (uint8_t& byte : memory) byte = static_cast<uint8_t>(byte + 1);
  EXPECT_FALSE(copy.Equals(plan, &where));
  copy.Restore(plan, 0, 0, passes);
  const std::set<uint64_t> planned = BytesOf(footprint, passes);
  for (size_t i = 0; i < memory.size(); ++i) {
    const bool is_planned = planned.contains(reinterpret_cast<uint64_t>(&memory[i]));
    ASSERT_EQ(memory[i], is_planned ? before[i] : static_cast<uint8_t>(before[i] + 1)) << "byte " << i;
  }
}

TEST(WritePlan, JoinsTheFieldsOfAStructure) {
  std::vector<uint8_t> memory = RandomMemory(4096, 1);
  const auto base = reinterpret_cast<uint64_t>(memory.data());
  const jit::Footprint footprint = Of({Write(base + 8, 8, {32}), Write(base, 8, {32}), Write(base + 16, 4, {32})}, {100});
  WritePlan plan;
  ASSERT_TRUE(plan.Make(footprint, 100));
  EXPECT_EQ(plan.streams().size(), 1u);
  EXPECT_EQ(plan.bytes(), 2000u);
  ExpectExact(memory, footprint, 100);
}

TEST(WritePlan, JoinsWhatAnInnerLoopWritesInOneRun) {
  std::vector<uint8_t> memory = RandomMemory(1 << 16, 2);
  const auto base = reinterpret_cast<uint64_t>(memory.data());
  const jit::Footprint footprint = Of({Write(base + 64, 8, {1024, 8})}, {40, 100});
  WritePlan plan;
  ASSERT_TRUE(plan.Make(footprint, 40));
  ASSERT_EQ(plan.streams().size(), 1u);
  EXPECT_EQ(plan.streams()[0].dim_count, 0);
  EXPECT_EQ(plan.streams()[0].run, 800u);
  ExpectExact(memory, footprint, 40);
}

TEST(WritePlan, KeepsBytesBetweenRowsOutOfIt) {
  std::vector<uint8_t> memory = RandomMemory(1 << 16, 3);
  const auto base = reinterpret_cast<uint64_t>(memory.data());
  ExpectExact(memory, Of({Write(base + 3, 4, {8, 512})}, {60, 100}), 60);        // columns
  ExpectExact(memory, Of({Write(base + 60000, 2, {-16, -300})}, {15, 100}), 15);  // backwards
}

TEST(WritePlan, IsNotSeparableWhenAddressesAreUncertain) {
  WritePlan plan;
  ASSERT_TRUE(plan.Make(Of({Write(1 << 20, 8, {8}, 64)}, {10}), 10));
  EXPECT_FALSE(plan.separable());
  ASSERT_TRUE(plan.Make(Of({Write(1 << 20, 8, {8})}, {10}), 10));
  EXPECT_TRUE(plan.separable());
}

TEST(WritePlan, RefusesSizesThatDoNotFit) {
  WritePlan plan;
  const bool made = plan.Make(Of({Write(1 << 20, 8, {int64_t{1} << 40, int64_t{1} << 20})}, {int64_t{1} << 30, int64_t{1} << 60}),
                              int64_t{1} << 30);
  WriteCopy copy;
  EXPECT_FALSE(made && copy.Reserve(plan));
}

TEST(WriteCopy, HoldsTheChunkItWasAskedFor) {
  std::vector<uint64_t> memory(1000);
  for (size_t i = 0; i < memory.size(); ++i) memory[i] = i;
  const jit::Footprint footprint = Of({Write(reinterpret_cast<uint64_t>(memory.data()), 8, {8})}, {1000});
  WritePlan plan;
  ASSERT_TRUE(plan.Make(footprint, 10));  // room for ten passes
  WriteCopy copy;
  ASSERT_TRUE(copy.Reserve(plan));
  copy.Save(plan, 500, 500, 10);
  std::fill(memory.begin(), memory.end(), 7);
  copy.Restore(plan, 500, 500, 10);
  for (size_t i = 0; i < memory.size(); ++i) EXPECT_EQ(memory[i], i >= 500 && i < 510 ? i : 7);
}

TEST(WriteCopy, HoldsLargeSlicesToTheLastByte) {
  constexpr int64_t kPasses = 3;
  const size_t row = (size_t{2} << 20) + 4096 + 24;
  std::vector<uint8_t> memory = RandomMemory(kPasses * row, 5);
  const auto step = static_cast<int64_t>(row);
  const jit::Footprint footprint = Of({Write(reinterpret_cast<uint64_t>(memory.data()), 8, {step, 8})}, {kPasses, step / 8});
  WritePlan plan;
  ASSERT_TRUE(plan.Make(footprint, kPasses));
  ASSERT_EQ(plan.bytes(), memory.size());
  const std::vector<uint8_t> before = memory;
  WriteCopy copy;
  for (int i = 0; i < 3; ++i) {  // given back, it can be had again
    ASSERT_TRUE(copy.Reserve(plan));
    EXPECT_GE(copy.capacity(), plan.bytes());
    copy.Save(plan, 0, 0, kPasses);
    std::fill(memory.begin(), memory.end(), uint8_t{1});
    copy.Restore(plan, 0, 0, kPasses);
    EXPECT_TRUE(memory == before);
    copy.Release();
    EXPECT_EQ(copy.capacity(), 0u);
  }
}

TEST(WritePlan, IsExactForRandomFootprints) {
  std::mt19937 random(4);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  for (int round = 0; round < 300; ++round) {
    std::vector<uint8_t> memory = RandomMemory(1 << 15, static_cast<unsigned>(round));
    const uint64_t middle = reinterpret_cast<uint64_t>(memory.data()) + memory.size() / 2;
    const int64_t passes = 1 + below(12), inner = 1 + below(6), innermost = 1 + below(5);
    std::vector<jit::AccessForm> forms;
    const std::vector<int64_t> strides{(below(2) ? 1 : -1) * (400 + below(400)), (below(2) ? 1 : -1) * below(70),
                                       (below(2) ? 1 : -1) * below(20)};
    for (int64_t n = 1 + below(4); n > 0; --n) {
      forms.push_back(Write(middle + static_cast<uint64_t>(below(64)), static_cast<uint32_t>(1 + below(8)), strides));
    }
    jit::Footprint footprint = Of(forms, {passes, inner, innermost});
    if (below(2) == 0 && passes > 1) {
      footprint.phases = static_cast<int>(2 + below(std::min<int64_t>(passes, 8) - 1));
      for (int phase = 0; phase < footprint.phases; ++phase) {
        footprint.phase_trip[phase][0] = (passes - phase + footprint.phases - 1) / footprint.phases;
        footprint.phase_trip[phase][1] = 1 + below(inner);
        footprint.phase_trip[phase][2] = 1 + below(innermost);
      }
      for (int f = 0; f < footprint.form_count; ++f) footprint.forms[f].phase = static_cast<uint8_t>(below(footprint.phases));
    }
    ExpectExact(memory, footprint, passes);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
}

// A hundred passes write a float each, of `values`; the copy has them as they were, then `change` changes one.
template <typename Float>
bool StaysClose(std::vector<Float> values, void (*change)(Float&), double* distance, uint8_t float_bits = 8 * sizeof(Float)) {
  auto form = Write(reinterpret_cast<uint64_t>(values.data()), sizeof(Float), {sizeof(Float)});
  form.float_bits = float_bits;
  const auto passes = static_cast<int64_t>(values.size());
  const jit::Footprint footprint = Of({form}, {passes});
  WritePlan plan;
  EXPECT_TRUE(plan.Make(footprint, passes));
  WriteCopy copy;
  EXPECT_TRUE(copy.Reserve(plan));
  copy.Save(plan, 0, 0, passes);
  change(values[values.size() / 3]);
  uint64_t where = 0;
  *distance = 0;
  return copy.IsClose(plan, &where, distance);
}

TEST(WriteCopy, TellsHowFarFloatsAre) {
  const std::vector<double> doubles(100, 8.0);
  const std::vector<float> floats(100, 8.0f);
  double distance = 1;
  EXPECT_TRUE(StaysClose<double>(doubles, [](double&) {}, &distance));
  EXPECT_EQ(distance, 0);
  EXPECT_TRUE(StaysClose<double>(doubles, [](double& x) { x += 8e-12; }, &distance));
  EXPECT_NEAR(distance, 1e-12, 1e-14);
  EXPECT_FALSE(StaysClose<double>(doubles, [](double& x) { x += 8e-9; }, &distance));
  EXPECT_TRUE(StaysClose<float>(floats, [](float& x) { x += 8e-4f; }, &distance));
  EXPECT_NEAR(distance, 1e-4, 1e-6);
  EXPECT_FALSE(StaysClose<float>(floats, [](float& x) { x -= 0.08f; }, &distance));
}

TEST(WriteCopy, FindsNaNsAndOtherBytesFar) {
  const std::vector<double> doubles(100, 8.0), zeros(100, 0.0);
  double distance = 0;
  EXPECT_FALSE(StaysClose<double>(doubles, [](double& x) { x = std::numeric_limits<double>::quiet_NaN(); }, &distance));
  EXPECT_FALSE(StaysClose<double>(doubles, [](double& x) { x = std::numeric_limits<double>::infinity(); }, &distance));
  EXPECT_FALSE(StaysClose<double>(zeros, [](double& x) { x = 1e-300; }, &distance));
  EXPECT_TRUE(StaysClose<double>(zeros, [](double& x) { x = -0.0; }, &distance));
  // Not known to be floats: every byte counts.
  EXPECT_FALSE(StaysClose<double>(doubles, [](double& x) { x += 8e-12; }, &distance, 0));
}

}  // namespace
}  // namespace tracelift::offload
