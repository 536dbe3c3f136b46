// Loops of a function: natural loops, their nesting, and cycles that are none.
#pragma once

#include <span>
#include <vector>

#include "jit/code/dominators.h"

namespace tracelift::jit {

/// Fills `loops`, `loop_irreducible` and the blocks' `innermost_loop`.
///
/// A natural loop is what can reach a back edge (one whose target, the header, dominates its source) without passing
/// the header; loops with the same header are one. A cycle with several entries gives a loop as well, so that a
/// report can name it, but marked irreducible; so is every loop around such a cycle, every loop that an indirect jump
/// may lead out of or into, and every loop with a branch into the middle of one of its instructions. A natural loop
/// that lies inside an irreducible one keeps its single entry and is not marked.
void FindLoops(const FlowGraph& graph, const std::vector<int>& immediate_dominators, const ReachableCode& reachable,
               DecodedFunction* function);

/// Entered at the first of them only, `blocks` have no cycle that is entered at two places. A cycle with several entries
/// is one from the view of a region that begins at its header: the other entries belong to the code around it.
bool IsReducible(const DecodedFunction& function, std::span<const int> blocks);

}  // namespace tracelift::jit
