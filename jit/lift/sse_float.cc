// Float arithmetic, lane by lane, in both encodings. No fast-math flags anywhere: each operation is the machine's, in
// the machine's operand order and under the rules that MXCSR sets (float_operations.h).

#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {

using llvm::CmpInst;

bool Translator::TranslateSseFloat() {
  const auto add = [this](Value* a, Value* b) { return floats_.Add(a, b); };
  const auto sub = [this](Value* a, Value* b) { return floats_.Subtract(a, b); };
  const auto mul = [this](Value* a, Value* b) { return floats_.Multiply(a, b); };
  const auto div = [this](Value* a, Value* b) { return floats_.Divide(a, b); };
  const auto min = [this](Value* a, Value* b) { return floats_.Minimum(a, b); };
  const auto max = [this](Value* a, Value* b) { return floats_.Maximum(a, b); };
  const auto sqrt = [this](Value* a) { return floats_.SquareRoot(a); };
  switch (form_) {
#define TL_BINARY(name, op)                                                  \
  case ZYDIS_MNEMONIC_##name##SS: FloatBinary(32, 1, op); return true;       \
  case ZYDIS_MNEMONIC_##name##SD: FloatBinary(64, 1, op); return true;       \
  case ZYDIS_MNEMONIC_##name##PS: FloatBinary(32, 4, op); return true;       \
  case ZYDIS_MNEMONIC_##name##PD: FloatBinary(64, 2, op); return true;
    TL_BINARY(ADD, add)
    TL_BINARY(SUB, sub)
    TL_BINARY(MUL, mul)
    TL_BINARY(DIV, div)
    TL_BINARY(MIN, min)
    TL_BINARY(MAX, max)
#undef TL_BINARY
    case ZYDIS_MNEMONIC_SQRTSS: FloatUnary(32, 1, sqrt); return true;
    case ZYDIS_MNEMONIC_SQRTSD: FloatUnary(64, 1, sqrt); return true;
    case ZYDIS_MNEMONIC_SQRTPS: FloatUnary(32, 4, sqrt); return true;
    case ZYDIS_MNEMONIC_SQRTPD: FloatUnary(64, 2, sqrt); return true;
    case ZYDIS_MNEMONIC_RCPSS:
    case ZYDIS_MNEMONIC_RCPPS: FloatApproximation("rcp"); return true;
    case ZYDIS_MNEMONIC_RSQRTSS:
    case ZYDIS_MNEMONIC_RSQRTPS: FloatApproximation("rsqrt"); return true;
    case ZYDIS_MNEMONIC_ROUNDSS: FloatRound(32, 1); return true;
    case ZYDIS_MNEMONIC_ROUNDSD: FloatRound(64, 1); return true;
    case ZYDIS_MNEMONIC_ROUNDPS: FloatRound(32, 4); return true;
    case ZYDIS_MNEMONIC_ROUNDPD: FloatRound(64, 2); return true;
    case ZYDIS_MNEMONIC_HADDPS: FloatHorizontal(32, false); return true;
    case ZYDIS_MNEMONIC_HADDPD: FloatHorizontal(64, false); return true;
    case ZYDIS_MNEMONIC_HSUBPS: FloatHorizontal(32, true); return true;
    case ZYDIS_MNEMONIC_HSUBPD: FloatHorizontal(64, true); return true;
    case ZYDIS_MNEMONIC_ADDSUBPS: FloatAddSubtract(32); return true;
    case ZYDIS_MNEMONIC_ADDSUBPD: FloatAddSubtract(64); return true;
    case ZYDIS_MNEMONIC_CMPSS: FloatCompareMask(32, 1); return true;
    case ZYDIS_MNEMONIC_CMPSD: FloatCompareMask(64, 1); return true;
    case ZYDIS_MNEMONIC_CMPPS: FloatCompareMask(32, 4); return true;
    case ZYDIS_MNEMONIC_CMPPD: FloatCompareMask(64, 2); return true;
    case ZYDIS_MNEMONIC_COMISS:
    case ZYDIS_MNEMONIC_UCOMISS: FloatCompareFlags(32); return true;
    case ZYDIS_MNEMONIC_COMISD:
    case ZYDIS_MNEMONIC_UCOMISD: FloatCompareFlags(64); return true;
    case ZYDIS_MNEMONIC_CVTSI2SS: WriteScalar(floats_.FromSigned(Read(second_), FloatType(32))); return true;
    case ZYDIS_MNEMONIC_CVTSI2SD: WriteScalar(floats_.FromSigned(Read(second_), FloatType(64))); return true;
    case ZYDIS_MNEMONIC_CVTSS2SI: FloatToGpr(32, false); return true;
    case ZYDIS_MNEMONIC_CVTSD2SI: FloatToGpr(64, false); return true;
    case ZYDIS_MNEMONIC_CVTTSS2SI: FloatToGpr(32, true); return true;
    case ZYDIS_MNEMONIC_CVTTSD2SI: FloatToGpr(64, true); return true;
    case ZYDIS_MNEMONIC_CVTSS2SD:
      WriteScalar(floats_.Widen(ReadLane(second_, 0, FloatType(32))));
      return true;
    case ZYDIS_MNEMONIC_CVTSD2SS:
      WriteScalar(floats_.Narrow(ReadLane(second_, 0, FloatType(64))));
      return true;
    case ZYDIS_MNEMONIC_CVTPS2PD: {
      std::vector<Value*> values = ReadLanes(1, VectorBits(Operand(0)) / 64, FloatType(32));
      for (Value*& value : values) value = floats_.Widen(value);
      WriteLanes(0, values);
      return true;
    }
    case ZYDIS_MNEMONIC_CVTPD2PS: {
      std::vector<Value*> values = ReadLanes(1, SourceBits(1) / 64, FloatType(64));
      for (Value*& value : values) value = floats_.Narrow(value);
      WriteLanes(0, values);
      WriteZeroAbove(0, SourceBits(1) / 2);
      return true;
    }
    case ZYDIS_MNEMONIC_CVTDQ2PS:
    case ZYDIS_MNEMONIC_CVTDQ2PD: {
      const bool is_double = form_ == ZYDIS_MNEMONIC_CVTDQ2PD;
      std::vector<Value*> values = ReadLanes(1, is_double ? VectorBits(Operand(0)) / 64 : 4, IntType(32));
      for (Value*& value : values) value = floats_.FromSigned(value, FloatType(is_double ? 64 : 32));
      WriteLanes(0, values);
      return true;
    }
    case ZYDIS_MNEMONIC_CVTPS2DQ: FloatToLanes(32, false); return true;
    case ZYDIS_MNEMONIC_CVTPD2DQ: FloatToLanes(64, false); return true;
    case ZYDIS_MNEMONIC_CVTTPS2DQ: FloatToLanes(32, true); return true;
    case ZYDIS_MNEMONIC_CVTTPD2DQ: FloatToLanes(64, true); return true;
    case ZYDIS_MNEMONIC_MOVMSKPS: MoveSignMask(32); return true;
    case ZYDIS_MNEMONIC_MOVMSKPD: MoveSignMask(64); return true;
    default: return false;
  }
}

