// Reductions in lifted code: which values go round a loop only to be combined with others, in one associative and
// commutative way. Private to jit/emit.
//
// Such an accumulator is a web of values from a header phi to what the next pass gets for it: phis and selects choose
// among them, casts hand them on (every 32-bit write of x86 zero-extends), operations of one kind combine them with
// something that does not depend on the accumulator. Nothing else in the loop looks at one: no branch, no address, no
// store. Then a value of the web is the value at entry combined with what was met on the way, whatever the way was; and
// the value at entry may be put in at the end as well as at the start.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Instructions.h>

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "jit/reduction.h"

namespace tracelift::jit {

/// How a value of the web stands to the accumulator, which has the fewest bits that any of them has.
enum class WebForm : uint8_t {
  kSame,  // it is the accumulator
  kZeroExtended,
  kSignExtended,
  kLowBitsOnly,  // its upper bits are something else
};

struct WebStep {
  llvm::Instruction* value = nullptr;
  llvm::Value* from = nullptr;  // the value of the web that it is made of; null: it chooses among several (phi, select)
  llvm::Value* with = nullptr;  // combined with this; null: handed on
  bool subtracts = false;
};

struct ReductionWeb {
  llvm::PHINode* phi = nullptr;
  Reduction reduction;
  std::vector<WebStep> steps;  // all values of the web but `phi`
  std::map<const llvm::Value*, WebForm> forms;
  std::set<llvm::Value*> sign_bits;      // taken for the sign bit of their width, which is to be checked at entry
  std::set<const llvm::Value*> reached;  // all in the loop that depends on the accumulator
};

/// nullopt when the header phi `phi` of `loop` is no reduction.
std::optional<ReductionWeb> ReductionWebOf(llvm::PHINode* phi, const llvm::Loop* loop);

/// Whether `value`, of the web, is what the next pass gets, perhaps in another width.
bool IsEndOfPass(const ReductionWeb& web, const llvm::Value* value, const llvm::Loop* loop);

/// Makes the whole of a register whose low half is an accumulator the zero extension of that: where only some ways through
/// a pass write it, its upper half goes round the loop beside it. Relies on the upper half being zero at entry. True when
/// it did so with one; there may be more.
bool ExtendLowHalves(llvm::Loop& loop, llvm::ScalarEvolution& evolution);

}  // namespace tracelift::jit
