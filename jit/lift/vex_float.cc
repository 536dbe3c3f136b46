// Fused multiply-add and half precision. A fused operation rounds once, as FusedMultiplyAdd does; where the machine negates the
// product or subtracts, the operand's sign is changed instead, which is exact.

#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {
namespace {

/// Which lanes subtract the addend, as bits: none, all, or every other one.
enum : int { kNoLane = 0, kEvenLanes = 1, kOddLanes = 2, kEveryLane = 3 };

}  // namespace

bool Translator::TranslateVexFloat() {
  switch (form_) {
#define TL_PACKED(name, order, negate, subtract)                                                                \
  case ZYDIS_MNEMONIC_VF##name##order##PS: FusedMultiplyAdd(32, 4, order, negate, subtract); return true;       \
  case ZYDIS_MNEMONIC_VF##name##order##PD: FusedMultiplyAdd(64, 2, order, negate, subtract); return true;
#define TL_SCALAR(name, order, negate, subtract)                                                                \
  case ZYDIS_MNEMONIC_VF##name##order##SS: FusedMultiplyAdd(32, 1, order, negate, subtract); return true;       \
  case ZYDIS_MNEMONIC_VF##name##order##SD: FusedMultiplyAdd(64, 1, order, negate, subtract); return true;
#define TL_ORDERS(form, name, negate, subtract) \
  form(name, 132, negate, subtract) form(name, 213, negate, subtract) form(name, 231, negate, subtract)
    TL_ORDERS(TL_PACKED, MADD, false, kNoLane)
    TL_ORDERS(TL_SCALAR, MADD, false, kNoLane)
    TL_ORDERS(TL_PACKED, MSUB, false, kEveryLane)
    TL_ORDERS(TL_SCALAR, MSUB, false, kEveryLane)
    TL_ORDERS(TL_PACKED, NMADD, true, kNoLane)
    TL_ORDERS(TL_SCALAR, NMADD, true, kNoLane)
    TL_ORDERS(TL_PACKED, NMSUB, true, kEveryLane)
    TL_ORDERS(TL_SCALAR, NMSUB, true, kEveryLane)
    TL_ORDERS(TL_PACKED, MADDSUB, false, kEvenLanes)
    TL_ORDERS(TL_PACKED, MSUBADD, false, kOddLanes)
#undef TL_PACKED
#undef TL_SCALAR
#undef TL_ORDERS
    case ZYDIS_MNEMONIC_VCVTPH2PS: HalfToFloat(); return true;
    case ZYDIS_MNEMONIC_VCVTPS2PH: FloatToHalf(); return true;
    default: return false;
  }
}

/// `order` numbers the operands from 1: 213 is second times first plus third.
void Translator::FusedMultiplyAdd(int bits, int lanes, int order, bool negate_product, int subtract) {
  const std::vector<Value*> x = ReadLanes(order / 100 - 1, lanes, FloatType(bits));
  const std::vector<Value*> y = ReadLanes(order / 10 % 10 - 1, lanes, FloatType(bits));
  const std::vector<Value*> z = ReadLanes(order % 10 - 1, lanes, FloatType(bits));
  std::vector<Value*> results;
  for (int lane = 0; lane < lanes; ++lane) {
    Value* factor = negate_product ? ir_.CreateFNeg(x[lane]) : x[lane];
    const bool subtracts = (subtract >> (lane % 2) & 1) != 0;
    Value* addend = subtracts ? ir_.CreateFNeg(z[lane]) : z[lane];
    results.push_back(floats_.FusedMultiplyAdd(factor, y[lane], addend));
  }
  WriteLanes(0, results);
}

void Translator::HalfToFloat() {
  std::vector<Value*> values = ReadLanes(1, VectorBits(Operand(0)) / 32, IntType(16));
  for (Value*& value : values) value = floats_.WidenHalf(value);
  WriteLanes(0, values);
}

void Translator::FloatToHalf() {
  std::vector<Value*> values = ReadLanes(1, VectorBits(Operand(1)) / 32, FloatType(32));
  for (Value*& value : values) value = floats_.NarrowToHalf(value, Control());
  WriteLanes(0, values);
  if (IsVector(0)) WriteZeroAbove(0, VectorBits(Operand(1)) / 2);
}

}  // namespace tracelift::jit
