#include "partitioner/cost/makespan.h"

#include <gtest/gtest.h>

namespace tracelift::partitioner {
namespace {

ExecutionGraph Graph(const std::string& lines) {
  auto graph = ParseGraph("graph v1\n" + lines);
  EXPECT_TRUE(graph) << graph.error();
  return graph ? *graph : ExecutionGraph();
}

/// home and cpu share two cores; the GPU has its own memory.
ResourceSet Machine() {
  auto resources = ParseResources(
      "resources v1\n"
      "resource home kind=home shares=cpu\n"
      "resource cpu kind=cpu units=2 speed=2\n"
      "resource gpu kind=gpu speed=10\n"
      "resource w1 kind=worker units=2 speed=1\n"
      "link home cpu latency_ns=10 bytes_per_s=1000000000\n"
      "link home gpu latency_ns=1000 bytes_per_s=1000000000\n"
      "link cpu gpu latency_ns=1000 bytes_per_s=1000000000\n"
      "link home w1 latency_ns=5000 bytes_per_s=1000000000\n");
  EXPECT_TRUE(resources) << resources.error();
  return *resources;
}

/// "cpu home": node 0 on cpu, node 1 at home.
Plan Places(std::initializer_list<const char*> places) {
  Plan plan;
  plan.strategy = "test";
  for (const char* place : places) {
    uint32_t index = static_cast<uint32_t>(plan.placements.size());
    plan.placements.push_back({NodeId{index}, place, index, false, ""});
  }
  return plan;
}

double Makespan(const std::string& graph, std::initializer_list<const char*> places) {
  auto estimate = EstimateMakespan(Graph(graph), Machine(), Places(places));
  EXPECT_TRUE(estimate) << estimate.error();
  return estimate ? estimate->makespan_ns : -1;
}

std::string ErrorOf(const std::string& graph, std::initializer_list<const char*> places) {
  auto estimate = EstimateMakespan(Graph(graph), Machine(), Places(places));
  return estimate ? "no error" : estimate.error();
}

TEST(Makespan, OfAnEmptyGraphIsZero) { EXPECT_EQ(Makespan("", {}), 0); }

TEST(Makespan, AddsUpAChainAtHome) {
  EXPECT_EQ(Makespan("node 0 a executions=3 time.home=100\nnode 1 b time.home=50\nedge 0 1 bytes=1000000\n",
                     {"home", "home"}),
            350);
}

TEST(Makespan, AddsLatencyAndBytesForEachExecutionBetweenPlaces) {
  // a: 100; transfer 2 * (10 + 500); b: 2 * 40.
  EXPECT_EQ(
      Makespan("node 0 a time.home=100\nnode 1 b executions=2 time.cpu=40\nedge 0 1 bytes=500\n", {"home", "cpu"}),
      100 + 2 * 510 + 80);
}

TEST(Makespan, RunsIndependentNodesOnDifferentPlacesAtOnce) {
  EXPECT_EQ(Makespan("node 0 a time.cpu=100\nnode 1 b time.gpu=70\n", {"cpu", "gpu"}), 100);
}

TEST(Makespan, DoesNotRunHomeAndCpuAtOnceBecauseTheyShareTheCores) {
  EXPECT_EQ(Makespan("node 0 a time.cpu=100\nnode 1 b time.home=70\n", {"cpu", "home"}), 170);
}

TEST(Makespan, FillsTheUnitsOfAWorker) {
  EXPECT_EQ(Makespan("node 0 a needs=1 time.w1=100\nnode 1 b needs=1 time.w1=100\nnode 2 c needs=1 time.w1=100\n",
                     {"w1", "w1", "w1"}),
            200);
  EXPECT_EQ(Makespan("node 0 a time.w1=100\nnode 1 b time.w1=100\n", {"w1", "w1"}), 200);
}

TEST(Makespan, BringsMemoryThatNoEdgeBringsFromHome) {
  // 1000 ns latency + (5000 - 2000) bytes at 1 byte/ns, then 10; the edge: 1000 + 2000 after a's 100.
  EXPECT_EQ(
      Makespan("node 0 a time.home=100\nnode 1 b memory=5000 time.gpu=10\nedge 0 1 bytes=2000\n", {"home", "gpu"}),
      100 + 3000 + 4000 + 10);
}

TEST(Makespan, AssumesTimesBySpeedWhereNothingWasMeasured) {
  ExecutionGraph graph = Graph("node 0 a time.home=100\nnode 1 b time.gpu=10\nnode 2 c\n");
  ResourceSet machine = Machine();
  NodeTime time = TimeOn(graph.nodes[0], *machine.Find("cpu"), machine);
  EXPECT_EQ(time.ns, 50);
  EXPECT_TRUE(time.assumed);
  time = TimeOn(graph.nodes[1], *machine.Find("home"), machine);
  EXPECT_EQ(time.ns, 100);
  EXPECT_TRUE(time.assumed);
  EXPECT_FALSE(TimeOn(graph.nodes[0], *machine.Home(), machine).assumed);
  EXPECT_EQ(TimeOn(graph.nodes[2], *machine.Home(), machine).ns, 0);
}

TEST(Makespan, FollowsTheOrderAmongReadyNodes) {
  ExecutionGraph graph = Graph("node 0 a time.home=100\nnode 1 b time.home=10\nnode 2 c time.gpu=100\nedge 1 2\n");
  Plan plan = Places({"home", "home", "gpu"});
  EXPECT_EQ(EstimateMakespan(graph, Machine(), plan)->makespan_ns, 110 + 1000 + 100);
  plan.placements[0].order = 7;
  EXPECT_EQ(EstimateMakespan(graph, Machine(), plan)->makespan_ns, 10 + 1000 + 100);
}

TEST(Makespan, NamesPlansThatDoNotFit) {
  EXPECT_EQ(ErrorOf("node 0 a\n", {}), "the plan places 0 nodes, the graph has 1");
  EXPECT_EQ(ErrorOf("node 0 a\n", {"mars"}), "node 0 is placed on mars, which is not among the resources");
  EXPECT_EQ(ErrorOf("node 0 a pin=home\n", {"cpu"}), "node 0 is placed on cpu, but pinned to home");
  EXPECT_EQ(ErrorOf("node 0 a\nnode 1 b\nedge 0 1\n", {"gpu", "w1"}),
            "node 1 b on w1: its data cannot get there (no link), or a time overflows");
}

}  // namespace
}  // namespace tracelift::partitioner
