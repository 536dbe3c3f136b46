#include "jit/lift/unknown_value.h"

#include <initializer_list>

namespace tracelift::jit {

llvm::Value* UnknownValue(llvm::IRBuilder<>& builder, const char* marker, llvm::Type* type, uint64_t number) {
  llvm::Module& module = *builder.GetInsertBlock()->getModule();
  auto* signature = llvm::FunctionType::get(type, {builder.getInt64Ty()}, /*isVarArg=*/false);
  llvm::FunctionCallee callee = module.getOrInsertFunction(marker, signature);
  auto* function = llvm::cast<llvm::Function>(callee.getCallee());
  function->setDoesNotThrow();
  function->setDoesNotAccessMemory();
  function->addFnAttr(llvm::Attribute::WillReturn);
  return builder.CreateCall(callee, {builder.getInt64(number)});
}

bool UsesUnknownValues(const llvm::Function& function) {
  return llvm::any_of(std::initializer_list<const char*>{kUnknownMarker, kUnknownFlagsMarker}, [&](const char* name) {
    const llvm::Function* marker = function.getParent()->getFunction(name);
    return marker != nullptr && !marker->use_empty();
  });
}

}  // namespace tracelift::jit
