// What EVEX adds to the instructions of VEX: masks and broadcasts. Both lie around the operation. The operation itself is
// done on all elements, as if there was no mask, by the code that knows it; then elements whose mask bit is clear get back
// what they were, or zero. Memory is different: elements that are masked off are neither read nor written, so a masked
// memory operand is first moved to a place of its own, or from one.
//
// Which elements of memory a masked operand reads is known for operations element by element only. The others (shuffles)
// read all of it, on the machine too (exception classes with NF in Intel SDM volume 2, section 2.8).

#include <string_view>

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {
namespace {

/// Only the lowest element is computed, and only its mask bit counts.
bool IsScalar(ZydisMnemonic mnemonic) {
  const std::string_view name = ZydisMnemonicGetString(mnemonic);
  return (name.ends_with("ss") || name.ends_with("sd")) && !name.starts_with("vp") && !name.starts_with("vbroadcast");
}

/// Element n of the result depends on other elements of the memory operand than n.
bool LooksAcrossMemory(const Instruction& instruction) {
  const ZydisDecodedInstruction& info = instruction.info;
  const bool last_is_constant =
      instruction.operands[info.operand_count_visible - 1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
  switch (LegacyForm(info.mnemonic)) {
    case ZYDIS_MNEMONIC_VPERMILPS:  // picks by constant; else the memory operand picks, element by element
    case ZYDIS_MNEMONIC_VPERMILPD: return last_is_constant;
    case ZYDIS_MNEMONIC_PSLLW:  // by the lowest element
    case ZYDIS_MNEMONIC_PSLLD:
    case ZYDIS_MNEMONIC_PSLLQ:
    case ZYDIS_MNEMONIC_PSRLW:
    case ZYDIS_MNEMONIC_PSRLD:
    case ZYDIS_MNEMONIC_PSRLQ:
    case ZYDIS_MNEMONIC_PSRAW:
    case ZYDIS_MNEMONIC_PSRAD:
    case ZYDIS_MNEMONIC_VPSRAQ: return !last_is_constant;
    case ZYDIS_MNEMONIC_MOVDDUP:
    case ZYDIS_MNEMONIC_MOVSHDUP:
    case ZYDIS_MNEMONIC_MOVSLDUP:
    case ZYDIS_MNEMONIC_SHUFPS:
    case ZYDIS_MNEMONIC_SHUFPD:
    case ZYDIS_MNEMONIC_PSHUFD:
    case ZYDIS_MNEMONIC_PSHUFHW:
    case ZYDIS_MNEMONIC_PSHUFLW:
    case ZYDIS_MNEMONIC_PALIGNR:
    case ZYDIS_MNEMONIC_VALIGND:
    case ZYDIS_MNEMONIC_VALIGNQ:
    case ZYDIS_MNEMONIC_UNPCKLPS:
    case ZYDIS_MNEMONIC_UNPCKHPS:
    case ZYDIS_MNEMONIC_UNPCKLPD:
    case ZYDIS_MNEMONIC_UNPCKHPD:
    case ZYDIS_MNEMONIC_PUNPCKLBW:
    case ZYDIS_MNEMONIC_PUNPCKHBW:
    case ZYDIS_MNEMONIC_PUNPCKLWD:
    case ZYDIS_MNEMONIC_PUNPCKHWD:
    case ZYDIS_MNEMONIC_PUNPCKLDQ:
    case ZYDIS_MNEMONIC_PUNPCKHDQ:
    case ZYDIS_MNEMONIC_PUNPCKLQDQ:
    case ZYDIS_MNEMONIC_PUNPCKHQDQ:
    case ZYDIS_MNEMONIC_PACKSSWB:
    case ZYDIS_MNEMONIC_PACKSSDW:
    case ZYDIS_MNEMONIC_PACKUSWB:
    case ZYDIS_MNEMONIC_PACKUSDW:
    case ZYDIS_MNEMONIC_PMADDWD:
    case ZYDIS_MNEMONIC_PMADDUBSW:
    case ZYDIS_MNEMONIC_VDBPSADBW:
    case ZYDIS_MNEMONIC_VSHUFF32X4:
    case ZYDIS_MNEMONIC_VSHUFF64X2:
    case ZYDIS_MNEMONIC_VSHUFI32X4:
    case ZYDIS_MNEMONIC_VSHUFI64X2:
    case ZYDIS_MNEMONIC_VPERMB:
    case ZYDIS_MNEMONIC_VPERMW:
    case ZYDIS_MNEMONIC_VPERMD:
    case ZYDIS_MNEMONIC_VPERMQ:
    case ZYDIS_MNEMONIC_VPERMPS:
    case ZYDIS_MNEMONIC_VPERMPD:
    case ZYDIS_MNEMONIC_VPERMI2B:
    case ZYDIS_MNEMONIC_VPERMI2W:
    case ZYDIS_MNEMONIC_VPERMI2D:
    case ZYDIS_MNEMONIC_VPERMI2Q:
    case ZYDIS_MNEMONIC_VPERMI2PS:
    case ZYDIS_MNEMONIC_VPERMI2PD:
    case ZYDIS_MNEMONIC_VPERMT2B:
    case ZYDIS_MNEMONIC_VPERMT2W:
    case ZYDIS_MNEMONIC_VPERMT2D:
    case ZYDIS_MNEMONIC_VPERMT2Q:
    case ZYDIS_MNEMONIC_VPERMT2PS:
    case ZYDIS_MNEMONIC_VPERMT2PD:
    case ZYDIS_MNEMONIC_VPCONFLICTD:
    case ZYDIS_MNEMONIC_VPCONFLICTQ:
    case ZYDIS_MNEMONIC_VPMULTISHIFTQB: return true;
    default: return false;
  }
}

/// These take the mask for themselves.
bool UsesMaskItself(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_VCOMPRESSPS:
    case ZYDIS_MNEMONIC_VCOMPRESSPD:
    case ZYDIS_MNEMONIC_VPCOMPRESSB:
    case ZYDIS_MNEMONIC_VPCOMPRESSW:
    case ZYDIS_MNEMONIC_VPCOMPRESSD:
    case ZYDIS_MNEMONIC_VPCOMPRESSQ:
    case ZYDIS_MNEMONIC_VEXPANDPS:
    case ZYDIS_MNEMONIC_VEXPANDPD:
    case ZYDIS_MNEMONIC_VPEXPANDB:
    case ZYDIS_MNEMONIC_VPEXPANDW:
    case ZYDIS_MNEMONIC_VPEXPANDD:
    case ZYDIS_MNEMONIC_VPEXPANDQ: return true;
    default: return false;
  }
}

/// Where the mask bit is clear they take the first source, not the old destination.
bool Blends(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_VBLENDMPS:
    case ZYDIS_MNEMONIC_VBLENDMPD:
    case ZYDIS_MNEMONIC_VPBLENDMB:
    case ZYDIS_MNEMONIC_VPBLENDMW:
    case ZYDIS_MNEMONIC_VPBLENDMD:
    case ZYDIS_MNEMONIC_VPBLENDMQ: return true;
    default: return false;
  }
}

}  // namespace

