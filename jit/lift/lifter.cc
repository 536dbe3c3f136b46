#include "jit/lift/lifter.h"

#include <llvm/BinaryFormat/Dwarf.h>
#include <llvm/IR/DIBuilder.h>

#include <map>

#include "jit/code/vex_forms.h"
#include "jit/lift/allow_list.h"
#include "jit/lift/float_audit.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };

llvm::Function* DeclareFunction(llvm::Module& module, const std::string& name) {
  llvm::IRBuilder<> types(module.getContext());
  llvm::Type* pointer = types.getPtrTy();
  auto* type = llvm::FunctionType::get(
      types.getInt32Ty(), {pointer, pointer, types.getInt64Ty(), types.getInt64Ty(), pointer}, /*isVarArg=*/false);
  auto* function = llvm::Function::Create(type, llvm::Function::ExternalLinkage, name, module);
  constexpr const char* kNames[] = {"in", "out", "first", "count", "flags"};
  for (unsigned i : {kIn, kOut, kFirst, kCount, kFlags}) function->getArg(i)->setName(kNames[i]);
  return function;
}

/// Lets debug locations carry instruction addresses; no debug information is emitted for them.
llvm::DISubprogram* DescribeFunction(llvm::Module& module, llvm::Function& function) {
  if (!module.getModuleFlag("Debug Info Version")) {
    module.addModuleFlag(llvm::Module::Warning, "Debug Info Version", llvm::DEBUG_METADATA_VERSION);
  }
  llvm::DIBuilder builder(module);
  llvm::DIFile* file = builder.createFile(function.getName(), "machine code");
  builder.createCompileUnit(llvm::dwarf::DW_LANG_C, file, "tracelift", /*isOptimized=*/true, "", 0, "",
                            llvm::DICompileUnit::NoDebug);
  llvm::DISubroutineType* type = builder.createSubroutineType(builder.getOrCreateTypeArray({}));
  llvm::DISubprogram* subprogram =
      builder.createFunction(file, function.getName(), function.getName(), file, 1, type, 1, llvm::DINode::FlagZero,
                             llvm::DISubprogram::SPFlagDefinition);
  builder.finalize();
  function.setSubprogram(subprogram);
  return subprogram;
}

class LoopLifter {
 public:
  LoopLifter(llvm::Module& module, const DecodedFunction& code, const LoopFacts& facts, const LiftOptions& options,
             const std::string& name)
      : context_(module.getContext()),
        code_(code),
        facts_(facts),
        options_(options),
        blocks_(code.LiftedBlocks(facts.loop)),
        function_(DeclareFunction(module, name)),
        subprogram_(DescribeFunction(module, *function_)) {}

  std::expected<llvm::Function*, Rejection> Lift() {
    CreateBlocks();
    Translator translator(*function_, code_, facts_, entry_);
    translator.SetUpperZero(options_.upper_zero);
    translator.SetSame(options_.same);
    translator.SetFloatControl(options_.float_control);
    translator.SetModules(&options_.modules);
    for (const KnownValue& known : options_.known) {
      if (known.gpr >= 0) translator.SetKnownGpr(known.gpr, known.low);
      if (known.slot >= 0) translator.SetKnownSlot(known.slot, known.low, known.high);
    }
    if (UsesMxcsr()) {
      translator.UseExceptionFlags();
      MarkFloatUse(*function_);
    }
    for (int block : blocks_) {
      if (std::optional<Rejection> rejection = LiftBlock(translator, code_.blocks[block])) {
        function_->eraseFromParent();
        return std::unexpected(std::move(*rejection));
      }
    }
    FinishNext(translator);
    FinishEnds(translator);
    translator.SettleAreas();
    if (std::optional<Rejection> rejection = AuditFloats()) {
      function_->eraseFromParent();
      return std::unexpected(std::move(*rejection));
    }
    return function_;
  }

 private:
  llvm::DebugLoc LocationOf(uint64_t address) const {
    return llvm::DILocation::get(context_, code_.LineOf(address), 0, subprogram_);
  }

  llvm::BasicBlock* NewBlock(const llvm::Twine& name) { return llvm::BasicBlock::Create(context_, name, function_); }

