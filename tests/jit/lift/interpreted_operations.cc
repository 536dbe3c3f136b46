#include "tests/jit/lift/interpreted_operations.h"

#include <llvm/ADT/APFloat.h>
#include <llvm/ADT/APInt.h>
#include <llvm/IR/IntrinsicsX86.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace tracelift::jit {
namespace {

using llvm::APFloat;
using llvm::APInt;
using llvm::GenericValue;
using Arguments = llvm::ArrayRef<GenericValue>;

GenericValue OfInt(APInt value) {
  GenericValue result;
  result.IntVal = std::move(value);
  return result;
}

GenericValue OfFloat(float value) {
  GenericValue result;
  result.FloatVal = value;
  return result;
}

/// `f` in the precision of `type`.
template <typename F>
GenericValue OnFloats(const llvm::Type* type, Arguments in, F f) {
  GenericValue result;
  if (type->isFloatTy()) {
    result.FloatVal = f([&](size_t i) { return in[i].FloatVal; });
  } else {
    result.DoubleVal = f([&](size_t i) { return in[i].DoubleVal; });
  }
  return result;
}

/// Compilers write rounding out so that a signalling NaN stays one.
template <typename Float>
Float Quiet(Float value) {
  return std::isnan(value) ? value + value : value;
}

APInt Deposit(const APInt& bits, const APInt& mask) {
  APInt result(bits.getBitWidth(), 0);
  unsigned next = 0;
  for (unsigned i = 0; i < mask.getBitWidth(); ++i) {
    if (mask[i] && bits[next++]) result.setBit(i);
  }
  return result;
}

APInt Extract(const APInt& bits, const APInt& mask) {
  APInt result(bits.getBitWidth(), 0);
  unsigned next = 0;
  for (unsigned i = 0; i < mask.getBitWidth(); ++i) {
    if (!mask[i]) continue;
    if (bits[i]) result.setBit(next);
    ++next;
  }
  return result;
}

/// CRC32-C, bit by bit.
APInt Crc32(const APInt& sum, const APInt& data) {
  constexpr uint32_t kReversedPolynomial = 0x82f63b78;
  auto crc = static_cast<uint32_t>(sum.getZExtValue());
  for (unsigned i = 0; i < data.getBitWidth(); ++i) {
    const uint32_t out = (crc ^ static_cast<uint32_t>(data[i])) & 1;
    crc = crc >> 1 ^ (out != 0 ? kReversedPolynomial : 0);
  }
  return APInt(sum.getBitWidth(), crc);
}

APInt FunnelShift(const APInt& high, const APInt& low, const APInt& by, bool left) {
  const unsigned bits = high.getBitWidth();
  const auto count = static_cast<unsigned>(by.urem(bits));
  if (count == 0) return left ? high : low;
  return left ? high.shl(count) | low.lshr(bits - count) : high.shl(bits - count) | low.lshr(count);
}

GenericValue HalfToFloat(const APInt& bits) {
  APFloat value(APFloat::IEEEhalf(), bits);
  bool loses = false;
  value.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven, &loses);
  return OfFloat(value.convertToFloat());
}

GenericValue FloatToHalf(float from) {
  APFloat value(from);
  bool loses = false;
  value.convert(APFloat::IEEEhalf(), APFloat::rmNearestTiesToEven, &loses);
  return OfInt(value.bitcastToAPInt());
}

GenericValue MoveMemory(uint32_t operation, Arguments in) {
  auto* const to = static_cast<uint8_t*>(in[0].PointerVal);
  const size_t bytes = in[2].IntVal.getZExtValue();
  if (operation == llvm::Intrinsic::memset) {
    std::memset(to, static_cast<int>(in[1].IntVal.getZExtValue()), bytes);
  } else {
    std::memmove(to, in[1].PointerVal, bytes);
  }
  return {};
}

GenericValue LoadElement(const uint8_t* from, const llvm::Type* type) {
  uint64_t bits = 0;
  std::memcpy(&bits, from, type->getScalarSizeInBits() / 8);
  GenericValue result;
  if (type->isFloatTy()) {
    result.FloatVal = std::bit_cast<float>(static_cast<uint32_t>(bits));
  } else if (type->isDoubleTy()) {
    result.DoubleVal = std::bit_cast<double>(bits);
  } else {
    result.IntVal = APInt(type->getScalarSizeInBits(), bits);
  }
  return result;
}

