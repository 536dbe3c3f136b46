// Loops that read at addresses which depend on loaded data: the same bytes as natively; and where such a read may lie.

#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <random>

#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

#define ALL(X)                                                                                                       \
  X(gather) X(rows) X(rows_in_order) X(ragged) X(twice) X(sometimes) X(until) X(chain) X(in_place) X(bytes) X(points) X(nearest)
#define DECLARE(name)                                                                \
  void windows_##name##_O0(double*, const double*, const int*, const int*, int);     \
  void windows_##name##_O2(double*, const double*, const int*, const int*, int);     \
  void windows_##name##_O3(double*, const double*, const int*, const int*, int);
extern "C" {
ALL(DECLARE)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(double*, const double*, const int*, const int*, int);
constexpr int kRows = 100000, kMostEntries = 12, kVector = 1000;
constexpr size_t kPage = 4096;

std::mt19937& Random() {
  static std::mt19937 random(20261122);
  return random;
}

std::vector<int> RandomIndices(size_t count, int below) {
  std::vector<int> indices(count);
  for (int& index : indices) index = static_cast<int>(Random()() % static_cast<unsigned>(below));
  return indices;
}

std::vector<int> RowStarts() {
  std::vector<int> start(kRows + 1);
  for (int i = 0; i < kRows; ++i) start[static_cast<size_t>(i) + 1] = start[static_cast<size_t>(i)] + static_cast<int>(Random()() % kMostEntries);
  return start;
}

// The chains of windows_chain: each index leads to a lower one.
std::vector<int> Descending(size_t count) {
  std::vector<int> next(count);
  for (size_t i = 1; i < count; ++i) next[i] = static_cast<int>(Random()() % i);
  return next;
}

void Check(Kernel kernel, Becomes becomes, const std::vector<int>& index, const std::vector<int>& start) {
  std::vector<double> data = RandomDoubles(kRows + kVector + kRows * kMostEntries);
  data.back() = data[data.size() - 2] = 1;
  ExpectSame<double>(reinterpret_cast<const void*>(kernel), data, [&](std::vector<double>& v) {
    kernel(v.data(), v.data() + kRows, index.data(), start.data(), kRows);
  }, becomes);
}

const std::vector<int>& Index() {
  static const std::vector<int> index = RandomIndices(size_t{kRows} * kMostEntries, kVector);
  return index;
}
const std::vector<int>& Start() {
  static const std::vector<int> start = RowStarts();
  return start;
}

#define AT_LEVELS(NAME, KERNEL, AT_O0, AT_O2, AT_O3, INDEX, START)                                    \
  TEST(Windows, NAME##O0) { Check(&windows_##KERNEL##_O0, Becomes::AT_O0, INDEX, START); }            \
  TEST(Windows, NAME##O2) { Check(&windows_##KERNEL##_O2, Becomes::AT_O2, INDEX, START); }            \
  TEST(Windows, NAME##O3) { Check(&windows_##KERNEL##_O3, Becomes::AT_O3, INDEX, START); }

AT_LEVELS(Gather, gather, kAccelerated, kAccelerated, kAccelerated, Index(), Start())
AT_LEVELS(Rows, rows, kAccelerated, kAccelerated, kAccelerated, Index(), Start())
AT_LEVELS(RowsInOrder, rows_in_order, kAccelerated, kAccelerated, kAccelerated, Index(), Start())
AT_LEVELS(Ragged, ragged, kAccelerated, kAccelerated, kAccelerated, Index(), Start())
AT_LEVELS(Twice, twice, kAccelerated, kAccelerated, kAccelerated, Index(), Start())
AT_LEVELS(Sometimes, sometimes, kAccelerated, kAccelerated, kAccelerated, Index(), Start())
AT_LEVELS(Until, until, kAccelerated, kAccelerated, kAccelerated, Index(), Start())
// Unoptimised, one instruction reads `start` and `index`: it has two bases.
AT_LEVELS(Chain, chain, kLeftAlone, kAccelerated, kAccelerated, Descending(kRows), Descending(kRows))
AT_LEVELS(InPlace, in_place, kAny, kAny, kAny, Index(), Start())
AT_LEVELS(Bytes, bytes, kAccelerated, kAccelerated, kAccelerated, Index(), Start())
AT_LEVELS(Points, points, kAccelerated, kAccelerated, kAccelerated, Index(), Start())
AT_LEVELS(Nearest, nearest, kAccelerated, kAccelerated, kAccelerated, Index(), Start())

// Memory of its own with nothing on either side; a part of it can be taken away.
class Island {
 public:
  explicit Island(size_t bytes) : bytes_((bytes + kPage - 1) / kPage * kPage) {
    void* all = mmap(nullptr, bytes_ + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    begin_ = static_cast<char*>(all) + kPage;
    EXPECT_EQ(mprotect(begin_, bytes_, PROT_READ | PROT_WRITE), 0);
  }
  ~Island() { munmap(begin_ - kPage, bytes_ + 2 * kPage); }
  Island(const Island&) = delete;
  Island& operator=(const Island&) = delete;

  template <typename T>
  T* at(size_t index = 0) const {
    return reinterpret_cast<T*>(begin_) + index;
  }
  size_t bytes() const { return bytes_; }
  void TakeAway(size_t from, size_t bytes) const { EXPECT_EQ(mprotect(begin_ + from, bytes, PROT_NONE), 0); }

 private:
  size_t bytes_;
  char* begin_;
};

struct Run {
  std::vector<double> results;
  uint64_t fault = 0;  // where it ended, 0: at its end
};

sigjmp_buf g_after_fault;
uint64_t g_fault = 0;

// `kernel` on fresh results at `out`, up to where it faults.
Run RunOnce(Kernel kernel, double* out, const std::vector<double>& before, const double* in, const std::vector<int>& index,
            const std::vector<int>& start, int n) {
  struct sigaction action{}, old{};
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    g_fault = reinterpret_cast<uint64_t>(info->si_addr);
    siglongjmp(g_after_fault, 1);
  };
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &old);
  std::copy(before.begin(), before.end(), out);
  g_fault = 0;
  if (sigsetjmp(g_after_fault, 1) == 0) kernel(out, in, index.data(), start.data(), n);
  sigaction(SIGSEGV, &old, nullptr);
  return {std::vector<double>(out, out + before.size()), g_fault};
}

struct Place {
  Kernel kernel;
  double* out;
  std::vector<double> before;
  const double* in;
  std::vector<int> index, start;
  int n = kRows;
};

// Takes the loop over for harmless indices, then runs it with those of `place`, natively and taken over.
void ExpectSameRuns(const Place& place, const std::vector<int>& harmless, Becomes becomes, uint64_t* strayed = nullptr) {
  const auto run = [&](const std::vector<int>& index) {
    return RunOnce(place.kernel, place.out, place.before, place.in, index, place.start, place.n);
  };
  const Run native = run(place.index);
  const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(place.kernel), [&] { run(harmless); });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const Run again = run(place.index);
    EXPECT_EQ(again.fault, native.fault) << Explain(taken);
    EXPECT_EQ(std::memcmp(again.results.data(), native.results.data(), native.results.size() * 8), 0) << Explain(taken);
  }
  EXPECT_EQ(taken.region->mismatches.load(), 0u);
  if (becomes != Becomes::kAny) {
    EXPECT_EQ(taken.region->executions.load() > 0, becomes == Becomes::kAccelerated) << Explain(taken);
  }
  if (strayed != nullptr) *strayed = taken.Declines(jit::RejectionReason::kIndirectAddress);
  EXPECT_TRUE(PutBack(taken));
}

std::vector<double> Copy(const double* from, size_t count) { return {from, from + count}; }

void Fill(const Island& island) {
  const std::vector<double> data = RandomDoubles(island.bytes() / 8);
  std::copy(data.begin(), data.end(), island.at<double>());
}

TEST(Windows, ReachFromTheFirstByteOfTheMappingToTheLast) {
  const Island in(64 * kPage), out(kRows * 8);
  Fill(in);
  const auto elements = static_cast<int>(in.bytes() / 8);
  std::vector<int> index = RandomIndices(kRows, elements);
  for (size_t i = 0; i < index.size(); i += 3) index[i] = i % 2 == 0 ? 0 : elements - 1;
  uint64_t strayed = 0;
  ExpectSameRuns({&windows_gather_O2, out.at<double>(), Copy(out.at<double>(), kRows), in.at<double>(), index, Start()}, Index(),
                 Becomes::kAccelerated, &strayed);
  EXPECT_EQ(strayed, 0u);
}

TEST(Windows, BaseInTheMiddleIsReadInBothDirections) {
  const Island in(64 * kPage), out(kRows * 8);
  Fill(in);
  const auto half = static_cast<int>(in.bytes() / 16);
  std::vector<int> index = RandomIndices(kRows, 2 * half);
  for (int& i : index) i -= half;
  uint64_t strayed = 0;
  ExpectSameRuns({&windows_gather_O2, out.at<double>(), Copy(out.at<double>(), kRows), in.at<double>(static_cast<size_t>(half)), index, Start()},
                 Index(), Becomes::kAccelerated, &strayed);
  EXPECT_EQ(strayed, 0u);
}

// One element behind the mapping, one before it, far away, and the last that lies in it by half.
TEST(Windows, ReadsThatTheProgramMustNotMakeFaultInTheProgram) {
  for (const int64_t wrong : {int64_t{64 * kPage / 8}, int64_t{-1}, int64_t{1} << 30, int64_t{-(1 << 30)}}) {
    for (const size_t where : {size_t{0}, size_t{17}, size_t{kRows} / 2, size_t{kRows} - 2}) {
      const Island in(64 * kPage), out(kRows * 8);
      Fill(in);
      std::vector<int> index = RandomIndices(kRows, static_cast<int>(in.bytes() / 8));
      index[where] = static_cast<int>(wrong);
      ExpectSameRuns({&windows_gather_O2, out.at<double>(), Copy(out.at<double>(), kRows), in.at<double>(), index, Start()}, Index(), Becomes::kAny);
    }
  }
}

TEST(Windows, ElementsThatLieInTheMappingByHalfFaultInTheProgram) {
  const Island in(64 * kPage), out(kRows * 8);
  Fill(in);
  const auto* shifted = reinterpret_cast<const double*>(in.at<char>(4));
  std::vector<int> index = RandomIndices(kRows, static_cast<int>(in.bytes() / 8) - 1);
  index[kRows / 2] = static_cast<int>(in.bytes() / 8) - 1;
  ExpectSameRuns({&windows_gather_O2, out.at<double>(), Copy(out.at<double>(), kRows), shifted, index, Start()}, Index(), Becomes::kAny);
}

// What a strayed read brings instead, the window's first element, would make a pass store.
TEST(Windows, NothingIsLeftOfWhatAStrayedReadMadeItWrite) {
  const Island in(64 * kPage), out(kRows * 8);
  for (size_t i = 0; i < in.bytes() / 8; ++i) *in.at<double>(i) = i == 0 ? 1 : -1;
  in.TakeAway(16 * kPage, 16 * kPage);
  std::vector<int> index(kRows, 5);
  for (size_t i = 0; i < index.size(); i += 1000) index[i] = static_cast<int>(40 * kPage / 8);
  for (const Kernel kernel : {&windows_sometimes_O2, &windows_sometimes_O3}) {
    uint64_t strayed = 0;
    ExpectSameRuns({kernel, out.at<double>(), std::vector<double>(kRows, 3), in.at<double>(), index, Start()}, std::vector<int>(kRows, 5),
                   Becomes::kAny, &strayed);
    EXPECT_GT(strayed, 0u);
  }
}

// The chain at the window's begin never ends.
TEST(Windows, LoopsEndThatGoAstray) {
  const Island next(64 * kPage), out(kRows * 8);
  std::vector<int> start(kRows, 100);
  *next.at<int>(0) = 1;
  *next.at<int>(1) = 1;
  *next.at<int>(100) = 0;
  const auto far = static_cast<size_t>(40 * kPage / 4);
  *next.at<int>(far) = 0;
  next.TakeAway(16 * kPage, 16 * kPage);
  for (const Kernel kernel : {&windows_chain_O2, &windows_chain_O3}) {
    std::vector<double> native(kRows), traced(kRows);
    std::vector<int> harmful = start;
    for (size_t i = 0; i < harmful.size(); i += 100) harmful[i] = static_cast<int>(far);
    kernel(native.data(), nullptr, next.at<int>(), harmful.data(), kRows);
    const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] {
      kernel(traced.data(), nullptr, next.at<int>(), start.data(), kRows);
    });
    ASSERT_NE(taken.region, nullptr) << taken.why;
    for (int repeat = 0; repeat < 3; ++repeat) kernel(traced.data(), nullptr, next.at<int>(), harmful.data(), kRows);
    EXPECT_EQ(native, traced) << Explain(taken);
    EXPECT_GT(taken.Declines(jit::RejectionReason::kIndirectAddress), 0u) << Explain(taken);
    EXPECT_TRUE(PutBack(taken));
  }
}

