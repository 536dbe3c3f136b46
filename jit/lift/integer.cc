// Instructions on general purpose registers and flags. Semantics: Intel SDM volume 2. Flags that the manual leaves
// undefined get any value that is cheap.

#include "jit/artifact.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {

bool Translator::TranslateInteger() {
  Condition condition;
  if (ConditionOf(at_->info.mnemonic, &condition)) {
    Value* holds = ReadCondition(condition);
    if (at_->info.operand_count_visible == 1) {  // setcc
      Write(0, ir_.CreateZExt(holds, ir_.getInt8Ty()));
    } else {  // cmovcc: reads memory and clears the upper half in any case
      Value* moved = Read(1);
      Write(0, ir_.CreateSelect(holds, moved, Read(0)));
    }
    return true;
  }
  switch (at_->info.mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
    case ZYDIS_MNEMONIC_MOVNTI:
      Write(0, Read(1, Bits(0)));
      return true;
    case ZYDIS_MNEMONIC_MOVZX:
      Write(0, ir_.CreateZExt(Read(1), IntType(Bits(0))));
      return true;
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD:
      Write(0, ir_.CreateSExt(Read(1), IntType(Bits(0))));
      return true;
    case ZYDIS_MNEMONIC_LEA:
      Write(0, Address(1, Bits(0)));
      return true;
    case ZYDIS_MNEMONIC_XCHG: {
      Value* first = Read(0);
      Value* second = Read(1);
      Write(0, second);
      Write(1, first);
      return true;
    }
    case ZYDIS_MNEMONIC_BSWAP:
      Write(0, ir_.CreateUnaryIntrinsic(llvm::Intrinsic::bswap, Read(0)));
      return true;
    case ZYDIS_MNEMONIC_CBW:
    case ZYDIS_MNEMONIC_CWDE:
    case ZYDIS_MNEMONIC_CDQE:
    case ZYDIS_MNEMONIC_CWD:
    case ZYDIS_MNEMONIC_CDQ:
    case ZYDIS_MNEMONIC_CQO:
      ExtendAccumulator();
      return true;
    case ZYDIS_MNEMONIC_NOP:
    case ZYDIS_MNEMONIC_ENDBR64:
    case ZYDIS_MNEMONIC_PREFETCH:
    case ZYDIS_MNEMONIC_PREFETCHNTA:
    case ZYDIS_MNEMONIC_PREFETCHT0:
    case ZYDIS_MNEMONIC_PREFETCHT1:
    case ZYDIS_MNEMONIC_PREFETCHT2:
    case ZYDIS_MNEMONIC_PREFETCHW:
      return true;
    case ZYDIS_MNEMONIC_CLC:
      WantSources();
      SetFlag(kCarry, ir_.getFalse());
      SetCombinedFlags();
      return true;
    case ZYDIS_MNEMONIC_STC:
      WantSources();
      SetFlag(kCarry, ir_.getTrue());
      SetCombinedFlags();
      return true;
    case ZYDIS_MNEMONIC_CMC:
      WantSources();
      SetFlag(kCarry, ir_.CreateNot(ReadFlag(kCarry)));
      SetCombinedFlags();
      return true;
    default:
      return TranslateArithmetic();
  }
}

bool Translator::TranslateArithmetic() {
  switch (at_->info.mnemonic) {
    case ZYDIS_MNEMONIC_ADD: AddWithCarry(false); return true;
    case ZYDIS_MNEMONIC_ADC: AddWithCarry(true); return true;
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
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR: Shift(); return true;
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR: Rotate(); return true;
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD: DoubleShift(); return true;
    case ZYDIS_MNEMONIC_MUL: Multiply(false); return true;
    case ZYDIS_MNEMONIC_IMUL:
      if (at_->info.operand_count_visible == 1) {
        Multiply(true);
      } else {
        MultiplyTruncated();
      }
      return true;
    case ZYDIS_MNEMONIC_DIV: Divide(false); return true;
    case ZYDIS_MNEMONIC_IDIV: Divide(true); return true;
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC: BitTest(); return true;
    case ZYDIS_MNEMONIC_BSF: BitScan(false); return true;
    case ZYDIS_MNEMONIC_BSR: BitScan(true); return true;
    case ZYDIS_MNEMONIC_TZCNT: CountZeros(false); return true;
    case ZYDIS_MNEMONIC_LZCNT: CountZeros(true); return true;
    case ZYDIS_MNEMONIC_POPCNT: {
      Value* source = Read(1);
      for (StatusFlag flag : {kCarry, kParity, kAdjust, kSign, kOverflow, kLess}) SetFlag(flag, ir_.getFalse());
      Value* is_zero = ir_.CreateICmpEQ(source, Constant(Bits(1), 0));
      for (StatusFlag flag : {kZero, kLessEqual, kBelowEqual}) SetFlag(flag, is_zero);
      Write(0, ir_.CreateUnaryIntrinsic(llvm::Intrinsic::ctpop, source));
      return true;
    }
    default: return false;
  }
}

