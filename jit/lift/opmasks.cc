// The mask registers of AVX-512 and the instructions between them. A mask is kept as single bits, like vectors as single
// lanes: what a comparison puts in and a masked instruction takes out again then meets without arithmetic between. As many
// bits as the loop uses are kept so; those above are only ever cleared.

#include <string_view>

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {
namespace {

constexpr int kMaskBits = 64;
constexpr int kLeastBits = 16;

/// By the last letter: kandb 8, kandw 16, kandd 32, kandq 64; of kunpckbw the result's.
int WidthOf(ZydisMnemonic mnemonic) {
  switch (std::string_view(ZydisMnemonicGetString(mnemonic)).back()) {
    case 'b': return 8;
    case 'w': return 16;
    case 'd': return 32;
    default: return 64;
  }
}

bool IsMaskRegister(const ZydisDecodedOperand& operand) {
  return operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
         ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_MASK;
}

/// How many bits of its masks an instruction looks at or changes, other than by clearing them.
int MaskBitsUsed(const Instruction& instruction) {
  const ZydisDecodedInstruction& info = instruction.info;
  if (FamilyOf(info.mnemonic) == InstructionFamily::kMask) return WidthOf(info.mnemonic);
  int bits = kLeastBits;
  for (int i = 0; i < info.operand_count_visible; ++i) {
    const ZydisDecodedOperand& operand = instruction.operands[i];
    const int width = VectorBits(operand);
    if (width != 0 && operand.element_size != 0) bits = std::max(bits, width / operand.element_size);
  }
  return std::min(bits, kMaskBits);
}

}  // namespace

// --- registers -------------------------------------------------------------------------------------------------------

void Translator::FindMaskWidths(const DecodedFunction& code) {
  mask_bits_.fill(kLeastBits);
  for (int b : code.LiftedBlocks(facts_.loop)) {
    const BasicBlock& block = code.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& instruction = code.instructions[i];
      for (int n = 0; instruction.valid && n < instruction.info.operand_count_visible; ++n) {
        if (!IsMaskRegister(instruction.operands[n])) continue;
        int& bits = mask_bits_[ZydisRegisterGetId(instruction.operands[n].reg.value)];
        bits = std::max(bits, MaskBitsUsed(instruction));
      }
    }
  }
}

MaskPlace& Translator::MaskPlaceOf(int number) {
  MaskPlace& place = mask_[number];
  if (!place.bits.empty()) return place;
  const size_t offset = offsetof(MachineState, mask) + 8 * static_cast<size_t>(number);
  const std::string name = "k" + std::to_string(number);
  Value* from = entry_ir_.CreateConstInBoundsGEP1_64(entry_ir_.getInt8Ty(), function_.getArg(0), offset);
  Value* start = entry_ir_.CreateAlignedLoad(entry_ir_.getInt64Ty(), from, llvm::Align(8), name + ".in");
  for (int bit = 0; bit < mask_bits_[number]; ++bit) {
    place.bits.push_back(entry_ir_.CreateAlloca(IntType(1), nullptr, name + ".bit" + std::to_string(bit)));
    Value* value = entry_ir_.CreateTrunc(entry_ir_.CreateLShr(start, static_cast<uint64_t>(bit)), IntType(1));
    entry_ir_.CreateStore(value, place.bits.back());
  }
  if (mask_bits_[number] < kMaskBits) {
    place.above = entry_ir_.CreateAlloca(entry_ir_.getInt64Ty(), nullptr, name + ".above");
    const uint64_t kept = ~uint64_t{0} << mask_bits_[number];
    entry_ir_.CreateStore(entry_ir_.CreateAnd(start, kept), place.above);
  }
  return place;
}

std::vector<llvm::Value*> Translator::ReadMask(int number, int count) {
  const MaskPlace& place = MaskPlaceOf(number);
  std::vector<Value*> bits;
  for (int bit = 0; bit < count; ++bit) {
    bits.push_back(ir_.CreateLoad(IntType(1), place.bits[static_cast<size_t>(bit)]));
  }
  return bits;
}

