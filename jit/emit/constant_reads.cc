#include "jit/emit/constant_reads.h"

#include <llvm/Analysis/ConstantFolding.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <optional>
#include <set>
#include <vector>

#include "jit/emit/entry_address.h"
#include "jit/emit/entry_facts.h"
#include "jit/emit/program_memory.h"

namespace tracelift::jit {
namespace {

class ConstantReads {
 public:
  ConstantReads(llvm::Loop& loop, llvm::ScalarEvolution& evolution, const CodeReader& reader,
                const ModuleBases& modules, const MachineState& observed)
      : loop_(loop),
        evolution_(evolution),
        reader_(reader),
        modules_(modules),
        observed_(observed),
        function_(*loop.getHeader()->getParent()) {}

  bool Fold() {
    std::vector<llvm::LoadInst*> loads;
    for (llvm::BasicBlock* block : loop_.blocks()) {
      for (llvm::Instruction& instruction : *block) {
        if (auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction); load && load->isSimple()) loads.push_back(load);
      }
    }
    bool changed = false;
    for (llvm::LoadInst* load : loads) {
      llvm::Constant* value = ValueOf(load);
      if (!value) continue;
      evolution_.forgetValue(load);
      load->replaceAllUsesWith(value);
      load->eraseFromParent();
      changed = true;
    }
    return changed;
  }

 private:
  llvm::Constant* ValueOf(llvm::LoadInst* load) {
    const llvm::SCEV* address = AddressOf(load->getPointerOperand(), evolution_);
    if (!address || !evolution_.isLoopInvariant(address, &loop_)) return nullptr;
    const std::optional<Slot> place = SlotAt(address, function_, observed_);
    if (!place || place->fs || place->through >= 0) return nullptr;
    const llvm::DataLayout& layout = function_.getParent()->getDataLayout();
    std::vector<uint8_t> bytes(layout.getTypeStoreSize(load->getType()));
    const uint64_t at = jit::AddressOf(*place, observed_);
    if (!reader_.IsConstant(at, bytes.size()) || !reader_.Read(at, bytes)) return nullptr;
    llvm::Constant* data = llvm::ConstantDataArray::get(load->getContext(), bytes);
    llvm::Constant* value = llvm::ConstantFoldLoadFromConst(data, load->getType(), llvm::APInt(64, 0), layout);
    if (!value || (place->base >= 0 && !RelyOnBase(place->base))) return nullptr;
    return value;
  }

  /// That the register holds the address of constant memory that it held when seen, wherever its file is loaded.
  bool RelyOnBase(int8_t gpr) {
    if (relied_on_.contains(gpr)) return true;
    const uint64_t held = observed_.gpr[static_cast<size_t>(gpr)];
    const std::optional<ModulePlace> file = reader_.ModuleAround(held);
    const int module = modules_.IndexOf(held);
    if (!file || (file->moves && module < 0)) return false;
    llvm::Instruction* ahead = function_.getEntryBlock().getTerminator();
    llvm::IRBuilder<> builder(ahead);
    const auto at_entry = [&](size_t offset) {
      llvm::Value* from = builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), function_.getArg(0), offset);
      return builder.CreateAlignedLoad(builder.getInt64Ty(), from, llvm::Align(8));
    };
    llvm::Value* expected = builder.getInt64(held);
    if (module >= 0) {
      llvm::Value* begin =
          at_entry(offsetof(MachineState, module_base) + sizeof(uint64_t) * static_cast<size_t>(module));
      expected = builder.CreateAdd(begin, builder.getInt64(held - modules_.begin(module)));
    }
    RelyOn(builder.CreateICmpEQ(at_entry(offsetof(MachineState, gpr) + sizeof(uint64_t) * static_cast<size_t>(gpr)),
                                expected),
           ahead);
    relied_on_.insert(gpr);
    return true;
  }

  llvm::Loop& loop_;
  llvm::ScalarEvolution& evolution_;
  const CodeReader& reader_;
  const ModuleBases& modules_;
  const MachineState& observed_;
  llvm::Function& function_;
  std::set<int8_t> relied_on_;
};

}  // namespace

bool FoldConstantReads(llvm::Loop& loop, llvm::ScalarEvolution& evolution, const CodeReader& reader,
                       const ModuleBases& modules, const MachineState& observed) {
  return ConstantReads(loop, evolution, reader, modules, observed).Fold();
}

}  // namespace tracelift::jit
