// The instructions of lanes: each instruction of a loop once for all lanes that run an iteration of it. Private to
// jit/emit.
//
// What all lanes have in common stays a scalar; an affine value is lane 0's scalar and a stride. A vector of n elements
// becomes one of n times as many, lane by lane, so that casts between element types mean the same as before.
#pragma once

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>

#include <map>
#include <optional>

#include "jit/emit/lane_values.h"

namespace tracelift::jit {

/// Every address that a pass could compute is mapped (its footprint was checked) or kept inside a table or window: where
/// lanes are in the same iteration of every loop, also those of lanes that are not there. Lanes that run ahead of each
/// other compute addresses that no pass would, and so do lanes that have come to the end of their row (jit/emit/row_reads.h).
enum class Reads : bool { kOfAllLanes, kOfLanesThere };

class LaneCode {
 public:
  LaneCode(const LaneValues& values, const llvm::Loop& lanes, unsigned count, llvm::IRBuilder<>& builder,
           Reads reads = Reads::kOfAllLanes)
      : values_(values), lanes_(lanes), count_(count), builder_(builder), reads_(reads) {}

  /// Whether every instruction of the lanes' loop has a form for lanes.
  bool CanEmit() const;

  /// Emits `instruction`, no phi or terminator, at the builder's place. Lanes without their bit in `mask` (null: all
  /// have it) do nothing that can be seen; their values are arbitrary.
  void Emit(llvm::Instruction& instruction, llvm::Value* mask);

  llvm::Value* Scalar(llvm::Value* value) const;  // of a uniform value; of an affine one lane 0's
  llvm::Value* Wide(llvm::Value* value);
  void SetScalar(const llvm::Value* of, llvm::Value* value) { scalars_[of] = value; }
  void SetWide(const llvm::Value* of, llvm::Value* value) { wides_[of] = value; }
  bool IsWide(const llvm::Value* value) const { return values_.Of(value).kind == LaneKind::kVarying; }

  llvm::FixedVectorType* WideType(llvm::Type* type) const;
  /// `mask` with each lane's bit once for each of the elements that `type` has.
  llvm::Value* MaskFor(llvm::Value* mask, llvm::Type* type);
  llvm::Value* AnyOf(llvm::Value* mask) { return builder_.CreateOrReduce(mask); }
  /// A flag of the chunk, one for each lane while the lanes' loop runs.
  void SetFlag(const llvm::AllocaInst* flag, llvm::AllocaInst* own) { flags_[flag] = own; }

 private:
  bool CanEmit(llvm::Instruction& instruction) const;
  std::optional<int64_t> StrideOf(llvm::Value* pointer) const;
  llvm::Value* Divisor(llvm::Instruction& instruction, llvm::Value* mask, bool wide);
  llvm::Value* EmitWide(llvm::Instruction& instruction, llvm::Value* mask);
  static void KeepScopes(const llvm::Instruction& from, llvm::Value* to);
  llvm::Value* EmitLoad(llvm::LoadInst& load, llvm::Value* mask);
  void EmitStore(llvm::StoreInst& store, llvm::Value* mask);
  llvm::Value* EmitCall(llvm::IntrinsicInst& call);
  llvm::Value* EmitFloatCall(llvm::CallInst& call);
  llvm::Value* EmitFromLaneBefore(llvm::CallInst& call);
  llvm::Value* EmitShuffle(llvm::Instruction& instruction);
  llvm::Value* LaneOf(llvm::Value* wide, unsigned lane, llvm::Type* type);
  llvm::Value* Reversed(llvm::Value* wide, llvm::Type* type);
  llvm::Value* PointerOf(llvm::Value* pointer, unsigned lane);
  llvm::Value* ReadablePointerOf(llvm::LoadInst& load, unsigned lane, llvm::Value* mask);

  const LaneValues& values_;
  const llvm::Loop& lanes_;
  unsigned count_;
  llvm::IRBuilder<>& builder_;
  Reads reads_;
  std::map<const llvm::Value*, llvm::Value*> scalars_, wides_;
  std::map<const llvm::Value*, llvm::AllocaInst*> flags_;
};

/// A gather that reads all lanes, at a constant distance.
struct Lanes {
  llvm::Value* first;  // the address of lane 0
  int64_t step;
};
std::optional<Lanes> LanesOfGather(const llvm::Instruction& instruction);

}  // namespace tracelift::jit
