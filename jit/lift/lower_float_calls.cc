// Float calls as constrained intrinsics, which LLVM's code generator neither folds nor combines as if it knew the
// rounding mode, and as x86 intrinsics where a minimum or a conversion has the machine's own meaning.

#include <llvm/IR/IntrinsicsX86.h>

#include <string>
#include <vector>

#include "jit/lift/float_calls.h"
#include "jit/vector_math.h"

namespace tracelift::jit {
namespace {

using llvm::Intrinsic::ID;
using llvm::Value;
namespace intrinsic = llvm::Intrinsic;

constexpr uint32_t kAsMxcsr = 4;  // the rounding operand of AVX-512 intrinsics

int LanesOf(const llvm::Type* type) {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type);
  return vector ? static_cast<int>(vector->getNumElements()) : 1;
}

struct ConstrainedForm {
  const char* operation;
  ID id;
  bool rounds;
};

constexpr ConstrainedForm kConstrained[] = {{"add", intrinsic::experimental_constrained_fadd, true},
                                            {"sub", intrinsic::experimental_constrained_fsub, true},
                                            {"mul", intrinsic::experimental_constrained_fmul, true},
                                            {"div", intrinsic::experimental_constrained_fdiv, true},
                                            {"fma", intrinsic::experimental_constrained_fma, true},
                                            {"sqrt", intrinsic::experimental_constrained_sqrt, true},
                                            {"nearbyint", intrinsic::experimental_constrained_nearbyint, true},
                                            {"roundeven", intrinsic::experimental_constrained_roundeven, false},
                                            {"floor", intrinsic::experimental_constrained_floor, false},
                                            {"ceil", intrinsic::experimental_constrained_ceil, false},
                                            {"trunc", intrinsic::experimental_constrained_trunc, false}};

constexpr ConstrainedForm kConstrainedConversions[] = {
    {"sitofp", intrinsic::experimental_constrained_sitofp, true},
    {"fpext", intrinsic::experimental_constrained_fpext, false},
    {"fptrunc", intrinsic::experimental_constrained_fptrunc, true}};

/// An operation that x86 intrinsics do for a whole register of 128, 256 or 512 bits.
struct RegisterForm {
  const char* operation;
  int bits;  // of an argument's lane
  ID id[3];
};

constexpr RegisterForm kRegisterForms[] = {
    {"min", 32, {intrinsic::x86_sse_min_ps, intrinsic::x86_avx_min_ps_256, intrinsic::x86_avx512_min_ps_512}},
    {"min", 64, {intrinsic::x86_sse2_min_pd, intrinsic::x86_avx_min_pd_256, intrinsic::x86_avx512_min_pd_512}},
    {"max", 32, {intrinsic::x86_sse_max_ps, intrinsic::x86_avx_max_ps_256, intrinsic::x86_avx512_max_ps_512}},
    {"max", 64, {intrinsic::x86_sse2_max_pd, intrinsic::x86_avx_max_pd_256, intrinsic::x86_avx512_max_pd_512}},
    {"cvt", 32,
     {intrinsic::x86_sse2_cvtps2dq, intrinsic::x86_avx_cvt_ps2dq_256, intrinsic::x86_avx512_mask_cvtps2dq_512}},
    {"cvt", 64,
     {intrinsic::x86_sse2_cvtpd2dq, intrinsic::x86_avx_cvt_pd2dq_256, intrinsic::x86_avx512_mask_cvtpd2dq_512}},
    {"cvtt", 32,
     {intrinsic::x86_sse2_cvttps2dq, intrinsic::x86_avx_cvtt_ps2dq_256, intrinsic::x86_avx512_mask_cvttps2dq_512}},
    {"cvtt", 64,
     {intrinsic::x86_sse2_cvttpd2dq, intrinsic::x86_avx_cvtt_pd2dq_256, intrinsic::x86_avx512_mask_cvttpd2dq_512}}};

class Lowering {
 public:
  Lowering(llvm::CallInst& call, int widest_bits)
      : call_(call), ir_(&call), widest_bits_(widest_bits), lanes_(LanesOf(call.getType())) {
    llvm::StringRef name = call.getCalledFunction()->getName();
    operation_ = name.drop_front(sizeof(kFloatCallPrefix) - 1).split('.').first;
  }