/// The bits above are cleared.
void Translator::WriteMask(int number, const std::vector<Value*>& bits) {
  MaskPlace& place = MaskPlaceOf(number);
  place.written = true;
  for (size_t bit = 0; bit < place.bits.size(); ++bit) {
    ir_.CreateStore(bit < bits.size() ? bits[bit] : ir_.getFalse(), place.bits[bit]);
  }
  if (place.above != nullptr) ir_.CreateStore(ir_.getInt64(0), place.above);
}

void Translator::StoreMask(int number, Value* out) {
  const MaskPlace& place = MaskPlaceOf(number);
  Value* value = PackBits(ReadMask(number, static_cast<int>(place.bits.size())));
  value = ir_.CreateZExt(value, ir_.getInt64Ty());
  if (place.above != nullptr) value = ir_.CreateOr(value, ir_.CreateLoad(ir_.getInt64Ty(), place.above));
  const size_t offset = offsetof(MachineState, mask) + 8 * static_cast<size_t>(number);
  ir_.CreateAlignedStore(value, ir_.CreateConstInBoundsGEP1_64(ir_.getInt8Ty(), out, offset), llvm::Align(8));
}

llvm::Value* Translator::BitVector(const std::vector<Value*>& bits) {
  Value* vector = llvm::PoisonValue::get(llvm::FixedVectorType::get(IntType(1), static_cast<unsigned>(bits.size())));
  for (size_t bit = 0; bit < bits.size(); ++bit) vector = ir_.CreateInsertElement(vector, bits[bit], bit);
  return vector;
}

/// As an integer of as many bits.
llvm::Value* Translator::PackBits(const std::vector<Value*>& bits) {
  return ir_.CreateBitCast(BitVector(bits), IntType(static_cast<int>(bits.size())));
}

std::vector<llvm::Value*> Translator::UnpackBits(Value* integer) {
  const unsigned count = integer->getType()->getIntegerBitWidth();
  Value* vector = ir_.CreateBitCast(integer, llvm::FixedVectorType::get(IntType(1), count));
  std::vector<Value*> bits;
  for (uint64_t bit = 0; bit < count; ++bit) bits.push_back(ir_.CreateExtractElement(vector, bit));
  return bits;
}

bool Translator::IsMask(int index) const { return IsMaskRegister(Operand(index)); }

int Translator::MaskNumberOf(int index) const { return ZydisRegisterGetId(Operand(index).reg.value); }

// --- instructions ----------------------------------------------------------------------------------------------------