void StoreElement(const GenericValue& value, const llvm::Type* type, uint8_t* to) {
  const uint64_t bits = type->isFloatTy()    ? std::bit_cast<uint32_t>(value.FloatVal)
                        : type->isDoubleTy() ? std::bit_cast<uint64_t>(value.DoubleVal)
                                             : value.IntVal.getZExtValue();
  std::memcpy(to, &bits, type->getScalarSizeInBits() / 8);
}

bool IsMaskedMemory(uint32_t operation) {
  return operation == llvm::Intrinsic::masked_load || operation == llvm::Intrinsic::masked_expandload ||
         operation == llvm::Intrinsic::masked_store || operation == llvm::Intrinsic::masked_compressstore;
}

/// Elements whose mask bit is clear are neither read nor written; the others lie at their own places, or in a row.
GenericValue OnMaskedMemory(uint32_t operation, const llvm::FunctionType* type, Arguments in) {
  const bool loads = operation == llvm::Intrinsic::masked_load || operation == llvm::Intrinsic::masked_expandload;
  const bool in_a_row =
      operation == llvm::Intrinsic::masked_expandload || operation == llvm::Intrinsic::masked_compressstore;
  const llvm::Type* element = (loads ? type->getReturnType() : type->getParamType(1))->getScalarType();
  const GenericValue& mask = in[(loads ? 1 : 2) + (in_a_row ? 0 : 1)];  // those with places have an alignment before it
  auto* memory = static_cast<uint8_t*>(in[loads ? 0 : 1].PointerVal);
  GenericValue result;
  if (loads) result = in.back();
  for (size_t lane = 0; lane < mask.AggregateVal.size(); ++lane) {
    const bool wanted = mask.AggregateVal[lane].IntVal != 0;
    if (wanted && loads) result.AggregateVal[lane] = LoadElement(memory, element);
    if (wanted && !loads) StoreElement(in[0].AggregateVal[lane], element, memory);
    if (wanted || !in_a_row) memory += element->getScalarSizeInBits() / 8;
  }
  return result;
}