  void CreateBlocks() {
    entry_ = NewBlock("entry");
    for (int block : blocks_) {
      const uint64_t begin = code_.blocks[block].begin;
      begins_[begin] = NewBlock(begin == facts_.header ? llvm::Twine("header") : "b_" + llvm::Twine::utohexstr(begin));
    }
    next_ = NewBlock("next");
    pause_ = NewBlock("pause");
    for (size_t k = 0; k < facts_.exits.size(); ++k) exits_.push_back(NewBlock("exit_" + llvm::Twine(k)));
    llvm::IRBuilder<> builder(entry_);
    builder.SetCurrentDebugLocation(LocationOf(facts_.header));
    pass_ = builder.CreateAlloca(builder.getInt64Ty(), nullptr, "pass");
    builder.CreateStore(builder.getInt64(0), pass_);
    builder.CreateBr(begins_[facts_.header]);
  }

  bool UsesMxcsr() const {
    const auto uses_it = [](const Instruction& instruction) {
      const ZydisMnemonic form = LegacyForm(instruction.info.mnemonic);
      return form == ZYDIS_MNEMONIC_STMXCSR || form == ZYDIS_MNEMONIC_LDMXCSR;
    };
    return std::ranges::any_of(blocks_, [&](int b) {
      const BasicBlock& block = code_.blocks[b];
      return std::ranges::any_of(std::span(code_.instructions).subspan(block.first, block.count), uses_it);
    });
  }

  /// Where a branch of the loop to `address` goes.
  llvm::BasicBlock* Target(uint64_t address) const {
    if (address == facts_.header) return next_;
    const auto block = begins_.find(address);
    if (block != begins_.end()) return block->second;
    const auto exit = std::lower_bound(facts_.exits.begin(), facts_.exits.end(), address);
    return exits_[static_cast<size_t>(exit - facts_.exits.begin())];
  }

  bool FlagsMatterAfter(const BasicBlock& block) const {
    if (options_.live_at_pause.HasFlags()) return true;
    for (uint64_t target : block.targets) {
      const int to = code_.BlockAt(target);
      const bool inside = to >= 0 && begins_.contains(target);
      if (!inside || code_.live_in[to].HasFlags()) return true;
    }
    return false;
  }

  /// Where control goes after `address`, seen through blocks of the loop that only jump on.
  uint64_t FollowJumps(uint64_t address) const {
    for (int hops = 0; hops < 8 && address != facts_.header && begins_.contains(address); ++hops) {
      const BasicBlock& block = code_.blocks[code_.BlockAt(address)];
      if (block.end_kind != BlockEnd::kJump || block.count != 1) break;
      address = block.targets[0];
    }
    return address;
  }

