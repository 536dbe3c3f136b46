// Packed integers, in both encodings. Elements of 32 and 64 bits are computed one by one, like floats; narrower ones as
// LLVM vectors.

#include "jit/lift/translator.h"

namespace tracelift::jit {

using llvm::CmpInst;
using llvm::Intrinsic::ID;

bool Translator::TranslateSseInteger() {
  const auto add = [this](Value* a, Value* b) { return ir_.CreateAdd(a, b); };
  const auto sub = [this](Value* a, Value* b) { return ir_.CreateSub(a, b); };
  const auto mul = [this](Value* a, Value* b) { return ir_.CreateMul(a, b); };
  const auto saturating = [this](ID id) {
    return [this, id](Value* a, Value* b) -> Value* { return ir_.CreateBinaryIntrinsic(id, a, b); };
  };
  namespace intrinsic = llvm::Intrinsic;
  switch (form_) {
#define TL_CASE(name, call) \
  case ZYDIS_MNEMONIC_##name: call; return true;
    TL_CASE(PADDB, PackedBinary(8, add))
    TL_CASE(PADDW, PackedBinary(16, add))
    TL_CASE(PADDD, PackedBinary(32, add))
    TL_CASE(PADDQ, PackedBinary(64, add))
    TL_CASE(PSUBB, PackedBinary(8, sub))
    TL_CASE(PSUBW, PackedBinary(16, sub))
    TL_CASE(PSUBD, PackedBinary(32, sub))
    TL_CASE(PSUBQ, PackedBinary(64, sub))
    TL_CASE(PADDSB, PackedBinary(8, saturating(intrinsic::sadd_sat)))
    TL_CASE(PADDSW, PackedBinary(16, saturating(intrinsic::sadd_sat)))
    TL_CASE(PADDUSB, PackedBinary(8, saturating(intrinsic::uadd_sat)))
    TL_CASE(PADDUSW, PackedBinary(16, saturating(intrinsic::uadd_sat)))
    TL_CASE(PSUBSB, PackedBinary(8, saturating(intrinsic::ssub_sat)))
    TL_CASE(PSUBSW, PackedBinary(16, saturating(intrinsic::ssub_sat)))
    TL_CASE(PSUBUSB, PackedBinary(8, saturating(intrinsic::usub_sat)))
    TL_CASE(PSUBUSW, PackedBinary(16, saturating(intrinsic::usub_sat)))
    TL_CASE(PMULLW, PackedBinary(16, mul))
    TL_CASE(PMULLD, PackedBinary(32, mul))
    TL_CASE(PMULHW, MultiplyHigh(true))
    TL_CASE(PMULHUW, MultiplyHigh(false))
    TL_CASE(PMULHRSW, MultiplyHighRounded())
    TL_CASE(PHADDW, PackedHorizontal(16, add))
    TL_CASE(PHADDD, PackedHorizontal(32, add))
    TL_CASE(PHSUBW, PackedHorizontal(16, sub))
    TL_CASE(PHSUBD, PackedHorizontal(32, sub))
    TL_CASE(PSIGNB, PackedSign(8))
    TL_CASE(PSIGNW, PackedSign(16))
    TL_CASE(PSIGND, PackedSign(32))
    TL_CASE(PMULUDQ, MultiplyLongLanes(false))
    TL_CASE(PMULDQ, MultiplyLongLanes(true))
    TL_CASE(PMADDWD, MultiplyAddPairs())
    TL_CASE(PMADDUBSW, MultiplyAddBytes())
    TL_CASE(PCMPEQB, PackedCompare(8, CmpInst::ICMP_EQ))
    TL_CASE(PCMPEQW, PackedCompare(16, CmpInst::ICMP_EQ))
    TL_CASE(PCMPEQD, PackedCompare(32, CmpInst::ICMP_EQ))
    TL_CASE(PCMPEQQ, PackedCompare(64, CmpInst::ICMP_EQ))
    TL_CASE(PCMPGTB, PackedCompare(8, CmpInst::ICMP_SGT))
    TL_CASE(PCMPGTW, PackedCompare(16, CmpInst::ICMP_SGT))
    TL_CASE(PCMPGTD, PackedCompare(32, CmpInst::ICMP_SGT))
    TL_CASE(PCMPGTQ, PackedCompare(64, CmpInst::ICMP_SGT))
    TL_CASE(PMINUB, PackedMinMax(8, intrinsic::umin))
    TL_CASE(PMAXUB, PackedMinMax(8, intrinsic::umax))
    TL_CASE(PMINSB, PackedMinMax(8, intrinsic::smin))
    TL_CASE(PMAXSB, PackedMinMax(8, intrinsic::smax))
    TL_CASE(PMINUW, PackedMinMax(16, intrinsic::umin))
    TL_CASE(PMAXUW, PackedMinMax(16, intrinsic::umax))
    TL_CASE(PMINSW, PackedMinMax(16, intrinsic::smin))
    TL_CASE(PMAXSW, PackedMinMax(16, intrinsic::smax))
    TL_CASE(PMINUD, PackedMinMax(32, intrinsic::umin))
    TL_CASE(PMAXUD, PackedMinMax(32, intrinsic::umax))
    TL_CASE(PMINSD, PackedMinMax(32, intrinsic::smin))
    TL_CASE(PMAXSD, PackedMinMax(32, intrinsic::smax))
    TL_CASE(PSLLW, PackedShift(16, llvm::Instruction::Shl))
    TL_CASE(PSLLD, PackedShift(32, llvm::Instruction::Shl))
    TL_CASE(PSLLQ, PackedShift(64, llvm::Instruction::Shl))
    TL_CASE(PSRLW, PackedShift(16, llvm::Instruction::LShr))
    TL_CASE(PSRLD, PackedShift(32, llvm::Instruction::LShr))
    TL_CASE(PSRLQ, PackedShift(64, llvm::Instruction::LShr))
    TL_CASE(PSRAW, PackedShift(16, llvm::Instruction::AShr))
    TL_CASE(PSRAD, PackedShift(32, llvm::Instruction::AShr))
    TL_CASE(PSLLDQ, ByteShift(true))
    TL_CASE(PSRLDQ, ByteShift(false))
    TL_CASE(PUNPCKLBW, Unpack(8, false))
    TL_CASE(PUNPCKHBW, Unpack(8, true))
    TL_CASE(PUNPCKLWD, Unpack(16, false))
    TL_CASE(PUNPCKHWD, Unpack(16, true))
    TL_CASE(PACKSSWB, Pack(16, true))
    TL_CASE(PACKSSDW, Pack(32, true))
    TL_CASE(PACKUSWB, Pack(16, false))
    TL_CASE(PACKUSDW, Pack(32, false))
    TL_CASE(PSHUFB, ShuffleBytes())
    TL_CASE(PSHUFLW, ShuffleWords(0))
    TL_CASE(PSHUFHW, ShuffleWords(4))
    TL_CASE(PAVGB, PackedAverage(8))
    TL_CASE(PAVGW, PackedAverage(16))
    TL_CASE(PSADBW, SumOfDifferences())
    TL_CASE(PMOVMSKB, MoveByteMask())
    TL_CASE(PINSRB, InsertElement(8))
    TL_CASE(PINSRW, InsertElement(16))
    TL_CASE(PEXTRB, ExtractElement(8))
    TL_CASE(PEXTRW, ExtractElement(16))
    TL_CASE(PMOVZXBW, PackedExtend(8, 16, false))
    TL_CASE(PMOVZXBD, PackedExtend(8, 32, false))
    TL_CASE(PMOVZXBQ, PackedExtend(8, 64, false))
    TL_CASE(PMOVZXWD, PackedExtend(16, 32, false))
    TL_CASE(PMOVZXWQ, PackedExtend(16, 64, false))
    TL_CASE(PMOVZXDQ, PackedExtend(32, 64, false))
    TL_CASE(PMOVSXBW, PackedExtend(8, 16, true))
    TL_CASE(PMOVSXBD, PackedExtend(8, 32, true))
    TL_CASE(PMOVSXBQ, PackedExtend(8, 64, true))
    TL_CASE(PMOVSXWD, PackedExtend(16, 32, true))
    TL_CASE(PMOVSXWQ, PackedExtend(16, 64, true))
    TL_CASE(PMOVSXDQ, PackedExtend(32, 64, true))
    TL_CASE(PALIGNR, AlignRight())
    TL_CASE(PBLENDW, BlendWords())
    TL_CASE(PBLENDVB, BlendBytesByMask())
    TL_CASE(PTEST, TestBits())
#undef TL_CASE
    case ZYDIS_MNEMONIC_PABSB:
    case ZYDIS_MNEMONIC_PABSW: {
      const int bits = form_ == ZYDIS_MNEMONIC_PABSB ? 8 : 16;
      WriteVector(0, ir_.CreateBinaryIntrinsic(intrinsic::abs, ReadVector(second_, bits), ir_.getFalse()));
      return true;
    }
    case ZYDIS_MNEMONIC_PABSD: {
      std::vector<Value*> values = ReadLanes(1, 4, IntType(32));
      for (Value*& value : values) value = ir_.CreateBinaryIntrinsic(intrinsic::abs, value, ir_.getFalse());
      WriteLanes(0, values);
      return true;
    }
    default: return false;
  }
}

void Translator::LaneBinary(int bits, const std::function<Value*(Value*, Value*)>& op) {
  std::vector<Value*> a = ReadLanes(first_, 128 / bits, IntType(bits));
  const std::vector<Value*> b = ReadLanes(second_, 128 / bits, IntType(bits));
  for (size_t lane = 0; lane < a.size(); ++lane) a[lane] = op(a[lane], b[lane]);
  WriteLanes(0, a);
}

void Translator::VectorBinary(int bits, const std::function<Value*(Value*, Value*)>& op) {
  Value* a = ReadVector(first_, bits);
  Value* b = ReadVector(second_, bits);
  WriteVector(0, op(a, b));
}

void Translator::PackedBinary(int bits, const std::function<Value*(Value*, Value*)>& op) {
  if (bits >= 32) {
    LaneBinary(bits, op);
  } else {
    VectorBinary(bits, op);
  }
}

void Translator::PackedCompare(int bits, CmpInst::Predicate predicate) {
  if (SameRegister(first_, second_)) {  // does not read
    Value* all = predicate == CmpInst::ICMP_EQ ? Constant(64, ~uint64_t{0}) : Constant(64, 0);
    return WriteLanes(0, {all, all});
  }
  PackedBinary(bits, [this, predicate](Value* a, Value* b) {
    return ir_.CreateSExt(ir_.CreateICmp(predicate, a, b), a->getType());
  });
}

void Translator::PackedMinMax(int bits, ID intrinsic) {
  PackedBinary(bits, [this, intrinsic](Value* a, Value* b) -> Value* {
    return ir_.CreateBinaryIntrinsic(intrinsic, a, b);
  });
}

/// The count is the whole low half of the last operand; above the width everything is shifted out.
void Translator::PackedShift(int bits, Opcode opcode) {
  const int by = at_->info.operand_count_visible - 1;
  Value* count = IsImmediate(by) ? Constant(64, Control()) : ReadAt(by, 0, IntType(64));
  Value* too_large = ir_.CreateICmpUGE(count, Constant(64, static_cast<uint64_t>(bits)));
  const bool is_arithmetic = opcode == llvm::Instruction::AShr;
  Value* limit = Constant(64, is_arithmetic ? static_cast<uint64_t>(bits - 1) : 0);
  Value* safe = ir_.CreateTrunc(ir_.CreateSelect(too_large, limit, count), IntType(bits));
  const auto shift = [&](Value* value, Value* distance) {
    Value* shifted = ir_.CreateBinOp(opcode, value, distance);
    if (is_arithmetic) return shifted;
    return ir_.CreateSelect(too_large, llvm::Constant::getNullValue(value->getType()), shifted);
  };
  if (bits >= 32) {
    std::vector<Value*> values = ReadLanes(by - 1, 128 / bits, IntType(bits));
    for (Value*& value : values) value = shift(value, safe);
    return WriteLanes(0, values);
  }
  Value* counts = ir_.CreateVectorSplat(static_cast<unsigned>(128 / bits), safe);
  WriteVector(0, shift(ReadVector(by - 1, bits), counts));
}

void Translator::ByteShift(bool left) {
  const int source = at_->info.operand_count_visible - 2;
  const uint64_t count = Control();
  if (count > 15) return WriteLanes(0, {Constant(64, 0), Constant(64, 0)});
  if (count == 8) {  // half a register: a move of lanes
    Value* kept = ReadLane(source, left ? 0 : 1, LaneTypeOf(0, 64));
    WriteLane(0, left ? 1 : 0, kept);
    return WriteLane(0, left ? 0 : 1, Constant(64, 0));
  }
  Value* bytes = ReadVector(source, 8);
  Value* zero = llvm::Constant::getNullValue(bytes->getType());
  std::vector<int> mask;
  for (int i = 0; i < 16; ++i) {
    const int from = left ? i - static_cast<int>(count) : i + static_cast<int>(count);
    mask.push_back(from >= 0 && from < 16 ? from : 16);
  }
  WriteVector(0, ir_.CreateShuffleVector(bytes, zero, mask));
}

void Translator::Unpack(int bits, bool high) {
  const int count = 128 / bits;
  std::vector<int> mask;
  for (int i = 0; i < count / 2; ++i) {
    const int from = high ? count / 2 + i : i;
    mask.push_back(from);
    mask.push_back(count + from);
  }
  Value* a = ReadVector(first_, bits);
  Value* b = ReadVector(second_, bits);
  WriteVector(0, ir_.CreateShuffleVector(a, b, mask));
}

/// Both operands' signed elements of `bits`, saturated to half the width.
void Translator::Pack(int bits, bool is_signed) {
  const int count = 128 / bits;
  const auto half = static_cast<unsigned>(bits / 2);
  const auto saturate = [&](Value* value) {
    const llvm::APInt low = is_signed ? llvm::APInt::getSignedMinValue(half).sext(bits) : llvm::APInt(bits, 0);
    const llvm::APInt high = is_signed ? llvm::APInt::getSignedMaxValue(half).sext(bits)
                                       : llvm::APInt::getMaxValue(half).zext(bits);
    Type* type = value->getType();
    value = ir_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, value, llvm::ConstantInt::get(type, low));
    value = ir_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, value, llvm::ConstantInt::get(type, high));
    return ir_.CreateTrunc(value, llvm::FixedVectorType::get(IntType(bits / 2), static_cast<unsigned>(count)));
  };
  Value* a = saturate(ReadVector(first_, bits));
  Value* b = saturate(ReadVector(second_, bits));
  std::vector<int> mask;
  for (int i = 0; i < 2 * count; ++i) mask.push_back(i);
  WriteVector(0, ir_.CreateShuffleVector(a, b, mask));
}

