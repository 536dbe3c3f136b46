// Sums, differences, bit logic, products and quotients.

#include "jit/artifact.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {

bool Translator::TranslateArithmetic() {
  switch (at_->info.mnemonic) {
    case ZYDIS_MNEMONIC_ADD: Write(0, Add(Read(0), Read(1, Bits(0)), nullptr)); return true;
    case ZYDIS_MNEMONIC_ADC: Write(0, Add(Read(0), Read(1, Bits(0)), ReadFlag(kCarry))); return true;
    case ZYDIS_MNEMONIC_ADCX: AddThrough(kCarry); return true;
    case ZYDIS_MNEMONIC_ADOX: AddThrough(kOverflow); return true;
    case ZYDIS_MNEMONIC_SUB: SubtractWithBorrow(false, true); return true;
    case ZYDIS_MNEMONIC_SBB: SubtractWithBorrow(true, true); return true;
    case ZYDIS_MNEMONIC_CMP: SubtractWithBorrow(false, false); return true;
    case ZYDIS_MNEMONIC_INC: Increment(1); return true;
    case ZYDIS_MNEMONIC_DEC: Increment(-1); return true;
    case ZYDIS_MNEMONIC_NEG: {
      Value* b = Read(0);
      Value* zero = Constant(Bits(0), 0);
      Value* result = ir_.CreateSub(zero, b);
      SetSubtractFlags(zero, b, result);
      Write(0, result);
      return true;
    }
    case ZYDIS_MNEMONIC_NOT: Write(0, ir_.CreateNot(Read(0))); return true;
    case ZYDIS_MNEMONIC_AND: Logic(llvm::Instruction::And, true); return true;
    case ZYDIS_MNEMONIC_TEST: Logic(llvm::Instruction::And, false); return true;
    case ZYDIS_MNEMONIC_OR: Logic(llvm::Instruction::Or, true); return true;
    case ZYDIS_MNEMONIC_XOR: Logic(llvm::Instruction::Xor, true); return true;
    case ZYDIS_MNEMONIC_ANDN: {
      Value* result = ir_.CreateAnd(ir_.CreateNot(Read(1)), Read(2));
      SetLogicFlags(result);
      Write(0, result);
      return true;
    }
    case ZYDIS_MNEMONIC_MUL: Multiply(false); return true;
    case ZYDIS_MNEMONIC_MULX: MultiplyWithoutFlags(); return true;
    case ZYDIS_MNEMONIC_IMUL:
      if (at_->info.operand_count_visible == 1) {
        Multiply(true);
      } else {
        MultiplyTruncated();
      }
      return true;
    case ZYDIS_MNEMONIC_DIV: Divide(false); return true;
    case ZYDIS_MNEMONIC_IDIV: Divide(true); return true;
    default: return false;
  }
}

/// a + b, and `carry_in` (an i1) unless null, with the flags of `add` and `adc`.
llvm::Value* Translator::Add(Value* a, Value* b, Value* carry_in) {
  const bool with_carry = carry_in != nullptr;
  Value* partial = ir_.CreateAdd(a, b);
  Value* result = with_carry ? ir_.CreateAdd(partial, ir_.CreateZExt(carry_in, a->getType())) : partial;
  Value* zero = Constant(Bits(0), 0);

  // a + c < 0 without overflow is a < -c: the form in which loop analysis knows it.
  const auto* c = llvm::dyn_cast<llvm::ConstantInt>(b);
  const FlagMask wanted = wanted_;
  const bool direct = !with_carry && c != nullptr && !c->getValue().isMinSignedValue();
  if (direct) wanted_ &= ~(Bit(kLess) | Bit(kLessEqual));
  WantSources();
  SetResultFlags(result);
  if (Wants(kAdjust)) {
    Value* bits = ir_.CreateXor(ir_.CreateXor(a, b), result);
    SetFlag(kAdjust, ir_.CreateTrunc(ir_.CreateLShr(bits, 4), IntType(1)));
  }
  if (Wants(kCarry)) {
    Value* carry = ir_.CreateICmpULT(partial, a);
    if (with_carry) carry = ir_.CreateOr(carry, ir_.CreateICmpULT(result, partial));
    SetFlag(kCarry, carry);
  }
  if (Wants(kOverflow)) {
    Value* sign = ir_.CreateAnd(ir_.CreateXor(a, result), ir_.CreateXor(b, result));
    SetFlag(kOverflow, ir_.CreateICmpSLT(sign, zero));
  }
  SetCombinedFlags();
  if (direct) {
    wanted_ = wanted & (Bit(kLess) | Bit(kLessEqual));
    Value* limit = llvm::ConstantInt::get(context_, -c->getValue());
    if (Wants(kLess)) SetFlag(kLess, ir_.CreateICmpSLT(a, limit));
    if (Wants(kLessEqual)) SetFlag(kLessEqual, ir_.CreateICmpSLE(a, limit));
  }
  return result;
}

