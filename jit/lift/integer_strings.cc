// movs, stos and lods with and without rep, upwards only.
//
// The direction flag belongs to the program: by the ABI it is clear whenever a function is called or returns, but
// hand-written code may set it. It is not part of the lifted state; a region that is entered with it set gives back
// kFlagDetour, for the original to run.

#include "jit/artifact.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {

void Translator::TranslateString() {
  RequireUpwards();
  bool repeats = false;
  for (int i = 0; i < at_->info.raw.prefix_count; ++i) repeats |= at_->info.raw.prefixes[i].value == 0xf3;
  if (!repeats) return StringElement();

  // One element a turn, also where source and destination overlap: a copy by one byte spreads that byte.
  llvm::BasicBlock* here = ir_.GetInsertBlock();
  llvm::BasicBlock* turn =
      llvm::BasicBlock::Create(context_, "string_" + llvm::Twine::utohexstr(at_->address), &function_);
  llvm::BasicBlock* rest = llvm::BasicBlock::Create(context_, here->getName() + ".after_string", &function_);
  Value* zero = ir_.getInt64(0);
  ir_.CreateCondBr(ir_.CreateICmpNE(ReadWhole(kRcx, 64), zero), turn, rest);
  ir_.SetInsertPoint(turn);
  StringElement();
  Value* left = ir_.CreateSub(ReadWhole(kRcx, 64), ir_.getInt64(1));
  WriteWhole(kRcx, left);
  ir_.CreateCondBr(ir_.CreateICmpNE(left, zero), turn, rest);
  ir_.SetInsertPoint(rest);
}

/// Moves one element and advances the pointers behind it.
void Translator::StringElement() {
  const int bits = Bits(0);
  const auto advance = [&](Gpr gpr) {
    WriteWhole(gpr, ir_.CreateAdd(ReadWhole(gpr, 64), ir_.getInt64(static_cast<uint64_t>(bits / 8))));
  };
  const bool loads = at_->operands[1].type == ZYDIS_OPERAND_TYPE_MEMORY;   // movs, lods
  const bool stores = at_->operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;  // movs, stos
  Value* element = loads ? ir_.CreateAlignedLoad(IntType(bits), Pointer(1), llvm::Align(1)) : ReadWhole(kRax, bits);
  if (stores) {
    ir_.CreateAlignedStore(element, Pointer(0), llvm::Align(1));
    advance(kRdi);
  } else {
    WriteWhole(kRax, element);
  }
  if (loads) advance(kRsi);
}

/// Once, at entry: sets kFlagDetour when the direction flag is set.
void Translator::RequireUpwards() {
  if (requires_upwards_) return;
  requires_upwards_ = true;
  constexpr uint64_t kDirection = 1 << 10;
  Value* from = entry_ir_.CreateConstInBoundsGEP1_64(entry_ir_.getInt8Ty(), function_.getArg(0),
                                                     offsetof(MachineState, rflags));
  Value* rflags = entry_ir_.CreateAlignedLoad(entry_ir_.getInt64Ty(), from, llvm::Align(8), "rflags.in");
  Value* downwards = entry_ir_.CreateICmpNE(entry_ir_.CreateAnd(rflags, kDirection), entry_ir_.getInt64(0));
  Value* flags = function_.getArg(4);
  Value* old = entry_ir_.CreateAlignedLoad(entry_ir_.getInt32Ty(), flags, llvm::Align(4));
  Value* bit = entry_ir_.CreateSelect(downwards, entry_ir_.getInt32(kFlagDetour), entry_ir_.getInt32(0));
  entry_ir_.CreateAlignedStore(entry_ir_.CreateOr(old, bit), flags, llvm::Align(4));
}

}  // namespace tracelift::jit
