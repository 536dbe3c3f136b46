// Float operations of the machine as LLVM IR, under the rules that MXCSR sets. Private to jit/.
//
// In the mode in which processes start they are LLVM's own, which means that mode. Under any other rounding mode, and
// when denormals are flushed, LLVM's instructions mean something else: it folds constants to nearest, drops `x * 1.0`
// (which flushes a denormal x), turns a comparison and a choice into a minimum (which flushes what it chooses). So there
// each operation is a call of a function that LLVM knows nothing of, except that it depends on its arguments only:
// analyses and optimisations can move, merge and, with vector forms on offer, vectorise it, but never look inside. When
// the pipeline is done (float_calls.h) the calls become the instructions, with the rules left to MXCSR.
#pragma once

#include <llvm/IR/IRBuilder.h>

#include "jit/float_environment.h"

namespace tracelift::jit {

class FloatOperations {
 public:
  using Value = llvm::Value;
  using Type = llvm::Type;
  using Predicate = llvm::CmpInst::Predicate;

  explicit FloatOperations(llvm::IRBuilder<>& ir) : ir_(ir) {}

  /// Before the first operation.
  void SetControl(FloatControl control) { is_default_ = control == kDefaultFloatControl; }

  bool is_default() const { return is_default_; }
  /// The operations made from now on may be reassociated and fused, and need not keep the sign of a zero.
  void SetRelaxed(bool relaxed);
  /// How many operations were made that obey MXCSR; not counted in the default environment.
  uint64_t count() const { return count_; }

  Value* Add(Value* a, Value* b);
  Value* Subtract(Value* a, Value* b);
  Value* Multiply(Value* a, Value* b);
  Value* Divide(Value* a, Value* b);
  /// a * b + c, rounded once.
  Value* FusedMultiplyAdd(Value* a, Value* b, Value* c);
  Value* SquareRoot(Value* a);
  /// What libm's function of that name for double comes to, for the type of its arguments, as libmvec has it.
  Value* Library(const llvm::Twine& function, llvm::ArrayRef<Value*> arguments);
  /// Of unordered or equal operands (two zeros) the second is the result.
  Value* Minimum(Value* a, Value* b);
  Value* Maximum(Value* a, Value* b);
  /// An i1.
  Value* Compare(Predicate predicate, Value* a, Value* b);
  /// To an integral float; `control` is the immediate operand of ROUNDSD.
  Value* Round(Value* a, uint64_t control);
  /// To i32 or i64, towards zero or as MXCSR has it. What does not fit, NaN included, becomes the "integer indefinite"
  /// value: only the sign bit set.
  Value* ToInteger(Value* a, int bits, bool truncate);
  Value* FromSigned(Value* a, Type* type);
  Value* Widen(Value* a);   // float to double
  Value* Narrow(Value* a);  // double to float
  /// A half's bits; MXCSR.FTZ and DAZ do not apply to halves.
  Value* WidenHalf(Value* bits);
  /// To a half's bits; `control` is the immediate operand of VCVTPS2PH.
  Value* NarrowToHalf(Value* a, uint64_t control);

 private:
  Value* Call(const llvm::Twine& operation, Type* result, llvm::ArrayRef<Value*> arguments);
  Value* DefaultToInteger(Value* a, int bits);

  llvm::IRBuilder<>& ir_;
  bool is_default_ = true;
  uint64_t count_ = 0;
};

}  // namespace tracelift::jit