  Value* Run() {
    for (const ConstrainedForm& form : kConstrained) {
      if (operation_ == form.operation) return Constrained(form, {call_.getType()});
    }
    for (const ConstrainedForm& form : kConstrainedConversions) {
      if (operation_ == form.operation) return Constrained(form, {call_.getType(), Argument(0)->getType()});
    }
    if (operation_.consume_front(kCompareOperation)) return Compare();
    if (operation_.consume_front("half")) return ToHalf();
    if (operation_.consume_front(kLibraryOperation)) return Library();
    if (lanes_ == 1) return Scalar();
    const int bits = static_cast<int>(Argument(0)->getType()->getScalarSizeInBits());
    for (const RegisterForm& form : kRegisterForms) {
      if (operation_ != form.operation || bits != form.bits) continue;
      return ByRegisters(bits, [&](int width, const Arguments& arguments) { return OneRegister(form, width * bits, arguments); });
    }
    llvm_unreachable("a float call without a lowering");
  }

 private:
  using Arguments = llvm::SmallVector<Value*, 5>;

  Value* Argument(unsigned index) const { return call_.getArgOperand(index); }

  Value* Text(llvm::StringRef text) {
    return llvm::MetadataAsValue::get(ir_.getContext(), llvm::MDString::get(ir_.getContext(), text));
  }

  Value* Constrained(const ConstrainedForm& form, llvm::ArrayRef<llvm::Type*> types) {
    llvm::SmallVector<Value*, 5> arguments(call_.args());
    if (form.rounds) arguments.push_back(Text("round.dynamic"));
    return Strict(form.id, types, std::move(arguments));
  }

  Value* Strict(ID id, llvm::ArrayRef<llvm::Type*> types, llvm::SmallVector<Value*, 5> arguments) {
    arguments.push_back(Text("fpexcept.ignore"));
    llvm::CallInst* call = ir_.CreateIntrinsic(id, types, arguments);
    call->addFnAttr(llvm::Attribute::StrictFP);
    return call;
  }

  Value* Compare() {
    return Strict(intrinsic::experimental_constrained_fcmp, {Argument(0)->getType()},
                  {Argument(0), Argument(1), Text(operation_)});
  }

  /// A scalar in the lowest lane of 128 bits.
  Value* InRegister(Value* value) {
    const auto lanes = static_cast<unsigned>(128 / value->getType()->getPrimitiveSizeInBits());
    auto* type = llvm::FixedVectorType::get(value->getType(), lanes);
    return ir_.CreateInsertElement(llvm::PoisonValue::get(type), value, uint64_t{0});
  }

  Value* ToHalf() {
    uint32_t control = 0;
    operation_.getAsInteger(10, control);
    Value* halves = ir_.CreateIntrinsic(intrinsic::x86_vcvtps2ph_128, {}, {InRegister(Argument(0)), ir_.getInt32(control)});
    return ir_.CreateExtractElement(halves, uint64_t{0});
  }

  Value* Scalar() {
    const bool is_double = Argument(0)->getType()->isDoubleTy();
    const bool is_long = call_.getType()->isIntegerTy(64);
    const auto choose = [&](ID of_float, ID of_double) { return is_double ? of_double : of_float; };
    if (operation_ == "min" || operation_ == "max") {
      const ID id = operation_ == "min" ? choose(intrinsic::x86_sse_min_ss, intrinsic::x86_sse2_min_sd)
                                        : choose(intrinsic::x86_sse_max_ss, intrinsic::x86_sse2_max_sd);
      Value* result = ir_.CreateIntrinsic(id, {}, {InRegister(Argument(0)), InRegister(Argument(1))});
      return ir_.CreateExtractElement(result, uint64_t{0});
    }
    const ID truncating = is_long ? choose(intrinsic::x86_sse_cvttss2si64, intrinsic::x86_sse2_cvttsd2si64)
                                  : choose(intrinsic::x86_sse_cvttss2si, intrinsic::x86_sse2_cvttsd2si);
    const ID rounding = is_long ? choose(intrinsic::x86_sse_cvtss2si64, intrinsic::x86_sse2_cvtsd2si64)
                                : choose(intrinsic::x86_sse_cvtss2si, intrinsic::x86_sse2_cvtsd2si);
    return ir_.CreateIntrinsic(operation_ == "cvtt" ? truncating : rounding, {}, {InRegister(Argument(0))});
  }