/// Reads only as many bytes of memory as there are elements to extend.
void Translator::PackedExtend(int from, int to, bool is_signed) {
  const int count = Width() / to;
  if (from == 32) {
    std::vector<Value*> values = ReadLanes(1, count, IntType(32));
    for (Value*& value : values) {
      value = is_signed ? ir_.CreateSExt(value, IntType(64)) : ir_.CreateZExt(value, IntType(64));
    }
    return WriteLanes(0, values);
  }
  const int part_count = 128 / to;
  std::vector<Value*> parts;  // all read before the first is written: source and destination may be the same register
  for (int bit = 0; bit < count * from; bit += part_count * from) {
    Value* packed = ReadAt(1, bit, IntType(part_count * from));
    Type* narrow = llvm::FixedVectorType::get(IntType(from), static_cast<unsigned>(part_count));
    Type* wide = llvm::FixedVectorType::get(IntType(to), static_cast<unsigned>(part_count));
    Value* elements = ir_.CreateBitCast(packed, narrow);
    parts.push_back(is_signed ? ir_.CreateSExt(elements, wide) : ir_.CreateZExt(elements, wide));
  }
  for (Value* part : parts) {
    WriteVector(0, part);
    part_bit_ += 128;
  }
}

void Translator::PackedAverage(int bits) {
  VectorBinary(bits, [this, bits](Value* a, Value* b) {
    Type* wide = llvm::FixedVectorType::get(IntType(2 * bits), static_cast<unsigned>(128 / bits));
    Value* sum = ir_.CreateAdd(ir_.CreateZExt(a, wide), ir_.CreateZExt(b, wide));
    return ir_.CreateTrunc(ir_.CreateLShr(ir_.CreateAdd(sum, llvm::ConstantInt::get(wide, 1)), 1), a->getType());
  });
}