/// False when the operation is not known; nothing is computed for a null `out`.
bool OnScalars(uint32_t operation, const llvm::Type* type, Arguments in, GenericValue* out) {
  const auto set = [&](auto compute) {
    if (out != nullptr) *out = compute();
    return true;
  };
  const auto set_int = [&](auto compute) { return set([&] { return OfInt(compute()); }); };
  const auto a = [&]() -> const APInt& { return in[0].IntVal; };
  const auto b = [&]() -> const APInt& { return in[1].IntVal; };
  switch (operation) {
    case kSignedToFloat:
      return set([&] { return OfFloat(static_cast<float>(static_cast<int64_t>(a().getZExtValue()))); });
    case kUnsignedToFloat:
      return set([&] { return OfFloat(static_cast<float>(a().getZExtValue())); });
    case kHalfToFloat:
      return set([&] { return HalfToFloat(a()); });
    case kFloatToHalf:
      return set([&] { return FloatToHalf(in[0].FloatVal); });
    case llvm::Intrinsic::memset:
    case llvm::Intrinsic::memmove:
    case llvm::Intrinsic::memcpy:
      return set([&] { return MoveMemory(operation, in); });
    case llvm::Intrinsic::sqrt:
      return set([&] { return OnFloats(type, in, [](auto x) { return std::sqrt(x(0)); }); });
    case llvm::Intrinsic::floor:
      return set([&] { return OnFloats(type, in, [](auto x) { return std::floor(Quiet(x(0))); }); });
    case llvm::Intrinsic::ceil:
      return set([&] { return OnFloats(type, in, [](auto x) { return std::ceil(Quiet(x(0))); }); });
    case llvm::Intrinsic::trunc:
      return set([&] { return OnFloats(type, in, [](auto x) { return std::trunc(Quiet(x(0))); }); });
    case llvm::Intrinsic::roundeven:
      // The default rounding mode.
      return set([&] { return OnFloats(type, in, [](auto x) { return std::nearbyint(Quiet(x(0))); }); });
    case llvm::Intrinsic::fabs:
      return set([&] { return OnFloats(type, in, [](auto x) { return std::fabs(x(0)); }); });
    case llvm::Intrinsic::copysign:
      return set([&] { return OnFloats(type, in, [](auto x) { return std::copysign(x(0), x(1)); }); });
    case llvm::Intrinsic::fma:
      return set([&] { return OnFloats(type, in, [](auto x) { return std::fma(x(0), x(1), x(2)); }); });
    case llvm::Intrinsic::abs:
      return set_int([&] { return a().abs(); });
    case llvm::Intrinsic::bswap:
      return set_int([&] { return a().byteSwap(); });
    case llvm::Intrinsic::bitreverse:
      return set_int([&] { return a().reverseBits(); });
    case llvm::Intrinsic::ctpop:
      return set_int([&] { return APInt(a().getBitWidth(), a().popcount()); });
    case llvm::Intrinsic::ctlz:
      return set_int([&] { return APInt(a().getBitWidth(), a().countl_zero()); });
    case llvm::Intrinsic::cttz:
      return set_int([&] { return APInt(a().getBitWidth(), a().countr_zero()); });
    case llvm::Intrinsic::fshl:
    case llvm::Intrinsic::fshr:
      return set_int([&] { return FunnelShift(a(), b(), in[2].IntVal, operation == llvm::Intrinsic::fshl); });
    case llvm::Intrinsic::smax:
      return set_int([&] { return llvm::APIntOps::smax(a(), b()); });
    case llvm::Intrinsic::smin:
      return set_int([&] { return llvm::APIntOps::smin(a(), b()); });
    case llvm::Intrinsic::umax:
      return set_int([&] { return llvm::APIntOps::umax(a(), b()); });
    case llvm::Intrinsic::umin:
      return set_int([&] { return llvm::APIntOps::umin(a(), b()); });
    case llvm::Intrinsic::sadd_sat:
      return set_int([&] { return a().sadd_sat(b()); });
    case llvm::Intrinsic::ssub_sat:
      return set_int([&] { return a().ssub_sat(b()); });
    case llvm::Intrinsic::uadd_sat:
      return set_int([&] { return a().uadd_sat(b()); });
    case llvm::Intrinsic::usub_sat:
      return set_int([&] { return a().usub_sat(b()); });
    case llvm::Intrinsic::smul_with_overflow:
      return set([&] {
        bool overflows = false;
        GenericValue both;
        both.AggregateVal.push_back(OfInt(a().smul_ov(b(), overflows)));
        both.AggregateVal.emplace_back().IntVal = overflows;  // one bit wide from the start
        return both;
      });
    case llvm::Intrinsic::vector_reduce_add:
      return set_int([&] {
        APInt sum = in[0].AggregateVal[0].IntVal;
        for (size_t i = 1; i < in[0].AggregateVal.size(); ++i) sum += in[0].AggregateVal[i].IntVal;
        return sum;
      });
    case llvm::Intrinsic::x86_bmi_pdep_32:
    case llvm::Intrinsic::x86_bmi_pdep_64:
      return set_int([&] { return Deposit(a(), b()); });
    case llvm::Intrinsic::x86_bmi_pext_32:
    case llvm::Intrinsic::x86_bmi_pext_64:
      return set_int([&] { return Extract(a(), b()); });
    case llvm::Intrinsic::x86_sse42_crc32_32_8:
    case llvm::Intrinsic::x86_sse42_crc32_32_16:
    case llvm::Intrinsic::x86_sse42_crc32_32_32:
    case llvm::Intrinsic::x86_sse42_crc32_64_64:
      return set_int([&] { return Crc32(a(), b()); });
    default:
      return false;
  }
}

}  // namespace

bool IsOperation(uint32_t operation) {
  return IsMaskedMemory(operation) || OnScalars(operation, nullptr, {}, nullptr);
}

GenericValue RunOperation(llvm::FunctionType* type, Arguments arguments) {
  const auto operation = static_cast<uint32_t>(arguments[0].IntVal.getZExtValue());
  const Arguments in = arguments.drop_front();
  if (IsMaskedMemory(operation)) return OnMaskedMemory(operation, type, in);
  const llvm::Type* result_type = type->getReturnType();
  GenericValue result;
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(result_type);
  if (vector == nullptr) {
    if (!OnScalars(operation, result_type, in, &result)) std::abort();
    return result;
  }
  for (unsigned lane = 0; lane < vector->getNumElements(); ++lane) {
    llvm::SmallVector<GenericValue, 4> scalars;
    for (size_t i = 0; i < in.size(); ++i) {
      const bool has_lanes = type->getParamType(static_cast<unsigned>(i) + 1)->isVectorTy();
      scalars.push_back(has_lanes ? in[i].AggregateVal[lane] : in[i]);
    }
    GenericValue& out = result.AggregateVal.emplace_back();
    if (!OnScalars(operation, vector->getElementType(), scalars, &out)) std::abort();
  }
  return result;
}

}  // namespace tracelift::jit
