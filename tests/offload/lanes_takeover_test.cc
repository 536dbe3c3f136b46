// Loops of which several iterations run side by side in vectors: the same bytes as natively, and really side by side.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cmath>
#include <limits>

#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

#define ALL(X)                                                                                                       \
  X(row_sums)                                                                                                        \
  X(column_sums)                                                                                                     \
  X(product) X(product_transposed) X(accumulate_in_memory) X(escape) X(newton) X(two_ways_out) X(conditions)         \
      X(sometimes_stores) X(nested) X(skipped_loop) X(structs) X(backwards) X(bytes) X(divisions) X(tables) X(least) \
          X(counts) X(switch) X(library) X(pairs) X(product_by_rows) X(product_added) X(product_float) X(product_scaled) X(copy_scaled)               \
              X(product_feeds_itself) X(uneven) X(up_to_the_end)
#define DECLARE(name)                                       \
  void lanes_##name##_O0(double*, const double*, int, int); \
  void lanes_##name##_O2(double*, const double*, int, int); \
  void lanes_##name##_O3(double*, const double*, int, int);
extern "C" {
ALL(DECLARE)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(double*, const double*, int, int);

enum class Wide {
  kYes,
  kPanels,    // and in panels
  kCompiled,  // although what it computes here may be redone by the original
  kAny,       // what comes before may decide otherwise
};

// `rows` is no multiple of any number of lanes.
void Check(Kernel kernel, Wide wide, std::vector<double> data, int rows, int n) {
  const size_t results = data.size() / 2;
  const auto run = [=](std::vector<double>& v) { kernel(v.data(), v.data() + results, rows, n); };
  const TakenLoop first = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] {
    std::vector<double> copy = data;
    run(copy);
  });
  if (wide != Wide::kAny) {
    ASSERT_NE(first.region, nullptr) << first.why;
    EXPECT_GT(first.variant->artifact.lanes, 1);
    EXPECT_EQ(first.variant->artifact.panel > 0, wide == Wide::kPanels);
    EXPECT_EQ(first.variant->artifact.packed > 0, wide == Wide::kPanels);
  }
  if (first.region == nullptr) return;
  ASSERT_TRUE(PutBack(first));
  ExpectSame<double>(reinterpret_cast<const void*>(kernel), data, run,
                     wide == Wide::kYes || wide == Wide::kPanels ? Becomes::kAccelerated : Becomes::kAny);
}

std::vector<double> Data(size_t results, size_t inputs) {
  std::vector<double> data = RandomDoubles(2 * std::max(results, inputs));
  for (double& value : data) value *= 10;
  return data;
}

// For kernels that take them for floats.
std::vector<double> FloatData(size_t results, size_t inputs) {
  const std::vector<float> floats = RandomFloats(4 * std::max(results, inputs));
  std::vector<double> data(floats.size() / 2);
  std::memcpy(data.data(), floats.data(), data.size() * sizeof(double));
  return data;
}