bool Translator::TranslateEvex(InstructionFamily family) {
  const ZydisDecodedInstruction& info = at_->info;
  const bool indexes_memory = IsMemory(0) ? Operand(0).mem.type == ZYDIS_MEMOP_TYPE_VSIB
                                          : at_->info.operand_count_visible > 1 && IsMemory(1) &&
                                                Operand(1).mem.type == ZYDIS_MEMOP_TYPE_VSIB;
  if (indexes_memory || UsesMaskItself(info.mnemonic)) return TranslateParts(family);

  const Elements elements = MaskedElements();
  const bool masks = IsMasked(info);
  Place operand;
  for (int i = 1; i < info.operand_count_visible; ++i) {
    if (!IsMemory(i) || (!masks && BroadcastCount(info) == 1)) continue;
    operand = LoadOperand(i, elements);
    operand_ = &operand;
  }
  if (masks && IsMemory(0)) {
    const bool is_typed = elements.bits >= 32 && IsVector(1);
    const int lane_bits = std::min(64, elements.bits * (elements.bits >= 32 ? 1 : elements.count));
    operand = NewPlace(elements.bits * elements.count, lane_bits, is_typed ? LaneTypeOf(1, elements.bits) : nullptr);
    operand_ = &operand;
  }
  const bool keeps = masks && IsVector(0);
  const std::vector<Value*> kept = keeps ? ReadKept(Blends(info.mnemonic) ? first_ : 0, elements) : std::vector<Value*>();
  const bool done = IsMask(0) ? TranslateToMask() : TranslateParts(family);
  if (done && keeps) Blend(kept, elements);
  if (done && masks && IsMemory(0)) StoreOperand(operand, elements);
  operand_ = nullptr;
  return done;
}