bool Translator::TranslateMask() {
  const int width = WidthOf(at_->info.mnemonic);
  using Bit = llvm::function_ref<Value*(Value*, Value*)>;
  const auto combine = [&](Bit op) {
    std::vector<Value*> a = ReadMask(MaskNumberOf(1), width);
    const std::vector<Value*> b = ReadMask(MaskNumberOf(2), width);
    for (size_t bit = 0; bit < a.size(); ++bit) a[bit] = op(a[bit], b[bit]);
    WriteMask(MaskNumberOf(0), a);
  };
  const auto same = [&](bool value) {  // x op x: does not read
    WriteMask(MaskNumberOf(0), std::vector<Value*>(static_cast<size_t>(width), ir_.getInt1(value)));
  };
  switch (at_->info.mnemonic) {
#define TL_CASES(name)          \
  case ZYDIS_MNEMONIC_##name##B: \
  case ZYDIS_MNEMONIC_##name##W: \
  case ZYDIS_MNEMONIC_##name##D: \
  case ZYDIS_MNEMONIC_##name##Q:
    TL_CASES(KMOV) MoveMask(width); return true;
    TL_CASES(KAND) combine([this](Value* a, Value* b) { return ir_.CreateAnd(a, b); }); return true;
    TL_CASES(KANDN) combine([this](Value* a, Value* b) { return ir_.CreateAnd(ir_.CreateNot(a), b); }); return true;
    TL_CASES(KOR) combine([this](Value* a, Value* b) { return ir_.CreateOr(a, b); }); return true;
    TL_CASES(KXOR)
      if (SameRegister(1, 2)) return same(false), true;
      combine([this](Value* a, Value* b) { return ir_.CreateXor(a, b); });
      return true;
    TL_CASES(KXNOR)
      if (SameRegister(1, 2)) return same(true), true;
      combine([this](Value* a, Value* b) { return ir_.CreateNot(ir_.CreateXor(a, b)); });
      return true;
    TL_CASES(KNOT) {
      std::vector<Value*> bits = ReadMask(MaskNumberOf(1), width);
      for (Value*& bit : bits) bit = ir_.CreateNot(bit);
      WriteMask(MaskNumberOf(0), bits);
      return true;
    }
    TL_CASES(KADD) {
      Value* a = PackBits(ReadMask(MaskNumberOf(1), width));
      WriteMask(MaskNumberOf(0), UnpackBits(ir_.CreateAdd(a, PackBits(ReadMask(MaskNumberOf(2), width)))));
      return true;
    }
    TL_CASES(KSHIFTL) ShiftMask(width, static_cast<int>(Control())); return true;
    TL_CASES(KSHIFTR) ShiftMask(width, -static_cast<int>(Control())); return true;
    TL_CASES(KORTEST) TestMasks(width, false); return true;
    TL_CASES(KTEST) TestMasks(width, true); return true;
#undef TL_CASES
    case ZYDIS_MNEMONIC_KUNPCKBW:
    case ZYDIS_MNEMONIC_KUNPCKWD:
    case ZYDIS_MNEMONIC_KUNPCKDQ: {
      std::vector<Value*> bits = ReadMask(MaskNumberOf(2), width / 2);
      const std::vector<Value*> high = ReadMask(MaskNumberOf(1), width / 2);
      bits.insert(bits.end(), high.begin(), high.end());
      WriteMask(MaskNumberOf(0), bits);
      return true;
    }
    default: return false;
  }
}

void Translator::MoveMask(int width) {
  if (!IsMask(0)) {
    Value* bits = PackBits(ReadMask(MaskNumberOf(1), width));
    return Write(0, IsMemory(0) ? bits : ir_.CreateZExt(bits, IntType(Bits(0))));
  }
  if (IsMask(1)) return WriteMask(MaskNumberOf(0), ReadMask(MaskNumberOf(1), width));
  Value* integer = IsMemory(1) ? LoadAt(1, 0, IntType(width)) : ir_.CreateTrunc(Read(1), IntType(width));
  WriteMask(MaskNumberOf(0), UnpackBits(integer));
}

/// To the left by a positive distance.
void Translator::ShiftMask(int width, int distance) {
  const std::vector<Value*> from = ReadMask(MaskNumberOf(1), width);
  std::vector<Value*> bits;
  for (int bit = 0; bit < width; ++bit) {
    const int source = bit - distance;
    bits.push_back(source >= 0 && source < width ? from[static_cast<size_t>(source)] : ir_.getFalse());
  }
  WriteMask(MaskNumberOf(0), bits);
}

/// kortest: is any bit set in either, are all. ktest: as ptest does.
void Translator::TestMasks(int width, bool is_and) {
  Value* a = PackBits(ReadMask(MaskNumberOf(0), width));
  Value* b = PackBits(ReadMask(MaskNumberOf(1), width));
  Value* none = llvm::Constant::getNullValue(a->getType());
  Value* all = llvm::Constant::getAllOnesValue(a->getType());
  Value* either = ir_.CreateOr(a, b);
  Value* zero = ir_.CreateICmpEQ(is_and ? ir_.CreateAnd(a, b) : either, none);
  Value* carry = is_and ? ir_.CreateICmpEQ(ir_.CreateAnd(ir_.CreateNot(a), b), none) : ir_.CreateICmpEQ(either, all);
  SetTestFlags(zero, carry);
}

}  // namespace tracelift::jit
