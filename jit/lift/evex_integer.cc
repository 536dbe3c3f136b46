// Packed integers of AVX-512, 128 bits at a time where elements stay in their place.

#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {

using llvm::Intrinsic::ID;

bool Translator::TranslateEvexInteger() {
  namespace intrinsic = llvm::Intrinsic;
  switch (form_) {
    case ZYDIS_MNEMONIC_VPSRAQ: PackedShift(64, llvm::Instruction::AShr); return true;
    case ZYDIS_MNEMONIC_VPSRAVQ: ShiftEach(64, llvm::Instruction::AShr); return true;
    case ZYDIS_MNEMONIC_VPSLLVW: ShiftEach(16, llvm::Instruction::Shl); return true;
    case ZYDIS_MNEMONIC_VPSRLVW: ShiftEach(16, llvm::Instruction::LShr); return true;
    case ZYDIS_MNEMONIC_VPSRAVW: ShiftEach(16, llvm::Instruction::AShr); return true;
#define TL_ROTATE(name, bits)                                                                           \
  case ZYDIS_MNEMONIC_VPROL##name: RotateElements(bits, intrinsic::fshl); return true;                  \
  case ZYDIS_MNEMONIC_VPROR##name: RotateElements(bits, intrinsic::fshr); return true;                  \
  case ZYDIS_MNEMONIC_VPROLV##name: RotateElements(bits, intrinsic::fshl); return true;                 \
  case ZYDIS_MNEMONIC_VPRORV##name: RotateElements(bits, intrinsic::fshr); return true;
    TL_ROTATE(D, 32) TL_ROTATE(Q, 64)
#undef TL_ROTATE
#define TL_FUNNEL(name, bits)                                                                           \
  case ZYDIS_MNEMONIC_VPSHLD##name: ShiftPairs(bits, intrinsic::fshl, false); return true;              \
  case ZYDIS_MNEMONIC_VPSHRD##name: ShiftPairs(bits, intrinsic::fshr, false); return true;              \
  case ZYDIS_MNEMONIC_VPSHLDV##name: ShiftPairs(bits, intrinsic::fshl, true); return true;              \
  case ZYDIS_MNEMONIC_VPSHRDV##name: ShiftPairs(bits, intrinsic::fshr, true); return true;
    TL_FUNNEL(W, 16) TL_FUNNEL(D, 32) TL_FUNNEL(Q, 64)
#undef TL_FUNNEL
    case ZYDIS_MNEMONIC_VPMULLQ:
      PackedBinary(64, [this](Value* a, Value* b) { return ir_.CreateMul(a, b); });
      return true;
    case ZYDIS_MNEMONIC_VPMINSQ: PackedMinMax(64, intrinsic::smin); return true;
    case ZYDIS_MNEMONIC_VPMAXSQ: PackedMinMax(64, intrinsic::smax); return true;
    case ZYDIS_MNEMONIC_VPMINUQ: PackedMinMax(64, intrinsic::umin); return true;
    case ZYDIS_MNEMONIC_VPMAXUQ: PackedMinMax(64, intrinsic::umax); return true;
    case ZYDIS_MNEMONIC_VPABSQ: PackedUnary(64, intrinsic::abs, ir_.getFalse()); return true;
    case ZYDIS_MNEMONIC_VPLZCNTD: PackedUnary(32, intrinsic::ctlz, ir_.getFalse()); return true;
    case ZYDIS_MNEMONIC_VPLZCNTQ: PackedUnary(64, intrinsic::ctlz, ir_.getFalse()); return true;
    case ZYDIS_MNEMONIC_VPOPCNTB: PackedUnary(8, intrinsic::ctpop, nullptr); return true;
    case ZYDIS_MNEMONIC_VPOPCNTW: PackedUnary(16, intrinsic::ctpop, nullptr); return true;
    case ZYDIS_MNEMONIC_VPOPCNTD: PackedUnary(32, intrinsic::ctpop, nullptr); return true;
    case ZYDIS_MNEMONIC_VPOPCNTQ: PackedUnary(64, intrinsic::ctpop, nullptr); return true;
    case ZYDIS_MNEMONIC_VPTERNLOGD:
    case ZYDIS_MNEMONIC_VPTERNLOGQ: TernaryLogic(); return true;
    default: return false;
  }
}

/// A function of one source; `option` is its second argument, if it has one.
void Translator::PackedUnary(int bits, ID id, Value* option) {
  const auto apply = [&](Value* value) -> Value* {
    return option == nullptr ? ir_.CreateUnaryIntrinsic(id, value) : ir_.CreateBinaryIntrinsic(id, value, option);
  };
  if (bits < 32) return WriteVector(0, apply(ReadVector(1, bits)));
  std::vector<Value*> values = ReadLanes(1, 128 / bits, IntType(bits));
  for (Value*& value : values) value = apply(value);
  WriteLanes(0, values);
}