void Translator::AddWithCarry(bool with_carry) {
  Value* a = Read(0);
  Value* b = Read(1, Bits(0));
  Value* carry_in = with_carry ? ir_.CreateZExt(ReadFlag(kCarry), a->getType()) : nullptr;
  Value* partial = ir_.CreateAdd(a, b);
  Value* result = with_carry ? ir_.CreateAdd(partial, carry_in) : partial;
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

/// Runs `set_flags`, then puts the old flags back where `changes` is false.
void Translator::KeepFlagsUnless(Value* changes, const std::function<void()>& set_flags) {
  if (wanted_ == kNoFlags) return;
  std::array<Value*, kStatusFlagCount> old{};
  const FlagMask wanted = wanted_;
  for (int i = 0; i < kStatusFlagCount; ++i) old[i] = ReadFlag(static_cast<StatusFlag>(i));
  set_flags();
  const FlagMask touched = wanted | wanted_;
  wanted_ = touched;
  for (int i = 0; i < kStatusFlagCount; ++i) {
    const auto flag = static_cast<StatusFlag>(i);
    if (Wants(flag)) SetFlag(flag, ir_.CreateSelect(changes, ReadFlag(flag), old[i]));
  }
}

void Translator::Shift() {
  const int bits = Bits(0);
  Value* a = Read(0);
  // The count is taken modulo 32 (64 for 64-bit operands); for narrow operands it may exceed the width.
  Value* count = ir_.CreateAnd(ir_.CreateZExtOrTrunc(Read(1, 8), IntType(std::max(bits, 32))), bits == 64 ? 63 : 31);
  const int wide_bits = std::max(bits, 32);
  Type* wide = IntType(wide_bits);
  const ZydisMnemonic mnemonic = at_->info.mnemonic;
  // In the wide type every count is in range. `last_out` is the last bit shifted out, for counts above zero.
  Value* result;
  Value* last_out;
  Value* before = ir_.CreateSub(count, Constant(wide_bits, 1));
  before = ir_.CreateAnd(before, static_cast<uint64_t>(wide_bits - 1));  // in range also for count 0, when unused
  if (mnemonic == ZYDIS_MNEMONIC_SHL) {
    Value* value = ir_.CreateZExt(a, wide);
    result = ir_.CreateTrunc(ir_.CreateShl(value, count), IntType(bits));
    Value* at_top = ir_.CreateLShr(ir_.CreateShl(value, before), static_cast<uint64_t>(bits - 1));
    last_out = ir_.CreateTrunc(at_top, IntType(1));
  } else {
    const bool is_signed = mnemonic == ZYDIS_MNEMONIC_SAR;
    Value* value = is_signed ? ir_.CreateSExt(a, wide) : ir_.CreateZExt(a, wide);
    const auto shift = [&](Value* by) { return is_signed ? ir_.CreateAShr(value, by) : ir_.CreateLShr(value, by); };
    result = ir_.CreateTrunc(shift(count), IntType(bits));
    last_out = ir_.CreateTrunc(shift(before), IntType(1));
  }
  if (wanted_ != kNoFlags) {
    const auto set_flags = [&] {
      WantSources();
      SetResultFlags(result);
      SetFlag(kCarry, last_out);
      SetFlag(kAdjust, ir_.getFalse());
      if (Wants(kOverflow)) {  // defined for a count of one
        Value* zero = Constant(bits, 0);
        Value* overflow = ir_.getFalse();
        if (mnemonic == ZYDIS_MNEMONIC_SHL) overflow = ir_.CreateXor(ir_.CreateICmpSLT(result, zero), last_out);
        if (mnemonic == ZYDIS_MNEMONIC_SHR) overflow = ir_.CreateICmpSLT(a, zero);
        SetFlag(kOverflow, overflow);
      }
      SetCombinedFlags();
    };
    if (IsImmediate(1)) {
      set_flags();
    } else {
      KeepFlagsUnless(ir_.CreateICmpNE(count, Constant(wide_bits, 0)), set_flags);
    }
  }
  Write(0, result);
}

void Translator::Rotate() {
  const int bits = Bits(0);
  const bool left = at_->info.mnemonic == ZYDIS_MNEMONIC_ROL;
  Value* a = Read(0);
  // Flags change unless the count modulo 32 (64) is zero; the funnel shift takes it modulo the width.
  Value* masked = ir_.CreateAnd(Read(1, 8), bits == 64 ? 63 : 31);
  Value* count = ir_.CreateZExtOrTrunc(masked, IntType(bits));
  Value* result = ir_.CreateIntrinsic(left ? llvm::Intrinsic::fshl : llvm::Intrinsic::fshr, {IntType(bits)},
                                      {a, a, count});
  if (wanted_ != kNoFlags) {
    const auto set_flags = [&] {
      WantSources();
      Value* top = ir_.CreateICmpSLT(result, Constant(bits, 0));
      Value* bottom = ir_.CreateTrunc(result, IntType(1));
      SetFlag(kCarry, left ? bottom : top);
      if (Wants(kOverflow)) {  // defined for a count of one
        Value* second = ir_.CreateTrunc(ir_.CreateLShr(result, static_cast<uint64_t>(bits - 2)), IntType(1));
        SetFlag(kOverflow, ir_.CreateXor(top, left ? bottom : second));
      }
      SetCombinedFlags();
    };
    if (IsImmediate(1)) {
      set_flags();
    } else {
      KeepFlagsUnless(ir_.CreateICmpNE(masked, ir_.getInt8(0)), set_flags);
    }
  }
  Write(0, result);
}

void Translator::DoubleShift() {
  const int bits = Bits(0);  // 32 or 64
  const bool left = at_->info.mnemonic == ZYDIS_MNEMONIC_SHLD;
  Value* a = Read(0);
  Value* b = Read(1);
  Value* count = ir_.CreateAnd(ir_.CreateZExt(Read(2, 8), IntType(bits)), static_cast<uint64_t>(bits - 1));
  Value* result = left ? ir_.CreateIntrinsic(llvm::Intrinsic::fshl, {IntType(bits)}, {a, b, count})
                       : ir_.CreateIntrinsic(llvm::Intrinsic::fshr, {IntType(bits)}, {b, a, count});
  if (wanted_ != kNoFlags) {
    const auto set_flags = [&] {
      WantSources();
      SetResultFlags(result);
      SetFlag(kAdjust, ir_.getFalse());
      Value* before = ir_.CreateSub(count, Constant(bits, 1));
      before = ir_.CreateAnd(before, static_cast<uint64_t>(bits - 1));
      Value* out = left ? ir_.CreateLShr(ir_.CreateShl(a, before), static_cast<uint64_t>(bits - 1))
                        : ir_.CreateLShr(a, before);
      SetFlag(kCarry, ir_.CreateTrunc(out, IntType(1)));
      if (Wants(kOverflow)) {
        SetFlag(kOverflow, ir_.CreateICmpSLT(ir_.CreateXor(a, result), Constant(bits, 0)));
      }
      SetCombinedFlags();
    };
    if (IsImmediate(2)) {
      set_flags();
    } else {
      KeepFlagsUnless(ir_.CreateICmpNE(count, Constant(bits, 0)), set_flags);
    }
  }
  Write(0, result);
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

/// Ors kFlagDivideFault into *flags when `fault` holds: the caller then discards what was computed.
void Translator::FlagFault(Value* fault) {
  if (const auto* known = llvm::dyn_cast<llvm::ConstantInt>(fault); known != nullptr && known->isZero()) return;
  llvm::BasicBlock* here = ir_.GetInsertBlock();
  llvm::BasicBlock* raise = llvm::BasicBlock::Create(context_, "fault_" + llvm::Twine::utohexstr(at_->address),
                                                     &function_);
  llvm::BasicBlock* rest = llvm::BasicBlock::Create(context_, here->getName() + ".after_divide", &function_);
  ir_.CreateCondBr(fault, raise, rest);
  ir_.SetInsertPoint(raise);
  Value* flags = function_.getArg(4);
  Value* old = ir_.CreateAlignedLoad(ir_.getInt32Ty(), flags, llvm::Align(4));
  ir_.CreateAlignedStore(ir_.CreateOr(old, kFlagDivideFault), flags, llvm::Align(4));
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
  FlagFault(fault);
}

void Translator::BitTest() {
  const int bits = Bits(0);
  Value* a = Read(0);
  Value* number = ir_.CreateAnd(Read(1, bits), static_cast<uint64_t>(bits - 1));
  WantSources();
  SetFlag(kCarry, ir_.CreateTrunc(ir_.CreateLShr(a, number), IntType(1)));
  SetCombinedFlags();
  Value* mask = ir_.CreateShl(Constant(bits, 1), number);
  switch (at_->info.mnemonic) {
    case ZYDIS_MNEMONIC_BTS: return Write(0, ir_.CreateOr(a, mask));
    case ZYDIS_MNEMONIC_BTR: return Write(0, ir_.CreateAnd(a, ir_.CreateNot(mask)));
    case ZYDIS_MNEMONIC_BTC: return Write(0, ir_.CreateXor(a, mask));
    default: return;
  }
}

/// The destination keeps its value when the source is zero: AMD documents it, and Intel's processors do it too.
void Translator::BitScan(bool reverse) {
  const int bits = Bits(0);
  Value* source = Read(1);
  Value* is_zero = ir_.CreateICmpEQ(source, Constant(bits, 0));
  WantSources();
  for (StatusFlag flag : {kCarry, kParity, kAdjust, kSign, kOverflow}) SetFlag(flag, ir_.getFalse());
  SetFlag(kZero, is_zero);
  SetCombinedFlags();
  Value* zeros = ir_.CreateBinaryIntrinsic(reverse ? llvm::Intrinsic::ctlz : llvm::Intrinsic::cttz, source,
                                           ir_.getFalse());
  Value* index = reverse ? ir_.CreateXor(zeros, static_cast<uint64_t>(bits - 1)) : zeros;
  if (bits == 16) return Write(0, ir_.CreateSelect(is_zero, Read(0), index));
  // The upper half of a 32-bit destination stays too.
  const auto gpr = static_cast<Gpr>(
      ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, Operand(0).reg.value)));
  WriteWhole(gpr, ir_.CreateSelect(is_zero, ReadWhole(gpr, 64), ir_.CreateZExt(index, ir_.getInt64Ty())));
}

