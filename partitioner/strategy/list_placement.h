// Places single nodes one after the other, each where it finishes first.
//
// Idea: HEFT (Topcuoglu, Hariri, Wu 2002): nodes in the order of their longest way to the end; each goes to the
// resource with the earliest finish. A part for each resource (from METIS) adds affinity: leaving the part costs a
// fraction of the node's time, so that neighbours stay together when times are close. Parts are never placed as units:
// they usually form cycles with each other. What it leaves out: inserting into gaps, looking ahead.
// Cost: O(nodes * resources + edges * resources).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "partitioner/graph/execution_graph.h"
#include "partitioner/graph/plan.h"
#include "partitioner/graph/resources.h"

namespace tracelift::partitioner {

/// `part_of`: by node, the index of the resource whose part it is in; empty: no affinity. Graph and resources must have
/// passed Verify, and pins must name resources.
Plan PlaceByList(const ExecutionGraph& graph, const ResourceSet& resources, std::string_view strategy,
                 const std::vector<uint32_t>& part_of, double affinity);

}  // namespace tracelift::partitioner