/// What a bit of the mask stands for, and how many there are. Instructions that make elements narrower have as many as
/// the source.
Translator::Elements Translator::MaskedElements() const {
  const ZydisDecodedOperand& result = Operand(IsMask(0) ? 1 : 0);
  const int bits = std::max<int>(8, result.element_size);
  if (IsScalar(at_->info.mnemonic)) return {bits, 1};
  const int last = at_->info.operand_count_visible - (IsImmediate(at_->info.operand_count_visible - 1) ? 1 : 0);
  const bool is_conversion = last == 2 && !IsMask(0) && (IsVector(1) || IsMemory(1));
  if (is_conversion && Operand(1).element_size > bits) return {bits, OperandBits(1) / Operand(1).element_size};
  return {bits, OperandBits(IsMask(0) ? 1 : 0) / bits};
}

/// With the elements that a broadcast makes.
int Translator::OperandBits(int index) const {
  return IsVector(index) ? VectorBits(Operand(index)) : Bits(index) * BroadcastCount(at_->info);
}

Place Translator::NewPlace(int bits, int lane_bits, Type* type) {
  Place place;
  place.lane_bits = lane_bits;
  for (int bit = 0; bit < bits; bit += lane_bits) {
    place.lanes.push_back(entry_ir_.CreateAlloca(type != nullptr ? type : IntType(lane_bits), nullptr, "operand"));
  }
  return place;
}

/// `value` where `condition` holds, else zero; emitted in a block of its own, which a clear condition skips.
llvm::Value* Translator::OnlyIf(Value* condition, llvm::function_ref<Value*()> value) {
  llvm::BasicBlock* before = ir_.GetInsertBlock();
  llvm::BasicBlock* chosen = llvm::BasicBlock::Create(context_, "chosen", &function_);
  llvm::BasicBlock* after = llvm::BasicBlock::Create(context_, "after", &function_);
  ir_.CreateCondBr(condition, chosen, after);
  ir_.SetInsertPoint(chosen);
  Value* result = value();
  ir_.CreateBr(after);
  llvm::BasicBlock* end = ir_.GetInsertBlock();
  ir_.SetInsertPoint(after);
  if (result == nullptr) return nullptr;
  llvm::PHINode* joined = ir_.CreatePHI(result->getType(), 2);
  joined->addIncoming(result, end);
  joined->addIncoming(llvm::Constant::getNullValue(result->getType()), before);
  return joined;
}

llvm::Value* Translator::Pointer(int index) {
  return ir_.CreateGEP(ir_.getInt8Ty(), memory_base_, Address(index));
}

