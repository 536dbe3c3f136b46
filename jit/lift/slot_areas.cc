// Slots as LLVM values.
//
// Where all users of a slot read and write all of it, it is kept as scalars, like a vector register. Else it is an area:
// an array of bytes on the function's stack, accessed with the types at hand, which SROA splits into scalars. Two things
// are done before, when all accesses are known. SROA only splits integers, so the floats that other accesses cut into
// become integers. And it splits at each boundary, so that a long that is also read as an int would be two halves, which
// no analysis takes for a counter: pieces that are always written whole become integers of that size. A piece that is
// written in parts, too, holds several things, one after the other (structures pass through compilers' spill slots), and
// what a part of it does not write is not to look carried.

#include <algorithm>
#include <string>

#include "jit/code/slots.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {
namespace {

struct AreaAccess {
  llvm::Instruction* instruction = nullptr;  // load or store
  llvm::Type* type = nullptr;
  int64_t begin = 0, end = 0;  // bytes
};

/// Loads and stores of the area, also through constant offsets. The copy that fills it at entry is none.
std::vector<AreaAccess> AccessesOf(llvm::AllocaInst* area, const llvm::DataLayout& layout) {
  std::vector<AreaAccess> accesses;
  const auto add = [&](llvm::Value* pointer, int64_t begin) {
    for (llvm::User* user : pointer->users()) {
      auto* instruction = llvm::cast<llvm::Instruction>(user);
      llvm::Type* type = llvm::getLoadStoreType(instruction);
      const auto bytes = static_cast<int64_t>(layout.getTypeStoreSize(type));
      accesses.push_back({instruction, type, begin, begin + bytes});
    }
  };
  for (llvm::User* user : area->users()) {
    if (auto* address = llvm::dyn_cast<llvm::GetElementPtrInst>(user)) {
      llvm::APInt offset(64, 0);
      address->accumulateConstantOffset(layout, offset);
      add(address, offset.getSExtValue());
    }
  }
  return accesses;
}

/// The two share bytes, but not all.
bool CutsInto(const AreaAccess& a, const AreaAccess& b) {
  return a.begin < b.end && b.begin < a.end && (a.begin != b.begin || a.end != b.end);
}

/// Accesses that overlap, directly or through others, as one piece.
struct Piece {
  int64_t begin = 0, end = 0;
  std::vector<AreaAccess> accesses;
  bool always_written_whole() const {
    const auto writes = [](const AreaAccess& access) { return llvm::isa<llvm::StoreInst>(access.instruction); };
    return std::any_of(accesses.begin(), accesses.end(), writes) &&
           std::all_of(accesses.begin(), accesses.end(), [&](const AreaAccess& access) {
             return !writes(access) || (access.begin == begin && access.end == end);
           });
  }
  bool is_cut() const {
    return std::any_of(accesses.begin(), accesses.end(), [this](const AreaAccess& a) { return a.begin != begin || a.end != end; });
  }
};

std::vector<Piece> PiecesOf(std::vector<AreaAccess> accesses) {
  std::stable_sort(accesses.begin(), accesses.end(), [](const AreaAccess& a, const AreaAccess& b) { return a.begin < b.begin; });
  std::vector<Piece> pieces;
  for (const AreaAccess& access : accesses) {
    if (pieces.empty() || access.begin >= pieces.back().end) pieces.push_back({access.begin, access.end, {}});
    pieces.back().end = std::max(pieces.back().end, access.end);
    pieces.back().accesses.push_back(access);
  }
  return pieces;
}

}  // namespace

void Translator::FindAreas(const DecodedFunction& code) {
  for (int b : code.LiftedBlocks(facts_.loop)) {
    const BasicBlock& block = code.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& instruction = code.instructions[i];
      for (int n = 0; n < instruction.info.operand_count; ++n) {
        const int slot = SlotIndexOf(facts_, instruction, n);
        if (slot >= 0 && instruction.operands[n].size != 8 * facts_.slots[slot].bytes) slot_is_area_[slot] = true;
      }
    }
  }
}

Place& Translator::SlotPlace(int slot) {
  Place& place = slot_[slot];
  if (!place.lanes.empty() || place.area != nullptr) return place;
  const size_t offset = offsetof(MachineState, slot) + slot * sizeof(SlotValue);
  const uint64_t* known = known_slot_[slot].known ? known_slot_[slot].value : nullptr;
  const std::string name = "slot" + std::to_string(slot);
  if (slot_is_area_[slot]) {
    place.area = MakeArea(name, offset, facts_.slots[slot].bytes, known);
  } else {
    place = MakePlace(name, offset, facts_.slots[slot].bytes, kinds_.slot[slot], known);
  }
  return place;
}

llvm::AllocaInst* Translator::MakeArea(const llvm::Twine& name, size_t offset, int bytes, const uint64_t* known) {
  llvm::Type* type = llvm::ArrayType::get(entry_ir_.getInt8Ty(), static_cast<uint64_t>(bytes));
  llvm::AllocaInst* area = entry_ir_.CreateAlloca(type, nullptr, name + ".area");
  area->setAlignment(llvm::Align(16));
  if (known == nullptr) {
    Value* from = entry_ir_.CreateConstInBoundsGEP1_64(entry_ir_.getInt8Ty(), function_.getArg(0), offset);
    entry_ir_.CreateMemCpy(area, llvm::Align(16), from, llvm::Align(16), static_cast<uint64_t>(bytes));
    return area;
  }
  for (int byte = 0; byte < bytes; ++byte) {
    Value* to = entry_ir_.Insert(llvm::GetElementPtrInst::CreateInBounds(
        entry_ir_.getInt8Ty(), area, {entry_ir_.getInt64(static_cast<uint64_t>(byte))}));
    entry_ir_.CreateAlignedStore(entry_ir_.getInt8(static_cast<uint8_t>(known[byte / 8] >> (byte % 8 * 8))), to,
                                 llvm::Align(1));
  }
  return area;
}

