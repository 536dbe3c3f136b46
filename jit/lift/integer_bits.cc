// Single bits and fields of bits: tests, scans, counts, BMI1 and BMI2, checksums.

#include <llvm/IR/IntrinsicsX86.h>

#include "jit/lift/translator.h"

namespace tracelift::jit {

bool Translator::TranslateBits() {
  switch (at_->info.mnemonic) {
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
    case ZYDIS_MNEMONIC_BLSI:
    case ZYDIS_MNEMONIC_BLSR:
    case ZYDIS_MNEMONIC_BLSMSK: LowestSetBit(); return true;
    case ZYDIS_MNEMONIC_BEXTR: ExtractField(); return true;
    case ZYDIS_MNEMONIC_BZHI: ZeroHighBits(); return true;
    case ZYDIS_MNEMONIC_PDEP:
    case ZYDIS_MNEMONIC_PEXT: DepositOrExtract(); return true;
    case ZYDIS_MNEMONIC_CRC32: Checksum(); return true;
    default: return false;
  }
}

/// The flags of the BMI instructions on fields: zero and sign of the result.
void Translator::SetFieldFlags(Value* result, Value* carry) {
  WantSources();
  SetResultFlags(result);
  SetFlag(kCarry, carry);
  SetFlag(kOverflow, ir_.getFalse());
  SetFlag(kAdjust, ir_.getFalse());
  SetCombinedFlags();
}

void Translator::BitTest() {
  const int bits = Bits(0);
  // With a number in a register a memory operand is the first unit of a string of bits, which reaches both ways.
  Value* pointer = nullptr;
  if (IsMemory(0) && !IsImmediate(1)) {
    Value* unit = ir_.CreateAShr(ir_.CreateSExt(Read(1), ir_.getInt64Ty()), llvm::Log2_32(static_cast<uint32_t>(bits)));
    Value* offset = ir_.CreateMul(unit, ir_.getInt64(static_cast<uint64_t>(bits / 8)));
    pointer = ir_.CreateGEP(ir_.getInt8Ty(), memory_base_, ir_.CreateAdd(Address(0), offset));
  }
  Value* a = pointer == nullptr ? Read(0) : ir_.CreateAlignedLoad(IntType(bits), pointer, llvm::Align(1));
  Value* number = ir_.CreateAnd(Read(1, bits), static_cast<uint64_t>(bits - 1));
  WantSources();
  SetFlag(kCarry, ir_.CreateTrunc(ir_.CreateLShr(a, number), IntType(1)));
  SetCombinedFlags();
  Value* mask = ir_.CreateShl(Constant(bits, 1), number);
  Value* result;
  switch (at_->info.mnemonic) {
    case ZYDIS_MNEMONIC_BTS: result = ir_.CreateOr(a, mask); break;
    case ZYDIS_MNEMONIC_BTR: result = ir_.CreateAnd(a, ir_.CreateNot(mask)); break;
    case ZYDIS_MNEMONIC_BTC: result = ir_.CreateXor(a, mask); break;
    default: return;
  }
  if (pointer == nullptr) return Write(0, result);
  ir_.CreateAlignedStore(result, pointer, llvm::Align(1));
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
  const Gpr gpr = GprOf(0);
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

/// blsi, blsr, blsmsk: isolate, reset, mask up to the lowest set bit.
void Translator::LowestSetBit() {
  Value* source = Read(1);
  Value* zero = Constant(Bits(1), 0);
  Value* below = ir_.CreateSub(source, Constant(Bits(1), 1));
  Value* is_zero = ir_.CreateICmpEQ(source, zero);
  Value* result;
  switch (at_->info.mnemonic) {
    case ZYDIS_MNEMONIC_BLSI: result = ir_.CreateAnd(source, ir_.CreateSub(zero, source)); break;
    case ZYDIS_MNEMONIC_BLSR: result = ir_.CreateAnd(source, below); break;
    default: result = ir_.CreateXor(source, below); break;
  }
  SetFieldFlags(result, at_->info.mnemonic == ZYDIS_MNEMONIC_BLSI ? ir_.CreateNot(is_zero) : is_zero);
  Write(0, result);
}

/// `value` with its bits from number `count` on cleared; `count` may be as large as its type holds.
llvm::Value* Translator::KeepLowBits(Value* value, Value* count) {
  const int bits = static_cast<int>(value->getType()->getIntegerBitWidth());
  Value* in_range = ir_.CreateICmpULT(count, Constant(bits, static_cast<uint64_t>(bits)));
  Value* safe = ir_.CreateAnd(count, static_cast<uint64_t>(bits - 1));
  Value* mask = ir_.CreateSub(ir_.CreateShl(Constant(bits, 1), safe), Constant(bits, 1));
  return ir_.CreateSelect(in_range, ir_.CreateAnd(value, mask), value);
}

/// bextr: the control's bytes are the field's first bit and its length.
void Translator::ExtractField() {
  const int bits = Bits(0);
  Value* control = Read(2);
  Value* start = ir_.CreateAnd(control, 0xff);
  Value* length = ir_.CreateAnd(ir_.CreateLShr(control, 8), 0xff);
  Value* in_range = ir_.CreateICmpULT(start, Constant(bits, static_cast<uint64_t>(bits)));
  Value* shifted = ir_.CreateLShr(Read(1), ir_.CreateAnd(start, static_cast<uint64_t>(bits - 1)));
  Value* result = KeepLowBits(ir_.CreateSelect(in_range, shifted, Constant(bits, 0)), length);
  SetFieldFlags(result, ir_.getFalse());
  Write(0, result);
}

void Translator::ZeroHighBits() {
  const int bits = Bits(0);
  Value* count = ir_.CreateAnd(Read(2), 0xff);
  Value* result = KeepLowBits(Read(1), count);
  SetFieldFlags(result, ir_.CreateICmpUGE(count, Constant(bits, static_cast<uint64_t>(bits))));
  Write(0, result);
}

void Translator::DepositOrExtract() {
  const bool deposit = at_->info.mnemonic == ZYDIS_MNEMONIC_PDEP;
  const llvm::Intrinsic::ID narrow = deposit ? llvm::Intrinsic::x86_bmi_pdep_32 : llvm::Intrinsic::x86_bmi_pext_32;
  const llvm::Intrinsic::ID wide = deposit ? llvm::Intrinsic::x86_bmi_pdep_64 : llvm::Intrinsic::x86_bmi_pext_64;
  Write(0, ir_.CreateIntrinsic(Bits(0) == 64 ? wide : narrow, {}, {Read(1), Read(2)}));
}

/// crc32: Castagnoli's polynomial. A 64-bit destination is cleared above its low half.
void Translator::Checksum() {
  Value* sum = Read(0);
  Value* data = Read(1);
  if (Bits(1) == 64) return Write(0, ir_.CreateIntrinsic(llvm::Intrinsic::x86_sse42_crc32_64_64, {}, {sum, data}));
  const llvm::Intrinsic::ID step = Bits(1) == 8    ? llvm::Intrinsic::x86_sse42_crc32_32_8
                                   : Bits(1) == 16 ? llvm::Intrinsic::x86_sse42_crc32_32_16
                                                   : llvm::Intrinsic::x86_sse42_crc32_32_32;
  Value* result = ir_.CreateIntrinsic(step, {}, {ir_.CreateTrunc(sum, ir_.getInt32Ty()), data});
  Write(0, ir_.CreateZExt(result, IntType(Bits(0))));
}

}  // namespace tracelift::jit