#define AT_LEVELS(NAME, KERNEL, WIDE0, WIDE2, WIDE3, ROWS, N, SIZE)                              \
  TEST(Lanes, NAME##O0) { Check(&lanes_##KERNEL##_O0, Wide::WIDE0, Data(SIZE, SIZE), ROWS, N); } \
  TEST(Lanes, NAME##O2) { Check(&lanes_##KERNEL##_O2, Wide::WIDE2, Data(SIZE, SIZE), ROWS, N); } \
  TEST(Lanes, NAME##O3) { Check(&lanes_##KERNEL##_O3, Wide::WIDE3, Data(SIZE, SIZE), ROWS, N); }

AT_LEVELS(RowSums, row_sums, kAny, kAny, kAny, 333, 301, 110'000)
AT_LEVELS(ColumnSums, column_sums, kAny, kYes, kYes, 1333, 51, 110'000)
AT_LEVELS(Product, product, kAny, kYes, kAny, 171, 53, 110'000)
AT_LEVELS(ProductTransposed, product_transposed, kAny, kAny, kAny, 171, 53, 110'000)
AT_LEVELS(AccumulateInMemory, accumulate_in_memory, kAny, kAny, kAny, 1333, 51, 110'000)
AT_LEVELS(Escape, escape, kAny, kYes, kYes, 3333, 200, 5'000)
AT_LEVELS(Newton, newton, kAny, kYes, kYes, 3333, 40, 5'000)
AT_LEVELS(TwoWaysOut, two_ways_out, kAny, kCompiled, kAny, 4444, 170, 5'000)
AT_LEVELS(Conditions, conditions, kAny, kYes, kAny, 3333, 33, 5'000)
AT_LEVELS(SometimesStores, sometimes_stores, kAny, kAny, kAny, 3333, 33, 7'000)
AT_LEVELS(Nested, nested, kAny, kYes, kAny, 3333, 33, 5'000)
AT_LEVELS(SkippedLoop, skipped_loop, kAny, kAny, kAny, 1333, 33, 5'000)
AT_LEVELS(Structs, structs, kAny, kCompiled, kAny, 1333, 177, 8'000)
AT_LEVELS(Backwards, backwards, kAny, kAny, kAny, 3333, 33, 12'000)
AT_LEVELS(Bytes, bytes, kAny, kAny, kAny, 3333, 33, 3'000)
AT_LEVELS(Divisions, divisions, kAny, kAny, kAny, 1333, 33, 5'000)
AT_LEVELS(Tables, tables, kAny, kAny, kAny, 1333, 33, 5'000)
TEST(Lanes, LeastO0) { Check(&lanes_least_O0, Wide::kAny, FloatData(5'000, 5'000), 3333, 133); }
TEST(Lanes, LeastO2) { Check(&lanes_least_O2, Wide::kYes, FloatData(5'000, 5'000), 3333, 133); }
TEST(Lanes, LeastO3) { Check(&lanes_least_O3, Wide::kAny, FloatData(5'000, 5'000), 3333, 133); }
AT_LEVELS(Counts, counts, kAny, kYes, kAny, 3333, 133, 5'000)
AT_LEVELS(Switch, switch, kAny, kAny, kAny, 3333, 33, 5'000)
AT_LEVELS(Library, library, kAny, kAny, kAny, 1333, 33, 5'000)
AT_LEVELS(Pairs, pairs, kAny, kAny, kAny, 1333, 33, 5'000)

AT_LEVELS(Uneven, uneven, kAny, kYes, kYes, 3333, 33, 5'000)

// 300 and 331 results in a row are no multiples of a panel.
AT_LEVELS(Panels, product, kAny, kPanels, kAny, 300, 150, 110'000)
AT_LEVELS(PanelsByRows, product_by_rows, kAny, kPanels, kAny, 331, 150, 160'000)
AT_LEVELS(PanelsAdded, product_added, kAny, kPanels, kAny, 331, 150, 160'000)
AT_LEVELS(PanelsOfWholeWidth, product_added, kAny, kPanels, kAny, 320, 150, 160'000)
TEST(Lanes, PanelsFloatO2) { Check(&lanes_product_float_O2, Wide::kPanels, FloatData(160'000, 160'000), 331, 150); }
AT_LEVELS(NoPanels, product_feeds_itself, kAny, kAny, kAny, 331, 150, 160'000)

// Compiled for a factor of one, run with others, which are noticed.
TEST(Lanes, FactorsOfOne) {
  constexpr int rows = 331, n = 150;
  for (Kernel kernel : {&lanes_product_scaled_O2, &lanes_product_scaled_O3, &lanes_copy_scaled_O2}) {
    std::vector<double> data = Data(160'000, 160'000);
    data[160'000] = 1;
    data[160'000 + 77] = std::numeric_limits<double>::denorm_min();
    data[160'000 + 78] = -0.0;
    const auto run = [=](std::vector<double>& v, double alpha) {
      v[160'000] = alpha;
      kernel(v.data(), v.data() + 160'000, rows, n);
    };
    const double alphas[] = {1.0, 0.75, -1.0, -0.0, std::numeric_limits<double>::quiet_NaN(), 1.0};
    const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] {
      std::vector<double> copy = data;
      run(copy, 1.0);
    });
    ASSERT_NE(taken.region, nullptr) << taken.why;
    std::vector<std::vector<double>> traced;
    for (double alpha : alphas) {
      traced.push_back(data);
      taken.Forgive();
      run(traced.back(), alpha);
    }
    // A signalling NaN leaves a product with one quiet.
    data[160'000 + 20 * n + 9] = std::numeric_limits<double>::signaling_NaN();
    traced.push_back(data);
    taken.Forgive();
    run(traced.back(), 1.0);
    std::vector<double> native = data;
    ASSERT_TRUE(PutBack(taken));
    run(native, 1.0);
    EXPECT_EQ(std::memcmp(native.data(), traced.back().data(), native.size() * sizeof(double)), 0) << Explain(taken);
    for (size_t i = 0; i < std::size(alphas); ++i) {
      native = Data(160'000, 160'000);
      native[160'000 + 77] = std::numeric_limits<double>::denorm_min();
      native[160'000 + 78] = -0.0;
      run(native, alphas[i]);
      EXPECT_EQ(std::memcmp(native.data(), traced[i].data(), native.size() * sizeof(double)), 0)
          << alphas[i] << ": " << Explain(taken);
    }
  }
}

uint64_t PassesElsewhere(Kernel kernel, const std::vector<double>& data, int rows, int n) {
  const auto run = [&] {
    std::vector<double> copy = data;
    kernel(copy.data(), copy.data() + data.size() / 2, rows, n);
  };
  const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), run);
  if (taken.region == nullptr) return 0;
  for (int i = 0; i < 3; ++i) run();
  EXPECT_TRUE(PutBack(taken));
  return taken.region->passes.load();
}

// A sum that becomes NaN, by infinities that cancel or from the start, is done again by the original.
TEST(Lanes, NaNsInPanelsAreRedone) {
  constexpr int rows = 320, n = 150;
  std::vector<double> data = Data(160'000, 160'000);
  const std::vector<double> clean = data;
  data[160'000 + 7 * n + 3] = std::numeric_limits<double>::infinity();
  data[160'000 + 7 * n + 90] = -std::numeric_limits<double>::infinity();
  data[160'000 + 200 * n + 5] = std::numeric_limits<double>::quiet_NaN();
  data[40 * rows + 11] = -std::numeric_limits<double>::quiet_NaN();
  for (Kernel kernel : {&lanes_product_O2, &lanes_product_by_rows_O2, &lanes_product_added_O2}) {
    ExpectSame<double>(
        reinterpret_cast<const void*>(kernel), data,
        [=](std::vector<double>& v) { kernel(v.data(), v.data() + 160'000, rows, n); }, Becomes::kAny);
    // The same bytes may come about by luck.
    EXPECT_LT(PassesElsewhere(kernel, data, rows, n), PassesElsewhere(kernel, clean, rows, n));
  }
}

// Nothing may be read behind the data, where no memory is.
TEST(Lanes, DataMayEndWithTheirPage) {
  constexpr size_t kPage = 4096, kPages = 3;
  constexpr int n = kPages * kPage / sizeof(double), rows = 1200;
  auto* memory = static_cast<std::byte*>(
      mmap(nullptr, (kPages + 1) * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  ASSERT_EQ(mprotect(memory + kPages * kPage, kPage, PROT_NONE), 0);
  auto* in = reinterpret_cast<double*>(memory);
  for (int i = 0; i < n; ++i) in[i] = i % 64 == 0 ? 0.01 * (i % 7) : -0.001 * (i % 5);
  for (Kernel kernel : {&lanes_up_to_the_end_O0, &lanes_up_to_the_end_O2, &lanes_up_to_the_end_O3}) {
    ExpectSame<double>(
        reinterpret_cast<const void*>(kernel), std::vector<double>(rows),
        [=](std::vector<double>& v) { kernel(v.data(), in, rows, n); }, Becomes::kAny);
  }
  munmap(memory, (kPages + 1) * kPage);
}

// Compiled for one length; another one is noticed.
TEST(Lanes, PanelsOfAnotherLength) {
  std::vector<double> data = Data(160'000, 160'000);
  const auto run = [](std::vector<double>& v, int rows) {
    lanes_product_by_rows_O2(v.data(), v.data() + 160'000, rows, 150);
  };
  const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(&lanes_product_by_rows_O2), [&] {
    std::vector<double> copy = data;
    run(copy, 331);
  });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  ASSERT_GT(taken.variant->artifact.panel, 0);
  for (int rows : {330, 331, 332, 160, 16, 3}) {
    std::vector<double> traced = data;
    run(traced, rows);
    std::vector<double> native = data;
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < rows; j++) {
        double sum = 0;
        for (int k = 0; k < 150; k++)
          sum += data[160'000 + i * 150 + k] * 1.5 * data[160'000 + rows * 150 + k * rows + j];
        native[static_cast<size_t>(i * rows + j)] = sum;
      }
    }
    EXPECT_EQ(std::memcmp(native.data(), traced.data(), traced.size() * sizeof(double)), 0)
        << rows << ": " << Explain(taken);
  }
  ASSERT_TRUE(PutBack(taken));
}

// Where a lane makes a NaN the original decides on its bits; where one has them from the start, nothing is made.
TEST(Lanes, NaNsAreRedone) {
  std::vector<double> data = Data(5'000, 5'000);
  data[5'000 + 700] = std::numeric_limits<double>::infinity();
  data[5'000 + 1900] = -std::numeric_limits<double>::quiet_NaN();
  ExpectSame<double>(
      reinterpret_cast<const void*>(&lanes_structs_O2), data,
      [](std::vector<double>& v) { lanes_structs_O2(v.data(), v.data() + 5'000, 900, 177); }, Becomes::kAny);
  ExpectSame<double>(
      reinterpret_cast<const void*>(&lanes_column_sums_O2), data,
      [](std::vector<double>& v) { lanes_column_sums_O2(v.data(), v.data() + 5'000, 331, 11); }, Becomes::kAny);
}

// An inner loop's iterations stop being independent: that entry stays at home.
TEST(Lanes, IndependenceIsCheckedAtEachEntry) {
  constexpr int rows = 171, n = 53;
  std::vector<double> data = Data(110'000, 110'000);
  const auto apart = [&](std::vector<double>& v) { lanes_product_O2(v.data(), v.data() + 110'000, rows, n); };
  const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(&lanes_product_O2), [&] {
    std::vector<double> copy = data;
    apart(copy);
  });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  ASSERT_GT(taken.variant->artifact.lanes, 1);
  std::vector<double> traced = data, native = data;
  lanes_product_O2(traced.data(), traced.data() + rows, rows, n);  // each row of results is read for the next
  EXPECT_GT(taken.Declines(jit::RejectionReason::kDependentIterations), 0u) << Explain(taken);
  ASSERT_TRUE(PutBack(taken));
  lanes_product_O2(native.data(), native.data() + rows, rows, n);
  EXPECT_EQ(std::memcmp(native.data(), traced.data(), traced.size() * sizeof(double)), 0) << Explain(taken);
}

// Each does some slices of an entry, and both are verified before they run alone.
TEST(Lanes, RivalsInOneLaneTakeTurns) {
  const int rows = 4001, n = 61;
  const std::vector<double> data = Data(300'000, 300'000);
  const auto kernel = &lanes_column_sums_O2;
  const size_t results = data.size() / 2;
  const auto run = [&](std::vector<double>& v) { kernel(v.data(), v.data() + results, rows, n); };
  std::vector<double> native = data, traced = data;
  run(native);
  TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] {
    traced = data;
    run(traced);
  });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  const Variant* rival = AddRival(taken);
  ASSERT_NE(rival, nullptr) << taken.why;
  EXPECT_GT(taken.variant->artifact.lanes, 1);
  EXPECT_EQ(rival->artifact.lanes, 0);
  EXPECT_TRUE(rival->artifact.plain);
  constexpr int kMostRuns = 200;  // on a busy machine an entry may be declined
  for (int i = 0; i < kMostRuns && taken.region->rival_ratio.count() < 4; ++i) {
    taken.Forgive();
    traced = data;
    run(traced);
    ASSERT_EQ(std::memcmp(traced.data(), native.data(), native.size() * sizeof(double)), 0) << Explain(taken);
  }
  EXPECT_GE(taken.region->rival_ratio.count(), 4u) << Explain(taken);
  EXPECT_GT(taken.region->rival_ratio.Median(), 0);
  EXPECT_GT(taken.variant->trusted_slices, 0);
  EXPECT_GT(rival->trusted_slices, 0);
  EXPECT_EQ(taken.region->mismatches.load(), 0u) << Explain(taken);
  ASSERT_TRUE(PutBack(taken));
}

}  // namespace
}  // namespace tracelift::offload