// Results beside what is read, in one mapping: in front of it, behind it, between two parts of which only one is read.
TEST(Windows, EndWhereResultsBegin) {
  const Island memory((kVector + 4 * kRows) * 8);
  Fill(memory);
  const auto same = [&](size_t out, size_t in, const std::vector<int>& index, Becomes becomes) {
    ExpectSameRuns({&windows_gather_O2, memory.at<double>(out), Copy(memory.at<double>(out), kRows), memory.at<double>(in), index, Start()},
                   Index(), becomes);
  };
  same(0, kRows, Index(), Becomes::kAccelerated);
  same(kVector, 0, Index(), Becomes::kAccelerated);
  std::vector<int> behind = Index();
  behind.resize(kRows);
  for (size_t i = 0; i < behind.size(); i += 5000) behind[i] = kVector + kRows + 7;  // the results lie between it and the base
  same(kVector, 0, behind, Becomes::kAny);
}

// Each result is read again, by later passes and by earlier ones.
TEST(Windows, ReadsOfResultsStayInOrder) {
  const Island memory((kVector + 2 * kRows) * 8);
  Fill(memory);
  for (const size_t in : {size_t{0}, size_t{100}, size_t{kVector - 1}}) {
    for (const Kernel kernel : {&windows_gather_O0, &windows_gather_O2, &windows_gather_O3}) {
      ExpectSameRuns({kernel, memory.at<double>(in), Copy(memory.at<double>(in), kRows), memory.at<double>(), RandomIndices(kRows, kRows), Start()},
                     Index(), Becomes::kAny);
    }
  }
}

TEST(Windows, BaseThatIsWrittenLeavesTheLoopAlone) {
  const Island memory(2 * kRows * 8);
  Fill(memory);
  ExpectSameRuns({&windows_gather_O2, memory.at<double>(), Copy(memory.at<double>(), kRows), memory.at<double>(10), Index(), Start()}, Index(),
                 Becomes::kAny);
}

}  // namespace
}  // namespace tracelift::offload
