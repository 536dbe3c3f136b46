// The ways through a function, from its first instruction to a return, while it turns out what of it can be passed.
// Private to jit/code.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

class WaysThrough {
 public:
  /// Where the function calls another one, or goes on in it.
  struct Exit {
    int block = 0;
    bool is_call = false;
    uint64_t at = 0;      // address of the call or jump
    uint64_t target = 0;  // of a jump: the address outside the function that it leads to
  };

  /// `passable`: per block. Every exit is taken for open.
  WaysThrough(const DecodedFunction& function, std::vector<bool> passable);

  /// Those on a way, the ones that no way avoids first.
  std::vector<Exit> Exits() const;
  /// Nothing passes there any more.
  void Close(const Exit& exit);
  void Close(const std::vector<bool>& blocks);
  void CloseBlock(int block);

  bool Exist() const;
  bool IsOpen(const Exit& exit) const;
  /// Per block: it lies on a way.
  const std::vector<bool>& blocks() const { return on_; }

 private:
  void Find();
  bool IsEnd(const BasicBlock& block) const;
  /// Per block: every way leads through it (as far as dominators tell, which look at closed blocks as well).
  std::vector<bool> Unavoidable() const;

  const DecodedFunction& function_;
  std::vector<bool> passable_;
  std::set<uint64_t> closed_;  // jumps out of the function, by target
  std::vector<bool> on_;
};

}  // namespace tracelift::jit
