// The decision: where every node of a graph should run. Several strategies each make a candidate, the estimate judges
// them, and the best one is taken if it gains enough against leaving everything at home.
#pragma once

#include "partitioner/graph/execution_graph.h"
#include "partitioner/graph/plan.h"
#include "partitioner/graph/resources.h"

namespace tracelift::partitioner {

struct PlanOptions {
  double affinity = 0.1;   // leaving the METIS part costs a node this fraction of its time
  double min_gain = 1.02;  // home time / planned time below which everything stays at home
};

/// Never fails: for input that does not verify, everything is at home and the reason says what is wrong. Deterministic.
Plan MakePlan(const ExecutionGraph& graph, const ResourceSet& resources, const PlanOptions& options);

}  // namespace tracelift::partitioner
