// What a program computes and which bytes flow between its parts: nodes with measured times, data-flow edges, and
// carried edges (what returns in the next round of an outer loop), which are kept beside the acyclic graph.
//
// All times and bytes are per execution of a node; a node runs `executions` times in the span the graph describes.
// Where order matters although no bytes flow (a traced thread runs its regions one after the other), an edge of
// 0 bytes says so. Text form (Print, ParseGraph):
//
//   graph v1
//   node 0 "matmul+0x40" kind=region executions=12 memory=96000000 time.home=20100000 time.cpu=12300000
//   node 1 checksum kind=region executions=12 memory=8000000 time.home=900000 pin=home
//   edge 0 1 bytes=8000000
//   carried 1 0 bytes=8
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tracelift::partitioner {

enum class NodeId : uint32_t {};
constexpr size_t Index(NodeId id) { return static_cast<size_t>(id); }

enum class NodeKind : uint8_t { kRegion, kFunction, kTask };

struct Node {
  NodeId id{};  // its index in ExecutionGraph::nodes
  std::string name;
  NodeKind kind = NodeKind::kRegion;
  std::map<std::string, double> time_ns;  // resource name -> measured time of one execution; absent: not measured
  uint64_t executions = 0;                // 0: declared but not run yet; planned as one
  uint64_t memory_bytes = 0;              // touched by one execution
  uint32_t needs = 0;                     // units of a resource it takes; 0: all of them
  std::string pin;                        // the only resource it may run on, or "": any
};

struct Edge {
  NodeId from{};
  NodeId to{};
  uint64_t bytes = 0;  // per execution of `to`
  constexpr bool operator==(const Edge&) const = default;
};

struct ExecutionGraph {
  std::vector<Node> nodes;
  std::vector<Edge> edges;    // acyclic
  std::vector<Edge> carried;  // may point backwards, also at the node itself

  /// Appends a node and gives it its id.
  NodeId Add(Node node);
};

/// Rules: node ids are their indices, names are not empty, times are finite and not negative, resource names are
/// plain words, edges join existing nodes, no edge twice, the edges form no cycle. The error names the first
/// offender.
std::expected<void, std::string> Verify(const ExecutionGraph& graph);

std::string Print(const ExecutionGraph& graph);
/// Errors name the line and the token; the result has passed Verify.
std::expected<ExecutionGraph, std::string> ParseGraph(std::string_view text);

/// Node indices so that every edge goes forward; ties by index. Empty when there is a cycle (or no node).
std::vector<uint32_t> TopologicalOrder(const ExecutionGraph& graph);

}  // namespace tracelift::partitioner
