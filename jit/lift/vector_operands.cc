// Vector registers and their operands as LLVM values, for both encodings.
//
// A register's place is as wide as the widest operand that names it in the loop. Where a VEX instruction writes it,
// everything above that, up to the full 64 bytes, is kept too: such instructions clear it.

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"
#include "jit/vector_math.h"

namespace tracelift::jit {
namespace {

constexpr int kRegisterBits = 8 * static_cast<int>(sizeof(VectorRegister));
constexpr int kVexRegisters = 16;  // the others exist in EVEX encodings only

/// Instructions whose halves of 256 bits are not two instructions of 128 bits.
bool CrossesParts(ZydisMnemonic legacy) {
  switch (legacy) {
    case ZYDIS_MNEMONIC_RCPPS:  // approximations: of 256 bits nobody promises the same
    case ZYDIS_MNEMONIC_RSQRTPS:
    case ZYDIS_MNEMONIC_CVTPS2PD:
    case ZYDIS_MNEMONIC_CVTPD2PS:
    case ZYDIS_MNEMONIC_CVTDQ2PD:
    case ZYDIS_MNEMONIC_CVTPD2DQ:
    case ZYDIS_MNEMONIC_CVTTPD2DQ:
    case ZYDIS_MNEMONIC_VCVTPH2PS:
    case ZYDIS_MNEMONIC_VCVTPS2PH:
    case ZYDIS_MNEMONIC_MOVMSKPS:
    case ZYDIS_MNEMONIC_MOVMSKPD:
    case ZYDIS_MNEMONIC_PMOVMSKB:
    case ZYDIS_MNEMONIC_PTEST:
    case ZYDIS_MNEMONIC_PMOVZXBW:
    case ZYDIS_MNEMONIC_PMOVZXBD:
    case ZYDIS_MNEMONIC_PMOVZXBQ:
    case ZYDIS_MNEMONIC_PMOVZXWD:
    case ZYDIS_MNEMONIC_PMOVZXWQ:
    case ZYDIS_MNEMONIC_PMOVZXDQ:
    case ZYDIS_MNEMONIC_PMOVSXBW:
    case ZYDIS_MNEMONIC_PMOVSXBD:
    case ZYDIS_MNEMONIC_PMOVSXBQ:
    case ZYDIS_MNEMONIC_PMOVSXWD:
    case ZYDIS_MNEMONIC_PMOVSXWQ:
    case ZYDIS_MNEMONIC_PMOVSXDQ:
    case ZYDIS_MNEMONIC_VBROADCASTSS:
    case ZYDIS_MNEMONIC_VBROADCASTSD:
    case ZYDIS_MNEMONIC_VBROADCASTF128:
    case ZYDIS_MNEMONIC_VBROADCASTI128:
    case ZYDIS_MNEMONIC_VPBROADCASTB:
    case ZYDIS_MNEMONIC_VPBROADCASTW:
    case ZYDIS_MNEMONIC_VPBROADCASTD:
    case ZYDIS_MNEMONIC_VPBROADCASTQ:
    case ZYDIS_MNEMONIC_VEXTRACTF128:
    case ZYDIS_MNEMONIC_VEXTRACTI128:
    case ZYDIS_MNEMONIC_VINSERTF128:
    case ZYDIS_MNEMONIC_VINSERTI128:
    case ZYDIS_MNEMONIC_VPERM2F128:
    case ZYDIS_MNEMONIC_VPERM2I128:
    case ZYDIS_MNEMONIC_VPERMPD:
    case ZYDIS_MNEMONIC_VPERMQ:
    case ZYDIS_MNEMONIC_VPERMPS:
    case ZYDIS_MNEMONIC_VPERMD:
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
    case ZYDIS_MNEMONIC_VZEROUPPER:
    case ZYDIS_MNEMONIC_VZEROALL: return true;
    default: return false;
  }
}

}  // namespace

// --- places ----------------------------------------------------------------------------------------------------------

void Translator::FindVectorWidths(const DecodedFunction& code) {
  for (int b : code.LiftedBlocks(facts_.loop)) {
    const BasicBlock& block = code.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& instruction = code.instructions[i];
      if (!instruction.valid) continue;
      const ZydisMnemonic mnemonic = instruction.info.mnemonic;
      const MathFunction* function = MathFunctionOf(instruction.callee);
      for (int n = 0; function && n < function->arguments; ++n) vector_bits_[n] = std::max(vector_bits_[n], 128);
      if (mnemonic == ZYDIS_MNEMONIC_VZEROUPPER || mnemonic == ZYDIS_MNEMONIC_VZEROALL) {
        std::fill_n(vector_cleared_.begin(), kVexRegisters, true);
      }
      for (int n = 0; n < instruction.info.operand_count; ++n) {
        const ZydisDecodedOperand& operand = instruction.operands[n];
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
          int& bits = vector_bits_[ZydisRegisterGetId(operand.mem.index)];
          bits = std::max<int>(bits, ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, operand.mem.index));
        }
        const int bits = VectorBits(operand);
        if (bits == 0) continue;
        const int number = ZydisRegisterGetId(operand.reg.value);
        vector_bits_[number] = std::max(vector_bits_[number], bits);
        const bool writes = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
        if (writes && ClearsUpperBits(instruction.info)) vector_cleared_[number] = true;
      }
    }
  }
}

