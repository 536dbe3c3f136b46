// Which node runs where, in which order, and why. Text form (Print, ParsePlan):
//
//   plan v1
//   strategy metis makespan_ns=12300000 reason="metis: 12.3 ms against 20.1 ms at home"
//   place 0 cpu order=0 assumed=no reason="12.3 ms on cpu against 20.1 ms at home"
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "partitioner/graph/execution_graph.h"

namespace tracelift::partitioner {

struct Placement {
  NodeId node{};
  std::string resource;
  uint32_t order = 0;    // of two nodes that are both ready, the lower goes first
  bool assumed = false;  // its time there is an assumption, not a measurement
  std::string reason;
};

struct Plan {
  std::string strategy;               // "home", "metis", "list"
  double makespan_ns = 0;             // estimated, for the whole graph
  std::string reason;                 // of the choice among the candidates
  std::vector<Placement> placements;  // by node index

  /// The resource of a node; "" for a node the plan does not know.
  std::string_view ResourceOf(NodeId node) const;
};

/// Rules: a placement for each node index from 0, resources are plain words, times finite.
std::expected<void, std::string> Verify(const Plan& plan);
std::string Print(const Plan& plan);
/// Errors name the line and the token; the result has passed Verify.
std::expected<Plan, std::string> ParsePlan(std::string_view text);

/// For people: the plan's reason, then a line for each node with its name, place and reason.
std::string Explain(const Plan& plan, const ExecutionGraph& graph);

/// "12.3 ms"
std::string DurationText(double ns);

}  // namespace tracelift::partitioner