/// adcx, adox: two chains of carries that do not disturb each other.
void Translator::AddThrough(StatusFlag carry) {
  Value* a = Read(0);
  Value* partial = ir_.CreateAdd(a, Read(1));
  Value* result = ir_.CreateAdd(partial, ir_.CreateZExt(ReadFlag(carry), a->getType()));
  WantSources();
  SetFlag(carry, ir_.CreateOr(ir_.CreateICmpULT(partial, a), ir_.CreateICmpULT(result, partial)));
  SetCombinedFlags();
  Write(0, result);
}

void Translator::SetSubtractFlags(Value* a, Value* b, Value* result) {
  if (Wants(kZero)) SetFlag(kZero, ir_.CreateICmpEQ(a, b));
  if (Wants(kCarry)) SetFlag(kCarry, ir_.CreateICmpULT(a, b));
  if (Wants(kBelowEqual)) SetFlag(kBelowEqual, ir_.CreateICmpULE(a, b));
  if (Wants(kLess)) SetFlag(kLess, ir_.CreateICmpSLT(a, b));
  if (Wants(kLessEqual)) SetFlag(kLessEqual, ir_.CreateICmpSLE(a, b));
  if (Wants(kAdjust)) {
    Value* bits = ir_.CreateXor(ir_.CreateXor(a, b), result);
    SetFlag(kAdjust, ir_.CreateTrunc(ir_.CreateLShr(bits, 4), IntType(1)));
  }
  if (Wants(kOverflow)) {
    Value* sign = ir_.CreateAnd(ir_.CreateXor(a, b), ir_.CreateXor(a, result));
    SetFlag(kOverflow, ir_.CreateICmpSLT(sign, llvm::Constant::getNullValue(a->getType())));
  }
  wanted_ &= Bit(kSign) | Bit(kParity);
  SetResultFlags(result);
}

void Translator::SubtractWithBorrow(bool with_borrow, bool keep_result) {
  if (!with_borrow && SameRegister(0, 1) && keep_result) {  // zeroes: does not read
    Value* zero = Constant(Bits(0), 0);
    SetSubtractFlags(zero, zero, zero);
    return Write(0, zero);
  }
  Value* a = Read(0);
  Value* b = Read(1, Bits(0));
  Value* partial = ir_.CreateSub(a, b);
  if (!with_borrow) {
    SetSubtractFlags(a, b, partial);
    if (keep_result) Write(0, partial);
    return;
  }
  Value* borrow = ir_.CreateZExt(ReadFlag(kCarry), a->getType());
  Value* result = ir_.CreateSub(partial, borrow);
  WantSources();
  SetResultFlags(result);
  if (Wants(kAdjust)) {
    Value* bits = ir_.CreateXor(ir_.CreateXor(a, b), result);
    SetFlag(kAdjust, ir_.CreateTrunc(ir_.CreateLShr(bits, 4), IntType(1)));
  }
  if (Wants(kCarry)) {
    SetFlag(kCarry, ir_.CreateOr(ir_.CreateICmpULT(a, b), ir_.CreateICmpULT(partial, borrow)));
  }
  if (Wants(kOverflow)) {
    Value* sign = ir_.CreateAnd(ir_.CreateXor(a, b), ir_.CreateXor(a, result));
    SetFlag(kOverflow, ir_.CreateICmpSLT(sign, Constant(Bits(0), 0)));
  }
  SetCombinedFlags();
  Write(0, result);
}