Place& Translator::VectorPlace(int number) {
  Place& place = vector_[number];
  if (!place.lanes.empty()) return place;
  const size_t offset = offsetof(MachineState, vector) + number * sizeof(VectorRegister);
  place = MakePlace("xmm" + llvm::Twine(number), offset, std::max(128, vector_bits_[number]) / 8, kinds_.vector[number],
                    nullptr);
  if (!vector_cleared_[number]) return place;
  for (int bit = place.bits(); bit < kRegisterBits; bit += 64) {
    llvm::AllocaInst* alloca =
        entry_ir_.CreateAlloca(entry_ir_.getInt64Ty(), nullptr, "xmm" + llvm::Twine(number) + ".above");
    Value* from = entry_ir_.CreateConstInBoundsGEP1_64(entry_ir_.getInt8Ty(), function_.getArg(0), offset + bit / 8);
    entry_ir_.CreateStore(entry_ir_.CreateAlignedLoad(entry_ir_.getInt64Ty(), from, llvm::Align(8)), alloca);
    place.above.push_back(alloca);
  }
  return place;
}

void Translator::StoreVector(int number, Value* out, bool upper) {
  const Place& place = vector_[number];
  const size_t offset = offsetof(MachineState, vector) + number * sizeof(VectorRegister);
  StorePlace(place, out, offset, upper ? place.bits() / 8 : 8);
  if (!upper) return;
  size_t at = offset + static_cast<size_t>(place.bits() / 8);
  for (llvm::AllocaInst* above : place.above) {
    Value* value = ir_.CreateLoad(ir_.getInt64Ty(), above);
    ir_.CreateAlignedStore(value, ir_.CreateConstInBoundsGEP1_64(ir_.getInt8Ty(), out, at), llvm::Align(8));
    at += 8;
  }
}

/// A lane that is only partly above keeps its lower part.
void Translator::ZeroPlace(Place& place, int first_bit, int end_bit) {
  for (int bit = first_bit; bit < end_bit;) {
    const int bits = place.lane_bits - bit % place.lane_bits;
    WritePlace(place, bit, Constant(bits, 0));
    bit += bits;
  }
}

void Translator::ZeroUpper(Place& place, int first_bit) {
  place.written = true;
  ZeroPlace(place, first_bit, place.bits());
  for (llvm::AllocaInst* above : place.above) ir_.CreateStore(ir_.getInt64(0), above);
}

// --- operands --------------------------------------------------------------------------------------------------------

