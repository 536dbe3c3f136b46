// Grids whose threads do several results each: kernels for the reference device are run here, on the program's own memory, over parts of
// the grid of any extent. What a part has is as natively, bit for bit; all else is as it was.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "jit/compiler.h"
#include "tests/offload/random_data.h"
#include "tests/offload/taken_loop.h"

#define DECLARE(name, level) void name##_##level(double*, const double*, const double*, long, long, long);
#define DECLARE_LEVEL(level)                                                                                        \
  DECLARE(tile_product, level)                                                                                      \
  DECLARE(tile_add_product, level) DECLARE(tile_by_columns, level) DECLARE(tile_batches, level) DECLARE(tile_bytes, level) \
  DECLARE(tile_rows_of_sums, level) DECLARE(tile_triangle, level) DECLARE(tile_growing_sums, level) DECLARE(tile_window, level) \
      DECLARE(tile_filter, level) DECLARE(tile_branch, level) DECLARE(tile_stream, level)
extern "C" {
DECLARE_LEVEL(O1)
DECLARE_LEVEL(O2)
}

namespace tracelift::offload {
namespace {

using Loop = void (*)(double*, const double*, const double*, long, long, long);

struct Size {
  long rows, columns, terms;
};

class TiledLoop {
 public:
  TiledLoop(Loop loop, Size size) : size_(size) {
    const auto elements = [](long n) { return static_cast<size_t>(n); };
    a_ = RandomDoubles(elements((size.rows + 16) * (size.terms + 16)));
    b_ = RandomDoubles(elements((std::max({size.rows, size.terms, size.columns}) + 16) * std::max(size.columns, size.terms)));
    before_ = RandomDoubles(elements(size.rows * size.columns));
    out_ = native_ = before_;
    const auto run = [&](std::vector<double>& out) { loop(out.data(), a_.data(), b_.data(), size.rows, size.columns, size.terms); };
    const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(loop), [&] { run(out_); }, 0, Math::kStrict, Place::kReferenceDevice);
    if (!taken.region || !taken.variant->artifact.kernel) {
      ADD_FAILURE() << taken.why;
      return;
    }
    EXPECT_TRUE(PutBack(taken));
    run(native_);
    kernel = *taken.variant->artifact.kernel;
    state_ = taken.region->captured;
    static const std::unique_ptr<jit::CodeLoader> loader = std::move(*jit::CodeLoader::Create());
    function_ = *loader->LoadKernel(kernel.code, kernel.symbol);
    Run(0, {1, 1, 1});
    const auto same = [](double x, double y) { return std::memcmp(&x, &y, sizeof x) == 0; };
    const auto done = std::ranges::mismatch(out_, before_, same).in1 - out_.begin();
    captured_in_ = kernel.inner_dims == 0 ? done : kernel.passes_last ? done % size.columns : done / size.columns;
  }

  using Extent = std::array<int64_t, jit::kMaxGridDims>;
  // A part of the grid, whose passes begin behind `first`. Returns kFlag*.
  uint32_t Run(int64_t first, const Extent& extent) {
    out_ = before_;
    uint32_t flags = 0;
    jit::KernelLaunch launch{.state = reinterpret_cast<uint64_t>(&state_), .flags = reinterpret_cast<uint64_t>(&flags), .first = first};
    for (int dim = 0; dim <= kernel.inner_dims; ++dim) launch.extent[dim] = extent[static_cast<size_t>(dim)];
    function_(&launch, 0, jit::BlocksOf(kernel, launch.extent));
    together_ = jit::ThreadsDoSeveral(kernel, launch.extent);
    return flags;
  }

  // `has`: whether a row and a column are of the part.
  void Check(int64_t first, const Extent& extent, bool together, const std::function<bool(long, long)>& has) {
    EXPECT_EQ(Run(first, extent), 0u);
    EXPECT_EQ(together_, together) << extent[0] << " x " << extent[1] << " x " << extent[2];
    for (long i = 0; i < size_.rows; ++i) {
      for (long j = 0; j < size_.columns; ++j) {
        const auto at = static_cast<size_t>(i * size_.columns + j);
        const double expected = (has(i, j) ? native_ : before_)[at];
        ASSERT_EQ(std::memcmp(&out_[at], &expected, sizeof expected), 0) << "row " << i << ", column " << j << " of " << first << "+"
            << extent[0] << " x " << extent[1] << " x " << extent[2] << " is " << out_[at] << ", not " << expected;
      }
    }
  }