llvm::Value* Translator::AreaAddress(const Place& place, int64_t byte) {
  // Also for byte 0, where the builder would fold the address: AccessesOf looks for it.
  return ir_.Insert(llvm::GetElementPtrInst::CreateInBounds(ir_.getInt8Ty(), place.area,
                                                            {ir_.getInt64(static_cast<uint64_t>(byte))}));
}

llvm::Value* Translator::ReadArea(const Place& place, int bit, Type* type) {
  return ir_.CreateAlignedLoad(type, AreaAddress(place, bit / 8), llvm::Align(1));
}

void Translator::WriteArea(Place& place, int bit, Value* value) {
  place.written = true;
  place.pieces[{bit / 8, static_cast<int>(value->getType()->getPrimitiveSizeInBits()) / 8}] = value->getType();
  ir_.CreateAlignedStore(value, AreaAddress(place, bit / 8), llvm::Align(1));
}

void Translator::SettleAreas() {
  for (Place& place : slot_) {
    if (place.area == nullptr) continue;
    MakeCutFloatsIntegers(place);
    MakeWholePiecesIntegers(place);
  }
}

void Translator::MakeCutFloatsIntegers(Place& place) {
  const llvm::DataLayout& layout = function_.getParent()->getDataLayout();
  const std::vector<AreaAccess> accesses = AccessesOf(place.area, layout);
  for (const AreaAccess& access : accesses) {
    if (!access.type->isFloatingPointTy()) continue;
    const auto cuts = [&](const AreaAccess& other) { return CutsInto(access, other); };
    if (std::none_of(accesses.begin(), accesses.end(), cuts)) continue;
    Type* bits = IntType(static_cast<int>(access.end - access.begin) * 8);
    llvm::IRBuilder<> builder(access.instruction);
    Value* pointer = llvm::getLoadStorePointerOperand(access.instruction);
    if (auto* store = llvm::dyn_cast<llvm::StoreInst>(access.instruction)) {
      builder.CreateAlignedStore(builder.CreateBitCast(store->getValueOperand(), bits), pointer, store->getAlign());
    } else {
      Value* loaded = builder.CreateAlignedLoad(bits, pointer, llvm::Align(1));
      access.instruction->replaceAllUsesWith(builder.CreateBitCast(loaded, access.type));
    }
    access.instruction->eraseFromParent();
  }
}

void Translator::MakeWholePiecesIntegers(Place& place) {
  const llvm::DataLayout& layout = function_.getParent()->getDataLayout();
  for (const Piece& piece : PiecesOf(AccessesOf(place.area, layout))) {
    const auto bits = static_cast<int>(piece.end - piece.begin) * 8;
    if ((bits != 16 && bits != 32 && bits != 64) || !piece.is_cut() || !piece.always_written_whole()) continue;
    Type* type = IntType(bits);
    llvm::AllocaInst* whole = entry_ir_.CreateAlloca(type, nullptr, place.area->getName() + ".whole");
    Value* from = entry_ir_.CreateConstInBoundsGEP1_64(entry_ir_.getInt8Ty(), place.area, static_cast<uint64_t>(piece.begin));
    entry_ir_.CreateStore(entry_ir_.CreateAlignedLoad(type, from, llvm::Align(1)), whole);
    for (const AreaAccess& access : piece.accesses) {
      llvm::IRBuilder<> builder(access.instruction);
      const auto shift = static_cast<uint64_t>(access.begin - piece.begin) * 8;
      const auto access_bits = static_cast<unsigned>(access.end - access.begin) * 8;
      Value* old = builder.CreateLoad(type, whole);
      if (auto* store = llvm::dyn_cast<llvm::StoreInst>(access.instruction)) {
        Value* value = builder.CreateZExt(builder.CreateBitCast(store->getValueOperand(), builder.getIntNTy(access_bits)), type);
        const llvm::APInt kept = ~llvm::APInt::getBitsSet(static_cast<unsigned>(bits), static_cast<unsigned>(shift),
                                                          static_cast<unsigned>(shift) + access_bits);
        old = builder.CreateAnd(old, llvm::ConstantInt::get(context_, kept));
        builder.CreateStore(builder.CreateOr(old, builder.CreateShl(value, shift)), whole);
      } else {
        Value* value = builder.CreateTrunc(builder.CreateLShr(old, shift), builder.getIntNTy(access_bits));
        access.instruction->replaceAllUsesWith(builder.CreateBitCast(value, access.type));
      }
      access.instruction->eraseFromParent();
    }
  }
}

/// What was written, piece by piece: the rest of `out` is as it was.
void Translator::StoreArea(const Place& place, Value* out, size_t offset) {
  for (const auto& [piece, type] : place.pieces) {
    const auto& [byte, bytes] = piece;
    Value* value = ir_.CreateAlignedLoad(type, AreaAddress(place, byte), llvm::Align(1));
    Value* to = ir_.CreateConstInBoundsGEP1_64(ir_.getInt8Ty(), out, offset + static_cast<size_t>(byte));
    ir_.CreateAlignedStore(value, to, llvm::Align(1));
  }
}

}  // namespace tracelift::jit
