#include "jit/emit/entry_loads.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <optional>
#include <set>

#include "jit/emit/entry_address.h"
#include "jit/emit/program_memory.h"

namespace tracelift::jit {

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
