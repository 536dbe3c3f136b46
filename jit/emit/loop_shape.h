// The lifted loop after simplification, as analysis sees it: one outermost loop whose exits are either the pause
// (pass counter reached) or natural. Private to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Function.h>
#include <llvm/IR/Instructions.h>

#include <expected>
#include <utility>
#include <vector>

#include "jit/code/decoded_function.h"
#include "jit/emit/reduction_web.h"
#include "jit/rejection.h"

namespace tracelift::jit {

inline constexpr char kPauseMarker[] = "tl.pause";
inline constexpr char kExitMarker[] = "tl.exit";
inline constexpr char kDetourMarker[] = "tl.detour";
inline constexpr char kLeftMarker[] = "tl.left";

/// Empties the exit blocks (the original code leaves the loop itself; so all natural ones become one) and marks pause and
/// exits with calls that no pass removes or merges, so that they are found again after simplification.
void MarkEnds(llvm::Function& function, const LoopFacts& facts);

/// A block that ends the function there.
llvm::BasicBlock* NewEnd(llvm::Function& function, const char* marker);

struct ExitEdge {
  llvm::BasicBlock* from = nullptr;  // inside the loop
  llvm::BasicBlock* to = nullptr;    // outside
};

/// How often a loop is passed again before it is left through one exit: dividend / divisor, which must divide evenly.
/// ScalarEvolution proves most counts (divisor 1); a loop that runs until a stepping value *equals* a bound also has
/// one, provided that the steps hit the bound, which is checked on the real values (ExprOp::kExactDiv).
struct ExitCount {
  const llvm::SCEV* dividend = nullptr;  // null: not known
  uint64_t divisor = 1;
};
ExitCount CountOf(const llvm::Loop* loop, llvm::BasicBlock* exiting, llvm::ScalarEvolution& evolution);

/// The header variable is an add-recurrence of the loop.
bool IsRecurrence(llvm::PHINode& phi, const llvm::Loop* loop, llvm::ScalarEvolution& evolution);

/// A value that a pass may set, and that no pass reads: `if (x > limit) last = x;`, or a register that an inner loop
/// leaves something in when it runs at all. It only matters at the end, and then only if a pass of the chunk set it.
/// `copies` are the instructions of the loop that pass it on (phis, selects, changes of width), `phi` itself first.
struct KeptValue {
  llvm::PHINode* phi = nullptr;
  std::vector<llvm::Instruction*> copies;
};

/// nullopt when an instruction of the loop depends on the phi: then a pass needs what an earlier one computed.
std::optional<KeptValue> KeptValueOf(llvm::PHINode* phi, const llvm::Loop* loop);

struct LoopShape {
  llvm::Loop* loop = nullptr;
  ExitEdge pause;
  std::vector<ExitEdge> natural;
  std::vector<ExitEdge> detours;       // to code that is not lifted, or out of the loop: the original must redo the slice
  std::vector<llvm::PHINode*> affine;  // header phis that are add-recurrences of the loop
  std::vector<KeptValue> kept;
  std::vector<ReductionWeb> reductions;  // all other header phis
  std::vector<ExitCount> counts;       // of the natural exits; the loop is left at the smallest
};

/// Finds the loop and classifies its exits and header phis. Rejects other carried values and unknown trip counts.
std::expected<LoopShape, Rejection> AnalyseShape(llvm::Function& function, llvm::LoopInfo& loops,
                                                 llvm::ScalarEvolution& evolution, const DecodedFunction& code);

/// Exits that nobody can count, beside one that is counted (a search that stops where it finds something): the loop is run
/// as if they were not there, and a pass that takes one ends the chunk with kFlagLeft. Only for loops that write nothing:
/// what lies behind the place where such a loop stops may be another thread's. And only if no inner loop could run for ever on
/// data that lie there. True when there are any; analyses are then
/// out of date.
bool FlagUncountedExits(llvm::Function& function, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution);

/// The machine instruction that `value` came from (through its debug location), 0 when unknown.
uint64_t InstructionAddress(const llvm::Value* value, const DecodedFunction& code);
/// Its disassembly, or "".
std::string InstructionText(uint64_t address, const DecodedFunction& code);

}  // namespace tracelift::jit