  // A pass is a row, `length` the most of its elements that there are.
  void Check(int64_t first, int64_t passes, int64_t iterations, bool together, const std::function<long(long)>& length) {
    if (!function_) return;
    const long begin = first + captured_in_, end = begin + passes;
    Check(first, {passes, iterations, 1}, together, [&](long i, long j) {
      if (kernel.inner_dims == 0) return i * size_.columns + j >= begin && i * size_.columns + j < end;
      return i >= begin && i < end && j < std::min<int64_t>(iterations, length(i));
    });
  }
  void Check(int64_t first, int64_t passes, int64_t iterations, bool together) {
    Check(first, passes, iterations, together, [&](long) { return size_.columns; });
  }

  bool Is() const { return function_ != nullptr; }
  long captured_in() const { return captured_in_; }
  double* a() { return a_.data(); }
  double* b() { return b_.data(); }
  int results() const { return kernel.rows * kernel.columns; }

  jit::Kernel kernel;

 private:
  const Size size_;
  std::vector<double> a_, b_, before_, out_, native_;
  jit::MachineState state_;
  jit::ReferenceKernel function_ = nullptr;
  long captured_in_ = 0;  // this pass: what comes first of a kernel's
  bool together_ = false;
};

// Grids of all kinds of edges: many rows of few columns, few long ones, just more than whole tiles, and less.
constexpr Size kWide{142, 4200, 5}, kHigh{2102, 270, 5}, kSquare{563, 545, 7};

void CheckProduct(Loop loop) {
  TiledLoop wide(loop, kWide), high(loop, kHigh), square(loop, kSquare);
  for (TiledLoop* tiled : {&wide, &high, &square}) EXPECT_EQ(tiled->results(), 16);
  wide.Check(0, 139, 4200, true);
  wide.Check(0, 129, 4190, true);
  wide.Check(3, 128, 4096, true);
  wide.Check(3, 65, 4129, true);
  wide.Check(5, 33, 4200, false);
  wide.Check(5, 31, 4200, false);
  wide.Check(138, 1, 4200, false);
  wide.Check(0, 70, 4300, true);  // more than a row has
  high.Check(0, 2099, 270, true);
  high.Check(1, 2048, 129, true);
  high.Check(1, 2049, 128, true);
  high.Check(1, 2049, 127, false);
  high.Check(7, 2000, 33, false);
  high.Check(0, 2099, 1, false);
  square.Check(0, 560, 545, true);
  square.Check(2, 513, 513, true);
  square.Check(0, 512, 512, true);
  square.Check(0, 511, 512, false);
  square.Check(9, 1, 1, false);
}

#define AT_LEVELS(name, check, loop) \
  TEST(Tiles, name##O1) { check(loop##_O1); } \
  TEST(Tiles, name##O2) { check(loop##_O2); }

AT_LEVELS(Product, CheckProduct, tile_product)
AT_LEVELS(OfWhatIsThereAndAProduct, CheckProduct, tile_add_product)
AT_LEVELS(RowsOfSums, CheckProduct, tile_rows_of_sums)

void CheckTriangle(Loop loop) {
  constexpr Size size{802, 841, 5};
  TiledLoop tiled(loop, size);
  EXPECT_EQ(tiled.results(), 16);
  const auto length = [](long i) { return i + 40; };
  tiled.Check(0, 799, 838, true, length);
  tiled.Check(11, 700, 800, true, length);
  tiled.Check(400, 399, 799, true, length);
  tiled.Check(400, 100, 500, false, length);
}
AT_LEVELS(Triangle, CheckTriangle, tile_triangle)

// A pass is a column.
void CheckByColumns(Loop loop) {
  TiledLoop tiled(loop, kSquare);
  ASSERT_TRUE(tiled.Is());
  EXPECT_EQ(tiled.results(), 16);
  EXPECT_TRUE(tiled.kernel.passes_last);
  const auto check = [&](int64_t first, int64_t passes, int64_t iterations, bool together) {
    const long begin = first + tiled.captured_in();
    tiled.Check(first, {passes, iterations, 1}, together, [&](long i, long j) { return j >= begin && j < begin + passes && i < iterations; });
  };
  check(0, 543, 563, true);
  check(7, 513, 545, true);
  check(7, 129, 545, false);
  check(300, 31, 1, false);
}
AT_LEVELS(ByColumns, CheckByColumns, tile_by_columns)

// Passes are the outermost dimension of three.
void CheckBatches(Loop loop) {
  constexpr Size size{600, 530, 6};
  TiledLoop tiled(loop, size);
  ASSERT_TRUE(tiled.Is());
  EXPECT_EQ(tiled.kernel.inner_dims, 2);
  EXPECT_EQ(tiled.results(), 16);
  const auto check = [&](int64_t first, int64_t passes, int64_t rows, int64_t columns, bool together) {
    const long begin = first + tiled.captured_in() / 50;
    tiled.Check(first, {passes, rows, columns}, together, [&](long i, long j) {
      return i / 50 >= begin && i / 50 < begin + passes && i % 50 < rows && j < columns;
    });
  };
  check(0, 10, 50, 530, true);
  check(1, 10, 50, 530, true);
  check(0, 10, 33, 513, false);
  check(0, 10, 49, 129 * 4, false);
  check(2, 3, 1, 1, false);
}
TEST(Tiles, BatchesO1) { CheckBatches(tile_batches_O1); }  // at -O2 it is another nest

// Two numbers of four bytes in each element that is compared.
void CheckBytes(Loop loop) {
  TiledLoop tiled(loop, {600, 330, 24});
  ASSERT_TRUE(tiled.Is());
  EXPECT_GT(tiled.results(), 1);
  const long begin = tiled.captured_in();
  tiled.Check(0, {598, 660, 1}, true, [&](long i, long) { return i >= begin && i < begin + 598; });
  tiled.Check(3, {545, 514, 1}, true, [&](long i, long j) { return i >= begin + 3 && i < begin + 548 && j < 257; });
}
AT_LEVELS(Bytes, CheckBytes, tile_bytes)

// Only columns go side by side.
void CheckGrowingSums(Loop loop) {
  constexpr Size size{152, 1030, 160};
  TiledLoop tiled(loop, size);
  EXPECT_EQ(tiled.kernel.rows, 1);
  EXPECT_EQ(tiled.kernel.columns, 4);
  tiled.Check(0, 149, 1030, true);
  tiled.Check(20, 129, 1025, true);
  tiled.Check(20, 31, 1025, false);
}
AT_LEVELS(GrowingSums, CheckGrowingSums, tile_growing_sums)

void CheckWindow(Loop loop) {
  constexpr Size size{302, 700, 1};
  TiledLoop tiled(loop, size);
  EXPECT_EQ(tiled.kernel.rows, 4);
  EXPECT_GE(tiled.kernel.columns, 2);
  tiled.Check(0, 299, 700, true);
  tiled.Check(7, 290, 657, true);
  tiled.Check(7, 31, 657, false);
}
AT_LEVELS(Window, CheckWindow, tile_window)

void CheckFilter(Loop loop) {
  constexpr Size size{100, 701, 21};
  TiledLoop tiled(loop, size);
  EXPECT_EQ(tiled.kernel.inner_dims, 0);
  EXPECT_EQ(tiled.kernel.columns, 4);
  tiled.Check(0, 69999, 1, true);
  tiled.Check(100, 65537, 1, true);
  tiled.Check(100, 65535, 1, false);
  tiled.Check(69000, 999, 1, false);
}
AT_LEVELS(Filter, CheckFilter, tile_filter)

void CheckSingle(Loop loop) {
  TiledLoop tiled(loop, kSquare);
  EXPECT_EQ(tiled.results(), 1);
  tiled.Check(0, 560, 545, false);
}
AT_LEVELS(BranchesOnDataKeepOneResultAThread, CheckSingle, tile_branch)
AT_LEVELS(StreamsKeepOneResultAThread, CheckSingle, tile_stream)

// A NaN anywhere is told, and only where it is of the part asked for.
void CheckFlags(Loop loop) {
  TiledLoop tiled(loop, kSquare);
  ASSERT_TRUE(tiled.Is());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto flags = [&](long row, int64_t passes, int64_t iterations) {
    double& element = tiled.a()[(row + tiled.captured_in()) * kSquare.terms + 3];
    const double old = element;
    element = nan;
    const uint32_t found = tiled.Run(0, {passes, iterations, 1});
    element = old;
    return found;
  };
  for (const long row : {0, 3, 31, 32, 511, 512}) EXPECT_EQ(flags(row, 513, 514), jit::kFlagNaN) << row;
  EXPECT_EQ(flags(513, 513, 514), 0u);
  for (const long column : {0, 31, 127, 128, 512, 513, 514}) {
    tiled.b()[column] = nan;
    EXPECT_EQ(tiled.Run(0, {513, 514, 1}), column < 514 ? jit::kFlagNaN : 0u) << column;
    tiled.b()[column] = 0.5;
  }
}
AT_LEVELS(FlagsOfEachResult, CheckFlags, tile_product)

}  // namespace
}  // namespace tracelift::offload
