#include <gtest/gtest.h>

#include <limits>

#include "partitioner/graph/execution_graph.h"
#include "partitioner/graph/plan.h"
#include "partitioner/graph/resources.h"
#include "tests/partitioner/random_graph.h"

namespace tracelift::partitioner {
namespace {

template <typename T>
std::string ErrorOf(const std::expected<T, std::string>& result) {
  return result ? "no error" : result.error();
}

constexpr char kPipeline[] =
    "graph v1\n"
    "node 0 matmul+0x40 kind=region executions=12 memory=96000000 time.cpu=12300000 time.home=20100000\n"
    "node 1 \"check sum\" kind=function executions=12 memory=8000000 needs=1 time.home=900000.5 pin=home\n"
    "edge 0 1 bytes=8000000\n"
    "carried 1 0 bytes=8\n";

constexpr char kDesktop[] =
    "resources v1\n"
    "resource cpu kind=cpu units=2 speed=1.9 cost=1\n"
    "resource home kind=home units=1 speed=1 cost=1 shares=cpu\n"
    "link home cpu latency_ns=2000 bytes_per_s=20000000000\n";

TEST(ExecutionGraph, PrintsWhatItParsed) {
  auto graph = ParseGraph(kPipeline);
  ASSERT_TRUE(graph) << graph.error();
  EXPECT_EQ(Print(*graph), kPipeline);
  EXPECT_EQ(graph->nodes[1].name, "check sum");
  EXPECT_EQ(graph->nodes[1].kind, NodeKind::kFunction);
  EXPECT_EQ(graph->nodes[1].time_ns.at("home"), 900000.5);
  EXPECT_EQ(graph->edges[0], (Edge{NodeId{0}, NodeId{1}, 8000000}));
}

TEST(ExecutionGraph, TakesCommentsBlankLinesAndDefaults) {
  auto graph = ParseGraph("# a comment\n\n  graph v1  # another\r\n\tnode 0 a\n");
  ASSERT_TRUE(graph) << graph.error();
  ASSERT_EQ(graph->nodes.size(), 1u);
  EXPECT_EQ(graph->nodes[0].kind, NodeKind::kRegion);
  EXPECT_EQ(graph->nodes[0].executions, 0u);
}

struct BadText {
  const char* text;
  const char* error;
};

TEST(ExecutionGraph, NamesTheLineAndTheToken) {
  const BadText kCases[] = {
      {"", "line 1: expected \"graph v1\""},
      {"graph v2\n", "line 1: expected \"graph v1\""},
      {"graph v1\nnod 0 a\n", "line 2: nod: expected node, edge or carried"},
      {"graph v1\nx=1\n", "line 2: \"\": expected node, edge or carried"},
      {"graph v1\nnode 1 a\n", "line 2: 1: nodes count up from 0; expected 0"},
      {"graph v1\nnode zero a\n", "line 2: zero: expected a whole number"},
      {"graph v1\nnode 0\n", "line 2: 0: the line ends too early"},
      {"graph v1\nnode 0 a b\n", "line 2: b: the line should have ended before this token"},
      {"graph v1\nnode 0 a speed=3\n", "line 2: speed: this key is not known here"},
      {"graph v1\nnode 0 a kind=loop\n", "line 2: \"kind=loop\": expected region, function or task"},
      {"graph v1\nnode 0 a executions=-1\n", "line 2: \"executions=-1\": expected a whole number of at least 0"},
      {"graph v1\nnode 0 a executions=1 executions=2\n", "line 2: executions: this key is given twice"},
      {"graph v1\nnode 0 a time.home=fast\n", "line 2: \"time.home=fast\": expected a number"},
      {"graph v1\nnode 0 a time.home=1 time.home=2\n", "line 2: time.home: this key is given twice"},
      {"graph v1\nnode 0 a needs=4294967296\n",
       "line 2: \"needs=4294967296\": expected a whole number from 0 to 4294967295"},
      {"graph v1\nnode 0 \"a\n", "line 2: \"\\\"a\": the string does not end on its line"},
      {"graph v1\nnode 0 \"a\\q\"\n", "line 2: \"\\\\q\\\"\": unknown escape; known are \\\" \\\\ and \\xHH"},
      {"graph v1\nnode 0 a$\n", "line 2: \"a$\": expected a space after this token"},
      {"graph v1\nnode 0 \"a\"b\n", "line 2: \"\\\"a\\\"b\": expected a space after this token"},
  };
  for (const BadText& bad : kCases) EXPECT_EQ(ErrorOf(ParseGraph(bad.text)), bad.error) << bad.text;
}

TEST(ExecutionGraph, RefusesWhatIsNotAGraph) {
  const BadText kCases[] = {
      {"graph v1\nnode 0 \"\"\n", "node 0: it has no name"},
      {"graph v1\nnode 0 a time.home=-1\n", "node 0 a: a time of -1 ns on home; times are finite and not negative"},
      {"graph v1\nnode 0 a time.home=nan\n", "node 0 a: a time of nan ns on home; times are finite and not negative"},
      {"graph v1\nnode 0 a time.home=inf\n", "node 0 a: a time of inf ns on home; times are finite and not negative"},
      {"graph v1\nnode 0 a pin=\"no name\"\n", "node 0 a: pinned to \"no name\", which is no resource name"},
      {"graph v1\nnode 0 a\nedge 0 1\n", "edge 0 1: there is no node 1"},
      {"graph v1\nnode 0 a\ncarried 4 0\n", "carried 4 0: there is no node 4"},
      {"graph v1\nnode 0 a\nnode 1 b\nedge 0 1\nedge 0 1 bytes=2\n", "edge 0 1: given twice; add up the bytes"},
      {"graph v1\nnode 0 a\nnode 1 b\nedge 0 1\nedge 1 0\n",
       "the edges form a cycle; what returns in the next round is a carried edge"},
      {"graph v1\nnode 0 a\nedge 0 0\n", "the edges form a cycle; what returns in the next round is a carried edge"},
  };
  for (const BadText& bad : kCases) EXPECT_EQ(ErrorOf(ParseGraph(bad.text)), bad.error) << bad.text;
}

TEST(ExecutionGraph, TakesCyclesAsCarriedEdges) {
  EXPECT_TRUE(ParseGraph("graph v1\nnode 0 a\nnode 1 b\nedge 0 1\ncarried 1 0\ncarried 0 0\n"));
}

TEST(ResourceSet, PrintsWhatItParsed) {
  auto resources = ParseResources(kDesktop);
  ASSERT_TRUE(resources) << resources.error();
  EXPECT_EQ(Print(*resources), kDesktop);
  EXPECT_EQ(resources->Home()->name, "home");
  EXPECT_EQ(resources->TransferNs("cpu", "cpu", 1e9), 0);
  EXPECT_EQ(resources->TransferNs("cpu", "home", 20000), 3000);
  EXPECT_EQ(resources->TransferNs("cpu", "mars", 1), std::numeric_limits<double>::infinity());
}

TEST(ResourceSet, RefusesWhatCannotBe) {
  const std::string start = "resources v1\nresource home kind=home\n";
  const BadText kCases[] = {
      {"resource home kind=car\n", "line 3: \"kind=car\": expected home, cpu, gpu or worker"},
      {"resource other kind=home\n", "there are 2 resources of kind home, expected 1"},
      {"resource home\n", "resource home: this name is taken already"},
      {"resource \"a b\"\n", "resource \"a b\": its name must be a plain word"},
      {"resource cpu units=0\n", "resource cpu: its units must be 1 to 65536"},
      {"resource cpu units=65537\n", "resource cpu: its units must be 1 to 65536"},
      {"resource cpu speed=0\n", "resource cpu: its speed must be finite and positive"},
      {"resource cpu speed=nan\n", "resource cpu: its speed must be finite and positive"},
      {"resource cpu cost=-1\n", "resource cpu: its cost must be finite and not negative"},
      {"resource cpu shares=x\n", "resource cpu: it shares the units of an unknown resource"},
      {"resource cpu shares=cpu\n", "resource cpu: it shares the units of an unknown resource"},
      {"resource a shares=home\nresource b shares=a\n", "resource b: it shares with a resource that itself shares"},
      {"link home cpu bytes_per_s=1\n", "link home cpu: it joins an unknown resource"},
      {"link home home bytes_per_s=1\n", "link home home: it joins a resource with itself"},
      {"resource cpu\nlink home cpu\n", "link home cpu: its bytes_per_s must be finite and positive"},
      {"resource cpu\nlink home cpu bytes_per_s=1 latency_ns=-1\n",
       "link home cpu: its latency_ns must be finite and not negative"},
      {"resource cpu\nlink home cpu bytes_per_s=1\nlink cpu home bytes_per_s=1\n",
       "link cpu home: this pair has a link already"},
  };
  for (const BadText& bad : kCases) EXPECT_EQ(ErrorOf(ParseResources(start + bad.text)), bad.error) << bad.text;
  EXPECT_EQ(ErrorOf(ParseResources("resources v1\n")), "there are 0 resources of kind home, expected 1");
  EXPECT_EQ(ErrorOf(ParseResources("graph v1\n")), "line 1: expected \"resources v1\"");
}

TEST(Plan, PrintsWhatItParsed) {
  const char* text =
      "plan v1\n"
      "strategy metis makespan_ns=12300000 reason=\"metis: 12.3 ms against 20.1 ms at home\"\n"
      "place 0 cpu order=0 assumed=no reason=\"12.3 ms\"\n"
      "place 1 home order=1 assumed=yes reason=\"\"\n";
  auto plan = ParsePlan(text);
  ASSERT_TRUE(plan) << plan.error();
  EXPECT_EQ(Print(*plan), text);
  EXPECT_EQ(plan->ResourceOf(NodeId{0}), "cpu");
  EXPECT_EQ(plan->ResourceOf(NodeId{9}), "");
}

TEST(Plan, NamesTheLineAndTheToken) {
  const BadText kCases[] = {
      {"", "line 1: expected \"plan v1\""},
      {"plan v1\n", "strategy \"\": its name must be a plain word"},
      {"plan v1\nstrategy a\nstrategy b\n", "line 3: strategy: given twice"},
      {"plan v1\nstrategy a\nplace 1 cpu\n", "line 3: 1: nodes count up from 0; expected 0"},
      {"plan v1\nstrategy a\nplace 0 cpu assumed=perhaps\n", "line 3: \"assumed=perhaps\": expected yes or no"},
      {"plan v1\nstrategy a makespan_ns=inf\n", "makespan_ns=inf: it must be finite and not negative"},
  };
  for (const BadText& bad : kCases) EXPECT_EQ(ErrorOf(ParsePlan(bad.text)), bad.error) << bad.text;
}

TEST(TextForms, SurviveRoundTripsOfRandomGraphs) {
  Random random(11);
  for (int i = 0; i < 3000; ++i) {
    ExecutionGraph graph = RandomGraph(random, 20);
    ASSERT_TRUE(Verify(graph)) << ErrorOf(Verify(graph));
    std::string text = Print(graph);
    auto parsed = ParseGraph(text);
    ASSERT_TRUE(parsed) << parsed.error() << "\n" << text;
    ASSERT_EQ(Print(*parsed), text);
    ResourceSet resources = RandomResources(random);
    auto again = ParseResources(Print(resources));
    ASSERT_TRUE(again) << again.error() << "\n" << Print(resources);
    ASSERT_EQ(Print(*again), Print(resources));
  }
}

TEST(TextForms, AnswerDamagedTextWithAValueOrAnError) {
  Random random(12);
  int errors = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = i % 2 == 0 ? kPipeline : kDesktop;
    for (uint64_t changes = 1 + Below(random, 3); changes > 0; --changes) {
      size_t at = Below(random, text.size());
      switch (Below(random, 3)) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + Below(random, 9));
          break;
        default:
          text.insert(at, text.substr(Below(random, text.size()), Below(random, 30)));
      }
      if (text.empty()) break;
    }
    auto graph = ParseGraph(text);
    auto resources = ParseResources(text);
    errors += !graph && !resources;
    if (graph) {
      EXPECT_TRUE(ParseGraph(Print(*graph)));
    }
    if (resources) {
      EXPECT_TRUE(ParseResources(Print(*resources)));
    }
  }
  EXPECT_GT(errors, 5000);
}

}  // namespace
}  // namespace tracelift::partitioner
