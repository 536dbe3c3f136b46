#include "partitioner/make_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "partitioner/cost/makespan.h"
#include "partitioner/metis/metis_partition.h"
#include "partitioner/strategy/list_placement.h"

namespace tracelift::partitioner {
namespace {

Plan AllAtHome(const ExecutionGraph& graph, const std::string& home) {
  Plan plan;
  plan.strategy = "home";
  std::vector<uint32_t> order = TopologicalOrder(graph);
  plan.placements.resize(graph.nodes.size());
  for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
    Placement& placement = plan.placements[i];
    placement.node = NodeId{i};
    placement.resource = graph.nodes[i].pin.empty() ? home : graph.nodes[i].pin;
  }
  for (uint32_t i = 0; i < order.size(); ++i) plan.placements[order[i]].order = i;
  return plan;
}

/// Vertices weigh what their nodes take at home, edges what flows, carried edges included.
std::expected<Plan, std::string> ByMetis(const ExecutionGraph& graph, const ResourceSet& resources, double affinity) {
  AffinityGraph parts;
  for (const Node& node : graph.nodes) {
    parts.vertex_weight.push_back(TimeOn(node, *resources.Home(), resources).ns * PlannedExecutions(node));
  }
  for (const auto* edges : {&graph.edges, &graph.carried}) {
    for (const Edge& edge : *edges) {
      double bytes = static_cast<double>(edge.bytes) * PlannedExecutions(graph.nodes[Index(edge.to)]);
      parts.edges.push_back({static_cast<uint32_t>(edge.from), static_cast<uint32_t>(edge.to), bytes});
    }
  }
  std::vector<double> shares;
  for (const Resource& resource : resources.resources) shares.push_back(resource.speed);
  auto part_of = PartitionGraph(parts, shares);
  if (!part_of) return std::unexpected(part_of.error());
  return PlaceByList(graph, resources, "metis", *part_of, affinity);
}

std::optional<double> Judge(const ExecutionGraph& graph, const ResourceSet& resources, Plan* plan) {
  auto estimate = EstimateMakespan(graph, resources, *plan);
  if (!estimate) {
    plan->reason = estimate.error();
    return std::nullopt;
  }
  plan->makespan_ns = estimate->makespan_ns;
  return estimate->makespan_ns;
}

/// "cpu: 12.3 ms (assumed) against 20.1 ms at home".
std::string PlacementReason(const Node& node, const std::string& place, const ResourceSet& resources, bool* assumed) {
  const Resource& home = *resources.Home();
  NodeTime here = TimeOn(node, *resources.Find(place), resources);
  NodeTime at_home = TimeOn(node, home, resources);
  *assumed = here.assumed;
  std::string pinned = node.pin.empty() ? "" : "pinned, ";
  if (node.time_ns.empty()) return pinned + "not measured yet";
  std::string text = fmt::format("{}{}{}", pinned, DurationText(here.ns), here.assumed ? " (assumed)" : "");
  if (place != home.name) {
    return text + fmt::format(" against {}{} at home", DurationText(at_home.ns), at_home.assumed ? " (assumed)" : "");
  }
  const Resource* best = nullptr;
  for (const Resource& resource : resources.resources) {
    if (resource.name == home.name) continue;
    if (best == nullptr || TimeOn(node, resource, resources).ns < TimeOn(node, *best, resources).ns) best = &resource;
  }
  if (best == nullptr) return text + ", there is no other place";
  NodeTime there = TimeOn(node, *best, resources);
  return text +
         fmt::format(" against {}{} on {}", DurationText(there.ns), there.assumed ? " (assumed)" : "", best->name);
}

Plan GiveUp(const ExecutionGraph& graph, const std::string& home, const std::string& why) {
  Plan plan = AllAtHome(graph, home);
  for (Placement& placement : plan.placements) placement.resource = home;
  plan.reason = "home: " + why;
  return plan;
}

}  // namespace

Plan MakePlan(const ExecutionGraph& graph, const ResourceSet& resources, const PlanOptions& options) {
  if (auto fine = Verify(resources); !fine)
    return GiveUp(graph, "home", "the resources are not valid: " + fine.error());
  const std::string& home_name = resources.Home()->name;
  if (auto fine = Verify(graph); !fine) return GiveUp(graph, home_name, "the graph is not valid: " + fine.error());
  for (const Node& node : graph.nodes) {
    if (!node.pin.empty() && resources.Find(node.pin) == nullptr) {
      return GiveUp(graph, home_name, fmt::format("node {} is pinned to {}, which is not here", node.name, node.pin));
    }
  }

  Plan home = AllAtHome(graph, home_name);
  std::optional<double> home_ns = Judge(graph, resources, &home);
  std::vector<Plan> candidates;
  std::string problems;
  if (auto metis = ByMetis(graph, resources, options.affinity)) {
    candidates.push_back(std::move(*metis));
  } else {
    problems += "; metis: " + metis.error();
  }
  candidates.push_back(PlaceByList(graph, resources, "list", {}, 0));

  Plan* best = nullptr;
  for (Plan& candidate : candidates) {
    if (!Judge(graph, resources, &candidate)) {
      problems += fmt::format("; {}: {}", candidate.strategy, candidate.reason);
    } else if (best == nullptr || candidate.makespan_ns < best->makespan_ns) {
      best = &candidate;
    }
  }
  // From here on `best` is the better of the candidates that can run at all.

  Plan* chosen = &home;
  if (best != nullptr && (!home_ns || *home_ns > best->makespan_ns * options.min_gain)) {
    chosen = best;
    chosen->reason = fmt::format("{}: {} against {} at home{}", best->strategy, DurationText(best->makespan_ns),
                                 home_ns ? DurationText(*home_ns) : "an impossible plan", problems);
  } else if (best != nullptr) {
    home.reason = fmt::format("home: {}; {} would take {}{}", DurationText(home.makespan_ns), best->strategy,
                              DurationText(best->makespan_ns), problems);
  } else {
    home.reason = fmt::format("home: nothing else is possible{}", problems);
  }
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    Placement& placement = chosen->placements[i];
    placement.reason = PlacementReason(graph.nodes[i], placement.resource, resources, &placement.assumed);
  }
  return std::move(*chosen);
}

}  // namespace tracelift::partitioner
