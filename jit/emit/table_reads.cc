#include "jit/emit/table_reads.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include "jit/emit/guarded_read.h"

namespace tracelift::jit {
namespace {

uint64_t BytesOf(const llvm::LoadInst& load) {
  return load.getModule()->getDataLayout().getTypeStoreSize(load.getType());
}

/// The load of a file's base at entry, and which file's; null for anything else.
llvm::LoadInst* ModuleBaseLoad(llvm::Value* value, int* module) {
  auto* load = llvm::dyn_cast<llvm::LoadInst>(value);
  if (load == nullptr || load->isVolatile() || !load->getType()->isIntegerTy(64)) return nullptr;
  llvm::APInt offset(64, 0);
  const llvm::Value* from = load->getPointerOperand()->stripAndAccumulateConstantOffsets(
      load->getModule()->getDataLayout(), offset, /*AllowNonInbounds=*/true);
  if (from != load->getFunction()->getArg(0)) return nullptr;
  const std::optional<int> found = ModuleBaseAt(offset.getZExtValue());
  if (!found) return nullptr;
  *module = *found;
  return load;
}

/// A constant address, or a file's base and a constant.
struct FixedPart {
  uint64_t address = 0;
  llvm::LoadInst* base = nullptr;
  int module = -1;     // which it is the base of
  uint64_t begin = 0;  // what `base` is
};

/// What of a sum is fixed. Everything is, when it is one constant; else only a file's base and the constant beside it.
std::optional<FixedPart> FixedPartOf(llvm::Value* value, llvm::ScalarEvolution& evolution, const MachineState& observed) {
  const llvm::Type* type = value->getType();
  if (!type->isIntegerTy(64) && !type->isPointerTy()) return std::nullopt;
  if (const auto* constant = llvm::dyn_cast<llvm::ConstantInt>(value)) return FixedPart{constant->getZExtValue()};
  FixedPart part;
  const auto add = [&](const llvm::SCEV* term) {
    if (const auto* constant = llvm::dyn_cast<llvm::SCEVConstant>(term)) {
      part.address += constant->getAPInt().getZExtValue();
    } else if (const auto* unknown = llvm::dyn_cast<llvm::SCEVUnknown>(term)) {
      int module = 0;
      llvm::LoadInst* base = ModuleBaseLoad(unknown->getValue(), &module);
      if (base == nullptr) return;
      part.base = base;
      part.module = module;
      part.begin = observed.module_base[static_cast<size_t>(module)];
    }
  };
  const llvm::SCEV* sum = evolution.getSCEV(value);
  if (const auto* terms = llvm::dyn_cast<llvm::SCEVAddExpr>(sum)) {
    for (const llvm::SCEV* term : terms->operands()) add(term);
  } else {
    add(sum);
  }
  if (part.base == nullptr) return std::nullopt;
  part.address += part.begin;
  return part;
}

struct Table {
  AddressRange range;  // empty: there is none, or there are several
  FixedPart part;
};

/// The constant memory that the computation of `pointer` is about.
Table TableBehind(llvm::Value* pointer, llvm::ScalarEvolution& evolution, const CodeReader& reader, const MachineState& observed) {
  constexpr size_t kMostValues = 64;
  Table table;
  llvm::SmallVector<llvm::Value*, 16> pending = {pointer};
  llvm::SmallPtrSet<llvm::Value*, 16> seen;
  while (!pending.empty() && seen.size() < kMostValues) {
    llvm::Value* value = pending.pop_back_val();
    if (!seen.insert(value).second) continue;
    if (const std::optional<FixedPart> part = FixedPartOf(value, evolution, observed)) {
      const AddressRange around = reader.ConstantAround(part->address);
      if (around.size() != 0 && around != table.range) {
        if (table.range.size() != 0) return {};
        table = {around, *part};
      }
      continue;  // parts of the sum, such as the base alone, point elsewhere
    }
    const bool hands_on = llvm::isa<llvm::GetElementPtrInst, llvm::PHINode, llvm::SelectInst, llvm::BinaryOperator>(value);
    if (hands_on) pending.append(llvm::cast<llvm::Instruction>(value)->op_begin(), llvm::cast<llvm::Instruction>(value)->op_end());
  }
  return table;
}

}  // namespace

std::optional<TableRead> TableReadOf(llvm::LoadInst* load, const llvm::SCEV* address, llvm::ScalarEvolution& evolution,
                                     const CodeReader& reader, const MachineState& observed) {
  const uint64_t bytes = BytesOf(*load);
  const auto [range, part] = TableBehind(load->getPointerOperand(), evolution, reader, observed);
  if (range.size() < bytes) return std::nullopt;
  const AddressRange table = {range.begin - part.begin, range.end - part.begin};
  if (part.base != nullptr) address = evolution.getMinusSCEV(address, evolution.getSCEV(part.base));
  const llvm::ConstantRange reached = evolution.getUnsignedRange(address);
  const bool stays_inside = reached.getUnsignedMin().uge(table.begin) && reached.getUnsignedMax().ule(table.end - bytes);
  return TableRead{load, stays_inside, table, part.base, part.module};
}

void GuardTableReads(const std::vector<TableRead>& reads, llvm::AllocaInst* strayed) {
  for (const TableRead& read : reads) {
    if (read.stays_inside) continue;
    llvm::IRBuilder<> builder(read.load);
    llvm::Value* first = builder.getInt64(read.table.begin);
    if (read.base != nullptr) first = builder.CreateAdd(read.base, first);
    KeepInside(read.load, first, builder.getInt64(read.table.size() - BytesOf(*read.load)), strayed, builder);
  }
}

}  // namespace tracelift::jit
