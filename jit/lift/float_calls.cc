#include "jit/lift/float_calls.h"

#include <fmt/format.h>
#include <llvm/ADT/APFloat.h>
#include <llvm/IR/Constants.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/IntrinsicsX86.h>

#include <string>

namespace tracelift::jit {
namespace {

constexpr char kVectorVariants[] = "vector-function-abi-variant";
constexpr int kWidestFormBits = 1024;  // two registers: what a loop that also computes narrower values asks for

std::string TypeName(const llvm::Type* type) {
  return (type->isFloatingPointTy() ? "f" : "i") + std::to_string(type->getPrimitiveSizeInBits().getFixedValue());
}

/// Depends on its arguments only and may be computed where its result is not needed.
void MarkPure(llvm::Function& function) {
  function.setDoesNotAccessMemory();
  function.setDoesNotThrow();
  function.setWillReturn();
  function.setNoSync();
  function.addFnAttr(llvm::Attribute::NoFree);
  function.addFnAttr(llvm::Attribute::NoCallback);
  function.setSpeculatable();
}

std::string VectorName(const llvm::Function& scalar, int lanes) {
  return fmt::format("{}.v{}", scalar.getName().str(), lanes);
}

bool IsScalarForm(const llvm::Function& function) {
  return function.getName().starts_with(kFloatCallPrefix) && !function.getReturnType()->isVectorTy();
}

/// Bits of the widest float or integer that the operation deals with.
int WidestScalar(const llvm::Function& scalar) {
  unsigned bits = scalar.getReturnType()->getScalarSizeInBits();
  for (const llvm::Argument& argument : scalar.args()) bits = std::max(bits, argument.getType()->getScalarSizeInBits());
  return static_cast<int>(bits);
}

/// Conversions to and from 64-bit integers and halves have no vector instructions on most processors.
bool HasVectorForms(const llvm::Function& scalar) {
  const auto is_scalar_only = [](const llvm::Type* type) { return type->isIntegerTy(64) || type->isIntegerTy(16); };
  return !is_scalar_only(scalar.getReturnType()) && !is_scalar_only(scalar.getArg(0)->getType());
}

llvm::Function* WideFormOf(llvm::Function& scalar, int lanes) {
  const auto widened = [&](llvm::Type* type) { return llvm::FixedVectorType::get(type, static_cast<unsigned>(lanes)); };
  llvm::SmallVector<llvm::Type*, 3> types;
  for (const llvm::Argument& argument : scalar.args()) types.push_back(widened(argument.getType()));
  auto* type = llvm::FunctionType::get(widened(scalar.getReturnType()), types, false);
  auto* vector = llvm::cast<llvm::Function>(scalar.getParent()->getOrInsertFunction(VectorName(scalar, lanes), type).getCallee());
  MarkPure(*vector);
  return vector;
}

/// Keeps declarations that only the vectorisers will use.
void KeepDeclared(llvm::Module& module, const std::vector<llvm::Constant*>& functions) {
  if (functions.empty()) return;
  auto* type = llvm::ArrayType::get(llvm::PointerType::getUnqual(module.getContext()), functions.size());
  auto* used = new llvm::GlobalVariable(module, type, false, llvm::GlobalValue::AppendingLinkage,
                                        llvm::ConstantArray::get(type, functions), "llvm.compiler.used");
  used->setSection("llvm.metadata");
}

bool IsHalf(const llvm::Type* type) { return type->getScalarType()->isHalfTy(); }

bool HasFloats(const llvm::Instruction& instruction) {
  const auto is_float = [](const llvm::Value* value) { return value->getType()->isFPOrFPVectorTy(); };
  return is_float(&instruction) || llvm::any_of(instruction.operand_values(), is_float);
}

}  // namespace

llvm::Value* CreateFloatCall(llvm::IRBuilder<>& ir, const llvm::Twine& operation, llvm::Type* result,
                             llvm::ArrayRef<llvm::Value*> arguments) {
  llvm::Type* argument = arguments.front()->getType();
  std::string name = kFloatCallPrefix + operation.str() + "." + TypeName(result);
  if (argument != result) name += "." + TypeName(argument);
  const llvm::SmallVector<llvm::Type*, 3> types(arguments.size(), argument);
  llvm::Module& module = *ir.GetInsertBlock()->getModule();
  llvm::FunctionCallee callee = module.getOrInsertFunction(name, llvm::FunctionType::get(result, types, false));
  MarkPure(*llvm::cast<llvm::Function>(callee.getCallee()));
  return ir.CreateCall(callee, arguments);
}

bool IsFloatCall(const llvm::Value* value) {
  const auto* call = llvm::dyn_cast<llvm::CallInst>(value);
  return call && call->getCalledFunction() && call->getCalledFunction()->getName().starts_with(kFloatCallPrefix);
}

llvm::Constant* FoldFloatCompare(const llvm::CallInst& call, llvm::ArrayRef<llvm::Constant*> arguments,
                                 FloatControl control) {
  if (!IsFloatCall(&call)) return nullptr;
  llvm::StringRef name = call.getCalledFunction()->getName();
  if (!name.consume_front(kFloatCallPrefix) || !name.consume_front(kCompareOperation)) return nullptr;
  llvm::SmallVector<llvm::APFloat, 2> values;
  for (size_t i = 0; i < call.arg_size(); ++i) {
    const auto* constant = llvm::dyn_cast<llvm::ConstantFP>(arguments[i]);
    if (!constant) return nullptr;
    llvm::APFloat value = constant->getValueAPF();
    const bool flushes = (control & kDenormalsAreZero) != 0 && value.isDenormal();
    values.push_back(flushes ? llvm::APFloat::getZero(value.getSemantics(), value.isNegative()) : value);
  }
  for (unsigned i = llvm::CmpInst::FIRST_FCMP_PREDICATE; i <= llvm::CmpInst::LAST_FCMP_PREDICATE; ++i) {
    const auto predicate = static_cast<llvm::CmpInst::Predicate>(i);
    if (llvm::CmpInst::getPredicateName(predicate) != name.take_until([](char c) { return c == '.'; })) continue;
    return llvm::ConstantInt::getBool(call.getContext(), llvm::FCmpInst::compare(values[0], values[1], predicate));
  }
  return nullptr;
}

bool IsFreeOfFloatControl(const llvm::Instruction& instruction) {
  switch (instruction.getOpcode()) {
    case llvm::Instruction::Load:
    case llvm::Instruction::Store:
    case llvm::Instruction::BitCast:
    case llvm::Instruction::Select:
    case llvm::Instruction::PHI:
    case llvm::Instruction::Freeze:
    case llvm::Instruction::InsertElement:
    case llvm::Instruction::ExtractElement:
    case llvm::Instruction::ShuffleVector:
    case llvm::Instruction::FNeg:
      return true;
    case llvm::Instruction::FPExt:  // exact, and denormal halves are never flushed
      return IsHalf(instruction.getOperand(0)->getType());
    default:
      break;
  }
  const auto* intrinsic = llvm::dyn_cast<llvm::IntrinsicInst>(&instruction);
  switch (intrinsic ? intrinsic->getIntrinsicID() : llvm::Intrinsic::not_intrinsic) {
    case llvm::Intrinsic::fabs:
    case llvm::Intrinsic::copysign:
    case llvm::Intrinsic::masked_load:
    case llvm::Intrinsic::masked_store:
    case llvm::Intrinsic::masked_gather:
    case llvm::Intrinsic::masked_scatter:
    case llvm::Intrinsic::masked_expandload:
    case llvm::Intrinsic::masked_compressstore:
    case llvm::Intrinsic::x86_sse_rcp_ss:  // round in their own way; denormals are always zero (Intel SDM)
    case llvm::Intrinsic::x86_sse_rcp_ps:
    case llvm::Intrinsic::x86_avx_rcp_ps_256:
    case llvm::Intrinsic::x86_sse_rsqrt_ss:
    case llvm::Intrinsic::x86_sse_rsqrt_ps:
    case llvm::Intrinsic::x86_avx_rsqrt_ps_256:
      return true;
    default:
      return !HasFloats(instruction);
  }
}

bool HasVectorForm(const llvm::CallInst& call) {
  return IsFloatCall(&call) && IsScalarForm(*call.getCalledFunction()) && HasVectorForms(*call.getCalledFunction());
}

llvm::Value* CreateVectorCall(llvm::IRBuilder<>& ir, const llvm::CallInst& call, llvm::ArrayRef<llvm::Value*> arguments, int lanes) {
  return ir.CreateCall(WideFormOf(*call.getCalledFunction(), lanes), arguments);
}

void OfferVectorForms(llvm::Module& module) {
  std::vector<llvm::Function*> scalars;
  for (llvm::Function& function : module) {
    if (IsScalarForm(function) && HasVectorForms(function)) scalars.push_back(&function);
  }
  std::vector<llvm::Constant*> offered;
  for (llvm::Function* scalar : scalars) {
    std::string variants;
    for (int lanes = 2; lanes * WidestScalar(*scalar) <= kWidestFormBits; lanes *= 2) {
      llvm::Function* vector = WideFormOf(*scalar, lanes);
      offered.push_back(vector);
      // The name by which the vector function ABI knows the form: no mask, so many lanes, each argument a vector.
      variants += fmt::format("{}_ZGV_LLVM_N{}{}_{}({})", variants.empty() ? "" : ",", lanes,
                              std::string(scalar->arg_size(), 'v'), scalar->getName().str(), vector->getName().str());
    }
    scalar->addFnAttr(kVectorVariants, variants);
  }
  KeepDeclared(module, offered);
}

}  // namespace tracelift::jit