void Translator::FloatBinary(int bits, int lanes, const std::function<Value*(Value*, Value*)>& op) {
  std::vector<Value*> a = ReadLanes(first_, lanes, FloatType(bits));
  const std::vector<Value*> b = ReadLanes(second_, lanes, FloatType(bits));
  for (int lane = 0; lane < lanes; ++lane) a[lane] = op(a[lane], b[lane]);
  if (lanes == 1) return WriteScalar(a[0]);
  WriteLanes(0, a);
}

void Translator::FloatUnary(int bits, int lanes, const std::function<Value*(Value*)>& op) {
  std::vector<Value*> values = ReadLanes(second_, lanes, FloatType(bits));
  for (Value*& value : values) value = op(value);
  if (lanes == 1) return WriteScalar(values[0]);
  WriteLanes(0, values);
}

/// Results that each processor computes in its own way, whatever MXCSR says: the instruction itself.
void Translator::FloatApproximation(const std::string& operation) {
  if (form_ == ZYDIS_MNEMONIC_RCPPS || form_ == ZYDIS_MNEMONIC_RSQRTPS) {
    const int bits = VectorBits(Operand(0));
    Value* source = ReadAll(second_, FloatType(32), bits);
    return WriteAll(0, CallX86(bits == 256 ? "avx." + operation + ".ps.256" : "sse." + operation + ".ps", {source}));
  }
  Value* zero = llvm::Constant::getNullValue(llvm::FixedVectorType::get(FloatType(32), 4));
  Value* source = ir_.CreateInsertElement(zero, ReadLane(second_, 0, FloatType(32)), uint64_t{0});
  WriteScalar(ir_.CreateExtractElement(CallX86("sse." + operation + ".ss", {source}), uint64_t{0}));
}

/// The result of a scalar instruction; what lies beside it comes from the first source.
void Translator::WriteScalar(Value* value) {
  CopyFirst();
  WriteLane(0, 0, value);
}

void Translator::FloatHorizontal(int bits, bool subtract) {
  const int lanes = 128 / bits;
  std::vector<Value*> inputs = ReadLanes(first_, lanes, FloatType(bits));
  const std::vector<Value*> second = ReadLanes(second_, lanes, FloatType(bits));
  inputs.insert(inputs.end(), second.begin(), second.end());
  std::vector<Value*> results;
  for (int lane = 0; lane < lanes; ++lane) {
    Value* a = inputs[2 * lane];
    Value* b = inputs[2 * lane + 1];
    results.push_back(subtract ? floats_.Subtract(a, b) : floats_.Add(a, b));
  }
  WriteLanes(0, results);
}

