#include "partitioner/strategy/list_placement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "partitioner/cost/makespan.h"

namespace tracelift::partitioner {
namespace {

/// Longest way from each node to the end of the graph, by mean times over the resources; transfers are left out here,
/// they are exact where the finish times are computed.
std::vector<double> RankUpwards(const ExecutionGraph& graph, const ResourceSet& resources,
                                const std::vector<uint32_t>& topological) {
  std::vector<std::vector<size_t>> successors(graph.nodes.size());
  for (const Edge& edge : graph.edges) successors[Index(edge.from)].push_back(Index(edge.to));
  std::vector<double> rank(graph.nodes.size(), 0);
  for (size_t i = topological.size(); i-- > 0;) {
    size_t node = topological[i];
    double mean = 0;
    for (const Resource& resource : resources.resources) {
      mean += TimeOn(graph.nodes[node], resource, resources).ns / static_cast<double>(resources.resources.size());
    }
    double after = 0;
    for (size_t next : successors[node]) after = std::max(after, rank[next]);
    rank[node] = mean * PlannedExecutions(graph.nodes[node]) + after;
  }
  return rank;
}

}  // namespace

Plan PlaceByList(const ExecutionGraph& graph, const ResourceSet& resources, std::string_view strategy,
                 const std::vector<uint32_t>& part_of, double affinity) {
  size_t count = graph.nodes.size();
  std::vector<uint32_t> topological = TopologicalOrder(graph);
  std::vector<double> rank = RankUpwards(graph, resources, topological);
  std::vector<uint32_t> position(count, 0);
  for (uint32_t i = 0; i < topological.size(); ++i) position[topological[i]] = i;
  std::vector<std::vector<const Edge*>> in(count), out(count);
  std::vector<size_t> waiting_for(count, 0);
  for (const Edge& edge : graph.edges) {
    in[Index(edge.to)].push_back(&edge);
    out[Index(edge.from)].push_back(&edge);
    ++waiting_for[Index(edge.to)];
  }
  auto first = [&](uint32_t a, uint32_t b) {
    if (rank[a] != rank[b]) return rank[a] > rank[b];
    return position[a] < position[b];
  };
  std::set<uint32_t, decltype(first)> ready(first);
  for (uint32_t i = 0; i < count; ++i) {
    if (waiting_for[i] == 0) ready.insert(i);
  }

  Plan plan;
  plan.strategy = strategy;
  plan.placements.resize(count);
  std::vector<double> finish(count, 0);
  Timeline timeline(resources);
  for (uint32_t order = 0; !ready.empty(); ++order) {
    uint32_t index = *ready.begin();
    ready.erase(ready.begin());
    const Node& node = graph.nodes[index];
    double best_score = std::numeric_limits<double>::infinity(), best_start = 0, best_finish = 0;
    const Resource* best = nullptr;
    for (size_t r = 0; r < resources.resources.size(); ++r) {
      const Resource& resource = resources.resources[r];
      if (!node.pin.empty() && node.pin != resource.name) continue;
      double arrived = 0, incoming_bytes = 0;
      for (const Edge* edge : in[index]) {
        const std::string& from = plan.placements[Index(edge->from)].resource;
        arrived =
            std::max(arrived, finish[Index(edge->from)] + EdgeTransferNs(resources, *edge, node, from, resource.name));
        incoming_bytes += static_cast<double>(edge->bytes);
      }
      double duration = NodeDurationNs(node, resource, resources, incoming_bytes);
      double start = timeline.EarliestStart(r, node.needs, arrived);
      double score = start + duration;
      if (!part_of.empty() && part_of[index] != r) score += affinity * duration;
      // Without a way to get the data anywhere (all scores infinite) the first allowed resource is taken; the estimate
      // of the plan will then say what is missing.
      if (best == nullptr || score < best_score) {
        best = &resource;
        best_score = score;
        best_start = start;
        best_finish = start + duration;
      }
    }
    finish[index] = best_finish;
    Placement& placement = plan.placements[index];
    placement.node = node.id;
    placement.order = order;
    placement.resource = best->name;
    if (std::isfinite(best_finish)) {
      timeline.Occupy(static_cast<size_t>(best - resources.resources.data()), node.needs, best_start, best_finish);
    }
    for (const Edge* edge : out[index]) {
      uint32_t to = static_cast<uint32_t>(edge->to);
      if (--waiting_for[to] == 0) ready.insert(to);
    }
  }
  return plan;
}

}  // namespace tracelift::partitioner
