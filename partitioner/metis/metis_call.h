// The call into libmetis, with everything that must not reach the process around it kept away (metis_call.cc).
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace tracelift::partitioner {

/// METIS's own form of a graph: the neighbours of vertex v are neighbours[row_begin[v] .. row_begin[v + 1]).
struct MetisInput {
  std::vector<int32_t> row_begin, neighbours, edge_weights, vertex_weights;
  float first_share = 0.5f;  // of part 0, inside (0, 1)
};

/// Part 0 or 1 for each vertex. Requires at least 3 vertices, one edge, and weights from 1 whose sums fit 31 bits.
/// Thread rule: any thread; calls wait for each other.
std::expected<std::vector<uint8_t>, std::string> BisectWithMetis(MetisInput input);

}  // namespace tracelift::partitioner
