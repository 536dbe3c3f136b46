#include "jit/code/ways_through.h"

#include <algorithm>
#include <utility>

namespace tracelift::jit {
namespace {

bool JumpsOut(const BasicBlock& block) {
  return block.end_kind == BlockEnd::kJump || block.end_kind == BlockEnd::kBranch;
}

}  // namespace

WaysThrough::WaysThrough(const DecodedFunction& function, std::vector<bool> passable)
    : function_(function), passable_(std::move(passable)) {
  Find();
}

bool WaysThrough::IsEnd(const BasicBlock& block) const {
  if (block.end_kind == BlockEnd::kReturn) return true;
  return JumpsOut(block) && std::ranges::any_of(block.targets, [&](uint64_t target) {
           return !function_.bounds.Contains(target) && !closed_.contains(target);
         });
}

void WaysThrough::Find() {
  const int entry = function_.BlockAt(function_.bounds.begin);
  const std::vector<bool> reached = function_.Reach(passable_, {entry}, &BasicBlock::successors);
  std::vector<int> ends;
  for (size_t b = 0; b < function_.blocks.size(); ++b) {
    if (IsEnd(function_.blocks[b])) ends.push_back(static_cast<int>(b));
  }
  on_ = function_.Reach(reached, ends, &BasicBlock::predecessors);
}

bool WaysThrough::Exist() const { return on_[function_.BlockAt(function_.bounds.begin)]; }

std::vector<bool> WaysThrough::Unavoidable() const {
  std::vector<int> dominated_ends(function_.blocks.size(), 0);  // per block
  int ends = 0;
  for (size_t b = 0; b < function_.blocks.size(); ++b) {
    if (!on_[b] || !IsEnd(function_.blocks[b])) continue;
    ++ends;
    for (int at = static_cast<int>(b); at >= 0; at = function_.blocks[at].immediate_dominator) ++dominated_ends[at];
  }
  std::vector<bool> unavoidable;
  for (int dominated : dominated_ends) unavoidable.push_back(dominated == ends);
  return unavoidable;
}

std::vector<WaysThrough::Exit> WaysThrough::Exits() const {
  std::vector<Exit> exits;
  for (size_t b = 0; b < function_.blocks.size(); ++b) {
    const BasicBlock& block = function_.blocks[b];
    const Instruction& last = function_.LastOf(block);
    if (!on_[b]) continue;
    if (block.end_kind == BlockEnd::kCall && last.callee == KnownCallee::kNone) {
      exits.push_back({static_cast<int>(b), /*is_call=*/true, last.address});
    }
    if (!JumpsOut(block)) continue;
    for (uint64_t target : block.targets) {
      if (!function_.bounds.Contains(target)) exits.push_back({static_cast<int>(b), false, last.address, target});
    }
  }
  const std::vector<bool> unavoidable = Unavoidable();
  std::ranges::stable_partition(exits, [&](const Exit& exit) { return unavoidable[exit.block]; });
  return exits;
}

void WaysThrough::Close(const Exit& exit) {
  if (exit.is_call) return CloseBlock(exit.block);
  closed_.insert(exit.target);
  Find();
}

void WaysThrough::CloseBlock(int block) {
  passable_[block] = false;
  Find();
}

void WaysThrough::Close(const std::vector<bool>& blocks) {
  for (size_t b = 0; b < blocks.size(); ++b) passable_[b] = passable_[b] && !blocks[b];
  Find();
}

bool WaysThrough::IsOpen(const Exit& exit) const {
  return on_[exit.block] && (exit.is_call || !closed_.contains(exit.target));
}

}  // namespace tracelift::jit
