#include "jit/emit/relaxed_math.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/IntrinsicInst.h>

#include <algorithm>
#include <cstddef>
#include <set>

#include "jit/emit/settled_state.h"

namespace tracelift::jit {
namespace {

constexpr unsigned kOut = 1;  // the chunk function's argument

// Code generation fuses it with the addition that it feeds, its only user.
bool IsFused(const llvm::Instruction& instruction) {
  if (instruction.getOpcode() != llvm::Instruction::FMul || !instruction.hasAllowContract() || !instruction.hasOneUse()) return false;
  const auto* user = llvm::cast<llvm::Instruction>(instruction.user_back());
  return (user->getOpcode() == llvm::Instruction::FAdd || user->getOpcode() == llvm::Instruction::FSub) && user->hasAllowContract();
}

}  // namespace

std::vector<std::string> RelaxationsOf(const llvm::Module& module, std::span<const Reduction> reductions) {
  bool reorders = std::ranges::any_of(reductions, [](const Reduction& reduction) { return IsFloat(reduction.kind); });
  bool fuses = false;
  std::set<std::string> library;
  for (const llvm::Function& function : module) {
    const bool has_fma = function.getFnAttribute("target-features").getValueAsString().contains("+fma");
    for (const llvm::Instruction& instruction : llvm::instructions(function)) {
      fuses |= has_fma && IsFused(instruction);
      const auto* call = llvm::dyn_cast<llvm::CallInst>(&instruction);
      if (!call || !call->getCalledFunction()) continue;
      const llvm::Intrinsic::ID id = call->getIntrinsicID();
      reorders |= id == llvm::Intrinsic::vector_reduce_fadd || id == llvm::Intrinsic::vector_reduce_fmul;
      const llvm::StringRef name = call->getCalledFunction()->getName();
      if (name.starts_with("_ZGV")) library.insert(name.rsplit('_').second.str());
    }
  }
  std::vector<std::string> result;
  if (reorders) result.push_back("sums in another order");
  if (fuses) result.push_back("fused multiply-adds");
  if (!library.empty()) result.push_back(fmt::format("libmvec {}", fmt::join(library, " ")));
  return result;
}

ComparableFloats ComparableFloatsOf(llvm::Function& function, const LoopShape& shape, size_t slots) {
  const llvm::DataLayout& layout = function.getParent()->getDataLayout();
  const std::vector<llvm::StoreInst*> of_sums = StoresOfReductions(function, shape);
  ComparableFloats floats{std::vector<uint8_t>(slots, 0), {}};
  std::vector<bool> seen(slots, false);
  for (llvm::Instruction& instruction : llvm::instructions(function)) {
    auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction);
    llvm::APInt to(64, 0);
    if (!store || store->getPointerOperand()->stripAndAccumulateConstantOffsets(layout, to, true) != function.getArg(kOut)) continue;
    const uint64_t offset = to.getZExtValue();
    const bool is_sum = llvm::is_contained(of_sums, store);
    if (offset >= offsetof(MachineState, vector) && offset < offsetof(MachineState, mask)) {
      const auto vector = static_cast<int>((offset - offsetof(MachineState, vector)) / sizeof(VectorRegister));
      if (is_sum) floats.sums.AddVector(vector);
    }
    if (offset < offsetof(MachineState, slot)) continue;
    const uint64_t slot = (offset - offsetof(MachineState, slot)) / sizeof(SlotValue);
    if (slot >= slots) continue;
    const llvm::Type* element = store->getValueOperand()->getType()->getScalarType();
    const auto bits = static_cast<uint8_t>(element->getPrimitiveSizeInBits());
    const uint8_t kind = !element->isFloatingPointTy() ? 0 : is_sum ? bits : kNotComparable;
    floats.slots[slot] = !seen[slot] || floats.slots[slot] == kind ? kind : 0;  // one that holds something else besides is compared as bytes
    seen[slot] = true;
  }
  return floats;
}

}  // namespace tracelift::jit
