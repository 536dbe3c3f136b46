#include "jit/emit/handed_reads.h"

#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Support/raw_ostream.h>

#include <string>

namespace tracelift::jit {
namespace {

constexpr char kMark[] = "tl.handed";
constexpr char kFromLaneBefore[] = "tl.from_lane_before";

void Mark(llvm::Instruction& access, unsigned number, unsigned steps) {
  llvm::LLVMContext& context = access.getContext();
  const auto constant = [&](unsigned value) {
    return llvm::ConstantAsMetadata::get(llvm::ConstantInt::get(llvm::Type::getInt32Ty(context), value));
  };
  access.setMetadata(kMark, llvm::MDNode::get(context, {constant(number), constant(steps)}));
}

unsigned Marked(const llvm::Instruction& access, unsigned operand) {
  const auto* constant = llvm::mdconst::extract<llvm::ConstantInt>(access.getMetadata(kMark)->getOperand(operand));
  return static_cast<unsigned>(constant->getZExtValue());
}

bool Overlaps(const AccessBy& a, const AccessBy& b, uint32_t bytes) {
  return a.access == b.access && a.offset < b.offset + bytes && b.offset < a.offset + bytes;
}

}  // namespace

std::vector<HandedOn> PlanHandedReads(llvm::Loop& inner, const llvm::BasicBlock& always, const Wavefront& plan,
                                      const SeenFootprint& seen, const std::vector<AccessBy>& accesses_by) {
  const llvm::DominatorTree dominators(*inner.getHeader()->getParent());
  const auto in_every_iteration = [&](const llvm::Instruction* access) {
    return inner.contains(access) && dominators.dominates(access->getParent(), &always);
  };
  const llvm::DataLayout& layout = inner.getHeader()->getModule()->getDataLayout();
  std::vector<HandedOn> handed_on;
  unsigned number = 0;
  for (const AccessBy& write : accesses_by) {
    auto* store = llvm::dyn_cast<llvm::StoreInst>(write.instruction);
    if (!store || !store->isSimple() || !in_every_iteration(store)) continue;
    llvm::Type* type = store->getValueOperand()->getType();
    const auto bytes = static_cast<uint32_t>(layout.getTypeStoreSize(type));
    // Wider ones may reach into it from before.
    constexpr uint32_t kWidest = 64;
    if (llvm::count_if(accesses_by, [&](const AccessBy& by) { return Overlaps(by, write, kWidest); }) != 1) continue;
    bool any = false;
    for (const AccessBy& read : accesses_by) {
      auto* load = llvm::dyn_cast<llvm::LoadInst>(read.instruction);
      if (!load || !load->isSimple() || load->getType() != type || !in_every_iteration(load)) continue;
      for (int steps = 1; steps <= plan.skew + 1; ++steps) {
        const HandedOn handed{.read = static_cast<uint8_t>(read.access),
                              .written = static_cast<uint8_t>(write.access),
                              .read_offset = read.offset,
                              .written_offset = write.offset,
                              .bytes = bytes,
                              .steps = steps};
        if (!seen.IsHandedOn(plan, handed)) continue;
        Mark(*load, number, static_cast<unsigned>(steps));
        handed_on.push_back(handed);
        any = true;
        break;
      }
    }
    if (any) Mark(*store, number++, 0);
  }
  return handed_on;
}

unsigned StepsHandedOn(const llvm::Instruction& read) {
  return llvm::isa<llvm::LoadInst>(read) && read.hasMetadata(kMark) ? Marked(read, 1) : 0;
}

int HandedNumber(const llvm::Instruction& access) {
  return access.hasMetadata(kMark) ? static_cast<int>(Marked(access, 0)) : -1;
}

llvm::CallInst* FromLaneBefore(llvm::LoadInst& read, llvm::Value* value) {
  llvm::Module& module = *read.getModule();
  llvm::Type* type = read.getType();
  llvm::Value* pointer = read.getPointerOperand();
  std::string name = kFromLaneBefore;
  llvm::raw_string_ostream(name) << "." << *type;
  auto* form = llvm::FunctionType::get(type, {type, pointer->getType()}, false);
  llvm::FunctionCallee callee = module.getOrInsertFunction(name, form);
  auto* function = llvm::cast<llvm::Function>(callee.getCallee());
  function->setDoesNotThrow();
  function->setOnlyReadsMemory();
  function->addFnAttr(llvm::Attribute::WillReturn);
  llvm::CallInst* call = llvm::CallInst::Create(callee, {value, pointer}, "handed", read.getIterator());
  call->copyMetadata(read, {llvm::LLVMContext::MD_alias_scope, llvm::LLVMContext::MD_noalias});
  return call;
}

bool IsFromLaneBefore(const llvm::Value* value) {
  const auto* call = llvm::dyn_cast<llvm::CallInst>(value);
  return call && call->getCalledFunction() && call->getCalledFunction()->getName().starts_with(kFromLaneBefore);
}

}  // namespace tracelift::jit
