#include "partitioner/metis/metis_partition.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <numeric>
#include <thread>

#include "partitioner/metis/metis_call.h"
#include "tests/partitioner/random_graph.h"

// From <metis.h>, which only partitioner/metis/ may include.
extern "C" int METIS_PartGraphRecursive(int32_t*, int32_t*, int32_t*, int32_t*, int32_t*, int32_t*, int32_t*, int32_t*,
                                        float*, float*, int32_t*, int32_t*, int32_t*);

namespace tracelift::partitioner {
namespace {

using Edges = std::vector<AffinityGraph::Edge>;

std::vector<uint32_t> Parts(const AffinityGraph& graph, const std::vector<double>& shares) {
  auto parts = PartitionGraph(graph, shares);
  EXPECT_TRUE(parts) << parts.error();
  return parts ? *parts : std::vector<uint32_t>();
}

std::string ErrorOf(const AffinityGraph& graph, const std::vector<double>& shares) {
  auto parts = PartitionGraph(graph, shares);
  return parts ? "no error" : parts.error();
}

double Cut(const AffinityGraph& graph, const std::vector<uint32_t>& part) {
  double cut = 0;
  for (const auto& edge : graph.edges) cut += part[edge.a] != part[edge.b] ? edge.weight : 0;
  return cut;
}

/// Two cliques of `size`, joined by one light edge.
AffinityGraph TwoCliques(uint32_t size) {
  AffinityGraph graph;
  graph.vertex_weight.assign(2 * size, 1);
  for (uint32_t a = 0; a < 2 * size; ++a) {
    for (uint32_t b = 0; b < a; ++b) {
      if ((a < size) == (b < size)) graph.edges.push_back({a, b, 100});
    }
  }
  graph.edges.push_back({0, size, 1});
  return graph;
}

TEST(MetisPartition, CutsTwoCliquesApart) {
  for (uint32_t size : {3u, 8u, 40u}) {
    AffinityGraph graph = TwoCliques(size);
    EXPECT_EQ(Cut(graph, Parts(graph, {1, 1})), 1) << size;
  }
}

TEST(MetisPartition, GivesEachPartItsShare) {
  AffinityGraph ring;
  ring.vertex_weight.assign(400, 2.5);
  for (uint32_t i = 0; i < 400; ++i) ring.edges.push_back({i, (i + 1) % 400, 1});
  std::vector<uint32_t> part = Parts(ring, {3, 1});
  EXPECT_NEAR(static_cast<double>(std::ranges::count(part, 0u)), 300, 12);
}

TEST(MetisPartition, TakesTheCasesThatCrashMetis) {
  EXPECT_TRUE(Parts({}, {1, 1}).empty());
  EXPECT_TRUE(Parts({}, {1}).empty());
  EXPECT_EQ(Parts({{5}, {}}, {1, 1, 1}).size(), 1u);
  EXPECT_EQ(Parts(TwoCliques(4), {1}), std::vector<uint32_t>(8, 0));
  EXPECT_EQ(Parts({{1, 2}, {{0, 1, 3}}}, {1, 1, 1, 1}).size(), 2u);
  EXPECT_EQ(Parts({{1, 2, 3}, {}}, {1, 1}).size(), 3u);
  EXPECT_EQ(Parts({{0, 0, 0, 0}, {{0, 1, 0}, {2, 3, 0}}}, {1, 1}).size(), 4u);
  EXPECT_EQ(
      Parts({{1e300, 1e-300, 0, 1e308, 1e308}, {{0, 1, 1e308}, {1, 2, 1e308}, {1, 2, 1e308}, {3, 4, 5e-324}}}, {1, 1})
          .size(),
      5u);
  EXPECT_EQ(Parts(TwoCliques(10), {1e300, 1e-300, 5e-324}).size(), 20u);
  EXPECT_EQ(Parts({{1, 1, 1, 1}, {{0, 0, 5}, {1, 1, 5}}}, {1, 1}).size(), 4u);  // loops only
}

TEST(MetisPartition, SpreadsVerticesWithoutEdgesByWeight) {
  std::vector<uint32_t> part = Parts({{10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {}}, {1, 1});
  EXPECT_EQ(std::ranges::count(part, part[0]), 1);
}

TEST(MetisPartition, NamesBadInput) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(ErrorOf({{1}, {}}, {}), "a graph cannot be split into 0 parts");
  EXPECT_EQ(ErrorOf({{1, -1}, {}}, {1}), "vertex 1 has weight -1");
  EXPECT_EQ(ErrorOf({{std::nan(""), 1}, {}}, {1}), "vertex 0 has weight nan");
  EXPECT_EQ(ErrorOf({{1, 1}, {{0, 2, 1}}}, {1}), "edge 0 2: there are 2 vertices");
  EXPECT_EQ(ErrorOf({{1, 1}, {{0, 1, kInfinity}}}, {1}), "edge 0 1 has weight inf");
  EXPECT_EQ(ErrorOf({{1}, {}}, {1, 0}), "part 1 has share 0");
}

TEST(MetisPartition, AnswersTenThousandRandomGraphsTheSameTwice) {
  Random random(5);
  for (int i = 0; i < 10000; ++i) {
    AffinityGraph graph;
    size_t count = Below(random, i % 100 == 0 ? 400 : 24);
    for (size_t v = 0; v < count; ++v) graph.vertex_weight.push_back(RandomAmount(random));
    for (size_t e = count == 0 ? 0 : Below(random, 3 * count); e > 0; --e) {
      graph.edges.push_back({static_cast<uint32_t>(Below(random, count)), static_cast<uint32_t>(Below(random, count)),
                             RandomAmount(random)});
    }
    std::vector<double> shares(1 + Below(random, 6));
    for (double& share : shares) share = 1e-12 + RandomAmount(random);
    testing::internal::CaptureStdout();
    auto parts = PartitionGraph(graph, shares);
    ASSERT_EQ(testing::internal::GetCapturedStdout(), "");
    ASSERT_TRUE(parts) << parts.error();
    ASSERT_EQ(parts->size(), count);
    for (uint32_t part : *parts) ASSERT_LT(part, shares.size());
    ASSERT_EQ(*PartitionGraph(graph, shares), *parts);
  }
}

// METIS reseeds rand(), replaces handlers and prints; a program that is planned for must see none of it.

TEST(MetisPartition, LeavesTheRandomNumbersOfTheProgramAlone) {
  AffinityGraph graph = TwoCliques(20);
  std::srand(7);
  std::vector<int> expected;
  for (int i = 0; i < 100; ++i) expected.push_back(std::rand());
  std::srand(7);
  for (int i = 0; i < 100; ++i) {
    Parts(graph, {1, 1, 1});
    ASSERT_EQ(std::rand(), expected[i]) << i;
  }
}

TEST(MetisPartition, LeavesTheRandomNumbersOfOtherThreadsAlone) {
  AffinityGraph graph = TwoCliques(20);
  std::srand(9);
  std::vector<int> expected;
  for (int i = 0; i < 200000; ++i) expected.push_back(std::rand());
  std::atomic<bool> stop = false;
  std::thread planner([&] {
    while (!stop) Parts(graph, {1, 2, 3});
  });
  std::srand(9);
  int wrong = 0;
  for (int value : expected) wrong += std::rand() != value;
  stop = true;
  planner.join();
  EXPECT_EQ(wrong, 0);
}

TEST(MetisPartition, LeavesSignalHandlersAndTheirFlagsAlone) {
  struct sigaction mine {
  }, old, after;
  mine.sa_sigaction = [](int, siginfo_t*, void*) {};
  mine.sa_flags = SA_SIGINFO | SA_RESTART;
  ASSERT_EQ(sigaction(SIGTERM, &mine, &old), 0);
  Parts(TwoCliques(20), {1, 1});
  ASSERT_EQ(sigaction(SIGTERM, &old, &after), 0);
  EXPECT_EQ(after.sa_sigaction, mine.sa_sigaction);
  EXPECT_EQ(after.sa_flags & (SA_SIGINFO | SA_RESTART | SA_RESETHAND), SA_SIGINFO | SA_RESTART);
}

TEST(MetisPartition, PassesOnWhatOthersDoWithTheSameMetis) {
  // Called past our wrapper, as a program that uses METIS itself would: rand() is its own again.
  int32_t vertices = 6, constraints = 1, parts = 2, cut = 0, part[6];
  int32_t row_begin[] = {0, 2, 4, 6, 8, 10, 12}, neighbours[] = {1, 5, 0, 2, 1, 3, 2, 4, 3, 5, 4, 0};
  Parts(TwoCliques(4), {1, 1});
  std::srand(7);
  int untouched = std::rand();
  std::srand(7);
  ASSERT_EQ(METIS_PartGraphRecursive(&vertices, &constraints, row_begin, neighbours, nullptr, nullptr, nullptr, &parts,
                                     nullptr, nullptr, nullptr, &cut, part),
            1);
  EXPECT_NE(std::rand(), untouched);
  EXPECT_EQ(cut, 2);
}

uint64_t AddressSpaceBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0;
  statm >> pages;
  return pages * 4096;
}

TEST(MetisPartition, SurvivesThatMetisRunsOutOfMemoryAndStaysSilent) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need more address space than this test leaves";
#endif
  constexpr int32_t kVertices = 1000000;
  MetisInput ring;
  ring.row_begin.push_back(0);
  for (int32_t i = 0; i < kVertices; ++i) {
    ring.neighbours.insert(ring.neighbours.end(), {(i + 1) % kVertices, (i + kVertices - 1) % kVertices});
    ring.row_begin.push_back(static_cast<int32_t>(ring.neighbours.size()));
  }
  ring.edge_weights.assign(ring.neighbours.size(), 1);
  ring.vertex_weights.assign(kVertices, 1);
  Parts(TwoCliques(4), {1, 1});  // so that one-time work is done
  auto run = [&] {
    malloc_trim(0);
    uint64_t bytes = AddressSpaceBytes() + kVertices * 4 + (1 << 20);
    rlimit limit{bytes, bytes};
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(3);
    auto side = BisectWithMetis(std::move(ring));
    _exit(side ? 1 : side.error() == "METIS gave up with status 0" ? 0 : 2);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0), "^$");
}

}  // namespace
}  // namespace tracelift::partitioner
