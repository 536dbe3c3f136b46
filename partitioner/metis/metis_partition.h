// Splits a weighted undirected graph into parts with few and light edges between them (METIS, Karypis and Kumar, "A
// fast and high quality multilevel scheme for partitioning irregular graphs", 1998). METIS 5.1.0 crashes on one part,
// on fewer vertices than parts, and on weights beyond its 32-bit integers; none of these reach it from here.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace tracelift::partitioner {

struct AffinityGraph {
  struct Edge {
    uint32_t a = 0, b = 0;
    double weight = 0;
  };
  std::vector<double> vertex_weight;  // any unit; finite, not negative
  std::vector<Edge> edges;            // parallel edges add up, loops are ignored
};

/// The part (0 to shares.size() - 1) of each vertex. `shares`: how much of the weight each part should get, relative,
/// finite and positive. The same input gives the same answer. Errors name the bad value.
std::expected<std::vector<uint32_t>, std::string> PartitionGraph(const AffinityGraph& graph,
                                                                 const std::vector<double>& shares);

}  // namespace tracelift::partitioner
