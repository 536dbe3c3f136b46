// What is known of a function that might be spliced into a loop that calls it. Private to jit/code.
#pragma once

#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "jit/code/decoded_function.h"
#include "jit/code/liveness.h"
#include "jit/code/stack_use.h"
#include "jit/code/ways_through.h"
#include "jit/code_reader.h"

namespace tracelift::jit {

/// Where a call leads.
struct CallTarget {
  uint64_t address = 0;
  bool linked = false;  // through a linkage table
};

struct Callee {
  std::shared_ptr<const FunctionCode> code;
  std::string obstacle;              // not empty: it cannot be spliced
  std::vector<bool> passable;        // per block: every instruction is lifted, and so is whatever it calls
  std::map<int, CallTarget> calls;   // by block that ends in a call: the function called, which can be spliced
  std::map<uint64_t, uint64_t> tails;  // by address outside the function that it jumps to: the function there, the same
  int64_t own_instructions = 0;      // of its passable blocks
  int64_t instructions = 0;          // callees' own included
  int64_t copied = 0;                // the same with all blocks: what a copy of it takes
};

/// Examines functions, each once. What cannot be passed anyway is not looked into: what only leads there, and, once every
/// way to a return is found to be closed, the rest of the function.
class CalleeCatalogue {
 public:
  CalleeCatalogue(const CodeReader& reader, bool (*is_lifted)(const Instruction&), uint64_t near)
      : reader_(reader), is_lifted_(is_lifted), near_(near) {}

  /// The function at `address`, which must be its first instruction.
  const Callee& At(uint64_t address);
  /// The function that `call` leads to, linkage tables followed; nullopt when only the running program knows.
  std::optional<CallTarget> TargetOf(const Instruction& call) const;
  /// Every instruction of the block can be lifted, copied far away, and is no jump to an unknown place.
  bool IsPassable(const DecodedFunction& function, const BasicBlock& block, std::string* obstacle) const;
  /// What the function reads that is called by `block`, or that it goes on in, added to `read_beyond`. Ask when all
  /// functions are examined that matter more: it takes from the same budget.
  void AddReadBeyond(const DecodedFunction& function, const BasicBlock& block, ReadBeyond* read_beyond);

 private:
  Callee Examine(uint64_t address);
  /// Closes the exits that cannot be taken; done when `closed_by` says that no way is left.
  void FindCalls(const StackUse& stack, const std::function<bool(std::string)>& closed_by, Callee* callee,
                 WaysThrough* ways);
  void Measure(Callee* callee);
  uint64_t FollowLinkage(uint64_t address) const;
  /// The function at `address`, or why it cannot be had.
  std::expected<std::shared_ptr<const FunctionCode>, std::string> FunctionAt(uint64_t address);
  /// Registers of its caller that the function reads, those that it gives back included.
  RegisterSet ReadsOf(uint64_t address);

  const CodeReader& reader_;
  bool (*const is_lifted_)(const Instruction&);
  const uint64_t near_;  // where copies of code will be put
  std::map<uint64_t, std::expected<std::shared_ptr<const FunctionCode>, std::string>> decoded_;
  std::map<uint64_t, Callee> known_;
  std::map<uint64_t, RegisterSet> reads_;
  int depth_ = 0;
};

}  // namespace tracelift::jit
