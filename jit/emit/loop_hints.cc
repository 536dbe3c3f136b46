#include "jit/emit/loop_hints.h"

#include <llvm/IR/Constants.h>
#include <llvm/IR/Metadata.h>
#include <llvm/IR/Type.h>

namespace tracelift::jit {

void AddProperty(llvm::Loop& loop, llvm::MDNode* property) {
  llvm::SmallVector<llvm::Metadata*, 4> properties{nullptr};
  if (const llvm::MDNode* old = loop.getLoopID()) properties.append(old->op_begin() + 1, old->op_end());
  properties.push_back(property);
  llvm::MDNode* id = llvm::MDNode::getDistinct(loop.getHeader()->getContext(), properties);
  id->replaceOperandWith(0, id);
  loop.setLoopID(id);
}

void KeepWhole(llvm::Loop& loop) {
  llvm::LLVMContext& context = loop.getHeader()->getContext();
  AddProperty(loop, llvm::MDNode::get(context, llvm::MDString::get(context, "llvm.loop.unroll.disable")));
}

void RepeatBody(llvm::Loop& loop, unsigned iterations) {
  llvm::LLVMContext& context = loop.getHeader()->getContext();
  llvm::Metadata* count = llvm::ConstantAsMetadata::get(llvm::ConstantInt::get(llvm::Type::getInt32Ty(context), iterations));
  AddProperty(loop, llvm::MDNode::get(context, {llvm::MDString::get(context, "llvm.loop.unroll.count"), count}));
}

void KeepScalar(llvm::Loop& loop) {
  llvm::LLVMContext& context = loop.getHeader()->getContext();
  llvm::Metadata* off = llvm::ConstantAsMetadata::get(llvm::ConstantInt::getFalse(context));
  AddProperty(loop, llvm::MDNode::get(context, {llvm::MDString::get(context, "llvm.loop.vectorize.enable"), off}));
}

}  // namespace tracelift::jit
