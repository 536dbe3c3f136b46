#include "jit/code/dominators.h"

#include <algorithm>
#include <utility>

namespace tracelift::jit {
namespace {

/// Depth-first without recursion: functions have thousands of blocks and we run on small stacks.
void Number(FlowGraph* graph) {
  enum : uint8_t { kNew, kOpen, kDone };
  const size_t size = graph->successors.size();
  std::vector<uint8_t> state(size, kNew);
  std::vector<std::pair<int, size_t>> stack;  // node, next successor to visit
  std::vector<int> post_order;
  graph->entered.assign(size, -1);
  graph->left.assign(size, -1);
  int clock = 0;
  const auto open = [&](int node) {
    state[node] = kOpen;
    graph->entered[node] = clock++;
    stack.emplace_back(node, 0);
  };
  open(graph->entry);
  while (!stack.empty()) {
    const int node = stack.back().first;
    if (stack.back().second == graph->successors[node].size()) {
      state[node] = kDone;
      graph->left[node] = clock;
      post_order.push_back(node);
      stack.pop_back();
      continue;
    }
    const int successor = graph->successors[node][stack.back().second++];
    if (state[successor] == kNew) {
      open(successor);
    } else if (state[successor] == kOpen) {
      graph->retreating.emplace_back(node, successor);
    }
  }
  graph->reverse_post_order.assign(post_order.rbegin(), post_order.rend());
  graph->order.assign(size, -1);
  for (size_t i = 0; i < graph->reverse_post_order.size(); ++i) {
    graph->order[graph->reverse_post_order[i]] = static_cast<int>(i);
  }
}

}  // namespace

FlowGraph MakeFlowGraph(const DecodedFunction& function, const ReachableCode& reachable) {
  FlowGraph graph;
  const size_t blocks = function.blocks.size();
  graph.successors.resize(blocks + 1);
  graph.predecessors.resize(blocks + 1);
  graph.entry = function.BlockAt(function.bounds.begin);
  graph.dispatcher = static_cast<int>(blocks);
  const auto link = [&](int from, int to) {
    graph.successors[from].push_back(to);
    graph.predecessors[to].push_back(from);
  };
  for (size_t b = 0; b < blocks; ++b) {
    for (int successor : function.blocks[b].successors) link(static_cast<int>(b), successor);
    if (function.blocks[b].end_kind == BlockEnd::kIndirect) link(static_cast<int>(b), graph.dispatcher);
  }
  for (uint32_t offset : reachable.guessed) link(graph.dispatcher, function.BlockAt(function.bounds.begin + offset));
  Number(&graph);
  return graph;
}

FlowGraph MakeFlowGraph(const DecodedFunction& function, std::span<const int> blocks) {
  FlowGraph graph;
  graph.successors.resize(blocks.size());
  graph.predecessors.resize(blocks.size());
  graph.dispatcher = -1;
  std::vector<int> node_of(function.blocks.size(), -1);
  for (size_t i = 0; i < blocks.size(); ++i) node_of[blocks[i]] = static_cast<int>(i);
  for (size_t i = 0; i < blocks.size(); ++i) {
    for (int successor : function.blocks[blocks[i]].successors) {
      if (node_of[successor] < 0) continue;
      graph.successors[i].push_back(node_of[successor]);
      graph.predecessors[node_of[successor]].push_back(static_cast<int>(i));
    }
  }
  Number(&graph);
  return graph;
}

std::vector<int> ImmediateDominators(const FlowGraph& graph) {
  // Works on places in reverse post order, where a dominator always has the smaller number.
  std::vector<int> dominator(graph.reverse_post_order.size(), -1);
  dominator[0] = 0;
  const auto intersect = [&](int a, int b) {
    while (a != b) {
      while (a > b) a = dominator[a];
      while (b > a) b = dominator[b];
    }
    return a;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t place = 1; place < dominator.size(); ++place) {
      int best = -1;
      for (int predecessor : graph.predecessors[graph.reverse_post_order[place]]) {
        const int other = graph.order[predecessor];
        if (other < 0 || dominator[other] < 0) continue;
        best = best < 0 ? other : intersect(best, other);
      }
      if (dominator[place] == best) continue;
      dominator[place] = best;
      changed = true;
    }
  }
  std::vector<int> result(graph.successors.size(), -1);
  for (size_t place = 1; place < dominator.size(); ++place) {
    result[graph.reverse_post_order[place]] = graph.reverse_post_order[dominator[place]];
  }
  return result;
}

}  // namespace tracelift::jit