Place Translator::LoadOperand(int index, Elements result) {
  const bool repeats = BroadcastCount(at_->info) > 1;
  const int bits = repeats ? Bits(index) : std::max<int>(8, Operand(index).element_size);
  const int count = OperandBits(index) / bits;
  const bool is_typed = bits >= 32 && IsVector(0);
  Type* type = is_typed ? LaneTypeOf(0, bits) : IntType(bits);
  const bool masks = IsMasked(at_->info) && !LooksAcrossMemory(*at_);
  if (repeats || (masks && count == 1)) {
    Place place = NewPlace(OperandBits(index), bits, type);
    const auto load = [&] { return LoadAt(index, 0, type); };
    Value* element;
    if (masks) {
      const std::vector<Value*> mask = ReadMask(MaskNumber(at_->info), result.count);
      element = OnlyIf(ir_.CreateOrReduce(BitVector(mask)), load);
    } else {
      element = load();
    }
    for (llvm::AllocaInst* lane : place.lanes) ir_.CreateStore(element, lane);
    return place;
  }
  const int lane_bits = bits >= 32 ? bits : std::min(64, OperandBits(index));
  Place place = NewPlace(OperandBits(index), lane_bits, bits >= 32 ? type : nullptr);
  if (!masks || count != result.count) {
    for (int lane = 0; lane * lane_bits < OperandBits(index); ++lane) {
      Type* lane_type = place.lanes[static_cast<size_t>(lane)]->getAllocatedType();
      ir_.CreateStore(LoadAt(index, lane * lane_bits, lane_type), place.lanes[static_cast<size_t>(lane)]);
    }
    return place;
  }
  Value* mask = BitVector(ReadMask(MaskNumber(at_->info), count));
  auto* elements = llvm::FixedVectorType::get(IntType(bits), static_cast<unsigned>(count));
  Value* loaded = ir_.CreateMaskedLoad(elements, Pointer(index), llvm::Align(1), mask,
                                       llvm::Constant::getNullValue(elements));
  auto* lanes = llvm::FixedVectorType::get(IntType(lane_bits), static_cast<unsigned>(place.lanes.size()));
  loaded = ir_.CreateBitCast(loaded, lanes);
  for (size_t lane = 0; lane < place.lanes.size(); ++lane) {
    Value* value = ir_.CreateExtractElement(loaded, lane);
    ir_.CreateStore(ir_.CreateBitCast(value, place.lanes[lane]->getAllocatedType()), place.lanes[lane]);
  }
  return place;
}

void Translator::StoreOperand(const Place& operand, Elements elements) {
  operand_ = nullptr;
  const std::vector<Value*> mask = ReadMask(MaskNumber(at_->info), elements.count);
  if (elements.count == 1) {
    OnlyIf(mask[0], [&]() -> Value* {
      StoreAt(0, 0, ReadPlace(operand, 0, IntType(elements.bits)));
      return nullptr;
    });
    return;
  }
  auto* lanes = llvm::FixedVectorType::get(IntType(operand.lane_bits), static_cast<unsigned>(operand.lanes.size()));
  Value* value = llvm::PoisonValue::get(lanes);
  for (size_t lane = 0; lane < operand.lanes.size(); ++lane) {
    Type* type = operand.lanes[lane]->getAllocatedType();
    Value* element = ReadPlace(operand, static_cast<int>(lane) * operand.lane_bits, type);
    // A NaN in an element that is masked off is nobody's business.
    if (type->isFloatingPointTy()) element = ir_.CreateSelect(mask[lane], element, llvm::Constant::getNullValue(type));
    value = ir_.CreateInsertElement(value, AsInt(element), lane);
  }
  auto* type = llvm::FixedVectorType::get(IntType(elements.bits), static_cast<unsigned>(elements.count));
  ir_.CreateMaskedStore(ir_.CreateBitCast(value, type), Pointer(0), llvm::Align(1), BitVector(mask));
}

