// What is known of a function that might be spliced into a loop that calls it. Private to jit/code.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "jit/code/decoded_function.h"
#include "jit/code_reader.h"

namespace tracelift::jit {

struct Callee {
  std::shared_ptr<const FunctionCode> code;
  std::string obstacle;              // not empty: it cannot be spliced
  std::vector<bool> passable;        // per block: every instruction is lifted, and so is whatever it calls
  std::map<int, uint64_t> calls;     // by block that ends in a call: the function called, which can be spliced
  std::map<uint64_t, uint64_t> tails;  // by address outside the function that it jumps to: the function there, the same
  int64_t instructions = 0;          // callees' own included
  RegisterSet reads;                 // registers of its caller, those that it gives back included
  std::map<uint64_t, RegisterSet> read_beyond;  // see DecodedFunction
};

/// Examines functions, each once.
class CalleeCatalogue {
 public:
  CalleeCatalogue(const CodeReader& reader, bool (*is_lifted)(const Instruction&), uint64_t near)
      : reader_(reader), is_lifted_(is_lifted), near_(near) {}

  /// The function at `address`, which must be its first instruction.
  const Callee& At(uint64_t address);
  /// The function that `call` leads to, linkage tables followed; nullopt when only the running program knows. *linked:
  /// it leads through such a table.
  std::optional<uint64_t> TargetOf(const Instruction& call, bool* linked = nullptr) const;
  /// Every instruction of the block can be lifted, copied far away, and is no jump to an unknown place.
  bool IsPassable(const DecodedFunction& function, const BasicBlock& block, std::string* obstacle) const;

 private:
  Callee Examine(uint64_t address);
  void FindCalls(Callee* callee);
  void FindWayThrough(Callee* callee);
  uint64_t FollowLinkage(uint64_t address) const;
  void FindReads(Callee* callee);

  const CodeReader& reader_;
  bool (*const is_lifted_)(const Instruction&);
  const uint64_t near_;  // where copies of code will be put
  std::map<uint64_t, Callee> known_;
  int depth_ = 0;
};

}  // namespace tracelift::jit