void Translator::Increment(int by) {
  Value* a = Read(0);
  Value* one = Constant(Bits(0), 1);
  Value* result = by > 0 ? ir_.CreateAdd(a, one) : ir_.CreateSub(a, one);
  // The carry stays. a +- 1 below zero without overflow is a < -+1.
  Value* limit = by > 0 ? Constant(Bits(0), ~uint64_t{0}) : one;
  const FlagMask wanted = wanted_;
  wanted_ &= ~(Bit(kLess) | Bit(kLessEqual));
  WantSources();
  SetResultFlags(result);
  if (Wants(kAdjust)) {
    Value* bits = ir_.CreateXor(ir_.CreateXor(a, one), result);
    SetFlag(kAdjust, ir_.CreateTrunc(ir_.CreateLShr(bits, 4), IntType(1)));
  }
  if (Wants(kOverflow)) {
    const llvm::APInt edge = by > 0 ? llvm::APInt::getSignedMaxValue(Bits(0)) : llvm::APInt::getSignedMinValue(Bits(0));
    SetFlag(kOverflow, ir_.CreateICmpEQ(a, llvm::ConstantInt::get(context_, edge)));
  }
  SetCombinedFlags();
  wanted_ = wanted & (Bit(kLess) | Bit(kLessEqual));
  if (Wants(kLess)) SetFlag(kLess, ir_.CreateICmpSLT(a, limit));
  if (Wants(kLessEqual)) SetFlag(kLessEqual, ir_.CreateICmpSLE(a, limit));
  Write(0, result);
}

void Translator::SetLogicFlags(Value* result) {
  Value* zero = llvm::Constant::getNullValue(result->getType());
  SetFlag(kCarry, ir_.getFalse());
  SetFlag(kOverflow, ir_.getFalse());
  SetFlag(kAdjust, ir_.getFalse());
  if (Wants(kLess)) SetFlag(kLess, ir_.CreateICmpSLT(result, zero));
  if (Wants(kLessEqual)) SetFlag(kLessEqual, ir_.CreateICmpSLE(result, zero));
  if (Wants(kBelowEqual)) SetFlag(kBelowEqual, ir_.CreateICmpEQ(result, zero));
  SetResultFlags(result);
}

void Translator::Logic(Opcode opcode, bool keep_result) {
  Value* result;
  if (opcode == llvm::Instruction::Xor && SameRegister(0, 1)) {
    result = Constant(Bits(0), 0);
  } else {
    Value* a = Read(0);
    result = ir_.CreateBinOp(opcode, a, Read(1, Bits(0)));
  }
  SetLogicFlags(result);
  if (keep_result) Write(0, result);
}

void Translator::SetMultiplyFlags(Value* overflow) {
  WantSources();
  SetFlag(kCarry, overflow);
  SetFlag(kOverflow, overflow);
  for (StatusFlag flag : {kParity, kAdjust, kZero, kSign}) SetFlag(flag, ir_.getFalse());
  SetCombinedFlags();
}

/// rdx:rax = rax * operand.
void Translator::Multiply(bool is_signed) {
  const int bits = Bits(0);
  Type* wide = IntType(2 * bits);
  const auto extend = [&](Value* value) { return is_signed ? ir_.CreateSExt(value, wide) : ir_.CreateZExt(value, wide); };
  Value* a = extend(ReadWhole(kRax, bits));
  Value* product = ir_.CreateMul(a, extend(Read(0)));
  Value* low = ir_.CreateTrunc(product, IntType(bits));
  if (wanted_ != kNoFlags) SetMultiplyFlags(ir_.CreateICmpNE(product, extend(low)));
  if (bits == 8) return WriteWhole(kRax, product);
  WriteWhole(kRax, low);
  WriteWhole(kRdx, ir_.CreateTrunc(ir_.CreateLShr(product, static_cast<uint64_t>(bits)), IntType(bits)));
}

/// mulx: no flags. When both destinations are one register, it gets the upper half.
void Translator::MultiplyWithoutFlags() {
  const int bits = Bits(0);
  Type* wide = IntType(2 * bits);
  Value* product = ir_.CreateMul(ir_.CreateZExt(ReadWhole(kRdx, bits), wide), ir_.CreateZExt(Read(2), wide));
  Write(1, ir_.CreateTrunc(product, IntType(bits)));
  Write(0, ir_.CreateTrunc(ir_.CreateLShr(product, static_cast<uint64_t>(bits)), IntType(bits)));
}