/// What elements that are masked off become: empty when zero. Elements below 32 bits as vectors of 128 bits.
std::vector<llvm::Value*> Translator::ReadKept(int index, Elements elements) {
  std::vector<Value*> kept;
  if (ZeroesMasked(at_->info)) return kept;
  if (elements.bits >= 32) {
    for (int i = 0; i < elements.count; ++i) {
      kept.push_back(ReadPlace(VectorPlaceOf(index), i * elements.bits, LaneTypeOf(0, elements.bits)));
    }
    return kept;
  }
  for (part_bit_ = 0; part_bit_ < elements.bits * elements.count; part_bit_ += 128) {
    kept.push_back(ReadVector(index, elements.bits));
  }
  part_bit_ = 0;
  return kept;
}

void Translator::Blend(const std::vector<Value*>& kept, Elements elements) {
  std::vector<Value*> mask = ReadMask(MaskNumber(at_->info), elements.count);
  const auto blend = [&](Value* bits, Value* value, size_t i) {
    return ir_.CreateSelect(bits, value, kept.empty() ? llvm::Constant::getNullValue(value->getType()) : kept[i]);
  };
  if (elements.bits >= 32) {
    Place& place = VectorPlaceOf(0);
    Type* type = LaneTypeOf(0, elements.bits);
    for (int i = 0; i < elements.count; ++i) {
      const int bit = i * elements.bits;
      WritePlace(place, bit, blend(mask[static_cast<size_t>(i)], ReadPlace(place, bit, type), static_cast<size_t>(i)));
    }
    return;
  }
  const size_t in_part = static_cast<size_t>(128 / elements.bits);
  while (mask.size() % in_part != 0) mask.push_back(ir_.getTrue());  // above the result: zero already
  for (size_t part = 0; part * in_part < mask.size(); ++part) {
    part_bit_ = static_cast<int>(128 * part);
    const auto first = mask.begin() + static_cast<std::ptrdiff_t>(part * in_part);
    const std::vector<Value*> bits(first, first + static_cast<std::ptrdiff_t>(in_part));
    WriteVector(0, blend(BitVector(bits), ReadVector(0, elements.bits), part));
  }
  part_bit_ = 0;
}

// --- whole registers -------------------------------------------------------------------------------------------------

/// The low `bits` of a register or memory operand as a vector.
llvm::Value* Translator::ReadAll(int index, Type* element, int bits) {
  const auto size = static_cast<int>(element->getPrimitiveSizeInBits());
  const int lane_bits = std::max(size, std::min(bits, 32));
  Type* lane = lane_bits == size ? element : IntType(lane_bits);
  Value* vector = llvm::PoisonValue::get(llvm::FixedVectorType::get(lane, static_cast<unsigned>(bits / lane_bits)));
  for (int i = 0; i < bits / lane_bits; ++i) {
    vector = ir_.CreateInsertElement(vector, ReadAt(index, i * lane_bits, lane), static_cast<uint64_t>(i));
  }
  return ir_.CreateBitCast(vector, llvm::FixedVectorType::get(element, static_cast<unsigned>(bits / size)));
}

/// To the low bits of a vector register, or to memory.
void Translator::WriteAll(int index, Value* vector) {
  const auto* type = llvm::cast<llvm::FixedVectorType>(vector->getType());
  const auto size = static_cast<int>(type->getScalarSizeInBits());
  const int bits = size * static_cast<int>(type->getNumElements());
  const int lane_bits = size >= 32 ? size : std::min(bits, 32);
  if (lane_bits != size) {
    vector = ir_.CreateBitCast(vector, llvm::FixedVectorType::get(IntType(lane_bits), static_cast<unsigned>(bits / lane_bits)));
  }
  for (int i = 0; i < bits / lane_bits; ++i) {
    WriteLane(index, i, ir_.CreateExtractElement(vector, static_cast<uint64_t>(i)));
  }
}

}  // namespace tracelift::jit
