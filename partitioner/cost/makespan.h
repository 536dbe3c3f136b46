// How long a plan would take: a simulation of the list schedule that it describes, from measured and assumed times.
//
// Idea: of the nodes whose inputs are ready, the one with the lowest order starts first, as soon as its inputs have
// arrived and enough units of its resource are free. What it leaves out: two transfers on one link do not slow each
// other down, and bringing the last results home is not counted. Cost: O((nodes + edges) log nodes).
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "partitioner/graph/execution_graph.h"
#include "partitioner/graph/plan.h"
#include "partitioner/graph/resources.h"

namespace tracelift::partitioner {

struct NodeTime {
  double ns = 0;         // of one execution
  bool assumed = false;  // not measured there: time at home / speed (or another measured place's equivalent)
};

/// A node that was measured nowhere takes 0 ns, assumed.
NodeTime TimeOn(const Node& node, const Resource& resource, const ResourceSet& resources);
/// Executions to plan for: a node that has not run yet counts as one.
double PlannedExecutions(const Node& node);

struct Estimate {
  double makespan_ns = 0;
  double transfer_ns = 0;        // sum over all edges, hidden behind computing or not
  std::vector<double> start_ns;  // by node
  std::vector<double> finish_ns;
};

/// Graph and resources must have passed Verify. Errors: a plan that does not fit them, or data that would have to flow
/// where there is no link.
std::expected<Estimate, std::string> EstimateMakespan(const ExecutionGraph& graph, const ResourceSet& resources,
                                                      const Plan& plan);

/// When units of each resource become free; shared by the estimate and by strategies that place node after node.
class Timeline {
 public:
  explicit Timeline(const ResourceSet& resources);
  /// The earliest start, not before `ready_ns`, on resource number `resource` for a node that needs `units` (0: all).
  double EarliestStart(size_t resource, uint32_t units, double ready_ns) const;
  void Occupy(size_t resource, uint32_t units, double start_ns, double finish_ns);

 private:
  struct Pool {
    std::vector<double> free_at;  // per unit, ascending
    std::optional<size_t> owner;  // pool whose units it uses too
  };
  static size_t Take(const Pool& pool, uint32_t units);
  std::vector<Pool> pools_;
};

/// Time until the inputs of `node` have come from where `from` ran, over all its executions. Infinite without a link.
double EdgeTransferNs(const ResourceSet& resources, const Edge& edge, const Node& to, std::string_view from_resource,
                      std::string_view to_resource);
/// One execution's time on the resource and the transfer from home of the memory that no edge brings, over all
/// executions. `incoming_bytes`: sum over its edges.
double NodeDurationNs(const Node& node, const Resource& resource, const ResourceSet& resources, double incoming_bytes);

}  // namespace tracelift::partitioner
