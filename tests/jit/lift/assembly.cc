#include "tests/jit/lift/assembly.h"

#include <fmt/format.h>
#include <llvm/ExecutionEngine/Orc/CompileUtils.h>
#include <llvm/IR/DiagnosticInfo.h>
#include <llvm/IR/DiagnosticPrinter.h>
#include <llvm/IR/Module.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>

#include <cstring>

#include "jit/lift/codegen_options.h"
#include "tests/jit/lift/native_run.h"

namespace tracelift::jit {
namespace {

constexpr size_t kJumpBytes = 5;

/// Bytes [begin, end) of this process, if asked for followed by a jump back to begin.
class LoopReader : public CodeReader {
 public:
  LoopReader(uint64_t begin, uint64_t end, bool endless) : begin_(begin) {
    bytes_.assign(reinterpret_cast<const uint8_t*>(begin), reinterpret_cast<const uint8_t*>(end));
    if (!endless) return;
    const auto back = static_cast<int32_t>(begin - end - kJumpBytes);
    bytes_.push_back(0xe9);
    for (int i = 0; i < 4; ++i) bytes_.push_back(static_cast<uint8_t>(static_cast<uint32_t>(back) >> (8 * i)));
  }
  AddressRange bounds() const { return {begin_, begin_ + bytes_.size()}; }
  bool Read(uint64_t address, std::span<uint8_t> out) const override {
    if (address < begin_ || address + out.size() > bounds().end) return false;
    std::memcpy(out.data(), bytes_.data() + (address - begin_), out.size());
    return true;
  }
  bool IsConstant(uint64_t address, size_t size) const override {
    return address >= begin_ && size <= bytes_.size() && address - begin_ <= bytes_.size() - size;
  }

 private:
  uint64_t begin_ = 0;
  std::vector<uint8_t> bytes_;
};

std::expected<std::shared_ptr<const FunctionCode>, Rejection> Decode(const AssembledCode& code, bool endless) {
  const LoopReader reader(code.begin, code.end, endless);
  return DecodeFunction(reader, reader.bounds());
}

}  // namespace

std::unique_ptr<llvm::orc::LLJIT> MakeJit(bool optimise, std::string* failure) {
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  llvm::InitializeNativeTargetAsmParser();
  if (!DisableUnsoundPasses()) {
    *failure = "a pass that miscompiles cannot be turned off";
    return nullptr;
  }
  auto target = llvm::orc::JITTargetMachineBuilder::detectHost();
  if (!target) {
    *failure = llvm::toString(target.takeError());
    return nullptr;
  }
  target->setCodeGenOptLevel(optimise ? llvm::CodeGenOptLevel::Default : llvm::CodeGenOptLevel::None);
  auto jit = llvm::orc::LLJITBuilder().setJITTargetMachineBuilder(std::move(*target)).create();
  if (!jit) {
    *failure = llvm::toString(jit.takeError());
    return nullptr;
  }
  return std::move(*jit);
}

void RunPasses(llvm::Module& module, const std::string& pipeline) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager sccs;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder;
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(sccs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, sccs, modules);
  llvm::ModulePassManager passes;
  llvm::cantFail(builder.parsePassPipeline(passes, pipeline));
  passes.run(module, modules);
}

Assembly::Assembly(const std::vector<std::string>& texts, std::string* failure) : jit_(MakeJit(false, failure)) {
  if (jit_ == nullptr) return;
  std::string source = ".intel_syntax noprefix\n.text\n";
  for (size_t i = 0; i < texts.size(); ++i) {
    std::string text = texts[i];
    for (size_t at; (at = text.find("@L")) != std::string::npos;) text.replace(at, 2, fmt::format(".Lsnippet{}", i));
    source += fmt::format(".balign 16\n.globl snippet_{0}\nsnippet_{0}:\n{1}\n.globl snippet_end_{0}\nsnippet_end_{0}:\n"
                          "jmp qword ptr [rip]\n.quad {2}\n.quad 0x0123456789abcdef, 0x3ff4000000000000\n",
                          i, text, NativeExitAddress());
  }
  source += ".att_syntax\n";
  // As an object: LLJIT does not see the symbols of a module's assembly.
  llvm::LLVMContext context;
  context.setDiagnosticHandlerCallBack(
      [](const llvm::DiagnosticInfo* info, void* text) {
        llvm::raw_string_ostream stream(*static_cast<std::string*>(text));
        llvm::DiagnosticPrinterRawOStream printer(stream);
        info->print(printer);
      },
      failure);
  llvm::Module module("snippets", context);
  module.setDataLayout(jit_->getDataLayout());
  module.setTargetTriple(jit_->getTargetTriple().str());
  module.setModuleInlineAsm(source);
  auto target = llvm::cantFail(llvm::orc::JITTargetMachineBuilder::detectHost());
  auto machine = llvm::cantFail(target.createTargetMachine());
  auto object = llvm::orc::SimpleCompiler(*machine)(module);
  if (!object || !failure->empty()) {
    if (!object) *failure += llvm::toString(object.takeError());
    return;
  }
  if (llvm::Error error = jit_->addObjectFile(std::move(*object))) {
    *failure = llvm::toString(std::move(error));
    return;
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    auto begin = jit_->lookup(fmt::format("snippet_{}", i));
    auto end = jit_->lookup(fmt::format("snippet_end_{}", i));
    if (!begin || !end) {
      *failure = texts[i] + ": no code";
      llvm::consumeError(begin.takeError());
      llvm::consumeError(end.takeError());
      return;
    }
    codes_.push_back({begin->getValue(), end->getValue()});
  }
}

std::expected<std::shared_ptr<const FunctionCode>, Rejection> DecodeCode(const AssembledCode& code) {
  return Decode(code, false);
}

std::expected<std::shared_ptr<const FunctionCode>, Rejection> DecodeEndlessLoop(const AssembledCode& code) {
  return Decode(code, true);
}

LoopId FirstLoop(const FunctionCode& function) {
  for (size_t i = 0; i < function.loops().size(); ++i) {
    if (function.loops()[i].header == function.bounds().begin) return static_cast<LoopId>(i);
  }
  return LoopId::kNone;
}

}  // namespace tracelift::jit
