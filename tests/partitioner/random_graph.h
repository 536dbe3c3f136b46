// Seeded random graphs, resources and weights for the partitioner's tests: mostly ordinary, now and then extreme.
#pragma once

#include <random>

#include "partitioner/graph/execution_graph.h"
#include "partitioner/graph/resources.h"

namespace tracelift::partitioner {

using Random = std::mt19937_64;

uint64_t Below(Random& random, uint64_t bound);
/// Between 0 and 1e30, over all magnitudes.
double RandomAmount(Random& random);
ExecutionGraph RandomGraph(Random& random, size_t most_nodes);
ResourceSet RandomResources(Random& random);

}  // namespace tracelift::partitioner