  bool SameEverywhere(const Instruction& a, const Instruction& b) const {
    for (int i = 0; i < a.info.operand_count; ++i) {
      const ZydisDecodedOperand& operand = a.operands[i];
      if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
      if (operand.mem.base == ZYDIS_REGISTER_RIP || facts_.HeldAt(a, operand) != facts_.HeldAt(b, operand)) return false;
    }
    return std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end());
  }

  /// Whether `block` ends with all the instructions of `tail` and goes on to the same places.
  bool EndsWith(const BasicBlock& block, const BasicBlock& tail) const {
    if (block.end_kind != BlockEnd::kBranch || tail.end_kind != BlockEnd::kBranch) return false;
    if (tail.begin == facts_.header || tail.count > block.count) return false;
    if (tail.count == block.count && tail.begin >= block.begin) return false;  // of two equal ones the first stays
    const Instruction* a = &code_.instructions[block.first + block.count - tail.count];
    const Instruction* b = &code_.instructions[tail.first];
    for (int i = 0; i + 1 < tail.count; ++i) {
      if (!SameEverywhere(a[i], b[i])) return false;
    }
    return a[tail.count - 1].info.mnemonic == b[tail.count - 1].info.mnemonic &&
           FollowJumps(block.targets[0]) == FollowJumps(tail.targets[0]) &&
           FollowJumps(block.targets[1]) == FollowJumps(tail.targets[1]);
  }

  /// gcc duplicates the end of a loop body behind each of two inner exits. With two copies of `i += 1` no analysis sees
  /// an induction variable, so one of them is lifted and the other jumps to it.
  const BasicBlock* SharedTailOf(const BasicBlock& block) const {
    const BasicBlock* longest = nullptr;
    for (int other : blocks_) {
      const BasicBlock& tail = code_.blocks[other];
      if (tail.count < 2 || &tail == &block || !EndsWith(block, tail)) continue;
      if (longest == nullptr || tail.count > longest->count) longest = &tail;
    }
    return longest;
  }

  Rejection OnlyInDefaultEnvironment(const Instruction& instruction) const {
    return {RejectionReason::kUnsupportedInstruction, OriginalAddress(instruction.address),
            Disassemble(instruction) + " with " + DescribeFloatEnvironment(MxcsrFor(options_.float_control))};
  }

  /// Float operations that no instruction of the lifted code may have made.
  std::optional<Rejection> AuditFloats() const {
    if (options_.float_control == kDefaultFloatControl) return std::nullopt;
    const llvm::Instruction* found = FirstOfDefaultEnvironment(*function_);
    if (found == nullptr) return std::nullopt;
    const unsigned line = found->getDebugLoc() ? found->getDebugLoc().getLine() : 0;
    const Instruction* instruction = code_.InstructionOnLine(line);
    return OnlyInDefaultEnvironment(instruction != nullptr ? *instruction : *code_.InstructionAt(facts_.header));
  }

  /// It lies in the file that the loop does.
  bool IsOwnCode(uint64_t address) const {
    return options_.modules.IndexOf(OriginalAddress(address)) == options_.modules.IndexOf(OriginalAddress(facts_.header));
  }

  std::optional<Rejection> LiftBlock(Translator& translator, const BasicBlock& block) {
    llvm::IRBuilder<>& builder = translator.builder();
    builder.SetInsertPoint(begins_.at(block.begin));
    if (block.begin == facts_.header) translator.StartPass();
    const std::vector<FlagMask> live_flags = LiveFlagsAfter(code_, block, FlagsMatterAfter(block));
    const BasicBlock* tail = SharedTailOf(block);
    const JumpTable* table = code_.TableOf(block);
    llvm::Value* index = nullptr;
    const int own_count = tail == nullptr ? block.count : block.count - tail->count;
    for (int i = 0; i < own_count; ++i) {
      const Instruction& instruction = code_.instructions[block.first + i];
      builder.SetCurrentDebugLocation(LocationOf(instruction.address));
      if (table != nullptr && instruction.address == table->read_at) index = translator.TableIndex(instruction);
      const bool is_branch = FamilyOf(instruction.info.mnemonic) == InstructionFamily::kBranch;
      if (instruction.linkage == Linkage::kEnter) {
        translator.EnterCallee(instruction);
        continue;
      }
      if (instruction.linkage != Linkage::kNone) {
        translator.LeaveCallee(instruction, block.targets[0]);
        continue;
      }
      const uint64_t float_operations = translator.floats().count();
      translator.SetRelaxed(options_.relaxed && IsOwnCode(instruction.address));
      if (!IsSupported(instruction) || (!is_branch && !translator.Translate(instruction, live_flags[i]))) {
        return Rejection{RejectionReason::kUnsupportedInstruction, OriginalAddress(instruction.address),
                         Disassemble(instruction)};
      }
      if (RaisesFloatExceptions(instruction)) {
        MarkFloatUse(*function_);
        const bool obeys_mxcsr = translator.floats().is_default() || translator.floats().count() > float_operations;
        if (!obeys_mxcsr) return OnlyInDefaultEnvironment(instruction);
      }
    }
    if (tail != nullptr) {
      builder.SetCurrentDebugLocation(LocationOf(block.begin));
      builder.CreateBr(begins_.at(tail->begin));
    } else if (block.end_kind == BlockEnd::kBranch) {
      const Instruction& last = code_.LastOf(block);
      builder.CreateCondBr(translator.BranchCondition(last), Target(block.targets[0]), Target(block.targets[1]));
    } else if (table != nullptr) {
      // The last target is taken for all indices that do not come up.
      const size_t last = table->targets.size() - 1;
      auto* jump = builder.CreateSwitch(index, Target(table->targets[last]), static_cast<unsigned>(last));
      for (size_t i = 0; i < last; ++i) jump->addCase(builder.getInt64(i), Target(table->targets[i]));
    } else {
      builder.CreateBr(Target(block.targets[0]));
    }
    return std::nullopt;
  }

  void FinishNext(Translator& translator) {
    llvm::IRBuilder<>& builder = translator.builder();
    builder.SetInsertPoint(next_);
    builder.SetCurrentDebugLocation(LocationOf(facts_.header));
    translator.FinishPass();
    llvm::Value* passes = builder.CreateAdd(builder.CreateLoad(builder.getInt64Ty(), pass_), builder.getInt64(1));
    builder.CreateStore(passes, pass_);
    builder.CreateCondBr(builder.CreateICmpEQ(passes, function_->getArg(kCount)), pause_, begins_.at(facts_.header));
  }

  void FinishEnds(Translator& translator) {
    llvm::IRBuilder<>& builder = translator.builder();
    builder.SetInsertPoint(pause_);
    translator.StoreState(function_->getArg(kOut), options_.live_at_pause);
    builder.CreateRet(builder.getInt32(static_cast<uint32_t>(-1)));
    for (size_t k = 0; k < exits_.size(); ++k) {
      builder.SetInsertPoint(exits_[k]);
      translator.StoreState(function_->getArg(kOut), RegisterSet::All());
      builder.CreateRet(builder.getInt32(static_cast<uint32_t>(k)));
    }
  }

  llvm::LLVMContext& context_;
  const DecodedFunction& code_;
  const LoopFacts& facts_;
  const LiftOptions& options_;
  const std::vector<int> blocks_;
  llvm::Function* function_;
  llvm::DISubprogram* subprogram_;
  llvm::BasicBlock* entry_ = nullptr;
  llvm::BasicBlock* next_ = nullptr;
  llvm::BasicBlock* pause_ = nullptr;
  std::vector<llvm::BasicBlock*> exits_;
  std::map<uint64_t, llvm::BasicBlock*> begins_;
  llvm::AllocaInst* pass_ = nullptr;
};

}  // namespace

