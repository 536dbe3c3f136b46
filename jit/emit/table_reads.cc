#include "jit/emit/table_reads.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

namespace tracelift::jit {
namespace {

uint64_t BytesOf(const llvm::LoadInst& load) {
  return load.getModule()->getDataLayout().getTypeStoreSize(load.getType());
}

/// The constant memory that a constant in the computation of `pointer` points to; empty when there is none, or several.
AddressRange TableBehind(llvm::Value* pointer, const CodeReader& reader) {
  constexpr size_t kMostValues = 64;
  AddressRange table{};
  llvm::SmallVector<llvm::Value*, 16> pending = {pointer};
  llvm::SmallPtrSet<llvm::Value*, 16> seen;
  while (!pending.empty() && seen.size() < kMostValues) {
    llvm::Value* value = pending.pop_back_val();
    if (!seen.insert(value).second) continue;
    if (const auto* constant = llvm::dyn_cast<llvm::ConstantInt>(value)) {
      if (constant->getBitWidth() != 64) continue;
      const AddressRange around = reader.ConstantAround(constant->getZExtValue());
      if (around.size() == 0 || around == table) continue;
      if (table.size() != 0) return {};
      table = around;
      continue;
    }
    const bool hands_on = llvm::isa<llvm::GetElementPtrInst, llvm::PHINode, llvm::SelectInst, llvm::BinaryOperator>(value);
    if (hands_on) pending.append(llvm::cast<llvm::Instruction>(value)->op_begin(), llvm::cast<llvm::Instruction>(value)->op_end());
  }
  return table;
}

}  // namespace

std::optional<TableRead> TableReadOf(llvm::LoadInst* load, const llvm::SCEV* address, llvm::ScalarEvolution& evolution,
                                     const CodeReader& reader) {
  const uint64_t bytes = BytesOf(*load);
  const AddressRange table = TableBehind(load->getPointerOperand(), reader);
  if (table.size() < bytes) return std::nullopt;
  const llvm::ConstantRange range = evolution.getUnsignedRange(address);
  const bool stays_inside = range.getUnsignedMin().uge(table.begin) && range.getUnsignedMax().ule(table.end - bytes);
  return TableRead{stays_inside ? nullptr : load, table};
}

void GuardTableReads(const std::vector<TableRead>& reads, llvm::AllocaInst* strayed) {
  for (const TableRead& read : reads) {
    if (read.load == nullptr) continue;
    llvm::IRBuilder<> builder(read.load);
    llvm::Value* pointer = read.load->getPointerOperand();
    llvm::Value* offset = builder.CreateSub(builder.CreatePtrToInt(pointer, builder.getInt64Ty()), builder.getInt64(read.table.begin));
    llvm::Value* outside = builder.CreateICmpUGT(offset, builder.getInt64(read.table.size() - BytesOf(*read.load)));
    builder.CreateStore(builder.CreateOr(builder.CreateLoad(builder.getInt1Ty(), strayed), outside), strayed);
    llvm::Value* memory = const_cast<llvm::Value*>(llvm::getUnderlyingObject(pointer, 0));
    llvm::Value* begin = builder.CreateGEP(builder.getInt8Ty(), memory, builder.getInt64(read.table.begin));
    read.load->setOperand(0, builder.CreateSelect(outside, begin, pointer));
  }
}

}  // namespace tracelift::jit