void Translator::MultiplyHigh(bool is_signed) {
  VectorBinary(16, [this, is_signed](Value* a, Value* b) {
    Type* wide = llvm::FixedVectorType::get(IntType(32), 8);
    const auto extend = [&](Value* v) { return is_signed ? ir_.CreateSExt(v, wide) : ir_.CreateZExt(v, wide); };
    return ir_.CreateTrunc(ir_.CreateLShr(ir_.CreateMul(extend(a), extend(b)), 16), a->getType());
  });
}

/// The even 32-bit elements, multiplied to 64 bits.
void Translator::MultiplyLongLanes(bool is_signed) {
  std::vector<Value*> results;
  for (int lane = 0; lane < 2; ++lane) {
    const auto extend = [&](int operand) {
      Value* value = ReadLane(operand, 2 * lane, IntType(32));
      return is_signed ? ir_.CreateSExt(value, IntType(64)) : ir_.CreateZExt(value, IntType(64));
    };
    Value* a = extend(first_);
    results.push_back(ir_.CreateMul(a, extend(second_)));
  }
  WriteLanes(0, results);
}

void Translator::MultiplyAddPairs() {
  Type* wide = llvm::FixedVectorType::get(IntType(32), 8);
  Value* a = ir_.CreateSExt(ReadVector(first_, 16), wide);
  Value* b = ir_.CreateSExt(ReadVector(second_, 16), wide);
  Value* products = ir_.CreateMul(a, b);
  Value* even = ir_.CreateShuffleVector(products, {0, 2, 4, 6});
  Value* odd = ir_.CreateShuffleVector(products, {1, 3, 5, 7});
  WriteVector(0, ir_.CreateAdd(even, odd));
}

