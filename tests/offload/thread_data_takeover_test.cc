// Loops over data of the thread, through the whole chain: passes run on threads that have such data of their own, and must
// find those of the thread whose loop it is.

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/offload/same_results.h"

using Kernel = void(double*, const double*, size_t);
#define KERNELS(LEVEL)                                    \
  void thread_prepare_##LEVEL(double);                    \
  void thread_results_##LEVEL(double*, size_t);           \
  Kernel thread_scalars_##LEVEL, thread_table_##LEVEL, thread_structure_##LEVEL, thread_writes_##LEVEL, \
      thread_updates_##LEVEL, thread_counts_##LEVEL, thread_callee_##LEVEL, thread_address_##LEVEL,    \
      thread_reads_error_##LEVEL, thread_sets_error_##LEVEL;
extern "C" {
KERNELS(program_O0)
KERNELS(program_O2)
KERNELS(library_O0)
KERNELS(library_O2)
}

namespace tracelift::offload {
namespace {

constexpr size_t kMany = 300'000;

struct Program {
  const char* name;
  Kernel* kernel;
  void (*prepare)(double);
  void (*results)(double*, size_t);
  bool accelerated = true;  // else nothing is asked but the results
};

void PrintTo(const Program& program, std::ostream* out) { *out << program.name; }

std::vector<double> Input() {
  std::mt19937_64 random(11);
  std::vector<double> values(kMany);
  for (double& value : values) value = std::uniform_real_distribution<double>(-8.9, 9)(random);
  return values;
}

/// All that one run leaves, on the calling thread.
std::vector<double> RunKernel(const Program& program, const std::vector<double>& in, double seed) {
  std::vector<double> left(2 * kMany + 2);
  program.prepare(seed);
  errno = static_cast<int>(seed);
  program.kernel(left.data(), in.data(), kMany);
  left[2 * kMany + 1] = errno;
  program.results(left.data() + kMany, kMany);
  return left;
}

bool Same(const std::vector<double>& a, const std::vector<double>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

class ThreadData : public testing::TestWithParam<Program> {};

#define AT(KERNEL, LEVEL) \
  Program{#KERNEL "_" #LEVEL, thread_##KERNEL##_##LEVEL, thread_prepare_##LEVEL, thread_results_##LEVEL}
// Unoptimised code counts through a pointer that it makes anew in each pass; the C library's table of distances lies too far
// from a program for a native clone.
#define AS_IT_IS(KERNEL, LEVEL) \
  Program{#KERNEL "_" #LEVEL, thread_##KERNEL##_##LEVEL, thread_prepare_##LEVEL, thread_results_##LEVEL, false}
#define EVERYWHERE(KERNEL) \
  AT(KERNEL, program_O0), AT(KERNEL, program_O2), AT(KERNEL, library_O0), AT(KERNEL, library_O2)
INSTANTIATE_TEST_SUITE_P(Kernels, ThreadData,
                         testing::Values(EVERYWHERE(scalars), EVERYWHERE(table), EVERYWHERE(structure),
                                         EVERYWHERE(writes), EVERYWHERE(updates), EVERYWHERE(callee),
                                         EVERYWHERE(address), EVERYWHERE(sets_error),
                                         AT(counts, program_O2), AT(counts, library_O2),
                                         AS_IT_IS(counts, program_O0), AS_IT_IS(counts, library_O0),
                                         AS_IT_IS(reads_error, program_O0), AT(reads_error, program_O2),
                                         AT(reads_error, library_O0), AT(reads_error, library_O2)),
                         [](const auto& one) { return std::string(one.param.name); });

// One variant, entered by three threads one after the other and by two at once. Each has its own numbers.
TEST_P(ThreadData, IsThatOfTheThreadThatEnters) {
  const Program& program = GetParam();
  const std::vector<double> in = Input();
  const std::vector<double> native[] = {RunKernel(program, in, 5), RunKernel(program, in, 6), RunKernel(program, in, 7)};
  TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(program.kernel), [&] { RunKernel(program, in, 5); });
  if (taken.region == nullptr) {
    ASSERT_FALSE(program.accelerated) << taken.why;
    return;
  }
  const auto on_a_thread = [&](int which, int times) {
    return std::thread([&, which, times] {
      taken.Forgive();
      for (int i = 0; i < times; ++i) EXPECT_TRUE(Same(RunKernel(program, in, 5 + which), native[which])) << Explain(taken);
    });
  };
  EXPECT_TRUE(Same(RunKernel(program, in, 5), native[0])) << Explain(taken);
  for (const int which : {1, 2, 0}) {
    const uint64_t before = taken.region->executions.load();
    on_a_thread(which, 3).join();
    if (taken.region->executions.load() > before || !program.accelerated) continue;
    // Compiled for other values: again for those of this thread.
    std::thread([&] { EXPECT_TRUE(TakeOverAgain(taken, [&] { RunKernel(program, in, 5 + which); })) << taken.why; }).join();
    on_a_thread(which, 3).join();
    EXPECT_GT(taken.region->executions.load(), before) << Explain(taken);
  }
  std::thread first = on_a_thread(1, 10), second = on_a_thread(2, 10);
  first.join();
  second.join();
  if (program.accelerated) {
    EXPECT_GT(taken.region->verified.load(), 0u) << Explain(taken);
  }
  EXPECT_EQ(taken.region->mismatches.load(), 0u) << Explain(taken);
  ASSERT_TRUE(PutBack(taken));
}

TEST(ThreadDataOfCallees, SetOnAnErrorPathIsSetByTheOriginal) {
  std::vector<double> in = Input();
  in[kMany / 2] = -8.99999;
  for (const Program& program : {AT(sets_error, program_O2), AT(sets_error, library_O2)}) {
    const std::vector<double> native = RunKernel(program, in, 5);
    ASSERT_EQ(native.back(), EDOM);
    TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(program.kernel), [&] { RunKernel(program, in, 5); });
    ASSERT_NE(taken.region, nullptr) << taken.why;
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(Same(RunKernel(program, in, 5), native)) << Explain(taken);
    EXPECT_GT(taken.region->executions.load(), 0u) << Explain(taken);
    ASSERT_TRUE(PutBack(taken));
  }
}

}  // namespace
}  // namespace tracelift::offload