void Translator::CountZeros(bool leading) {
  Value* source = Read(1);
  Value* zero = Constant(Bits(1), 0);
  Value* count = ir_.CreateBinaryIntrinsic(leading ? llvm::Intrinsic::ctlz : llvm::Intrinsic::cttz, source,
                                           ir_.getFalse());
  WantSources();
  for (StatusFlag flag : {kParity, kAdjust, kSign, kOverflow}) SetFlag(flag, ir_.getFalse());
  if (Wants(kCarry)) SetFlag(kCarry, ir_.CreateICmpEQ(source, zero));
  if (Wants(kZero)) SetFlag(kZero, ir_.CreateICmpEQ(count, zero));
  SetCombinedFlags();
  Write(0, count);
}

void Translator::ExtendAccumulator() {
  const auto half = [&](int bits) { WriteWhole(kRax, ir_.CreateSExt(ReadWhole(kRax, bits), IntType(2 * bits))); };
  const auto sign = [&](int bits) {
    WriteWhole(kRdx, ir_.CreateAShr(ReadWhole(kRax, bits), static_cast<uint64_t>(bits - 1)));
  };
  switch (at_->info.mnemonic) {
    case ZYDIS_MNEMONIC_CBW: return half(8);
    case ZYDIS_MNEMONIC_CWDE: return half(16);
    case ZYDIS_MNEMONIC_CDQE: return half(32);
    case ZYDIS_MNEMONIC_CWD: return sign(16);
    case ZYDIS_MNEMONIC_CDQ: return sign(32);
    default: return sign(64);
  }
}

}  // namespace tracelift::jit