/// Unsigned bytes of the first operand times signed bytes of the second, pairs added with saturation.
void Translator::MultiplyAddBytes() {
  Type* wide = llvm::FixedVectorType::get(IntType(16), 16);
  Value* a = ir_.CreateZExt(ReadVector(first_, 8), wide);
  Value* b = ir_.CreateSExt(ReadVector(second_, 8), wide);
  Value* products = ir_.CreateMul(a, b);
  Value* even = ir_.CreateShuffleVector(products, {0, 2, 4, 6, 8, 10, 12, 14});
  Value* odd = ir_.CreateShuffleVector(products, {1, 3, 5, 7, 9, 11, 13, 15});
  WriteVector(0, ir_.CreateBinaryIntrinsic(llvm::Intrinsic::sadd_sat, even, odd));
}

void Translator::SumOfDifferences() {
  Type* wide = llvm::FixedVectorType::get(IntType(16), 16);
  Value* a = ir_.CreateZExt(ReadVector(first_, 8), wide);
  Value* b = ir_.CreateZExt(ReadVector(second_, 8), wide);
  Value* distance = ir_.CreateBinaryIntrinsic(llvm::Intrinsic::abs, ir_.CreateSub(a, b), ir_.getFalse());
  Value* low = ir_.CreateAddReduce(ir_.CreateShuffleVector(distance, {0, 1, 2, 3, 4, 5, 6, 7}));
  Value* high = ir_.CreateAddReduce(ir_.CreateShuffleVector(distance, {8, 9, 10, 11, 12, 13, 14, 15}));
  WriteLanes(0, {ir_.CreateZExt(low, IntType(64)), ir_.CreateZExt(high, IntType(64))});
}

