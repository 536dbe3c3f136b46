#include "jit/lift/float_operations.h"

#include "jit/lift/float_calls.h"

namespace tracelift::jit {

using llvm::CmpInst;
using llvm::Intrinsic::ID;
using llvm::Value;

Value* FloatOperations::Call(const llvm::Twine& operation, Type* result, llvm::ArrayRef<Value*> arguments) {
  ++count_;
  return CreateFloatCall(ir_, operation, result, arguments);
}

Value* FloatOperations::Add(Value* a, Value* b) {
  return is_default_ ? ir_.CreateFAdd(a, b) : Call("add", a->getType(), {a, b});
}

Value* FloatOperations::Subtract(Value* a, Value* b) {
  return is_default_ ? ir_.CreateFSub(a, b) : Call("sub", a->getType(), {a, b});
}

Value* FloatOperations::Multiply(Value* a, Value* b) {
  return is_default_ ? ir_.CreateFMul(a, b) : Call("mul", a->getType(), {a, b});
}

Value* FloatOperations::Divide(Value* a, Value* b) {
  return is_default_ ? ir_.CreateFDiv(a, b) : Call("div", a->getType(), {a, b});
}

void FloatOperations::SetRelaxed(bool relaxed) {
  llvm::FastMathFlags flags;
  flags.setAllowReassoc(relaxed);
  flags.setAllowContract(relaxed);
  flags.setNoSignedZeros(relaxed);
  ir_.setFastMathFlags(flags);
}

Value* FloatOperations::Library(const llvm::Twine& function, llvm::ArrayRef<Value*> arguments) {
  return Call(kLibraryOperation + function, arguments.front()->getType(), arguments);
}

Value* FloatOperations::FusedMultiplyAdd(Value* a, Value* b, Value* c) {
  if (is_default_ && ir_.getFastMathFlags().allowReassoc()) return Add(Multiply(a, b), c);  // which is fused again, or summed up in parts
  if (!is_default_) return Call("fma", a->getType(), {a, b, c});
  return ir_.CreateIntrinsic(llvm::Intrinsic::fma, {a->getType()}, {a, b, c});
}

Value* FloatOperations::SquareRoot(Value* a) {
  return is_default_ ? ir_.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, a) : Call("sqrt", a->getType(), {a});
}

Value* FloatOperations::Minimum(Value* a, Value* b) {
  return is_default_ ? ir_.CreateSelect(ir_.CreateFCmpOLT(a, b), a, b) : Call("min", a->getType(), {a, b});
}

Value* FloatOperations::Maximum(Value* a, Value* b) {
  return is_default_ ? ir_.CreateSelect(ir_.CreateFCmpOGT(a, b), a, b) : Call("max", a->getType(), {a, b});
}

Value* FloatOperations::Compare(Predicate predicate, Value* a, Value* b) {
  if (is_default_) return ir_.CreateFCmp(predicate, a, b);
  if (predicate == CmpInst::FCMP_FALSE || predicate == CmpInst::FCMP_TRUE) {
    ++count_;
    return ir_.getInt1(predicate == CmpInst::FCMP_TRUE);
  }
  return Call(kCompareOperation + CmpInst::getPredicateName(predicate), ir_.getInt1Ty(), {a, b});
}

Value* FloatOperations::Round(Value* a, uint64_t control) {
  constexpr uint64_t kAsMxcsr = 4;
  constexpr const char* kNames[] = {"roundeven", "floor", "ceil", "trunc"};
  constexpr ID kModes[] = {llvm::Intrinsic::roundeven, llvm::Intrinsic::floor, llvm::Intrinsic::ceil,
                           llvm::Intrinsic::trunc};
  const bool as_mxcsr = (control & kAsMxcsr) != 0;
  if (!is_default_) return Call(as_mxcsr ? "nearbyint" : kNames[control & 3], a->getType(), {a});
  return ir_.CreateUnaryIntrinsic(as_mxcsr ? kModes[0] : kModes[control & 3], a);
}

Value* FloatOperations::ToInteger(Value* a, int bits, bool truncate) {
  if (!is_default_) return Call(truncate ? "cvtt" : "cvt", ir_.getIntNTy(static_cast<unsigned>(bits)), {a});
  return DefaultToInteger(truncate ? a : ir_.CreateUnaryIntrinsic(llvm::Intrinsic::roundeven, a), bits);
}

Value* FloatOperations::DefaultToInteger(Value* a, int bits) {
  const bool exact_below = bits == 32 && a->getType()->isDoubleTy();  // doubles lie between -2^31 - 1 and -2^31
  const double limit = bits == 64 ? 0x1p63 : 0x1p31;
  Value* low = llvm::ConstantFP::get(a->getType(), exact_below ? -limit - 1 : -limit);
  Value* above = exact_below ? ir_.CreateFCmpOGT(a, low) : ir_.CreateFCmpOGE(a, low);
  Value* below = ir_.CreateFCmpOLT(a, llvm::ConstantFP::get(a->getType(), limit));
  llvm::IntegerType* type = ir_.getIntNTy(static_cast<unsigned>(bits));
  Value* indefinite = llvm::ConstantInt::get(type, uint64_t{1} << (bits - 1));
  return ir_.CreateSelect(ir_.CreateAnd(above, below), ir_.CreateFPToSI(a, type), indefinite);
}

Value* FloatOperations::FromSigned(Value* a, Type* type) {
  return is_default_ ? ir_.CreateSIToFP(a, type) : Call("sitofp", type, {a});
}

Value* FloatOperations::Widen(Value* a) {
  return is_default_ ? ir_.CreateFPExt(a, ir_.getDoubleTy()) : Call("fpext", ir_.getDoubleTy(), {a});
}

Value* FloatOperations::Narrow(Value* a) {
  return is_default_ ? ir_.CreateFPTrunc(a, ir_.getFloatTy()) : Call("fptrunc", ir_.getFloatTy(), {a});
}

Value* FloatOperations::WidenHalf(Value* bits) {
  return ir_.CreateFPExt(ir_.CreateBitCast(bits, ir_.getHalfTy()), ir_.getFloatTy());
}

Value* FloatOperations::NarrowToHalf(Value* a, uint64_t control) {
  if (!is_default_) return Call("half" + llvm::Twine(control & 7), ir_.getInt16Ty(), {a});
  return ir_.CreateBitCast(ir_.CreateFPTrunc(a, ir_.getHalfTy()), ir_.getInt16Ty());
}

}  // namespace tracelift::jit