void Translator::FloatAddSubtract(int bits) {
  const int lanes = 128 / bits;
  std::vector<Value*> a = ReadLanes(first_, lanes, FloatType(bits));
  const std::vector<Value*> b = ReadLanes(second_, lanes, FloatType(bits));
  for (int lane = 0; lane < lanes; ++lane) {
    a[lane] = lane % 2 == 0 ? floats_.Subtract(a[lane], b[lane]) : floats_.Add(a[lane], b[lane]);
  }
  WriteLanes(0, a);
}

llvm::CmpInst::Predicate Translator::FloatPredicate() const {
  // Legacy encodings have the first eight. Bit 4 only chooses which of the NaNs raise exceptions.
  constexpr CmpInst::Predicate kPredicates[] = {
      CmpInst::FCMP_OEQ, CmpInst::FCMP_OLT, CmpInst::FCMP_OLE, CmpInst::FCMP_UNO,
      CmpInst::FCMP_UNE, CmpInst::FCMP_UGE, CmpInst::FCMP_UGT, CmpInst::FCMP_ORD,
      CmpInst::FCMP_UEQ, CmpInst::FCMP_ULT, CmpInst::FCMP_ULE, CmpInst::FCMP_FALSE,
      CmpInst::FCMP_ONE, CmpInst::FCMP_OGE, CmpInst::FCMP_OGT, CmpInst::FCMP_TRUE};
  return kPredicates[Control() & (ClearsUpperBits(at_->info) ? 15 : 7)];
}

void Translator::FloatCompareMask(int bits, int lanes) {
  const CmpInst::Predicate predicate = FloatPredicate();
  std::vector<Value*> a = ReadLanes(first_, lanes, FloatType(bits));
  const std::vector<Value*> b = ReadLanes(second_, lanes, FloatType(bits));
  for (int lane = 0; lane < lanes; ++lane) {
    a[lane] = ir_.CreateSExt(floats_.Compare(predicate, a[lane], b[lane]), IntType(bits));
  }
  if (lanes == 1) return WriteScalar(a[0]);
  WriteLanes(0, a);
}

void Translator::FloatCompareFlags(int bits) {
  Value* a = ReadLane(0, 0, FloatType(bits));
  Value* b = ReadLane(1, 0, FloatType(bits));
  const auto compare = [&](CmpInst::Predicate predicate) { return floats_.Compare(predicate, a, b); };
  Value* equal = compare(CmpInst::FCMP_UEQ);
  if (Wants(kZero)) SetFlag(kZero, equal);
  if (Wants(kParity)) SetFlag(kParity, compare(CmpInst::FCMP_UNO));
  if (Wants(kCarry)) SetFlag(kCarry, compare(CmpInst::FCMP_ULT));
  if (Wants(kBelowEqual)) SetFlag(kBelowEqual, compare(CmpInst::FCMP_ULE));
  if (Wants(kLessEqual)) SetFlag(kLessEqual, equal);
  for (StatusFlag flag : {kOverflow, kSign, kAdjust, kLess}) SetFlag(flag, ir_.getFalse());
}

void Translator::FloatRound(int bits, int lanes) {
  const uint64_t control = Control();
  FloatUnary(bits, lanes, [this, control](Value* a) { return floats_.Round(a, control); });
}

void Translator::FloatToGpr(int bits, bool truncate) {
  Write(0, floats_.ToInteger(ReadLane(1, 0, FloatType(bits)), Bits(0), truncate));
}

void Translator::FloatToLanes(int bits, bool truncate) {
  const int count = bits == 64 ? SourceBits(1) / 64 : 4;
  std::vector<Value*> values = ReadLanes(1, count, FloatType(bits));
  for (Value*& value : values) value = floats_.ToInteger(value, 32, truncate);
  WriteLanes(0, values);
  if (bits == 64) WriteZeroAbove(0, 32 * count);
}

void Translator::MoveSignMask(int bits) {
  Value* mask = ir_.getInt32(0);
  const std::vector<Value*> lanes = ReadLanes(1, Width() / bits, IntType(bits));
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    Value* sign = ir_.CreateICmpSLT(lanes[lane], Constant(bits, 0));
    mask = ir_.CreateOr(mask, ir_.CreateShl(ir_.CreateZExt(sign, ir_.getInt32Ty()), lane));
  }
  Write(0, ir_.CreateZExtOrTrunc(mask, IntType(Bits(0))));
}

}  // namespace tracelift::jit
