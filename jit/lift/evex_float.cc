// Floats of AVX-512: unsigned and 64-bit integers, and instructions that no IR describes, which are lifted to themselves
// (LLVM's intrinsics for them), bits of NaNs and approximations included.

#include <string_view>

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {
namespace {

/// The argument that says how an intrinsic rounds: as MXCSR has it, or "suppress all exceptions".
constexpr uint32_t kCurrentRounding = 4, kNoExceptions = 8;

}  // namespace

bool Translator::TranslateEvexFloat() {
  if (TranslateOwnForm()) return true;
  // In another float environment LLVM's conversions from and to unsigned integers mean the default one.
  if (!floats_.is_default()) return false;
  switch (form_) {
#define TL_TO_FLOAT(name, from, to, is_signed) \
  case ZYDIS_MNEMONIC_VCVT##name: ConvertToFloats(from, to, is_signed); return true;
    TL_TO_FLOAT(UDQ2PS, 32, 32, false) TL_TO_FLOAT(UDQ2PD, 32, 64, false)
    TL_TO_FLOAT(QQ2PS, 64, 32, true) TL_TO_FLOAT(QQ2PD, 64, 64, true)
    TL_TO_FLOAT(UQQ2PS, 64, 32, false) TL_TO_FLOAT(UQQ2PD, 64, 64, false)
#undef TL_TO_FLOAT
#define TL_TO_INTEGER(name, from, to, is_signed)                                                    \
  case ZYDIS_MNEMONIC_VCVT##name: ConvertToIntegers(from, to, is_signed, false); return true;       \
  case ZYDIS_MNEMONIC_VCVTT##name: ConvertToIntegers(from, to, is_signed, true); return true;
    TL_TO_INTEGER(PS2UDQ, 32, 32, false) TL_TO_INTEGER(PD2UDQ, 64, 32, false)
    TL_TO_INTEGER(PS2QQ, 32, 64, true) TL_TO_INTEGER(PD2QQ, 64, 64, true)
    TL_TO_INTEGER(PS2UQQ, 32, 64, false) TL_TO_INTEGER(PD2UQQ, 64, 64, false)
#undef TL_TO_INTEGER
    case ZYDIS_MNEMONIC_VCVTUSI2SS: WriteScalar(ir_.CreateUIToFP(Read(second_), FloatType(32))); return true;
    case ZYDIS_MNEMONIC_VCVTUSI2SD: WriteScalar(ir_.CreateUIToFP(Read(second_), FloatType(64))); return true;
    case ZYDIS_MNEMONIC_VCVTSS2USI: Write(0, ConvertToInteger(ReadLane(1, 0, FloatType(32)), Bits(0), false, false)); return true;
    case ZYDIS_MNEMONIC_VCVTSD2USI: Write(0, ConvertToInteger(ReadLane(1, 0, FloatType(64)), Bits(0), false, false)); return true;
    case ZYDIS_MNEMONIC_VCVTTSS2USI: Write(0, ConvertToInteger(ReadLane(1, 0, FloatType(32)), Bits(0), false, true)); return true;
    case ZYDIS_MNEMONIC_VCVTTSD2USI: Write(0, ConvertToInteger(ReadLane(1, 0, FloatType(64)), Bits(0), false, true)); return true;
    default: return false;
  }
}

// --- conversions -----------------------------------------------------------------------------------------------------

void Translator::ConvertToFloats(int from, int to, bool is_signed) {
  const int count = std::min(OperandBits(1) / from, VectorBits(Operand(0)) / to);
  if (at_->info.avx.rounding.mode != ZYDIS_ROUNDING_MODE_INVALID) {
    auto* type = llvm::FixedVectorType::get(FloatType(to), static_cast<unsigned>(count));
    Value* value = ReadAll(1, IntType(from), count * from);
    WriteAll(0, CallX86(is_signed ? "avx512.sitofp.round" : "avx512.uitofp.round", {value, ir_.getInt32(RoundingArgument())},
                        {type, value->getType()}));
  } else {
    std::vector<Value*> values = ReadLanes(1, count, IntType(from));
    for (Value*& value : values) {
      value = is_signed ? floats_.FromSigned(value, FloatType(to)) : ir_.CreateUIToFP(value, FloatType(to));
    }
    WriteLanes(0, values);
  }
  WriteZeroAbove(0, count * to);
}

void Translator::ConvertToIntegers(int from, int to, bool is_signed, bool truncate) {
  const int count = std::min(OperandBits(1) / from, VectorBits(Operand(0)) / to);
  std::vector<Value*> values = ReadLanes(1, count, FloatType(from));
  for (Value*& value : values) value = ConvertToInteger(value, to, is_signed, truncate);
  WriteLanes(0, values);
  WriteZeroAbove(0, count * to);
}

/// Rounded as the instruction says, else as MXCSR does. Unsigned, what does not fit becomes all ones.
llvm::Value* Translator::ConvertToInteger(Value* value, int bits, bool is_signed, bool truncate) {
  if (const auto mode = at_->info.avx.rounding.mode; mode != ZYDIS_ROUNDING_MODE_INVALID && !truncate) {
    value = floats_.Round(value, static_cast<uint64_t>(mode - ZYDIS_ROUNDING_MODE_RN));
    truncate = true;
  }
  if (is_signed) return floats_.ToInteger(value, bits, truncate);
  constexpr uint64_t kAsMxcsr = 4;
  if (!truncate) value = floats_.Round(value, kAsMxcsr);
  const double limit = bits == 64 ? 0x1p64 : 0x1p32;
  Value* above = ir_.CreateFCmpOGT(value, llvm::ConstantFP::get(value->getType(), -1.0));
  Value* below = ir_.CreateFCmpOLT(value, llvm::ConstantFP::get(value->getType(), limit));
  Value* fits = ir_.CreateAnd(above, below);
  return ir_.CreateSelect(fits, ir_.CreateFPToUI(value, IntType(bits)), Constant(bits, ~uint64_t{0}));
}

// --- static rounding ---------------------------------------------------------------------------------------------------

/// {rn-sae} and the like: 8 to 11.
uint32_t Translator::RoundingArgument() const {
  const ZydisRoundingMode mode = at_->info.avx.rounding.mode;
  if (mode != ZYDIS_ROUNDING_MODE_INVALID) return kNoExceptions | static_cast<uint32_t>(mode - ZYDIS_ROUNDING_MODE_RN);
  return at_->info.avx.has_sae ? kNoExceptions : kCurrentRounding;
}

/// An operand's lowest float with others beside it that do not matter.
llvm::Value* Translator::ScalarInVector(int index, int bits) {
  auto* type = llvm::FixedVectorType::get(FloatType(bits), static_cast<unsigned>(128 / bits));
  return ir_.CreateInsertElement(llvm::Constant::getNullValue(type), ReadLane(index, 0, FloatType(bits)), uint64_t{0});
}

/// Instructions whose rounding is part of them, whatever MXCSR says.
bool Translator::TranslateRounded() {
  switch (form_) {
#define TL_BINARY(name, text)                                                                   \
  case ZYDIS_MNEMONIC_##name##PS: RoundedPacked("avx512." text ".ps.512", 32); return true;     \
  case ZYDIS_MNEMONIC_##name##PD: RoundedPacked("avx512." text ".pd.512", 64); return true;     \
  case ZYDIS_MNEMONIC_##name##SS: RoundedScalar("avx512.mask." text ".ss.round", 32); return true; \
  case ZYDIS_MNEMONIC_##name##SD: RoundedScalar("avx512.mask." text ".sd.round", 64); return true;
    TL_BINARY(ADD, "add") TL_BINARY(SUB, "sub") TL_BINARY(MUL, "mul") TL_BINARY(DIV, "div")
#undef TL_BINARY
    case ZYDIS_MNEMONIC_SQRTPS:
    case ZYDIS_MNEMONIC_SQRTPD: {
      const int bits = form_ == ZYDIS_MNEMONIC_SQRTPS ? 32 : 64;
      const std::string name = bits == 32 ? "avx512.sqrt.ps.512" : "avx512.sqrt.pd.512";
      WriteAll(0, CallX86(name, {ReadAll(1, FloatType(bits), 512), ir_.getInt32(RoundingArgument())}));
      return true;
    }
    case ZYDIS_MNEMONIC_SQRTSS: RoundedScalar("avx512.mask.sqrt.ss", 32); return true;
    case ZYDIS_MNEMONIC_SQRTSD: RoundedScalar("avx512.mask.sqrt.sd", 64); return true;
    case ZYDIS_MNEMONIC_CVTDQ2PS: ConvertToFloats(32, 32, true); return true;
    case ZYDIS_MNEMONIC_CVTPS2DQ: ConvertToIntegers(32, 32, true, false); return true;
    case ZYDIS_MNEMONIC_CVTPD2DQ: ConvertToIntegers(64, 32, true, false); return true;
    case ZYDIS_MNEMONIC_CVTSS2SI: Write(0, ConvertToInteger(ReadLane(1, 0, FloatType(32)), Bits(0), true, false)); return true;
    case ZYDIS_MNEMONIC_CVTSD2SI: Write(0, ConvertToInteger(ReadLane(1, 0, FloatType(64)), Bits(0), true, false)); return true;
    case ZYDIS_MNEMONIC_CVTPD2PS: {
      auto* type = llvm::FixedVectorType::get(FloatType(32), 8);
      Value* none = llvm::Constant::getNullValue(type);
      WriteAll(0, CallX86("avx512.mask.cvtpd2ps.512", {ReadAll(1, FloatType(64), 512), none, ir_.getInt8(0xff),
                                                       ir_.getInt32(RoundingArgument())}));
      return true;
    }
    case ZYDIS_MNEMONIC_CVTSD2SS: {
      Value* none = llvm::Constant::getNullValue(llvm::FixedVectorType::get(FloatType(32), 4));
      Value* result = CallX86("avx512.mask.cvtsd2ss.round", {none, ScalarInVector(second_, 64), none, ir_.getInt8(1),
                                                             ir_.getInt32(RoundingArgument())});
      WriteScalar(ir_.CreateExtractElement(result, uint64_t{0}));
      return true;
    }
    case ZYDIS_MNEMONIC_CVTSI2SS: RoundedFromInteger(Bits(2) == 32 ? "avx512.cvtsi2ss32" : "avx512.cvtsi2ss64", 32); return true;
    case ZYDIS_MNEMONIC_CVTSI2SD:
      if (Bits(2) == 32) return false;  // exact: there is nothing to round
      RoundedFromInteger("avx512.cvtsi2sd64", 64);
      return true;
    case ZYDIS_MNEMONIC_VCVTUSI2SS: RoundedFromInteger(Bits(2) == 32 ? "avx512.cvtusi2ss" : "avx512.cvtusi642ss", 32); return true;
    case ZYDIS_MNEMONIC_VCVTUSI2SD:
      if (Bits(2) == 32) return false;
      RoundedFromInteger("avx512.cvtusi642sd", 64);
      return true;
    default: return IsFusedMultiplyAdd(form_) && RoundedFused();
  }
}

void Translator::RoundedPacked(const std::string& name, int bits) {
  Value* a = ReadAll(first_, FloatType(bits), 512);
  WriteAll(0, CallX86(name, {a, ReadAll(second_, FloatType(bits), 512), ir_.getInt32(RoundingArgument())}));
}

void Translator::RoundedScalar(const std::string& name, int bits) {
  Value* a = ScalarInVector(first_, bits);
  Value* result = CallX86(name, {a, ScalarInVector(second_, bits), llvm::Constant::getNullValue(a->getType()), ir_.getInt8(1),
                                 ir_.getInt32(RoundingArgument())});
  WriteScalar(ir_.CreateExtractElement(result, uint64_t{0}));
}

void Translator::RoundedFromInteger(const std::string& name, int bits) {
  Value* none = llvm::Constant::getNullValue(llvm::FixedVectorType::get(FloatType(bits), static_cast<unsigned>(128 / bits)));
  Value* result = CallX86(name, {none, Read(second_), ir_.getInt32(RoundingArgument())});
  WriteScalar(ir_.CreateExtractElement(result, uint64_t{0}));
}

/// vfnmsub213ps: the parts of the name are its meaning.
bool Translator::RoundedFused() {
  std::string_view name = ZydisMnemonicGetString(form_);
  const bool negates_product = name.starts_with("vfn");
  const bool alternates = name.contains("addsub") || name.contains("subadd");
  const bool subtracts = alternates ? name.contains("subadd") : name.contains("sub");
  const int bits = name.back() == 's' ? 32 : 64;
  const bool is_scalar = name[name.size() - 2] == 's';
  const std::string_view order = name.substr(name.size() - 5, 3);
  const auto read = [&](int place) {
    const int index = order[static_cast<size_t>(place)] - '1';
    return is_scalar ? ReadLane(index, 0, FloatType(bits)) : ReadAll(index, FloatType(bits), 512);
  };
  Value* a = read(0);
  Value* b = read(1);
  Value* c = read(2);
  if (negates_product) a = ir_.CreateFNeg(a);
  if (subtracts) c = ir_.CreateFNeg(c);
  Value* rounding = ir_.getInt32(RoundingArgument());
  if (is_scalar) {
    WriteLane(0, 0, CallX86(bits == 32 ? "avx512.vfmadd.f32" : "avx512.vfmadd.f64", {a, b, c, rounding}));
    return true;
  }
  const std::string kind = alternates ? "avx512.vfmaddsub." : "avx512.vfmadd.";
  WriteAll(0, CallX86(kind + (bits == 32 ? "ps.512" : "pd.512"), {a, b, c, rounding}));
  return true;
}

}  // namespace tracelift::jit
