// Calls of intrinsics and the conversions that the interpreter lacks, or rounds twice (64-bit integers to float, by way
// of double), become calls of one function of ours. All of them end in the same one, told apart by a number: the
// interpreter remembers external functions by the address of their declaration, which another module may get again.

#include "tests/jit/lift/interpreted.h"

#include <fmt/format.h>
#include <llvm/ExecutionEngine/ExecutionEngine.h>
#include <llvm/ExecutionEngine/Interpreter.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/Support/DynamicLibrary.h>
#include <llvm/Support/raw_ostream.h>

#include <optional>

#include "tests/jit/lift/interpreted_operations.h"

namespace tracelift::jit {
namespace {

constexpr unsigned kBitsExactInDouble = 53;

bool IsKnownType(const llvm::Type* type) {
  if (const auto* structure = llvm::dyn_cast<llvm::StructType>(type)) {
    return llvm::all_of(structure->elements(), IsKnownType);
  }
  const llvm::Type* scalar = type->getScalarType();
  if (scalar->isPointerTy()) return !type->isVectorTy();
  return type->isVoidTy() || scalar->isIntegerTy() || scalar->isFloatTy() || scalar->isDoubleTy();
}

/// Elements have whole bytes of their own in memory.
bool IsKnownInMemory(const llvm::Type* type) {
  return IsKnownType(type) && (!type->isVectorTy() || type->getScalarSizeInBits() % 8 == 0);
}

bool IsKnownInstruction(const llvm::Instruction& instruction) {
  switch (instruction.getOpcode()) {
    case llvm::Instruction::Load:
      return !instruction.isAtomic() && IsKnownInMemory(instruction.getType()) &&
             llvm::cast<llvm::LoadInst>(instruction).getPointerAddressSpace() == 0;
    case llvm::Instruction::Store:
      return !instruction.isAtomic() && IsKnownInMemory(instruction.getOperand(0)->getType());
    case llvm::Instruction::Call:
    case llvm::Instruction::Freeze:
    case llvm::Instruction::Fence:
    case llvm::Instruction::AtomicRMW:
    case llvm::Instruction::AtomicCmpXchg:
    case llvm::Instruction::AddrSpaceCast:
    case llvm::Instruction::IndirectBr:
    case llvm::Instruction::Invoke:
    case llvm::Instruction::Resume:
    case llvm::Instruction::VAArg:
    case llvm::Instruction::LandingPad:
    case llvm::Instruction::CleanupRet:
    case llvm::Instruction::CatchRet:
    case llvm::Instruction::CatchPad:
    case llvm::Instruction::CleanupPad:
    case llvm::Instruction::CatchSwitch:
    case llvm::Instruction::CallBr:
      return false;
    default:
      return IsKnownType(instruction.getType());
  }
}

bool IsKnownOperand(const llvm::Value* operand) {
  return !llvm::isa<llvm::ConstantExpr>(operand) && (operand->getType()->isLabelTy() || IsKnownType(operand->getType()));
}

/// Puts calls of RunOperation into one module.
class Rewriter {
 public:
  explicit Rewriter(llvm::Module& module) : module_(module) {}

  /// What stays unknown; "" when nothing.
  std::string Rewrite(llvm::Function& function) {
    std::vector<llvm::Instruction*> old;
    for (llvm::Instruction& instruction : llvm::instructions(function)) old.push_back(&instruction);
    for (llvm::Instruction* instruction : old) RewriteOne(instruction);
    for (llvm::Instruction& instruction : llvm::make_early_inc_range(llvm::instructions(function))) {
      if (instruction.getType()->getScalarType()->isHalfTy() && instruction.use_empty()) instruction.eraseFromParent();
    }
    for (llvm::Instruction& instruction : llvm::instructions(function)) {
      if (IsOurs(instruction)) continue;
      if (!IsKnownInstruction(instruction) || !llvm::all_of(instruction.operands(), IsKnownOperand)) {
        return Print(instruction);
      }
    }
    return "";
  }

 private:
  static std::string Print(const llvm::Instruction& instruction) {
    std::string text;
    llvm::raw_string_ostream(text) << instruction;
    return text.substr(text.find_first_not_of(' '));
  }

  bool IsOurs(const llvm::Instruction& instruction) const {
    const auto* call = llvm::dyn_cast<llvm::CallInst>(&instruction);
    if (call == nullptr) return false;
    const auto found = operations_.find(call->getFunctionType());
    return found != operations_.end() && found->second == call->getCalledFunction();
  }

