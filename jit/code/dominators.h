// The control flow graph as numbers, and dominators over it.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "jit/code/decoded_function.h"
#include "jit/code/reachable_code.h"

namespace tracelift::jit {

/// Node i is block i. One more node, the dispatcher, stands for the tables behind all indirect jumps: every kIndirect
/// block leads to it, and it leads to every guessed block. It is the last node; without indirect jumps it is isolated.
struct FlowGraph {
  std::vector<std::vector<int>> successors;
  std::vector<std::vector<int>> predecessors;
  int entry = 0;
  int dispatcher = 0;
  std::vector<int> reverse_post_order;  // nodes reachable from the entry
  std::vector<int> order;               // per node: its place in reverse_post_order, -1 when unreachable
  // Of the depth-first walk from the entry:
  std::vector<std::pair<int, int>> retreating;  // edges that lead to a node still open
  std::vector<int> entered, left;               // per node: times, -1 when unreachable

  /// The walk reached `node` through `above`, or they are the same.
  bool FoundBelow(int node, int above) const { return entered[node] >= entered[above] && left[node] <= left[above]; }
};

FlowGraph MakeFlowGraph(const DecodedFunction& function, const ReachableCode& reachable);
/// Of some of its blocks only, entered at the first of them; node i is blocks[i]. Without a dispatcher (-1).
FlowGraph MakeFlowGraph(const DecodedFunction& function, std::span<const int> blocks);

/// Per node its immediate dominator, -1 for the entry and for unreachable nodes. Cooper, Harvey, Kennedy: A Simple,
/// Fast Dominance Algorithm (2001).
std::vector<int> ImmediateDominators(const FlowGraph& graph);

}  // namespace tracelift::jit
