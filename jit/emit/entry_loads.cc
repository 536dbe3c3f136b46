#include "jit/emit/entry_loads.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <optional>
#include <set>

#include "jit/emit/program_memory.h"

namespace tracelift::jit {
namespace {

// Where a value lies in the state at entry; nullopt when it is no such value.
std::optional<uint64_t> OffsetInState(const llvm::Value* value, const llvm::Function& function) {
  const auto* load = llvm::dyn_cast<llvm::LoadInst>(value);
  if (!load || load->isVolatile()) return std::nullopt;
  llvm::APInt offset(64, 0);
  const llvm::DataLayout& layout = function.getParent()->getDataLayout();
  if (load->getPointerOperand()->stripAndAccumulateConstantOffsets(layout, offset, true) != function.getArg(0)) return std::nullopt;
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

// `address` as the sum of a constant, an entry value, and the base of fs, or of some of these.
std::optional<Slot> SlotAt(const llvm::SCEV* address, const llvm::Function& function, const MachineState& observed) {
  Slot slot;
  const auto* sum = llvm::dyn_cast<llvm::SCEVAddExpr>(address);
  const llvm::ArrayRef<const llvm::SCEV*> parts = sum ? sum->operands() : llvm::ArrayRef(address);
  const bool all = llvm::all_of(parts, [&](const llvm::SCEV* part) { return AddPart(part, function, observed, &slot); });
  return all ? std::optional(slot) : std::nullopt;
}

}  // namespace

bool MakeEntryLoadsSlots(llvm::Loop& loop, llvm::ScalarEvolution& evolution, const CodeReader& reader,
                         std::vector<Slot>* slots, MachineState* observed) {
  llvm::Function& function = *loop.getHeader()->getParent();
  const llvm::DataLayout& layout = function.getParent()->getDataLayout();
  std::set<const llvm::SCEV*> stored;
  std::vector<llvm::LoadInst*> loads;
  for (llvm::BasicBlock* block : loop.blocks()) {
    for (llvm::Instruction& instruction : *block) {
      if (auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction)) stored.insert(AddressOf(store->getPointerOperand(), evolution));
      if (auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction)) loads.push_back(load);
    }
  }
  bool changed = false;
  llvm::IRBuilder<> entry(&*function.getEntryBlock().getFirstInsertionPt());
  for (llvm::LoadInst* load : loads) {
    const auto bytes = layout.getTypeStoreSize(load->getType()).getFixedValue();
    const llvm::SCEV* address = AddressOf(load->getPointerOperand(), evolution);
    if (bytes > 8 || !address || !evolution.isLoopInvariant(address, &loop) || stored.contains(address)) continue;
    std::optional<Slot> slot = SlotAt(address, function, *observed);
    if (!slot) continue;
    slot->bytes = static_cast<uint8_t>(bytes);
    slot->read = true;
    const auto same = [&](const Slot& other) {
      return other.base == slot->base && other.through == slot->through && other.fs == slot->fs &&
             other.displacement == slot->displacement && other.bytes == slot->bytes;
    };
    const auto found = std::find_if(slots->begin(), slots->end(), same);
    const auto index = static_cast<size_t>(found - slots->begin());
    if (found == slots->end()) {
      if (slots->size() == kMaxSlots) break;
      slots->push_back(*slot);
      observed->slot[index] = {};
      (void)reader.Read(AddressOf(*slot, *observed), {observed->slot[index].bytes.data(), slot->bytes});
    }
    const size_t offset = offsetof(MachineState, slot) + index * sizeof(SlotValue);
    llvm::Value* from = entry.CreateConstInBoundsGEP1_64(entry.getInt8Ty(), function.getArg(0), offset);
    load->replaceAllUsesWith(entry.CreateAlignedLoad(load->getType(), from, llvm::Align(8), "cell.in"));
    load->eraseFromParent();
    changed = true;
  }
  return changed;
}

}  // namespace tracelift::jit
