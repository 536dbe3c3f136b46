#include "partitioner/graph/execution_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <queue>
#include <set>

#include "partitioner/graph/record_text.h"

namespace tracelift::partitioner {
namespace {

constexpr std::array<std::string_view, 3> kKindNames = {"region", "function", "task"};

std::expected<void, std::string> VerifyEdges(const std::vector<Edge>& edges, std::string_view word, size_t nodes) {
  std::set<std::pair<NodeId, NodeId>> seen;
  for (const Edge& edge : edges) {
    size_t from = Index(edge.from), to = Index(edge.to);
    for (size_t end : {from, to}) {
      if (end >= nodes) return std::unexpected(fmt::format("{} {} {}: there is no node {}", word, from, to, end));
    }
    if (!seen.insert({edge.from, edge.to}).second) {
      return std::unexpected(fmt::format("{} {} {}: given twice; add up the bytes", word, from, to));
    }
  }
  return {};
}

std::expected<void, std::string> ReadNode(const Record& record, ExecutionGraph* graph) {
  RecordReader reader(record);
  Node node;
  uint32_t id = 0;
  reader.Word(1, &id);
  reader.Word(2, &node.name);
  if (id != graph->nodes.size()) {
    reader.Fail(fmt::format("{}", id), fmt::format("nodes count up from 0; expected {}", graph->nodes.size()));
  }
  std::string kind(kKindNames[0]);
  reader.Attribute("kind", &kind);
  auto known = std::ranges::find(kKindNames, kind);
  if (known == kKindNames.end()) {
    reader.Fail("kind=" + kind, "expected region, function or task");
  } else {
    node.kind = static_cast<NodeKind>(known - kKindNames.begin());
  }
  reader.Attribute("executions", &node.executions);
  reader.Attribute("memory", &node.memory_bytes);
  reader.Attribute("needs", &node.needs);
  reader.Attribute("pin", &node.pin);
  for (auto& [resource, time_ns] : reader.Numbers("time")) node.time_ns[resource] = time_ns;
  if (auto done = reader.Finish(3); !done) return done;
  graph->Add(std::move(node));
  return {};
}

std::expected<void, std::string> ReadEdge(const Record& record, std::vector<Edge>* edges) {
  RecordReader reader(record);
  Edge edge;
  uint32_t from = 0, to = 0;
  reader.Word(1, &from);
  reader.Word(2, &to);
  reader.Attribute("bytes", &edge.bytes);
  if (auto done = reader.Finish(3); !done) return done;
  edges->push_back({NodeId{from}, NodeId{to}, edge.bytes});
  return {};
}

}  // namespace

NodeId ExecutionGraph::Add(Node node) {
  node.id = NodeId{static_cast<uint32_t>(nodes.size())};
  nodes.push_back(std::move(node));
  return nodes.back().id;
}

std::vector<uint32_t> TopologicalOrder(const ExecutionGraph& graph) {
  size_t count = graph.nodes.size();
  std::vector<std::vector<uint32_t>> successors(count);
  std::vector<uint32_t> waiting_for(count, 0);
  for (const Edge& edge : graph.edges) {
    if (Index(edge.from) >= count || Index(edge.to) >= count) return {};
    successors[Index(edge.from)].push_back(static_cast<uint32_t>(edge.to));
    ++waiting_for[Index(edge.to)];
  }
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ready;
  for (uint32_t i = 0; i < count; ++i) {
    if (waiting_for[i] == 0) ready.push(i);
  }
  std::vector<uint32_t> order;
  while (!ready.empty()) {
    uint32_t node = ready.top();
    ready.pop();
    order.push_back(node);
    for (uint32_t next : successors[node]) {
      if (--waiting_for[next] == 0) ready.push(next);
    }
  }
  if (order.size() != count) order.clear();
  return order;
}

std::expected<void, std::string> Verify(const ExecutionGraph& graph) {
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (Index(node.id) != i) return std::unexpected(fmt::format("node {}: its id is {}", i, Index(node.id)));
    if (node.name.empty()) return std::unexpected(fmt::format("node {}: it has no name", i));
    if (static_cast<size_t>(node.kind) >= kKindNames.size()) {
      return std::unexpected(fmt::format("node {} {}: unknown kind", i, Quote(node.name)));
    }
    for (const auto& [resource, time_ns] : node.time_ns) {
      if (!IsPlainName(resource)) {
        return std::unexpected(
            fmt::format("node {} {}: a time on {}, which is no resource name", i, Quote(node.name), Quote(resource)));
      }
      if (!std::isfinite(time_ns) || time_ns < 0) {
        return std::unexpected(fmt::format("node {} {}: a time of {} ns on {}; times are finite and not negative", i,
                                           Quote(node.name), time_ns, resource));
      }
    }
    if (!node.pin.empty() && !IsPlainName(node.pin)) {
      return std::unexpected(
          fmt::format("node {} {}: pinned to {}, which is no resource name", i, Quote(node.name), Quote(node.pin)));
    }
  }
  if (auto fine = VerifyEdges(graph.edges, "edge", graph.nodes.size()); !fine) return fine;
  if (auto fine = VerifyEdges(graph.carried, "carried", graph.nodes.size()); !fine) return fine;
  if (!graph.nodes.empty() && TopologicalOrder(graph).empty()) {
    return std::unexpected("the edges form a cycle; what returns in the next round is a carried edge");
  }
  return {};
}

std::string Print(const ExecutionGraph& graph) {
  std::string text = "graph v1\n";
  for (const Node& node : graph.nodes) {
    text += fmt::format("node {} {} kind={} executions={} memory={}", Index(node.id), Quote(node.name),
                        kKindNames[static_cast<size_t>(node.kind)], node.executions, node.memory_bytes);
    if (node.needs != 0) text += fmt::format(" needs={}", node.needs);
    for (const auto& [resource, time_ns] : node.time_ns) text += fmt::format(" time.{}={}", resource, time_ns);
    if (!node.pin.empty()) text += fmt::format(" pin={}", node.pin);
    text += '\n';
  }
  for (const Edge& edge : graph.edges) {
    text += fmt::format("edge {} {} bytes={}\n", Index(edge.from), Index(edge.to), edge.bytes);
  }
  for (const Edge& edge : graph.carried) {
    text += fmt::format("carried {} {} bytes={}\n", Index(edge.from), Index(edge.to), edge.bytes);
  }
  return text;
}

std::expected<ExecutionGraph, std::string> ParseGraph(std::string_view text) {
  auto records = ReadRecords(text);
  if (!records) return std::unexpected(records.error());
  if (records->empty() || records->front().words != std::vector<std::string>{"graph", "v1"} ||
      !records->front().attributes.empty()) {
    return std::unexpected("line 1: expected \"graph v1\"");
  }
  ExecutionGraph graph;
  for (size_t i = 1; i < records->size(); ++i) {
    const Record& record = (*records)[i];
    std::string_view word = record.words.empty() ? std::string_view() : std::string_view(record.words[0]);
    std::expected<void, std::string> read;
    if (word == "node") {
      read = ReadNode(record, &graph);
    } else if (word == "edge") {
      read = ReadEdge(record, &graph.edges);
    } else if (word == "carried") {
      read = ReadEdge(record, &graph.carried);
    } else {
      RecordReader reader(record);
      reader.Fail(word, "expected node, edge or carried");
      read = reader.Finish(0);
    }
    if (!read) return std::unexpected(read.error());
  }
  if (auto fine = Verify(graph); !fine) return std::unexpected(fine.error());
  return graph;
}

}  // namespace tracelift::partitioner
