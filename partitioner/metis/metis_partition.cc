#include "partitioner/metis/metis_partition.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <span>

#include "partitioner/metis/metis_call.h"

namespace tracelift::partitioner {
namespace {

// The sum of all weights stays below this, far from where METIS's 32-bit sums and products overflow.
constexpr double kWeightBudget = 1 << 24;
constexpr size_t kMostVertices = 1 << 22;
// A part with a share near 0 makes METIS divide by (nearly) 0; it gets this much and stays small.
constexpr double kSmallestShare = 1e-3;

bool NotNegative(double value) { return std::isfinite(value) && value >= 0; }

/// Whole numbers of at least 1 in proportion to the weights.
std::vector<int32_t> Scale(const std::vector<double>& weights) {
  double largest = weights.empty() ? 0 : *std::ranges::max_element(weights);
  std::vector<int32_t> scaled(weights.size(), 1);
  if (largest <= 0) return scaled;
  double sum = 0;
  for (double weight : weights) sum += weight / largest;  // at least 1; dividing first keeps huge weights finite
  double factor = std::max(0.0, kWeightBudget - static_cast<double>(weights.size())) / sum;
  for (size_t i = 0; i < weights.size(); ++i) {
    scaled[i] = 1 + static_cast<int32_t>(weights[i] / largest * factor);
  }
  return scaled;
}

/// Heaviest vertex first, each to the part that is least full for its share: right when no edges matter, and for
/// fewer vertices than parts.
std::vector<uint32_t> FillParts(const std::vector<double>& weights, std::span<const double> shares) {
  double largest = std::max(*std::ranges::max_element(weights), 1e-300);
  std::vector<uint32_t> by_weight(weights.size());
  std::iota(by_weight.begin(), by_weight.end(), 0u);
  std::ranges::stable_sort(by_weight, [&](uint32_t a, uint32_t b) { return weights[a] > weights[b]; });
  std::vector<double> load(shares.size(), 0);
  std::vector<uint32_t> part(weights.size(), 0);
  for (uint32_t vertex : by_weight) {
    double weight = weights[vertex] / largest + 1e-9;  // so that vertices without weight spread too
    uint32_t best = 0;
    for (uint32_t p = 1; p < shares.size(); ++p) {
      if ((load[p] + weight) / shares[p] < (load[best] + weight) / shares[best]) best = p;
    }
    load[best] += weight;
    part[vertex] = best;
  }
  return part;
}

using MergedEdges = std::map<std::pair<uint32_t, uint32_t>, double>;  // both ends, the lower first

/// Compressed adjacency: each edge in both directions.
MetisInput BuildInput(const std::vector<double>& vertex_weights, const MergedEdges& edges) {
  std::vector<double> weights;
  for (const auto& [ends, weight] : edges) weights.push_back(weight);
  std::vector<int32_t> scaled = Scale(weights);
  MetisInput input;
  input.vertex_weights = Scale(vertex_weights);
  input.row_begin.assign(vertex_weights.size() + 1, 0);
  for (const auto& [ends, weight] : edges) {
    ++input.row_begin[ends.first + 1];
    ++input.row_begin[ends.second + 1];
  }
  std::partial_sum(input.row_begin.begin(), input.row_begin.end(), input.row_begin.begin());
  input.neighbours.resize(edges.size() * 2);
  input.edge_weights.resize(edges.size() * 2);
  std::vector<int32_t> next(input.row_begin.begin(), input.row_begin.end() - 1);
  size_t edge = 0;
  for (const auto& [ends, weight] : edges) {
    auto add = [&](uint32_t from, uint32_t to) {
      int32_t at = next[from]++;
      input.neighbours[at] = static_cast<int32_t>(to);
      input.edge_weights[at] = scaled[edge];
    };
    add(ends.first, ends.second);
    add(ends.second, ends.first);
    ++edge;
  }
  return input;
}

/// Splits into shares.size() parts by halving. METIS would halve too, but when a half is left with fewer vertices than
/// parts, it warns on stdout and crashes; here that case is seen before each call.
std::expected<std::vector<uint32_t>, std::string> Split(const std::vector<double>& weights, const MergedEdges& edges,
                                                        std::span<const double> shares) {
  if (shares.size() == 1) return std::vector<uint32_t>(weights.size(), 0);
  if (weights.empty()) return std::vector<uint32_t>();
  if (weights.size() <= std::max<size_t>(shares.size(), 2) || edges.empty()) return FillParts(weights, shares);

  size_t half = shares.size() / 2;
  double first = std::accumulate(shares.begin(), shares.begin() + static_cast<ptrdiff_t>(half), 0.0);
  double all = std::accumulate(shares.begin(), shares.end(), 0.0);
  MetisInput input = BuildInput(weights, edges);
  input.first_share = static_cast<float>(std::clamp(first / all, kSmallestShare, 1 - kSmallestShare));
  auto side = BisectWithMetis(std::move(input));
  if (!side) return std::unexpected(side.error());

  std::vector<uint32_t> part(weights.size(), 0);
  for (uint8_t s : {0, 1}) {
    std::vector<uint32_t> inner(weights.size(), 0), outer;  // vertex numbers in the half, and back
    std::vector<double> half_weights;
    for (uint32_t vertex = 0; vertex < weights.size(); ++vertex) {
      if ((*side)[vertex] != s) continue;
      inner[vertex] = static_cast<uint32_t>(outer.size());
      outer.push_back(vertex);
      half_weights.push_back(weights[vertex]);
    }
    MergedEdges half_edges;
    for (const auto& [ends, weight] : edges) {
      if ((*side)[ends.first] == s && (*side)[ends.second] == s) {
        half_edges[{inner[ends.first], inner[ends.second]}] = weight;
      }
    }
    auto split = Split(half_weights, half_edges, s == 0 ? shares.first(half) : shares.subspan(half));
    if (!split) return split;
    for (size_t i = 0; i < outer.size(); ++i) {
      part[outer[i]] = (*split)[i] + (s == 0 ? 0 : static_cast<uint32_t>(half));
    }
  }
  return part;
}

}  // namespace

std::expected<std::vector<uint32_t>, std::string> PartitionGraph(const AffinityGraph& graph,
                                                                 const std::vector<double>& shares) {
  size_t count = graph.vertex_weight.size(), parts = shares.size();
  if (parts == 0) return std::unexpected("a graph cannot be split into 0 parts");
  if (count > kMostVertices || parts > kMostVertices || graph.edges.size() > kMostVertices) {
    return std::unexpected(fmt::format("{} vertices, {} edges, {} parts: at most {} of each", count, graph.edges.size(),
                                       parts, kMostVertices));
  }
  for (size_t i = 0; i < count; ++i) {
    if (!NotNegative(graph.vertex_weight[i])) {
      return std::unexpected(fmt::format("vertex {} has weight {}", i, graph.vertex_weight[i]));
    }
  }
  double largest_share = 0;
  for (size_t i = 0; i < parts; ++i) {
    if (!NotNegative(shares[i]) || shares[i] == 0)
      return std::unexpected(fmt::format("part {} has share {}", i, shares[i]));
    largest_share = std::max(largest_share, shares[i]);
  }
  MergedEdges merged;
  double heaviest = 0;
  for (const AffinityGraph::Edge& edge : graph.edges) {
    if (edge.a >= count || edge.b >= count) {
      return std::unexpected(fmt::format("edge {} {}: there are {} vertices", edge.a, edge.b, count));
    }
    if (!NotNegative(edge.weight)) {
      return std::unexpected(fmt::format("edge {} {} has weight {}", edge.a, edge.b, edge.weight));
    }
    heaviest = std::max(heaviest, edge.weight);
  }
  for (const AffinityGraph::Edge& edge : graph.edges) {
    if (edge.a == edge.b) continue;
    // In units of the heaviest edge, so that sums of huge weights stay finite.
    merged[std::minmax(edge.a, edge.b)] += heaviest > 0 ? edge.weight / heaviest : 0;
  }
  // From here on all numbers are finite and in range.

  std::vector<double> targets;
  for (double share : shares) targets.push_back(std::max(share / largest_share, kSmallestShare));
  return Split(graph.vertex_weight, merged, targets);
}

}  // namespace tracelift::partitioner
