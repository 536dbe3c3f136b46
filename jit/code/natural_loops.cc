#include "jit/code/natural_loops.h"

#include <algorithm>
#include <map>

namespace tracelift::jit {
namespace {

struct LoopBody {
  int header = 0;
  std::vector<bool> contains;  // per node
  int size = 0;
  bool irreducible = false;

  void Add(int node) {
    if (contains[node]) return;
    contains[node] = true;
    ++size;
  }
};

/// Dominance queries in constant time: numbers each node of the dominator tree when entered and left.
class DominatorTree {
 public:
  explicit DominatorTree(const FlowGraph& graph, const std::vector<int>& immediate)
      : first_(immediate.size(), -1), last_(immediate.size(), -1) {
    std::vector<std::vector<int>> children(immediate.size());
    for (size_t node = 0; node < immediate.size(); ++node) {
      if (immediate[node] >= 0) children[immediate[node]].push_back(static_cast<int>(node));
    }
    int clock = 0;
    std::vector<std::pair<int, size_t>> stack;
    const auto enter = [&](int node) {
      first_[node] = clock++;
      stack.emplace_back(node, 0);
    };
    enter(graph.entry);
    while (!stack.empty()) {
      const int node = stack.back().first;
      if (stack.back().second == children[node].size()) {
        last_[node] = clock;
        stack.pop_back();
      } else {
        enter(children[node][stack.back().second++]);
      }
    }
  }

  bool Dominates(int a, int b) const { return first_[a] <= first_[b] && last_[b] <= last_[a]; }

 private:
  std::vector<int> first_, last_;
};

/// Adds what reaches `source` without passing the header. A cycle with several entries is confined to what the
/// depth-first walk found below its header (Havlak, Nesting of Reducible and Irreducible Loops, 1997); the nodes of a
/// natural loop all lie there anyway.
void GrowBody(const FlowGraph& graph, int source, LoopBody* body) {
  std::vector<int> pending;
  const auto visit = [&](int node) {
    if (body->contains[node] || !graph.FoundBelow(node, body->header)) return;
    body->Add(node);
    pending.push_back(node);
  };
  visit(source);
  while (!pending.empty()) {
    const int node = pending.back();
    pending.pop_back();
    for (int predecessor : graph.predecessors[node]) visit(predecessor);
  }
}

/// One body per header, small ones first, so that an inner loop comes before the loops around it.
std::vector<LoopBody> FindBodies(const FlowGraph& graph) {
  std::map<int, LoopBody> by_header;
  for (const auto& [source, header] : graph.retreating) {
    LoopBody& body = by_header[header];
    if (body.contains.empty()) {
      body.header = header;
      body.contains.assign(graph.successors.size(), false);
      body.Add(header);
    }
    GrowBody(graph, source, &body);
  }
  std::vector<LoopBody> bodies;
  for (auto& [header, body] : by_header) bodies.push_back(std::move(body));
  std::stable_sort(bodies.begin(), bodies.end(), [](const LoopBody& a, const LoopBody& b) { return a.size < b.size; });
  return bodies;
}

void MarkIrreducible(const FlowGraph& graph, const DominatorTree& tree, const ReachableCode& reachable,
                     const DecodedFunction& function, std::vector<LoopBody>* bodies) {
  for (const auto& [source, header] : graph.retreating) {
    if (tree.Dominates(header, source)) continue;
    for (LoopBody& body : *bodies) body.irreducible |= body.contains[source] && body.contains[header];
  }
  for (LoopBody& body : *bodies) body.irreducible |= body.contains[graph.dispatcher];
  for (uint32_t offset : reachable.entered_inside) {
    const uint64_t address = function.bounds.begin + offset;
    const auto after = std::upper_bound(function.blocks.begin(), function.blocks.end(), address,
                                        [](uint64_t a, const BasicBlock& block) { return a < block.begin; });
    if (after == function.blocks.begin()) continue;
    const size_t block = static_cast<size_t>(after - function.blocks.begin()) - 1;
    for (LoopBody& body : *bodies) body.irreducible |= body.contains[block];
  }
}

bool Includes(const LoopBody& outer, const LoopBody& inner) {
  if (outer.size <= inner.size || !outer.contains[inner.header]) return false;
  for (size_t node = 0; node < inner.contains.size(); ++node) {
    if (inner.contains[node] && !outer.contains[node]) return false;
  }
  return true;
}

LoopInfo Describe(const LoopBody& body, const DecodedFunction& function) {
  LoopInfo info;
  // The dispatcher is no code: a loop headed by it (a computed-goto interpreter) is named after its first block.
  for (size_t b = 0; b < function.blocks.size(); ++b) {
    if (!body.contains[b]) continue;
    info.blocks.push_back({function.blocks[b].begin, function.blocks[b].end});
    info.instruction_count += function.blocks[b].count;
  }
  info.header = body.header < static_cast<int>(function.blocks.size()) ? function.blocks[body.header].begin
                                                                       : info.blocks.front().begin;
  return info;
}

}  // namespace

bool IsReducible(const DecodedFunction& function, std::span<const int> blocks) {
  const FlowGraph graph = MakeFlowGraph(function, blocks);
  const DominatorTree tree(graph, ImmediateDominators(graph));
  return std::ranges::all_of(graph.retreating,
                             [&](const auto& edge) { return tree.Dominates(edge.second, edge.first); });
}

void FindLoops(const FlowGraph& graph, const std::vector<int>& immediate_dominators, const ReachableCode& reachable,
               DecodedFunction* function) {
  const DominatorTree tree(graph, immediate_dominators);
  std::vector<LoopBody> bodies = FindBodies(graph);
  MarkIrreducible(graph, tree, reachable, *function, &bodies);

  for (size_t i = 0; i < bodies.size(); ++i) {
    LoopInfo info = Describe(bodies[i], *function);
    for (size_t j = i + 1; j < bodies.size() && info.parent == LoopId::kNone; ++j) {
      if (Includes(bodies[j], bodies[i])) info.parent = static_cast<LoopId>(j);
    }
    function->loops.push_back(std::move(info));
    function->loop_irreducible.push_back(bodies[i].irreducible);
    for (size_t b = 0; b < function->blocks.size(); ++b) {
      int& innermost = function->blocks[b].innermost_loop;
      if (bodies[i].contains[b] && innermost < 0) innermost = static_cast<int>(i);
    }
  }
  // A parent always has the larger index.
  for (size_t i = function->loops.size(); i-- > 0;) {
    LoopInfo& info = function->loops[i];
    if (info.parent != LoopId::kNone) info.depth = function->loops[static_cast<size_t>(info.parent)].depth + 1;
  }
}

}  // namespace tracelift::jit
