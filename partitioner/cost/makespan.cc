#include "partitioner/cost/makespan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "partitioner/graph/record_text.h"

namespace tracelift::partitioner {

double PlannedExecutions(const Node& node) { return std::max(1.0, static_cast<double>(node.executions)); }

NodeTime TimeOn(const Node& node, const Resource& resource, const ResourceSet& resources) {
  if (auto measured = node.time_ns.find(resource.name); measured != node.time_ns.end()) {
    return {measured->second, false};
  }
  const Resource* home = resources.Home();
  if (auto at_home = node.time_ns.find(home->name); at_home != node.time_ns.end()) {
    return {at_home->second * home->speed / resource.speed, true};
  }
  for (const auto& [name, time_ns] : node.time_ns) {
    const Resource* other = resources.Find(name);
    if (other != nullptr) return {time_ns * other->speed / resource.speed, true};
  }
  return {0, true};
}

double EdgeTransferNs(const ResourceSet& resources, const Edge& edge, const Node& to, std::string_view from_resource,
                      std::string_view to_resource) {
  if (from_resource == to_resource) return 0;
  return PlannedExecutions(to) * resources.TransferNs(from_resource, to_resource, static_cast<double>(edge.bytes));
}

double NodeDurationNs(const Node& node, const Resource& resource, const ResourceSet& resources, double incoming_bytes) {
  double once = TimeOn(node, resource, resources).ns;
  bool own_memory = resource.kind == ResourceKind::kGpu || resource.kind == ResourceKind::kWorker;
  double from_home = static_cast<double>(node.memory_bytes) - incoming_bytes;
  if (own_memory && from_home > 0) once += resources.TransferNs(resources.Home()->name, resource.name, from_home);
  return PlannedExecutions(node) * once;
}

Timeline::Timeline(const ResourceSet& resources) {
  for (const Resource& resource : resources.resources) {
    Pool pool;
    pool.free_at.assign(resource.units, 0.0);
    if (!resource.shares.empty())
      pool.owner = static_cast<size_t>(resources.Find(resource.shares) - resources.resources.data());
    pools_.push_back(std::move(pool));
  }
}

size_t Timeline::Take(const Pool& pool, uint32_t units) {
  return units == 0 ? pool.free_at.size() : std::min<size_t>(units, pool.free_at.size());
}

double Timeline::EarliestStart(size_t resource, uint32_t units, double ready_ns) const {
  const Pool& pool = pools_[resource];
  size_t taken = Take(pool, units);
  double start = std::max(ready_ns, pool.free_at[taken - 1]);
  if (!pool.owner) return start;
  const Pool& owner = pools_[*pool.owner];
  return std::max(start, owner.free_at[Take(owner, static_cast<uint32_t>(taken)) - 1]);
}

void Timeline::Occupy(size_t resource, uint32_t units, double start_ns, double finish_ns) {
  auto occupy = [&](Pool& pool, size_t taken) {
    for (size_t i = 0; i < taken; ++i) pool.free_at[i] = std::max(finish_ns, start_ns);
    std::ranges::sort(pool.free_at);
  };
  Pool& pool = pools_[resource];
  size_t taken = Take(pool, units);
  occupy(pool, taken);
  if (pool.owner) occupy(pools_[*pool.owner], Take(pools_[*pool.owner], static_cast<uint32_t>(taken)));
}

std::expected<Estimate, std::string> EstimateMakespan(const ExecutionGraph& graph, const ResourceSet& resources,
                                                      const Plan& plan) {
  size_t count = graph.nodes.size();
  if (plan.placements.size() != count) {
    return std::unexpected(fmt::format("the plan places {} nodes, the graph has {}", plan.placements.size(), count));
  }
  std::vector<const Resource*> place(count);
  for (size_t i = 0; i < count; ++i) {
    const std::string& name = plan.placements[i].resource;
    place[i] = resources.Find(name);
    if (place[i] == nullptr) {
      return std::unexpected(fmt::format("node {} is placed on {}, which is not among the resources", i, Quote(name)));
    }
    const std::string& pin = graph.nodes[i].pin;
    if (!pin.empty() && pin != name) {
      return std::unexpected(fmt::format("node {} is placed on {}, but pinned to {}", i, name, pin));
    }
  }
  std::vector<std::vector<const Edge*>> in(count), out(count);
  std::vector<size_t> waiting_for(count, 0);
  for (const Edge& edge : graph.edges) {
    in[Index(edge.to)].push_back(&edge);
    out[Index(edge.from)].push_back(&edge);
    ++waiting_for[Index(edge.to)];
  }
  // From here on every node has a resource and every edge is known at both ends.

  Estimate estimate;
  estimate.start_ns.assign(count, 0);
  estimate.finish_ns.assign(count, 0);
  Timeline timeline(resources);
  std::set<std::pair<uint32_t, size_t>> ready;  // (order, node)
  for (size_t i = 0; i < count; ++i) {
    if (waiting_for[i] == 0) ready.insert({plan.placements[i].order, i});
  }
  while (!ready.empty()) {
    size_t node = ready.begin()->second;
    ready.erase(ready.begin());
    double arrived = 0, incoming_bytes = 0;
    for (const Edge* edge : in[node]) {
      size_t from = Index(edge->from);
      double transfer = EdgeTransferNs(resources, *edge, graph.nodes[node], place[from]->name, place[node]->name);
      estimate.transfer_ns += transfer;
      incoming_bytes += static_cast<double>(edge->bytes);
      arrived = std::max(arrived, estimate.finish_ns[from] + transfer);
    }
    double duration = NodeDurationNs(graph.nodes[node], *place[node], resources, incoming_bytes);
    if (!std::isfinite(arrived + duration)) {
      return std::unexpected(fmt::format("node {} {} on {}: its data cannot get there (no link), or a time overflows",
                                         node, Quote(graph.nodes[node].name), place[node]->name));
    }
    size_t resource = static_cast<size_t>(place[node] - resources.resources.data());
    double start = timeline.EarliestStart(resource, graph.nodes[node].needs, arrived);
    estimate.start_ns[node] = start;
    estimate.finish_ns[node] = start + duration;
    estimate.makespan_ns = std::max(estimate.makespan_ns, start + duration);
    timeline.Occupy(resource, graph.nodes[node].needs, start, start + duration);
    for (const Edge* edge : out[node]) {
      size_t to = Index(edge->to);
      if (--waiting_for[to] == 0) ready.insert({plan.placements[to].order, to});
    }
  }
  if (!std::isfinite(estimate.makespan_ns) || !std::isfinite(estimate.transfer_ns)) {
    return std::unexpected("the sum of all times overflows");
  }
  return estimate;
}

}  // namespace tracelift::partitioner