/// Each byte of the second source picks one of the first, or zero when its top bit is set.
void Translator::ShuffleBytes() {
  Value* bytes = ReadVector(first_, 8);
  Value* picks = ReadVector(second_, 8);
  Value* result = llvm::Constant::getNullValue(bytes->getType());
  for (uint64_t i = 0; i < 16; ++i) {
    Value* pick = ir_.CreateExtractElement(picks, i);
    Value* byte = ir_.CreateExtractElement(bytes, ir_.CreateAnd(pick, 15));
    Value* clear = ir_.CreateICmpSLT(pick, ir_.getInt8(0));
    result = ir_.CreateInsertElement(result, ir_.CreateSelect(clear, ir_.getInt8(0), byte), i);
  }
  WriteVector(0, result);
}

void Translator::ShuffleWords(int first) {
  std::vector<int> mask;
  for (int i = 0; i < 8; ++i) {
    const bool moved = i >= first && i < first + 4;
    mask.push_back(moved ? first + static_cast<int>(Control() >> (2 * (i - first)) & 3) : i);
  }
  WriteVector(0, ir_.CreateShuffleVector(ReadVector(second_, 16), mask));
}

/// Bytes of first:second (second is the low half), shifted right.
void Translator::AlignRight() {
  const int count = static_cast<int>(Control());
  Value* high = ReadVector(first_, 8);
  Value* low = ReadVector(second_, 8);
  Value* zero = llvm::Constant::getNullValue(high->getType());
  if (count >= 16) {
    low = high;
    high = zero;
  }
  std::vector<int> mask;
  for (int i = 0; i < 16; ++i) mask.push_back(std::min(count >= 16 ? i + count - 16 : i + count, 31));
  WriteVector(0, ir_.CreateShuffleVector(low, high, mask));
}