bool Translator::TranslateVector(InstructionFamily family) {
  const Instruction* const named = at_;
  const bool is_evex = IsEvex(named->info);
  const Instruction plain = is_evex ? WithoutMaskOperand(*named) : Instruction();
  if (is_evex) at_ = &plain;
  form_ = LegacyForm(at_->info.mnemonic);
  const bool has_own_destination = HasOwnDestination(at_->info, at_->operands);
  first_ = has_own_destination ? 1 : 0;
  second_ = has_own_destination ? 2 : 1;
  const bool done = is_evex ? TranslateEvex(family) : TranslateParts(family);
  const bool writes_vector = IsVector(0) && (Operand(0).actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
  if (done && writes_vector && ClearsUpperBits(at_->info)) ZeroUpper(VectorPlaceOf(0), VectorBits(Operand(0)));
  at_ = named;
  return done;
}

/// All of an operation, masks aside.
bool Translator::TranslateParts(InstructionFamily family) {
  const bool is_evex = IsEvex(at_->info);
  if (family == InstructionFamily::kMask) return TranslateMask();
  if (is_evex && at_->info.avx.rounding.mode != ZYDIS_ROUNDING_MODE_INVALID) {
    if (TranslateRounded()) return true;
    if (family != InstructionFamily::kEvexFloat) return false;  // those round by themselves
  }
  if (is_evex && TranslateWiderMove()) return true;
  const bool is_whole = CrossesParts(form_) || family == InstructionFamily::kEvexMove || family == InstructionFamily::kEvexFloat;
  const int parts = is_whole ? 1 : Width() / 128;
  bool done = true;
  // Highest first: a shift whose distance lies in the low part of its destination reads it before it is overwritten.
  for (int part = parts - 1; part >= 0; --part) {
    part_bit_ = 128 * part;
    done = done && TranslatePart(family);
  }
  part_bit_ = 0;
  return done;
}

bool Translator::TranslatePart(InstructionFamily family) {
  switch (family) {
    case InstructionFamily::kSseFloat: return TranslateSseFloat();
    case InstructionFamily::kSseMove: return TranslateSseMove();
    case InstructionFamily::kSseInteger: return TranslateSseInteger();
    case InstructionFamily::kVexFloat: return TranslateVexFloat();
    case InstructionFamily::kVexMove: return TranslateVexMove();
    case InstructionFamily::kVexInteger: return TranslateVexInteger();
    case InstructionFamily::kEvexFloat: return TranslateEvexFloat();
    case InstructionFamily::kEvexMove: return TranslateEvexMove();
    case InstructionFamily::kEvexInteger: return TranslateEvexInteger();
    default: return false;
  }
}

bool Translator::IsVector(int index) const { return VectorBits(Operand(index)) != 0; }

int Translator::Width() const {
  int width = 128;
  for (int i = 0; i < at_->info.operand_count_visible; ++i) width = std::max(width, VectorBits(Operand(i)));
  return width;
}

int Translator::SourceBits(int index) const { return OperandBits(index); }

/// The last operand, when it is a constant that controls the operation.
uint64_t Translator::Control() const {
  const int last = at_->info.operand_count_visible - 1;
  return last >= 0 && IsImmediate(last) ? Immediate(last) & 0xff : 0;
}

Place& Translator::VectorPlaceOf(int index) { return VectorPlace(ZydisRegisterGetId(Operand(index).reg.value)); }

llvm::Value* Translator::ReadAt(int index, int bit, Type* type) {
  if (!IsMemory(index)) return ReadPlace(VectorPlaceOf(index), bit, type);
  return operand_ != nullptr ? ReadPlace(*operand_, bit, type) : LoadAt(index, bit, type);
}

llvm::Value* Translator::ReadLane(int index, int lane, Type* type) {
  return ReadAt(index, part_bit_ + lane * static_cast<int>(type->getPrimitiveSizeInBits()), type);
}

void Translator::WriteLane(int index, int lane, Value* value) {
  const int bit = part_bit_ + lane * static_cast<int>(value->getType()->getPrimitiveSizeInBits());
  if (!IsMemory(index)) return WritePlace(VectorPlaceOf(index), bit, value);
  operand_ != nullptr ? WritePlace(*operand_, bit, value) : StoreAt(index, bit, value);
}

/// As instructions do whose result is shorter than the register: legacy ones leave what lies above 128 bits alone.
void Translator::WriteZeroAbove(int index, int first_bit) {
  Place& place = VectorPlaceOf(index);
  if (ClearsUpperBits(at_->info)) return ZeroUpper(place, first_bit);
  ZeroPlace(place, first_bit, 128);
}

/// VEX scalars and insertions: the destination gets the 128 bits of the first source, the result over some of them.
/// After the sources were read.
void Translator::CopyFirst() {
  if (first_ == 0 || SameRegister(0, first_)) return;
  const int bits = VectorPlaceOf(0).lane_bits;
  WriteLanes(0, ReadLanes(first_, 128 / bits, LaneTypeOf(0, bits)));
}

llvm::Type* Translator::LaneTypeOf(int index, int bits) {
  const auto type_in = [&](const Place& place) {
    return place.lane_bits == bits ? place.lanes[0]->getAllocatedType() : IntType(bits);
  };
  if (IsMemory(index) && operand_ != nullptr) return type_in(*operand_);
  if (IsVector(index)) return type_in(VectorPlaceOf(index));
  const int slot = SlotIndexOf(facts_, *at_, index);
  return slot < 0 ? IntType(bits) : type_in(SlotPlace(slot));
}

std::vector<llvm::Value*> Translator::ReadLanes(int index, int count, Type* type) {
  std::vector<Value*> values;
  for (int lane = 0; lane < count; ++lane) values.push_back(ReadLane(index, lane, type));
  return values;
}

void Translator::WriteLanes(int index, const std::vector<Value*>& values) {
  for (size_t lane = 0; lane < values.size(); ++lane) WriteLane(index, static_cast<int>(lane), values[lane]);
}

llvm::Value* Translator::ReadVector(int index, int element_bits) {
  const int bits = IsVector(index) && VectorPlaceOf(index).lane_bits == 32 ? 32 : 64;
  Value* vector = llvm::PoisonValue::get(llvm::FixedVectorType::get(IntType(bits), 128 / bits));
  for (int lane = 0; lane < 128 / bits; ++lane) {
    vector = ir_.CreateInsertElement(vector, ReadLane(index, lane, IntType(bits)), static_cast<uint64_t>(lane));
  }
  return ir_.CreateBitCast(vector, llvm::FixedVectorType::get(IntType(element_bits), 128 / element_bits));
}

void Translator::WriteVector(int index, Value* value) {
  const int bits = IsVector(index) && VectorPlaceOf(index).lane_bits == 32 ? 32 : 64;
  Value* vector = ir_.CreateBitCast(value, llvm::FixedVectorType::get(IntType(bits), 128 / bits));
  for (int lane = 0; lane < 128 / bits; ++lane) {
    WriteLane(index, lane, ir_.CreateExtractElement(vector, static_cast<uint64_t>(lane)));
  }
}

}  // namespace tracelift::jit
