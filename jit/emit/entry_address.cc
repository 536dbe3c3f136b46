#include "jit/emit/entry_address.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/Module.h>

namespace tracelift::jit {
namespace {

// Where a value lies in the state at entry; nullopt when it is no such value.
std::optional<uint64_t> OffsetInState(const llvm::Value* value, const llvm::Function& function) {
  const auto* load = llvm::dyn_cast<llvm::LoadInst>(value);
  if (!load || load->isVolatile()) return std::nullopt;
  llvm::APInt offset(64, 0);
  const llvm::DataLayout& layout = function.getParent()->getDataLayout();
  if (load->getPointerOperand()->stripAndAccumulateConstantOffsets(layout, offset, true) != function.getArg(0))
    return std::nullopt;
  return offset.getZExtValue();
}

// Adds a part of an address to `slot`; false when it is none that a slot can have, or already has.
bool AddPart(const llvm::SCEV* part, const llvm::Function& function, const MachineState& observed, Slot* slot) {
  if (const auto* constant = llvm::dyn_cast<llvm::SCEVConstant>(part)) {
    slot->displacement += constant->getAPInt().getSExtValue();
    return true;
  }
  const auto* value = llvm::dyn_cast<llvm::SCEVUnknown>(part);
  if (!value || !value->getType()->isIntegerTy(64)) return false;
  const std::optional<uint64_t> at = OffsetInState(value->getValue(), function);
  if (!at) return false;
  if (*at == offsetof(MachineState, fs_base)) {
    slot->fs = true;
    return true;
  }
  if (const std::optional<int> module = ModuleBaseAt(*at)) {
    slot->displacement += static_cast<int64_t>(observed.module_base[static_cast<size_t>(*module)]);
    return true;
  }
  if (slot->base >= 0 || slot->through >= 0) return false;
  if (*at < 8 * kGprCount) {
    slot->base = static_cast<int8_t>(*at / 8);
    return *at % 8 == 0;
  }
  if (*at < offsetof(MachineState, slot) || (*at - offsetof(MachineState, slot)) % sizeof(SlotValue) != 0) return false;
  slot->through = static_cast<int16_t>((*at - offsetof(MachineState, slot)) / sizeof(SlotValue));
  return true;
}

}  // namespace

std::optional<int> EntryGprOf(const llvm::Value* value, const llvm::Function& function) {
  const std::optional<uint64_t> at = value->getType()->isIntegerTy(64) ? OffsetInState(value, function) : std::nullopt;
  return at && *at < 8 * kGprCount && *at % 8 == 0 ? std::optional(static_cast<int>(*at / 8)) : std::nullopt;
}

std::optional<Slot> SlotAt(const llvm::SCEV* address, const llvm::Function& function, const MachineState& observed) {
  Slot slot;
  const auto* sum = llvm::dyn_cast<llvm::SCEVAddExpr>(address);
  const llvm::ArrayRef<const llvm::SCEV*> parts = sum ? sum->operands() : llvm::ArrayRef(address);
  const bool all =
      llvm::all_of(parts, [&](const llvm::SCEV* part) { return AddPart(part, function, observed, &slot); });
  return all ? std::optional(slot) : std::nullopt;
}

}  // namespace tracelift::jit
