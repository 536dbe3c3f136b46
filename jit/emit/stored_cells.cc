#include "jit/emit/stored_cells.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "jit/emit/entry_address.h"
#include "jit/emit/loop_shape.h"
#include "jit/emit/program_memory.h"

namespace tracelift::jit {
namespace {

struct Use {
  llvm::Instruction* instruction = nullptr;  // a load or a store
  Slot place;                                // of this many bytes
  int64_t end() const { return place.displacement + place.bytes; }
  bool stores() const { return llvm::isa<llvm::StoreInst>(instruction); }
};

auto BaseOf(const Slot& slot) { return std::tuple(slot.base, slot.through, slot.fs); }

std::vector<Use> UsesIn(llvm::Loop& loop, llvm::ScalarEvolution& evolution, const LoopFacts& facts,
                        const MachineState& observed) {
  const llvm::Function& function = *loop.getHeader()->getParent();
  std::vector<Use> uses;
  for (llvm::BasicBlock* block : loop.blocks()) {
    for (llvm::Instruction& instruction : *block) {
      llvm::Value* pointer = llvm::getLoadStorePointerOperand(&instruction);
      if (!pointer || instruction.isAtomic() || instruction.isVolatile()) continue;
      const uint64_t bytes =
          function.getParent()->getDataLayout().getTypeStoreSize(llvm::getLoadStoreType(&instruction));
      const llvm::SCEV* address = AddressOf(pointer, evolution);
      if (!address || bytes > kSlotBytes || !evolution.isLoopInvariant(address, &loop)) continue;
      std::optional<Slot> place = SlotAt(address, function, observed);
      const bool callees_have_it = place && place->base == kRsp && place->displacement < 0 && facts.pass_stack > 0;
      if (!place || callees_have_it) continue;
      place->bytes = static_cast<uint8_t>(bytes);
      uses.push_back({&instruction, *place});
    }
  }
  std::stable_sort(uses.begin(), uses.end(), [](const Use& a, const Use& b) {
    return std::pair(BaseOf(a.place), a.place.displacement) < std::pair(BaseOf(b.place), b.place.displacement);
  });
  return uses;
}

/// Uses that follow each other without a gap.
struct Area {
  std::vector<Use> uses;
  int64_t begin = 0, end = 0;
  uint64_t address(const MachineState& observed) const {
    const Slot& first = uses[0].place;
    return jit::AddressOf(first, observed) - static_cast<uint64_t>(first.displacement - begin);
  }
  bool stores() const { return std::ranges::any_of(uses, &Use::stores); }
};

/// The memory of `slot`, as seen.
bool IsPlaceOf(const Area& area, const Slot& slot, const MachineState& observed) {
  return area.address(observed) == jit::AddressOf(slot, observed) && area.end - area.begin == slot.bytes;
}

bool Overlap(const Area& area, const Slot& slot, const MachineState& observed) {
  const auto distance = static_cast<int64_t>(jit::AddressOf(slot, observed) - area.address(observed));
  return distance < area.end - area.begin && -distance < slot.bytes;
}

/// Uses that overlap, directly or through others.
std::vector<Area> PiecesOf(const std::vector<Use>& uses) {
  std::vector<Area> pieces;
  for (const Use& use : uses) {
    const bool continues = !pieces.empty() && BaseOf(pieces.back().uses[0].place) == BaseOf(use.place) &&
                           use.place.displacement < pieces.back().end;
    if (!continues) pieces.push_back({{}, use.place.displacement, use.end()});
    pieces.back().uses.push_back(use);
    pieces.back().end = std::max(pieces.back().end, use.end());
  }
  return pieces;
}

/// Pieces that are stored to, those that touch as one, but for what is one of `slots`. What is only read, entry_loads.h
/// makes slots of.
std::vector<Area> AreasOf(std::vector<Area> pieces, const std::vector<Slot>& slots, const MachineState& observed) {
  const auto is_slot = [&](const Area& area) {
    return std::ranges::any_of(slots, [&](const Slot& slot) { return IsPlaceOf(area, slot, observed); });
  };
  std::vector<Area> areas;
  for (Area& piece : pieces) {
    if (!piece.stores() || piece.end - piece.begin > kSlotBytes) continue;
    const bool joins = !areas.empty() && BaseOf(areas.back().uses[0].place) == BaseOf(piece.uses[0].place) &&
                       piece.begin == areas.back().end && piece.end - areas.back().begin <= kSlotBytes &&
                       !is_slot(piece) && !is_slot(areas.back());
    if (!joins) {
      areas.push_back(std::move(piece));
      continue;
    }
    areas.back().end = piece.end;
    areas.back().uses.insert(areas.back().uses.end(), piece.uses.begin(), piece.uses.end());
  }
  return areas;
}

/// Adds slots that are also used as memory; false when there are none.
bool FindSlotsInMemory(const std::vector<Area>& pieces, const std::vector<Slot>& slots, const MachineState& observed,
                       std::vector<size_t>* in_memory) {
  const size_t before = in_memory->size();
  for (const Area& piece : pieces) {
    for (size_t i = 0; i < slots.size(); ++i) {
      const bool is_new = std::ranges::find(*in_memory, i) == in_memory->end();
      if (is_new && (piece.stores() || slots[i].written) && Overlap(piece, slots[i], observed)) in_memory->push_back(i);
    }
  }
  return in_memory->size() > before;
}

llvm::Instruction* PauseMarkerOf(llvm::Function& function) {
  for (llvm::BasicBlock& block : function) {
    for (llvm::Instruction& instruction : block) {
      const auto* call = llvm::dyn_cast<llvm::CallInst>(&instruction);
      if (call && call->getCalledFunction() && call->getCalledFunction()->getName() == kPauseMarker)
        return &instruction;
    }
  }
  return nullptr;
}

/// An array of bytes of our own takes the area's place, which simplification makes registers of.
void MakeVariable(const Area& area, size_t slot, llvm::Function& function, llvm::Instruction* pause) {
  const size_t in_state = offsetof(MachineState, slot) + slot * sizeof(SlotValue);
  const auto bytes = static_cast<uint64_t>(area.end - area.begin);
  llvm::IRBuilder<> entry(&*function.getEntryBlock().getFirstInsertionPt());
  llvm::Type* byte = entry.getInt8Ty();
  llvm::AllocaInst* variable = entry.CreateAlloca(llvm::ArrayType::get(byte, bytes), nullptr, "cells");
  variable->setAlignment(llvm::Align(16));
  const auto at = [&](llvm::IRBuilder<>& builder, uint64_t offset) {
    return builder.CreateConstInBoundsGEP1_64(byte, variable, offset);
  };
  entry.CreateMemCpy(variable, llvm::Align(16), entry.CreateConstInBoundsGEP1_64(byte, function.getArg(0), in_state),
                     llvm::Align(16), bytes);
  std::vector<std::pair<uint64_t, llvm::Type*>> written;
  for (const Use& use : area.uses) {
    const auto offset = static_cast<uint64_t>(use.place.displacement - area.begin);
    llvm::IRBuilder<> builder(use.instruction);
    const unsigned operand =
        use.stores() ? llvm::StoreInst::getPointerOperandIndex() : llvm::LoadInst::getPointerOperandIndex();
    use.instruction->setOperand(operand, at(builder, offset));
    const std::pair piece(offset, llvm::getLoadStoreType(use.instruction));
    if (use.stores() && std::ranges::find(written, piece) == written.end()) written.push_back(piece);
  }
  llvm::IRBuilder<> builder(pause);
  for (const auto& [offset, type] : written) {
    llvm::Value* value = builder.CreateAlignedLoad(type, at(builder, offset), llvm::Align(1));
    llvm::Value* to = builder.CreateConstInBoundsGEP1_64(byte, function.getArg(1), in_state + offset);
    builder.CreateAlignedStore(value, to, llvm::Align(1));
  }
}

Slot SlotOf(const Area& area, const DecodedFunction& code) {
  Slot slot = area.uses[0].place;
  slot.displacement = area.begin;
  slot.bytes = static_cast<uint8_t>(area.end - area.begin);
  slot.read = slot.written = true;
  slot.instruction = InstructionAddress(area.uses[0].instruction, code);
  for (const Use& use : area.uses) {
    if (use.stores()) slot.stored |= SlotByteMask(use.place.bytes) << (use.place.displacement - area.begin);
  }
  return slot;
}

}  // namespace

bool MakeStoredCellsSlots(llvm::Loop& loop, llvm::ScalarEvolution& evolution, const DecodedFunction& code,
                          const CodeReader& reader, LoopFacts* facts, std::vector<size_t>* in_memory,
                          MachineState* observed) {
  std::vector<Slot>* slots = &facts->slots;
  llvm::Function& function = *loop.getHeader()->getParent();
  llvm::Instruction* pause = PauseMarkerOf(function);
  if (!pause) return false;
  std::vector<Area> pieces = PiecesOf(UsesIn(loop, evolution, *facts, *observed));
  if (FindSlotsInMemory(pieces, *slots, *observed, in_memory)) return false;
  const std::vector<Area> areas = AreasOf(std::move(pieces), *slots, *observed);
  if (areas.empty() || slots->size() + areas.size() > kMaxSlots) return false;
  for (const Area& area : areas) {
    const Slot slot = SlotOf(area, code);
    const auto found =
        std::ranges::find_if(*in_memory, [&](size_t i) { return IsPlaceOf(area, (*slots)[i], *observed); });
    const size_t index = found != in_memory->end() ? *found : slots->size();
    SlotValue& seen = observed->slot[index];
    seen = {};
    (void)reader.Read(jit::AddressOf(slot, *observed), {seen.bytes.data(), slot.bytes});
    MakeVariable(area, index, function, pause);
    if (index == slots->size()) slots->push_back(slot);
    (*slots)[index] = slot;
  }
  return true;
}

}  // namespace tracelift::jit
