#include "jit/emit/guarded_read.h"

#include "jit/emit/program_memory.h"

namespace tracelift::jit {

void KeepInside(llvm::LoadInst* load, llvm::Value* first, llvm::Value* last, llvm::AllocaInst* strayed,
                llvm::IRBuilder<>& builder) {
  llvm::Value* pointer = load->getPointerOperand();
  llvm::Value* offset = builder.CreateSub(builder.CreatePtrToInt(pointer, builder.getInt64Ty()), first);
  llvm::Value* outside = builder.CreateICmpUGT(offset, last);
  builder.CreateStore(builder.CreateOr(builder.CreateLoad(builder.getInt1Ty(), strayed), outside), strayed);
  llvm::Value* begin = builder.CreateGEP(builder.getInt8Ty(), ProgramMemory(*load->getFunction()), first);
  load->setOperand(0, builder.CreateSelect(outside, begin, pointer));
}

}  // namespace tracelift::jit
