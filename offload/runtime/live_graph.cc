// The execution graph of what was measured, and the plan that dispatch follows: regions the plan keeps at home are put
// back.

#include <fmt/format.h>

#include <algorithm>

#include "offload/host/machine_resources.h"
#include "offload/runtime/session.h"
#include "partitioner/make_plan.h"

namespace tracelift::offload {
namespace {

// Fewer timings than this say nothing about whether a variant wins.
// One plan may rest on timings taken while another process, or our own report, had a core.
constexpr int kPlansInARow = 3;
constexpr uint64_t kEnoughTimings = 16;
constexpr uint64_t kEnoughNs = 150'000'000;

uint64_t Overlap(const jit::ByteRange& a, const jit::ByteRange& b) {
  const uint64_t begin = std::max(a.begin, b.begin), end = std::min(a.end, b.end);
  return begin < end ? end - begin : 0;
}

// Bytes written by one execution of `from` that lie in what `to` touches.
uint64_t FlowBytes(const std::vector<jit::ByteRange>& from, const std::vector<jit::ByteRange>& to) {
  uint64_t bytes = 0;
  for (const jit::ByteRange& written : from) {
    if (!written.write) continue;
    for (const jit::ByteRange& touched : to) bytes += Overlap(written, touched);
  }
  return bytes;
}

uint64_t MemoryBytes(const std::vector<jit::ByteRange>& ranges) {
  uint64_t bytes = 0;
  for (const jit::ByteRange& range : ranges) bytes += range.end - range.begin;
  return bytes;
}

}  // namespace

void Session::Replan() {
  using namespace partitioner;
  if (resources_.resources.empty()) resources_ = DiscoverResources(pool_->threads());

  ExecutionGraph graph;
  std::vector<Finding*> of_node;
  for (Finding& finding : findings_) {
    if (!finding.region) continue;
    Region& region = *finding.region;
    const uint64_t executions = region.executions.load();
    const double native = region.native_timing.Median();
    if (executions == 0 || native == 0) continue;
    if (!region.busy.exchange(true, std::memory_order_acquire)) {
      finding.ranges.assign(region.last_ranges.begin(), region.last_ranges.begin() + static_cast<long>(region.last_range_count));
      region.busy.store(false, std::memory_order_release);
    }
    const double passes = static_cast<double>(region.passes.load()) / static_cast<double>(executions);
    DescribeLocation(finding);
    Node node;
    node.name = finding.symbol.empty() ? fmt::format("{:#x}", finding.elf_address) : finding.symbol;
    node.executions = executions;
    node.memory_bytes = MemoryBytes(finding.ranges);
    node.time_ns["home"] = native * passes;
    if (const double variant = region.variant_timing.Median(); variant > 0) node.time_ns["cpu"] = variant * passes;
    if (finding.rejection) node.pin = "home";
    graph.Add(std::move(node));
    of_node.push_back(&finding);
  }
  // Nodes are in the order they were found. What flows against it returns in the next round of an outer loop.
  for (size_t from = 0; from < of_node.size(); ++from) {
    for (size_t to = 0; to < of_node.size(); ++to) {
      const uint64_t bytes = FlowBytes(of_node[from]->ranges, of_node[to]->ranges);
      if (bytes == 0) continue;
      const Edge edge{NodeId{static_cast<uint32_t>(from)}, NodeId{static_cast<uint32_t>(to)}, bytes};
      (from < to ? graph.edges : graph.carried).push_back(edge);
    }
  }
  if (graph.nodes.empty()) return;

  const Plan plan = MakePlan(graph, resources_, {});
  {
    const std::lock_guard lock(mutex_);
    graph_text_ = Print(graph) + Print(resources_);
    plan_text_ = Explain(plan, graph);
  }
  for (size_t i = 0; i < of_node.size(); ++i) {
    Finding& finding = *of_node[i];
    const Region& region = *finding.region;
    if (finding.rejection || region.only_on_device) continue;
    const bool home = plan.ResourceOf(NodeId{static_cast<uint32_t>(i)}) == "home";
    finding.planned_home = home ? finding.planned_home + 1 : 0;
    if (region.variant_timing.count() < kEnoughTimings || region.variant_time_ns.load() < kEnoughNs) continue;
    if (finding.planned_home >= kPlansInARow) PutBack(finding, jit::RejectionReason::kPlannedAtHome);
  }
}

}  // namespace tracelift::offload