  Value* Library() {
    llvm::Type* type = call_.getType()->getScalarType();
    const MathFunction* function = MathFunctionNamed(operation_.str(), type->isFloatTy());
    const auto call = [&](const std::string& name, llvm::Type* of, const Arguments& arguments) {
      const llvm::SmallVector<llvm::Type*, 2> types(arguments.size(), of);
      return ir_.CreateCall(call_.getModule()->getOrInsertFunction(name, llvm::FunctionType::get(of, types, false)), arguments);
    };
    if (lanes_ == 1) return call(function->name, type, Arguments(call_.args()));
    const bool has_avx2 = call_.getFunction()->getFnAttribute("target-features").getValueAsString().contains("+avx2");
    const int lane_bits = static_cast<int>(type->getScalarSizeInBits());
    return ByRegisters(lane_bits, [&](int width, const Arguments& arguments) {
      const char isa = width * lane_bits == 128 ? 'b' : width * lane_bits == 512 ? 'e' : has_avx2 ? 'd' : 'c';
      return call(VectorFormOf(*function, isa, width), llvm::FixedVectorType::get(type, static_cast<unsigned>(width)), arguments);
    });
  }

  /// Lanes [first, first + count) of `value` as the lowest of a register of `width` lanes.
  Value* Slice(Value* value, int first, int count, int width) {
    llvm::SmallVector<int, 16> mask(static_cast<size_t>(width), -1);
    for (int i = 0; i < count; ++i) mask[static_cast<size_t>(i)] = first + i;
    return ir_.CreateShuffleVector(value, mask);
  }

  /// `one_register` is asked for so many lanes at once, of which the last may be any.
  template <typename OneRegister>
  Value* ByRegisters(int lane_bits, OneRegister one_register) {
    Value* result = llvm::PoisonValue::get(call_.getType());
    for (int first = 0; first < lanes_;) {
      const int count = std::min(lanes_ - first, widest_bits_ / lane_bits);
      const int width = std::max(count, 128 / lane_bits);
      Arguments arguments;
      for (Value* argument : call_.args()) arguments.push_back(Slice(argument, first, count, width));
      Value* part = one_register(width, arguments);
      // The part's lanes over those of the result.
      Value* widened = Slice(part, 0, count, lanes_);
      llvm::SmallVector<int, 16> mask;
      for (int i = 0; i < lanes_; ++i) mask.push_back(i >= first && i < first + count ? lanes_ + i - first : i);
      result = ir_.CreateShuffleVector(result, widened, mask);
      first += count;
    }
    return result;
  }

  Value* OneRegister(const RegisterForm& form, int bits, Arguments arguments) {
    const ID id = form.id[bits == 128 ? 0 : bits == 256 ? 1 : 2];
    if (bits == 512) {
      const bool converts = call_.getType()->getScalarType()->isIntegerTy();
      if (converts) {  // masked forms: of all lanes
        const auto lanes = static_cast<unsigned>(512 / form.bits);
        arguments.push_back(llvm::PoisonValue::get(llvm::FixedVectorType::get(ir_.getInt32Ty(), lanes)));
        arguments.push_back(llvm::Constant::getAllOnesValue(ir_.getIntNTy(lanes)));
      }
      arguments.push_back(ir_.getInt32(kAsMxcsr));
    }
    return ir_.CreateIntrinsic(id, {}, arguments);
  }

  llvm::CallInst& call_;
  llvm::IRBuilder<> ir_;
  const int widest_bits_;
  const int lanes_;
  llvm::StringRef operation_;
};

}  // namespace

void LowerFloatCalls(llvm::Module& module, int widest_bits) {
  std::vector<llvm::CallInst*> calls;
  for (llvm::Function& function : module) {
    for (llvm::BasicBlock& block : function) {
      for (llvm::Instruction& instruction : block) {
        if (IsFloatCall(&instruction)) calls.push_back(llvm::cast<llvm::CallInst>(&instruction));
      }
    }
  }
  for (llvm::CallInst* call : calls) {
    const bool obeys_mxcsr = !call->getCalledFunction()->getName().contains(kLibraryOperation);
    if (obeys_mxcsr) call->getFunction()->addFnAttr(llvm::Attribute::StrictFP);
    call->replaceAllUsesWith(Lowering(*call, widest_bits).Run());
    call->eraseFromParent();
  }
  if (llvm::GlobalVariable* used = module.getGlobalVariable("llvm.compiler.used")) used->eraseFromParent();
  for (llvm::Function& function : llvm::make_early_inc_range(module)) {
    if (function.isDeclaration() && function.getName().starts_with(kFloatCallPrefix)) function.eraseFromParent();
  }
}

}  // namespace tracelift::jit