  void RewriteOne(llvm::Instruction* instruction) {
    if (auto* call = llvm::dyn_cast<llvm::CallInst>(instruction)) {
      if (!IsOperation(call->getIntrinsicID())) return;
      Replace(call, call->getIntrinsicID(), std::vector<llvm::Value*>(call->arg_begin(), call->arg_end()));
      return;
    }
    auto* cast = llvm::dyn_cast<llvm::CastInst>(instruction);
    if (cast == nullptr) return;
    llvm::Value* from = cast->getOperand(0);
    const llvm::Type* to = cast->getType()->getScalarType();
    const bool is_long = from->getType()->getScalarSizeInBits() > kBitsExactInDouble;
    auto* bits = llvm::dyn_cast<llvm::BitCastInst>(from);
    switch (cast->getOpcode()) {
      case llvm::Instruction::SIToFP:
      case llvm::Instruction::UIToFP:
        if (!is_long || !to->isFloatTy()) return;
        return Replace(cast, cast->getOpcode() == llvm::Instruction::SIToFP ? kSignedToFloat : kUnsignedToFloat, {from});
      case llvm::Instruction::FPExt:
        if (bits == nullptr || !from->getType()->getScalarType()->isHalfTy() || !to->isFloatTy()) return;
        return Replace(cast, kHalfToFloat, {bits->getOperand(0)});
      case llvm::Instruction::BitCast: {
        auto* narrowed = llvm::dyn_cast<llvm::FPTruncInst>(from);
        if (narrowed == nullptr || !from->getType()->getScalarType()->isHalfTy()) return;
        if (!narrowed->getOperand(0)->getType()->getScalarType()->isFloatTy()) return;
        return Replace(cast, kFloatToHalf, {narrowed->getOperand(0)});
      }
      default:
        return;
    }
  }

  void Replace(llvm::Instruction* instruction, uint32_t operation, std::vector<llvm::Value*> arguments) {
    llvm::IRBuilder<> builder(instruction);
    arguments.insert(arguments.begin(), builder.getInt32(operation));
    std::vector<llvm::Type*> types;
    for (llvm::Value* argument : arguments) types.push_back(argument->getType());
    auto* type = llvm::FunctionType::get(instruction->getType(), types, /*isVarArg=*/false);
    llvm::Function*& function = operations_[type];
    if (function == nullptr) {
      const std::string name = fmt::format("operation_{}", operations_.size());
      llvm::sys::DynamicLibrary::AddSymbol("lle_X_" + name, reinterpret_cast<void*>(&RunOperation));
      function = llvm::Function::Create(type, llvm::Function::ExternalLinkage, name, module_);
    }
    instruction->replaceAllUsesWith(builder.CreateCall(function, arguments));
    instruction->eraseFromParent();
  }

  llvm::Module& module_;
  std::map<llvm::FunctionType*, llvm::Function*> operations_;
};

}  // namespace

InterpretedModule::InterpretedModule(std::unique_ptr<llvm::Module> module, std::string* failure) {
  LLVMLinkInInterpreter();
  Rewriter rewriter(*module);
  std::vector<llvm::Function*> functions;
  for (llvm::Function& function : *module) {
    if (!function.isDeclaration()) functions.push_back(&function);
  }
  for (llvm::Function* function : functions) {
    std::string unknown = rewriter.Rewrite(*function);
    if (unknown.empty()) continue;
    unknown_[function->getName().str()] = std::move(unknown);
    function->deleteBody();
  }
  std::string problem;
  llvm::EngineBuilder builder(std::move(module));
  builder.setEngineKind(llvm::EngineKind::Interpreter).setErrorStr(&problem);
  engine_.reset(builder.create());
  if (engine_ == nullptr) *failure = "no interpreter: " + problem;
}

InterpretedModule::~InterpretedModule() = default;

std::string InterpretedModule::Unknown(const std::string& name) const {
  const auto found = unknown_.find(name);
  return found == unknown_.end() ? "" : found->second;
}

int32_t InterpretedModule::Run(const std::string& name, const MachineState* in, MachineState* out, int64_t count,
                               uint32_t* flags) const {
  const auto pointer = [](const void* to) { return llvm::GenericValue(const_cast<void*>(to)); };
  const auto integer = [](int64_t value) {
    llvm::GenericValue result;
    result.IntVal = llvm::APInt(64, static_cast<uint64_t>(value));
    return result;
  };
  const llvm::GenericValue arguments[] = {pointer(in), pointer(out), integer(0), integer(count), pointer(flags)};
  llvm::Function* function = engine_->FindFunctionNamed(name);
  return static_cast<int32_t>(engine_->runFunction(function, arguments).IntVal.getSExtValue());
}

}  // namespace tracelift::jit