void Translator::MoveByteMask() {
  Value* mask = Constant(32, 0);
  for (part_bit_ = 0; part_bit_ < Width(); part_bit_ += 128) {
    Value* bytes = ReadVector(1, 8);
    Value* signs = ir_.CreateICmpSLT(bytes, llvm::Constant::getNullValue(bytes->getType()));
    Value* part = ir_.CreateZExt(ir_.CreateBitCast(signs, ir_.getInt16Ty()), ir_.getInt32Ty());
    mask = ir_.CreateOr(mask, ir_.CreateShl(part, static_cast<uint64_t>(part_bit_ / 8)));
  }
  Write(0, ir_.CreateZExtOrTrunc(mask, IntType(Bits(0))));
}

void Translator::MultiplyHighRounded() {
  VectorBinary(16, [this](Value* a, Value* b) {
    Type* wide = llvm::FixedVectorType::get(IntType(32), 8);
    Value* product = ir_.CreateLShr(ir_.CreateMul(ir_.CreateSExt(a, wide), ir_.CreateSExt(b, wide)), 14);
    return ir_.CreateTrunc(ir_.CreateLShr(ir_.CreateAdd(product, llvm::ConstantInt::get(wide, 1)), 1), a->getType());
  });
}

/// Neighbours of the first source, then of the second.
void Translator::PackedHorizontal(int bits, const std::function<Value*(Value*, Value*)>& op) {
  std::vector<int> even, odd;
  for (int i = 0; i < 128 / bits; ++i) {
    even.push_back(2 * i);
    odd.push_back(2 * i + 1);
  }
  Value* a = ReadVector(first_, bits);
  Value* b = ReadVector(second_, bits);
  WriteVector(0, op(ir_.CreateShuffleVector(a, b, even), ir_.CreateShuffleVector(a, b, odd)));
}

/// Elements of the first source negated, cleared or kept as those of the second are negative, zero or positive.
void Translator::PackedSign(int bits) {
  PackedBinary(bits, [this](Value* a, Value* b) {
    Value* zero = llvm::Constant::getNullValue(a->getType());
    Value* kept = ir_.CreateSelect(ir_.CreateICmpEQ(b, zero), zero, a);
    return ir_.CreateSelect(ir_.CreateICmpSLT(b, zero), ir_.CreateNeg(a), kept);
  });
}

void Translator::BlendWords() {
  std::vector<int> mask;
  for (int i = 0; i < 8; ++i) mask.push_back((Control() >> i & 1) != 0 ? 8 + i : i);
  Value* a = ReadVector(first_, 16);
  WriteVector(0, ir_.CreateShuffleVector(a, ReadVector(second_, 16), mask));
}

/// Compilers blend elements of any width with it, their masks all ones or zeros.
void Translator::BlendBytesByMask() {
  Value* a = ReadVector(first_, 8);
  Value* b = ReadVector(second_, 8);
  Value* selector = llvm::PoisonValue::get(llvm::FixedVectorType::get(IntType(64), 2));
  for (int lane = 0; lane < 2; ++lane) {
    selector = ir_.CreateInsertElement(selector, ReadSelector(lane, 64), static_cast<uint64_t>(lane));
  }
  selector = ir_.CreateBitCast(selector, a->getType());
  Value* take = ir_.CreateICmpSLT(selector, llvm::Constant::getNullValue(a->getType()));
  WriteVector(0, ir_.CreateSelect(take, b, a));
}

/// ptest: zero flag when the operands have no bit in common, carry when the second has none that the first lacks.
void Translator::TestBits() {
  Value* common = Constant(64, 0);
  Value* lacking = Constant(64, 0);
  for (int lane = 0; lane < Width() / 64; ++lane) {
    Value* a = ReadLane(0, lane, IntType(64));
    Value* b = ReadLane(1, lane, IntType(64));
    common = ir_.CreateOr(common, ir_.CreateAnd(a, b));
    lacking = ir_.CreateOr(lacking, ir_.CreateAnd(ir_.CreateNot(a), b));
  }
  SetTestFlags(ir_.CreateICmpEQ(common, Constant(64, 0)), ir_.CreateICmpEQ(lacking, Constant(64, 0)));
}

void Translator::SetTestFlags(Value* zero, Value* carry) {
  SetFlag(kZero, zero);
  SetFlag(kCarry, carry);
  SetFlag(kLessEqual, zero);
  if (Wants(kBelowEqual)) SetFlag(kBelowEqual, ir_.CreateOr(zero, carry));
  for (StatusFlag flag : {kOverflow, kSign, kAdjust, kParity, kLess}) SetFlag(flag, ir_.getFalse());
}

}  // namespace tracelift::jit