void Translator::MultiplyTruncated() {
  const int bits = Bits(0);
  const bool three = at_->info.operand_count_visible == 3;
  Value* a = Read(three ? 1 : 0);
  Value* b = Read(three ? 2 : 1, bits);
  Value* product = ir_.CreateMul(a, b);
  if (wanted_ != kNoFlags) {
    Value* checked = ir_.CreateBinaryIntrinsic(llvm::Intrinsic::smul_with_overflow, a, b);
    SetMultiplyFlags(ir_.CreateExtractValue(checked, 1));
  }
  Write(0, product);
}

/// Ors `flag` into *flags when `fault` holds: the caller then discards what was computed.
void Translator::FlagFault(Value* fault, uint32_t flag) {
  if (const auto* known = llvm::dyn_cast<llvm::ConstantInt>(fault); known != nullptr && known->isZero()) return;
  llvm::BasicBlock* here = ir_.GetInsertBlock();
  llvm::BasicBlock* raise = llvm::BasicBlock::Create(context_, "fault_" + llvm::Twine::utohexstr(at_->address),
                                                     &function_);
  llvm::BasicBlock* rest = llvm::BasicBlock::Create(context_, here->getName() + ".after_divide", &function_);
  ir_.CreateCondBr(fault, raise, rest);
  ir_.SetInsertPoint(raise);
  Value* flags = function_.getArg(4);
  Value* old = ir_.CreateAlignedLoad(ir_.getInt32Ty(), flags, llvm::Align(4));
  ir_.CreateAlignedStore(ir_.CreateOr(old, flag), flags, llvm::Align(4));
  ir_.CreateBr(rest);
  ir_.SetInsertPoint(rest);
}

/// Compilers divide rdx:rax only after extending rax into rdx. A dividend that is not such an extension counts as a
/// fault, so that no division wider than its operands is needed (128-bit ones are calls into libgcc).
void Translator::Divide(bool is_signed) {
  const int bits = Bits(0);
  Value* divisor = Read(0);
  Value* dividend;
  Value* fault;
  if (bits == 8) {  // ax / operand: a true 16-bit dividend, as after movzx
    dividend = ReadWhole(kRax, 16);
    divisor = is_signed ? ir_.CreateSExt(divisor, ir_.getInt16Ty()) : ir_.CreateZExt(divisor, ir_.getInt16Ty());
    fault = ir_.getFalse();
  } else {
    dividend = ReadWhole(kRax, bits);
    Value* extension = is_signed ? ir_.CreateAShr(dividend, static_cast<uint64_t>(bits - 1)) : Constant(bits, 0);
    fault = ir_.CreateICmpNE(ReadWhole(kRdx, bits), extension);
  }
  Type* type = dividend->getType();
  const unsigned width = type->getIntegerBitWidth();
  fault = ir_.CreateOr(fault, ir_.CreateICmpEQ(divisor, llvm::ConstantInt::get(type, 0)));
  if (is_signed) {
    Value* lowest = llvm::ConstantInt::get(context_, llvm::APInt::getSignedMinValue(width));
    Value* overflow = ir_.CreateAnd(ir_.CreateICmpEQ(dividend, lowest),
                                    ir_.CreateICmpEQ(divisor, llvm::Constant::getAllOnesValue(type)));
    fault = ir_.CreateOr(fault, overflow);
  }
  Value* safe = ir_.CreateSelect(fault, llvm::ConstantInt::get(type, 1), divisor);
  Value* quotient = is_signed ? ir_.CreateSDiv(dividend, safe) : ir_.CreateUDiv(dividend, safe);
  Value* remainder = is_signed ? ir_.CreateSRem(dividend, safe) : ir_.CreateURem(dividend, safe);
  if (bits == 8) {
    Value* low = ir_.CreateTrunc(quotient, ir_.getInt8Ty());
    Value* back = is_signed ? ir_.CreateSExt(low, type) : ir_.CreateZExt(low, type);
    fault = ir_.CreateOr(fault, ir_.CreateICmpNE(back, quotient));
    Value* high = ir_.CreateShl(remainder, 8);
    WriteWhole(kRax, ir_.CreateOr(high, ir_.CreateZExt(low, type)));
  } else {
    WriteWhole(kRax, quotient);
    WriteWhole(kRdx, remainder);
  }
  WantSources();
  for (StatusFlag flag : {kCarry, kParity, kAdjust, kZero, kSign, kOverflow}) SetFlag(flag, ir_.getFalse());
  SetCombinedFlags();
  FlagFault(fault, kFlagDivideFault);
}

}  // namespace tracelift::jit
