// Instructions on general purpose registers and flags. Semantics: Intel SDM volume 2. Flags that the manual leaves
// undefined get any value that is cheap. Here: moves, exchanges, conditions; the others are in integer_*.cc.

#include "jit/lift/translator.h"

namespace tracelift::jit {
namespace {

// In the low byte of rflags.
constexpr std::pair<StatusFlag, uint64_t> kLowFlags[] = {
    {kCarry, 0}, {kParity, 2}, {kAdjust, 4}, {kZero, 6}, {kSign, 7}};

}  // namespace

Gpr Translator::GprOf(int index) const {
  return static_cast<Gpr>(
      ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, Operand(index).reg.value)));
}

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
    case ZYDIS_MNEMONIC_XADD: {
      Value* old = Read(0);
      Write(0, Add(old, Read(1), nullptr));
      if (!SameRegister(0, 1)) Write(1, old);
      return true;
    }
    case ZYDIS_MNEMONIC_CMPXCHG:
      CompareExchange();
      return true;
    case ZYDIS_MNEMONIC_BSWAP:
      Write(0, ir_.CreateUnaryIntrinsic(llvm::Intrinsic::bswap, Read(0)));
      return true;
    case ZYDIS_MNEMONIC_MOVBE:
      Write(0, ir_.CreateUnaryIntrinsic(llvm::Intrinsic::bswap, Read(1)));
      return true;
    case ZYDIS_MNEMONIC_LAHF:
      LoadFlags();
      return true;
    case ZYDIS_MNEMONIC_SAHF:
      StoreFlags();
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
      return TranslateArithmetic() || TranslateShift() || TranslateBits() || TranslateStack();
  }
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

/// The destination is not written at all when the comparison fails, not even its upper half; memory always is.
void Translator::CompareExchange() {
  Value* accumulator = ReadWhole(kRax, Bits(0));
  Value* old = Read(0);
  Value* source = Read(1);
  Value* equal = ir_.CreateICmpEQ(accumulator, old);
  SetSubtractFlags(accumulator, old, ir_.CreateSub(accumulator, old));
  if (IsMemory(0)) {
    Write(0, ir_.CreateSelect(equal, source, old));
  } else {
    const Gpr destination = GprOf(0);
    Value* before = ReadFullGpr(destination);
    Write(0, source);
    WriteFullGpr(destination, ir_.CreateSelect(equal, ReadFullGpr(destination), before));
  }
  Value* before = ReadFullGpr(kRax);
  WriteWhole(kRax, old);
  WriteFullGpr(kRax, ir_.CreateSelect(equal, before, ReadFullGpr(kRax)));
}

/// lahf
void Translator::LoadFlags() {
  Value* flags = ir_.getInt8(2);  // bit 1 is always set
  for (const auto& [flag, bit] : kLowFlags) {
    flags = ir_.CreateOr(flags, ir_.CreateShl(ir_.CreateZExt(ReadFlag(flag), ir_.getInt8Ty()), bit));
  }
  WriteGpr(ZYDIS_REGISTER_AH, flags);
}

/// sahf
void Translator::StoreFlags() {
  Value* flags = ReadGpr(ZYDIS_REGISTER_AH);
  WantSources();
  for (const auto& [flag, bit] : kLowFlags) SetFlag(flag, ir_.CreateTrunc(ir_.CreateLShr(flags, bit), IntType(1)));
  SetCombinedFlags();
}

}  // namespace tracelift::jit
