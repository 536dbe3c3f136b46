#include "tests/partitioner/random_graph.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace tracelift::partitioner {

uint64_t Below(Random& random, uint64_t bound) { return random() % bound; }

double RandomAmount(Random& random) {
  switch (Below(random, 8)) {
    case 0:
      return 0;
    case 1:
      return std::pow(10.0, static_cast<double>(Below(random, 61)) - 30);
    default:
      return static_cast<double>(1 + Below(random, 100'000'000));
  }
}

ExecutionGraph RandomGraph(Random& random, size_t most_nodes) {
  static const char* const kNames[] = {"home", "cpu", "gpu0", "w1"};
  ExecutionGraph graph;
  size_t count = Below(random, most_nodes + 1);
  for (size_t i = 0; i < count; ++i) {
    Node node;
    node.name = "n" + std::to_string(i) + (Below(random, 10) == 0 ? " \"odd\\\n\x01 name" : "");
    node.kind = static_cast<NodeKind>(Below(random, 3));
    node.executions = Below(random, 5) == 0 ? 0 : Below(random, 1000);
    node.memory_bytes = Below(random, 20) == 0 ? random() : Below(random, 1 << 30);
    node.needs = static_cast<uint32_t>(Below(random, 4));
    for (const char* name : kNames) {
      if (Below(random, 2) == 0) node.time_ns[name] = RandomAmount(random);
    }
    if (Below(random, 6) == 0) node.pin = "home";
    graph.Add(std::move(node));
  }
  if (count < 2) return graph;
  std::set<std::pair<uint64_t, uint64_t>> used;
  for (size_t i = Below(random, 3 * count); i > 0; --i) {
    uint64_t a = Below(random, count), b = Below(random, count);
    if (a == b || !used.insert(std::minmax(a, b)).second) continue;
    uint64_t bytes = Below(random, 20) == 0 ? random() : Below(random, 1 << 28);
    graph.edges.push_back({NodeId(std::min(a, b)), NodeId(std::max(a, b)), bytes});
  }
  std::set<std::pair<uint64_t, uint64_t>> carried;
  for (size_t i = Below(random, count); i > 0; --i) {
    uint64_t a = Below(random, count), b = Below(random, count);
    if (carried.insert({a, b}).second) graph.carried.push_back({NodeId(a), NodeId(b), Below(random, 1 << 20)});
  }
  return graph;
}

ResourceSet RandomResources(Random& random) {
  ResourceSet set;
  set.resources.push_back({"home", ResourceKind::kHome, 1, 1, 1, ""});
  if (Below(random, 5) != 0) {
    set.resources[0].shares = "cpu";
    set.resources.push_back({"cpu", ResourceKind::kCpu, static_cast<uint32_t>(1 + Below(random, 64)),
                             0.5 + static_cast<double>(Below(random, 100)), 1, ""});
  }
  if (Below(random, 2) == 0) set.resources.push_back({"gpu0", ResourceKind::kGpu, 1, 40, 5, ""});
  if (Below(random, 3) == 0)
    set.resources.push_back({"w1", ResourceKind::kWorker, 4, 1e-9 + RandomAmount(random), 1, ""});
  for (size_t i = 0; i < set.resources.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (Below(random, 5) == 0) continue;  // no way between these two
      set.links.push_back(
          {set.resources[i].name, set.resources[j].name, RandomAmount(random), 1 + RandomAmount(random)});
    }
  }
  return set;
}

}  // namespace tracelift::partitioner