std::expected<llvm::Function*, Rejection> LiftLoop(llvm::Module& module, const DecodedFunction& function,
                                                   const LoopFacts& facts, const LiftOptions& options,
                                                   const std::string& name) {
  return LoopLifter(module, function, facts, options, name).Lift();
}

bool Translator::Translate(const Instruction& instruction, FlagMask live_flags_after) {
  at_ = &instruction;
  if (instruction.callee != KnownCallee::kNone) return TranslateKnownCall();
  const FlagMask written = FlagsWritten(instruction);
  wanted_ = live_flags_after & written;
  if (written != kNoFlags) {
    flags_written_ = true;
    FlagAlloca(kCarry);
  }
  if (instruction.info.meta.category == ZYDIS_CATEGORY_STRINGOP) {  // movsd is also the name of a vector move
    TranslateString();
    return true;
  }
  CheckHeldAddress();
  const InstructionFamily family = FamilyOf(instruction.info.mnemonic);
  switch (family) {
    case InstructionFamily::kNone:
    case InstructionFamily::kBranch: return false;
    case InstructionFamily::kInteger: return TranslateInteger();
    default: return TranslateVector(family);
  }
}

llvm::Value* Translator::TableIndex(const Instruction& read) {
  at_ = &read;
  const auto is_memory = [](const auto& operand) { return operand.type == ZYDIS_OPERAND_TYPE_MEMORY; };
  const ZydisDecodedOperand* memory =
      std::find_if(read.operands, read.operands + read.info.operand_count_visible, is_memory);
  return ReadGpr(memory->mem.index);
}

llvm::Value* Translator::BranchCondition(const Instruction& instruction) {
  at_ = &instruction;
  Condition condition;
  if (ConditionOf(instruction.info.mnemonic, &condition)) return ReadCondition(condition);
  const auto rcx_is_zero = [this] { return ir_.CreateICmpEQ(ReadWhole(kRcx, 64), ir_.getInt64(0)); };
  const ZydisMnemonic mnemonic = instruction.info.mnemonic;
  if (mnemonic == ZYDIS_MNEMONIC_JRCXZ) return rcx_is_zero();
  if (mnemonic == ZYDIS_MNEMONIC_JECXZ) return ir_.CreateICmpEQ(ReadWhole(kRcx, 32), ir_.getInt32(0));
  WriteWhole(kRcx, ir_.CreateSub(ReadWhole(kRcx, 64), ir_.getInt64(1)));
  llvm::Value* again = ir_.CreateNot(rcx_is_zero());
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_LOOPE: return ir_.CreateAnd(again, ReadFlag(kZero));
    case ZYDIS_MNEMONIC_LOOPNE: return ir_.CreateAnd(again, ir_.CreateNot(ReadFlag(kZero)));
    default: return again;
  }
}

}  // namespace tracelift::jit