/// By a constant, or each element by its own distance. Distances count modulo the width.
void Translator::RotateElements(int bits, ID funnel) {
  std::vector<Value*> values = ReadLanes(1, 128 / bits, IntType(bits));
  for (size_t lane = 0; lane < values.size(); ++lane) {
    Value* by = IsImmediate(2) ? Constant(bits, Control()) : ReadLane(2, static_cast<int>(lane), IntType(bits));
    values[lane] = ir_.CreateIntrinsic(funnel, {IntType(bits)}, {values[lane], values[lane], by});
  }
  WriteLanes(0, values);
}

/// Two elements as one of twice the width, shifted. With distances in a vector, the destination is one of them.
void Translator::ShiftPairs(int bits, ID funnel, bool by_vector) {
  const auto read = [&](int index, int lane) { return bits >= 32 ? ReadLane(index, lane, IntType(bits)) : ReadVector(index, bits); };
  const bool left = funnel == llvm::Intrinsic::fshl;
  const int x = by_vector ? 0 : 1;
  std::vector<Value*> values;
  for (int lane = 0; lane < (bits >= 32 ? 128 / bits : 1); ++lane) {
    Value* a = read(x, lane);
    Value* b = read(x + 1, lane);
    Value* by = by_vector ? read(2, lane) : llvm::ConstantInt::get(a->getType(), Control() & static_cast<uint64_t>(bits - 1));
    values.push_back(ir_.CreateIntrinsic(funnel, {a->getType()}, {left ? a : b, left ? b : a, by}));
  }
  if (bits < 32) return WriteVector(0, values[0]);
  WriteLanes(0, values);
}

/// Any function of three bits: the constant is its table.
void Translator::TernaryLogic() {
  const auto table = static_cast<uint32_t>(Control());
  const int bits = VectorPlaceOf(0).lane_bits;
  const auto lanes = 128 / bits;
  if (table == 0 || table == 0xff) {  // does not read
    return WriteLanes(0, std::vector<Value*>(static_cast<size_t>(lanes), Constant(bits, table == 0 ? 0 : ~uint64_t{0})));
  }
  std::vector<Value*> values;
  for (int lane = 0; lane < lanes; ++lane) {
    const auto read = [&](int index) { return ReadLane(index, lane, IntType(bits)); };
    values.push_back(LogicOfThree(table, read(0), read(1), read(2)));
  }
  WriteLanes(0, values);
}

/// Bit 4a + 2b + c of `table` is the result for a, b, c.
llvm::Value* Translator::LogicOfThree(uint32_t table, Value* a, Value* b, Value* c) {
  Value* none = llvm::Constant::getNullValue(a->getType());
  Value* all = llvm::Constant::getAllOnesValue(a->getType());
  const auto of_two = [&](uint32_t part) -> Value* {
    switch (part) {
      case 0x0: return none;
      case 0x1: return ir_.CreateNot(ir_.CreateOr(b, c));
      case 0x2: return ir_.CreateAnd(ir_.CreateNot(b), c);
      case 0x3: return ir_.CreateNot(b);
      case 0x4: return ir_.CreateAnd(b, ir_.CreateNot(c));
      case 0x5: return ir_.CreateNot(c);
      case 0x6: return ir_.CreateXor(b, c);
      case 0x7: return ir_.CreateNot(ir_.CreateAnd(b, c));
      case 0x8: return ir_.CreateAnd(b, c);
      case 0x9: return ir_.CreateNot(ir_.CreateXor(b, c));
      case 0xa: return c;
      case 0xb: return ir_.CreateOr(ir_.CreateNot(b), c);
      case 0xc: return b;
      case 0xd: return ir_.CreateOr(b, ir_.CreateNot(c));
      case 0xe: return ir_.CreateOr(b, c);
      default: return all;
    }
  };
  const uint32_t without_a = table & 0xf, with_a = table >> 4 & 0xf;
  if (without_a == with_a) return of_two(with_a);
  if ((without_a ^ with_a) == 0xf) return ir_.CreateXor(a, of_two(without_a));
  if (without_a == 0) return ir_.CreateAnd(a, of_two(with_a));
  if (with_a == 0) return ir_.CreateAnd(ir_.CreateNot(a), of_two(without_a));
  if (without_a == 0xf) return ir_.CreateOr(ir_.CreateNot(a), of_two(with_a));
  if (with_a == 0xf) return ir_.CreateOr(a, of_two(without_a));
  return ir_.CreateOr(ir_.CreateAnd(a, of_two(with_a)), ir_.CreateAnd(ir_.CreateNot(a), of_two(without_a)));
}

}  // namespace tracelift::jit
