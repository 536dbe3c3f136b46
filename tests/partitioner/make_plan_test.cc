#include "partitioner/make_plan.h"

#include <gtest/gtest.h>

#include <cmath>

#include "partitioner/cost/makespan.h"
#include "tests/partitioner/random_graph.h"

namespace tracelift::partitioner {
namespace {

constexpr char kDesktop[] =
    "resources v1\n"
    "resource cpu kind=cpu units=2 speed=1.9\n"
    "resource home kind=home shares=cpu\n"
    "link home cpu latency_ns=0 bytes_per_s=1000000000000\n";

Plan PlanFor(const std::string& nodes, const std::string& more_resources = "") {
  auto graph = ParseGraph("graph v1\n" + nodes);
  EXPECT_TRUE(graph) << graph.error();
  auto resources = ParseResources(kDesktop + more_resources);
  EXPECT_TRUE(resources) << resources.error();
  return MakePlan(*graph, *resources, {});
}

/// "cpu home cpu"
std::string Places(const Plan& plan) {
  std::string text;
  for (const Placement& placement : plan.placements) text += (text.empty() ? "" : " ") + placement.resource;
  return text;
}

TEST(MakePlan, MovesARegionThatIsMeasuredFasterOnAllCores) {
  Plan plan = PlanFor("node 0 matmul executions=1 time.home=20100000 time.cpu=12300000\n");
  EXPECT_EQ(Places(plan), "cpu");
  EXPECT_EQ(plan.reason, "metis: 12.3 ms against 20.1 ms at home");
  EXPECT_EQ(plan.placements[0].reason, "12.3 ms against 20.1 ms at home");
  EXPECT_FALSE(plan.placements[0].assumed);
}

TEST(MakePlan, KeepsARegionAtHomeThatIsMeasuredSlowerElsewhere) {
  Plan plan = PlanFor("node 0 triad executions=9 time.home=1000 time.cpu=1500\n");
  EXPECT_EQ(Places(plan), "home");
  EXPECT_EQ(plan.strategy, "home");
  EXPECT_EQ(plan.placements[0].reason, "1 us against 1.5 us on cpu");
}

TEST(MakePlan, TriesARegionThatWasNeverMeasuredElsewhereAndSaysSo) {
  Plan plan = PlanFor("node 0 a executions=1 time.home=1900\n");
  EXPECT_EQ(Places(plan), "cpu");
  EXPECT_TRUE(plan.placements[0].assumed);
  EXPECT_EQ(plan.placements[0].reason, "1 us (assumed) against 1.9 us at home");
}

TEST(MakePlan, KeepsAPinnedRegionAtHomeWhateverTheTimes) {
  Plan plan = PlanFor(
      "node 0 rejected executions=1 time.home=1000 time.cpu=1 pin=home\n"
      "node 1 fast executions=1 time.home=1000 time.cpu=400\n");
  EXPECT_EQ(Places(plan), "home cpu");
  EXPECT_TRUE(plan.placements[0].reason.starts_with("pinned, 1 us")) << plan.placements[0].reason;
}

TEST(MakePlan, StaysAtHomeForAGainTooSmallToTrust) {
  EXPECT_EQ(Places(PlanFor("node 0 a time.home=1000 time.cpu=990\n")), "home");
  EXPECT_EQ(Places(PlanFor("node 0 a time.home=1000 time.cpu=900\n")), "cpu");
}

TEST(MakePlan, LeavesANodeAtHomeWhoseTransferCostsMoreThanItGains) {
  const std::string gpu =
      "resource gpu kind=gpu speed=20\nlink home gpu latency_ns=10000 bytes_per_s=10000000000\n"
      "link cpu gpu latency_ns=10000 bytes_per_s=10000000000\n";
  EXPECT_EQ(Places(PlanFor("node 0 small memory=100000000 time.home=1000000 time.cpu=600000 time.gpu=50000\n", gpu)),
            "cpu");
  EXPECT_EQ(Places(PlanFor("node 0 large memory=1000000 time.home=10000000 time.cpu=6000000 time.gpu=50000\n", gpu)),
            "gpu");
}

TEST(MakePlan, PlacesNodesOfALongPipelineByMetisAffinity) {
  std::string nodes;
  for (int i = 0; i < 30; ++i) {
    nodes += "node " + std::to_string(i) + " n" + std::to_string(i) + " time.home=1000000 time.cpu=550000\n";
  }
  for (int i = 1; i < 30; ++i) nodes += "edge " + std::to_string(i - 1) + " " + std::to_string(i) + " bytes=100\n";
  Plan plan = PlanFor(nodes);
  EXPECT_EQ(plan.strategy, "metis");
  EXPECT_EQ(plan.reason, "metis: 16.5 ms against 30 ms at home");
}

TEST(MakePlan, PlansAnEmptyGraph) {
  Plan plan = PlanFor("");
  EXPECT_TRUE(plan.placements.empty());
  EXPECT_EQ(plan.strategy, "home");
}

TEST(MakePlan, PutsEverythingAtHomeWhenItsInputIsWrongAndSaysWhy) {
  ExecutionGraph graph;
  Node node;
  node.name = "a";
  node.time_ns["home"] = std::nan("");
  graph.Add(node);
  Plan plan = MakePlan(graph, *ParseResources(kDesktop), {});
  EXPECT_EQ(Places(plan), "home");
  EXPECT_EQ(plan.reason,
            "home: the graph is not valid: node 0 a: a time of nan ns on home; times are finite and not negative");

  graph.nodes[0].time_ns.clear();
  EXPECT_EQ(MakePlan(graph, {}, {}).reason,
            "home: the resources are not valid: there are 0 resources of kind home, expected 1");
  graph.nodes[0].pin = "mars";
  EXPECT_EQ(MakePlan(graph, *ParseResources(kDesktop), {}).reason, "home: node a is pinned to mars, which is not here");
}

TEST(MakePlan, WorksWithHomeAlone) {
  auto graph = ParseGraph("graph v1\nnode 0 a time.home=5\n");
  Plan plan = MakePlan(*graph, *ParseResources("resources v1\nresource home kind=home\n"), {});
  EXPECT_EQ(Places(plan), "home");
  EXPECT_EQ(plan.placements[0].reason, "5 ns, there is no other place");
}

TEST(MakePlan, ExplainsItselfWithTheNodesNames) {
  auto graph = ParseGraph("graph v1\nnode 0 matmul+0x40 time.home=20100000 time.cpu=12300000\n");
  Plan plan = MakePlan(*graph, *ParseResources(kDesktop), {});
  EXPECT_EQ(Explain(plan, *graph),
            "metis: 12.3 ms against 20.1 ms at home\nmatmul+0x40 -> cpu: 12.3 ms against 20.1 ms at home\n");
}

TEST(MakePlan, KeepsItsPromisesOnTenThousandRandomGraphs) {
  Random random(99);
  int moved = 0;
  for (int i = 0; i < 10000; ++i) {
    ExecutionGraph graph = RandomGraph(random, i % 200 == 0 ? 300 : 16);
    ResourceSet resources = RandomResources(random);
    Plan plan = MakePlan(graph, resources, {});
    auto valid = Verify(plan);
    ASSERT_TRUE(valid) << valid.error();
    ASSERT_EQ(plan.placements.size(), graph.nodes.size());
    for (const Node& node : graph.nodes) {
      std::string place(plan.ResourceOf(node.id));
      ASSERT_NE(resources.Find(place), nullptr);
      if (!node.pin.empty()) {
        ASSERT_EQ(place, node.pin);
      }
      ASSERT_EQ(plan.placements[Index(node.id)].assumed, !node.time_ns.contains(place));
    }
    auto text = ParsePlan(Print(plan));
    ASSERT_TRUE(text) << text.error();
    ASSERT_EQ(Print(*text), Print(plan));
    auto estimate = EstimateMakespan(graph, resources, plan);
    if (!estimate) continue;  // even home is impossible: times that overflow
    ASSERT_EQ(estimate->makespan_ns, plan.makespan_ns);
    for (const Edge& edge : graph.edges) {
      ASSERT_LE(estimate->finish_ns[Index(edge.from)], estimate->start_ns[Index(edge.to)]);
    }
    Plan home = plan;
    for (Placement& placement : home.placements) placement.resource = "home";
    auto at_home = EstimateMakespan(graph, resources, home);
    if (at_home) {
      ASSERT_LE(plan.makespan_ns, at_home->makespan_ns * (1 + 1e-9));
    }
    moved += plan.strategy != "home";
  }
  EXPECT_GT(moved, 2000);
}

}  // namespace
}  // namespace tracelift::partitioner
