#include "jit/emit/own_broadcasts.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/PatternMatch.h>

#include <vector>

#include "jit/emit/program_memory.h"

namespace tracelift::jit {
namespace {

namespace pattern = llvm::PatternMatch;

// The number that all lanes of `vector` have, if it comes from memory.
llvm::LoadInst* LoadBehindBroadcast(llvm::Instruction& vector) {
  llvm::Value* number = nullptr;
  const auto broadcast = pattern::m_Shuffle(pattern::m_InsertElt(pattern::m_Value(), pattern::m_Value(number), pattern::m_ZeroInt()),
                                            pattern::m_Value(), pattern::m_ZeroMask());
  auto* load = pattern::match(&vector, broadcast) ? llvm::dyn_cast<llvm::LoadInst>(number) : nullptr;
  return load && load->isSimple() && load->getType()->isFloatingPointTy() ? load : nullptr;
}

// Whether `address` is a way on from the program's memory.
bool BeginsAt(const llvm::Value* address, const llvm::Value* memory) {
  while (const auto* step = llvm::dyn_cast<llvm::GetElementPtrInst>(address)) address = step->getPointerOperand();
  return address == memory;
}

bool IsReadOnly(const llvm::Loop& loop) {
  return llvm::none_of(loop.blocks(), [](const llvm::BasicBlock* block) {
    return llvm::any_of(*block, [](const llvm::Instruction& instruction) { return instruction.mayWriteToMemory(); });
  });
}

llvm::Value* ThroughOtherName(llvm::Value* address, llvm::Value* memory, llvm::IRBuilder<>& builder) {
  auto* step = llvm::dyn_cast<llvm::GetElementPtrInst>(address);
  if (!step) return memory;
  llvm::Value* base = ThroughOtherName(step->getPointerOperand(), memory, builder);
  auto* copy = llvm::cast<llvm::GetElementPtrInst>(step->clone());
  copy->setOperand(0, base);
  return builder.Insert(copy);
}

}  // namespace

void ReadBroadcastsApart(llvm::Function& function, unsigned vector_bits, Analyses& analyses) {
  llvm::Value* memory = ProgramMemory(function);
  if (!memory) return;
  const llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  std::vector<llvm::Instruction*> broadcasts;
  for (llvm::Instruction& instruction : llvm::instructions(function)) {
    const llvm::LoadInst* load = LoadBehindBroadcast(instruction);
    if (!load || !BeginsAt(load->getPointerOperand(), memory)) continue;
    const bool multiplies = llvm::all_of(instruction.users(), [](const llvm::User* user) {
      return llvm::cast<llvm::Instruction>(user)->getOpcode() == llvm::Instruction::FMul;
    });
    const bool is_wider = instruction.getType()->getPrimitiveSizeInBits().getFixedValue() > vector_bits;
    const llvm::Loop* loop = loops.getLoopFor(instruction.getParent());
    if (multiplies && is_wider && loop && loop->contains(load) && IsReadOnly(*loop)) broadcasts.push_back(&instruction);
  }
  std::vector<llvm::Value*> names{memory};  // one for each register of a vector
  for (llvm::Instruction* broadcast : broadcasts) {
    auto* type = llvm::cast<llvm::FixedVectorType>(broadcast->getType());
    llvm::LoadInst* load = LoadBehindBroadcast(*broadcast);
    auto* insert = llvm::cast<llvm::Instruction>(broadcast->getOperand(0));
    load = llvm::cast<llvm::LoadInst>(load->clone());  // only what is beside its user becomes a part of it
    load->insertBefore(insert);
    insert->setOperand(1, load);
    const unsigned lanes = type->getNumElements(), of_register = vector_bits / type->getScalarSizeInBits();
    llvm::Instruction* all = broadcast;
    for (unsigned first = of_register; first < lanes; first += of_register) {
      const size_t index = first / of_register;
      if (names.size() == index) {
        llvm::Instruction* name = llvm::cast<llvm::Instruction>(memory)->clone();  // volatile: it might be another pointer
        name->insertAfter(llvm::cast<llvm::Instruction>(names.back()));
        names.push_back(name);
      }
      llvm::IRBuilder<> builder(load);
      llvm::Instruction* own = load->clone();
      own->setOperand(0, ThroughOtherName(load->getPointerOperand(), names[index], builder));
      builder.Insert(own);
      builder.SetInsertPoint(all->getNextNode());
      llvm::SmallVector<int, 32> order(lanes);
      for (unsigned lane = 0; lane < lanes; ++lane) {
        const bool is_own = lane >= first && lane < first + of_register;
        order[lane] = static_cast<int>(is_own ? lanes : lane);
      }
      llvm::Value* spread = builder.CreateInsertElement(llvm::PoisonValue::get(type), own, uint64_t{0});
      auto* joined = llvm::cast<llvm::Instruction>(builder.CreateShuffleVector(all, spread, order));
      all->replaceUsesWithIf(joined, [&](const llvm::Use& use) { return use.getUser() != joined; });
      all = joined;
    }
  }
  if (!broadcasts.empty()) analyses.function.clear();
}

}  // namespace tracelift::jit
