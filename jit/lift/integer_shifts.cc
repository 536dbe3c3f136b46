// Shifts and rotates. Counts are taken modulo 32 (64 for 64-bit operands); a count of zero leaves the flags alone.

#include "jit/lift/translator.h"

namespace tracelift::jit {

bool Translator::TranslateShift() {
  switch (at_->info.mnemonic) {
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR: Shift(); return true;
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR: Rotate(); return true;
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR: RotateThroughCarry(); return true;
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD: DoubleShift(); return true;
    case ZYDIS_MNEMONIC_SHLX:
    case ZYDIS_MNEMONIC_SHRX:
    case ZYDIS_MNEMONIC_SARX:
    case ZYDIS_MNEMONIC_RORX: ShiftWithoutFlags(); return true;
    default: return false;
  }
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

/// Carry and overflow of the rotates, unless `masked`, the count without its ignored bits, is zero.
void Translator::SetRotateFlags(Value* result, Value* carry, Value* masked) {
  if (wanted_ == kNoFlags) return;
  const int bits = Bits(0);
  const bool left = at_->info.mnemonic == ZYDIS_MNEMONIC_ROL || at_->info.mnemonic == ZYDIS_MNEMONIC_RCL;
  const auto set_flags = [&] {
    WantSources();
    SetFlag(kCarry, carry);
    if (Wants(kOverflow)) {  // defined for a count of one
      Value* top = ir_.CreateICmpSLT(result, Constant(bits, 0));
      Value* second = ir_.CreateTrunc(ir_.CreateLShr(result, static_cast<uint64_t>(bits - 2)), IntType(1));
      SetFlag(kOverflow, ir_.CreateXor(top, left ? carry : second));
    }
    SetCombinedFlags();
  };
  if (IsImmediate(1)) {
    set_flags();
  } else {
    KeepFlagsUnless(ir_.CreateICmpNE(masked, ir_.getInt8(0)), set_flags);
  }
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
  Value* last_out = left ? result : ir_.CreateLShr(result, static_cast<uint64_t>(bits - 1));
  SetRotateFlags(result, ir_.CreateTrunc(last_out, IntType(1)), masked);
  Write(0, result);
}

/// The carry is the top bit of a value that is one bit wider than the operand.
void Translator::RotateThroughCarry() {
  const int bits = Bits(0);
  const bool left = at_->info.mnemonic == ZYDIS_MNEMONIC_RCL;
  const auto width = static_cast<uint64_t>(bits) + 1;
  Type* wide = IntType(bits == 64 ? 128 : 64);
  Value* masked = ir_.CreateAnd(Read(1, 8), bits == 64 ? 63 : 31);
  Value* turns = bits < 32 ? ir_.CreateURem(masked, ir_.getInt8(static_cast<uint8_t>(width))) : masked;
  Value* count = ir_.CreateZExt(turns, wide);
  Value* back = ir_.CreateSub(llvm::ConstantInt::get(wide, width), count);
  Value* value = ir_.CreateShl(ir_.CreateZExt(ReadFlag(kCarry), wide), static_cast<uint64_t>(bits));
  value = ir_.CreateOr(value, ir_.CreateZExt(Read(0), wide));
  Value* turned = left ? ir_.CreateOr(ir_.CreateShl(value, count), ir_.CreateLShr(value, back))
                       : ir_.CreateOr(ir_.CreateLShr(value, count), ir_.CreateShl(value, back));
  Value* result = ir_.CreateTrunc(turned, IntType(bits));
  SetRotateFlags(result, ir_.CreateTrunc(ir_.CreateLShr(turned, static_cast<uint64_t>(bits)), IntType(1)), masked);
  Write(0, result);
}

void Translator::DoubleShift() {
  const int bits = Bits(0);  // 16 only with a constant count below 16
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

/// shlx, shrx, sarx, rorx
void Translator::ShiftWithoutFlags() {
  const int bits = Bits(0);
  Value* value = Read(1);
  Value* count = ir_.CreateAnd(Read(2, bits), static_cast<uint64_t>(bits - 1));
  switch (at_->info.mnemonic) {
    case ZYDIS_MNEMONIC_SHLX: return Write(0, ir_.CreateShl(value, count));
    case ZYDIS_MNEMONIC_SHRX: return Write(0, ir_.CreateLShr(value, count));
    case ZYDIS_MNEMONIC_SARX: return Write(0, ir_.CreateAShr(value, count));
    default: return Write(0, ir_.CreateIntrinsic(llvm::Intrinsic::fshr, {IntType(bits)}, {value, value, count}));
  }
}

}  // namespace tracelift::jit
