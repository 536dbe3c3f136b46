#include "tests/jit/lift/differential.h"

#include <fmt/format.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <string_view>

#include "jit/artifact.h"
#include "jit/code/decoded_function.h"
#include "jit/code/vex_forms.h"
#include "jit/lift/float_calls.h"
#include "jit/lift/lifter.h"
#include "tests/jit/lift/assembly.h"
#include "tests/jit/lift/interpreted.h"
#include "tests/jit/lift/machine_states.h"
#include "tests/jit/lift/native_run.h"

namespace tracelift::jit {
namespace {

using LiftedFunction = int32_t (*)(const MachineState*, MachineState*, int64_t, int64_t, uint32_t*);

/// The arithmetic flags that `instruction` leaves undefined when it runs from `state`.
uint64_t UndefinedFlags(const Instruction& instruction, const MachineState* state) {
  constexpr uint64_t kOf = 0x800, kAf = 0x10, kCf = 1;
  const uint64_t listed = instruction.info.cpu_flags ? instruction.info.cpu_flags->undefined & kArithmeticFlags : 0;
  int count_operand = -1;
  switch (instruction.info.mnemonic) {
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR: count_operand = 1; break;
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD: count_operand = 2; break;
    default: return listed;
  }
  const bool rotates = instruction.info.meta.category == ZYDIS_CATEGORY_ROTATE;
  const ZydisDecodedOperand& count = instruction.operands[count_operand];
  const bool is_constant = count.type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
  const unsigned bits = instruction.operands[0].size;
  if (!is_constant && state == nullptr) return kOf | kAf | (bits < 32 ? kCf : 0);
  uint64_t by = is_constant ? count.imm.value.u : state->gpr[kRcx];
  by &= bits == 64 ? 63 : 31;
  if (by == 0) return 0;
  uint64_t undefined = by == 1 ? 0 : kOf;
  if (!rotates) undefined |= kAf;
  if (!rotates && by >= bits && instruction.info.mnemonic != ZYDIS_MNEMONIC_SAR) undefined |= kCf;
  return undefined;
}

/// Width of the floats whose NaN bits LLVM may exchange in this instruction, or 0.
int SwappableNaN(ZydisMnemonic mnemonic) {
  if (IsFusedMultiplyAdd(mnemonic)) {
    const std::string_view name = ZydisMnemonicGetString(mnemonic);
    return name.back() == 's' ? 32 : 64;
  }
  switch (LegacyForm(mnemonic)) {
    case ZYDIS_MNEMONIC_ADDSS:
    case ZYDIS_MNEMONIC_ADDPS:
    case ZYDIS_MNEMONIC_MULSS:
    case ZYDIS_MNEMONIC_MULPS:
    case ZYDIS_MNEMONIC_HADDPS:
    case ZYDIS_MNEMONIC_ADDSUBPS: return 32;
    case ZYDIS_MNEMONIC_ADDSD:
    case ZYDIS_MNEMONIC_ADDPD:
    case ZYDIS_MNEMONIC_MULSD:
    case ZYDIS_MNEMONIC_MULPD:
    case ZYDIS_MNEMONIC_HADDPD:
    case ZYDIS_MNEMONIC_ADDSUBPD: return 64;
    default: return 0;
  }
}

bool IsNaN(uint64_t bits, int width) {
  return width == 64 ? (bits & INT64_MAX) > 0x7ff0000000000000 : (bits & 0x7fffffff) > 0x7f800000;
}

class Lifting {
 public:
  Lifting(const std::vector<Snippet>& snippets, const DifferentialOptions& options)
      : snippets_(snippets), options_(options) {}

  DifferentialResult Run() {
    std::vector<std::string> texts;
    for (const Snippet& snippet : snippets_) texts.push_back(snippet.native);
    std::vector<size_t> lifted_code;  // mostly the very bytes that run natively: rip-relative operands agree
    for (size_t i = 0; i < snippets_.size(); ++i) {
      const bool same = snippets_[i].lifted == snippets_[i].native;
      lifted_code.push_back(same ? i : texts.size());
      if (!same) texts.push_back(snippets_[i].lifted);
    }
    Assembly assembly(texts, &result_.failure);
    if (!result_.failure.empty()) return result_;
    InstallFaultHandler();
    for (size_t i = 0; i < snippets_.size(); ++i) {
      auto function = DecodeEndlessLoop(assembly.codes()[lifted_code[i]]);
      functions_.push_back(function ? *function : nullptr);
      if (!function) result_.not_lifted.push_back(snippets_[i].lifted + ": " + Describe(function.error()));
    }
    for (Variant variant : {Variant::kPlainInterpreted, Variant::kPlainO0, Variant::kPlainO3, Variant::kSlotsO3,
                            Variant::kDeadFlagsO3}) {
      RunVariant(assembly, variant);
      if (!result_.failure.empty()) break;
    }
    return result_;
  }

 private:
  struct Compiled {
    size_t snippet = 0;
    LoopFacts facts;
    std::function<void(const MachineState*, MachineState*, uint32_t*)> run;  // one pass
  };

  void RunVariant(const Assembly& assembly, Variant variant) {
    if (options_.float_modes && variant == Variant::kPlainInterpreted) return;  // knows no mode but the default
    auto context = std::make_unique<llvm::LLVMContext>();
    auto module = std::make_unique<llvm::Module>("lifted", *context);
    const bool optimised = variant >= Variant::kPlainO3;
    std::unique_ptr<llvm::orc::LLJIT> jit = MakeJit(optimised, &result_.failure);
    if (jit == nullptr) return;
    module->setDataLayout(jit->getDataLayout());
    module->setTargetTriple(jit->getTargetTriple().str());
    std::vector<Compiled> compiled;
    for (size_t i = 0; i < snippets_.size(); ++i) {
      if (functions_[i] != nullptr) LiftOne(*module, i, variant, &compiled);
    }
    std::string problem;
    llvm::raw_string_ostream stream(problem);
    if (llvm::verifyModule(*module, &stream)) {
      result_.failure = "lifted IR is not valid: " + problem;
      return;
    }
    if (variant == Variant::kPlainInterpreted) return Interpret(assembly, std::move(module), std::move(compiled));
    if (optimised) {
      OfferVectorForms(*module);
      RunPasses(*module, "default<O3>");
    }
    LowerFloatCalls(*module, 8 * VectorBytes());
    if (llvm::verifyModule(*module, &stream)) {
      result_.failure = "lowered IR is not valid: " + problem;
      return;
    }
    if (llvm::Error error = jit->addIRModule({std::move(module), std::move(context)})) {
      result_.failure = llvm::toString(std::move(error));
      return;
    }
    for (Compiled& one : compiled) {
      auto symbol = jit->lookup(NameOf(one.snippet));
      if (!symbol) {
        result_.failure = llvm::toString(symbol.takeError());
        return;
      }
      one.run = [code = symbol->toPtr<LiftedFunction>()](const MachineState* in, MachineState* out, uint32_t* flags) {
        code(in, out, 0, 1, flags);
      };
      CompareAndCount(assembly, one, variant);
    }
  }

  void Interpret(const Assembly& assembly, std::unique_ptr<llvm::Module> module, std::vector<Compiled> lifted) {
    const InterpretedModule interpreted(std::move(module), &result_.failure);
    if (!result_.failure.empty()) return;
    for (Compiled& one : lifted) {
      const std::string name = NameOf(one.snippet);
      if (std::string unknown = interpreted.Unknown(name); !unknown.empty()) {
        result_.not_interpreted[snippets_[one.snippet].lifted] = std::move(unknown);
        continue;
      }
      one.run = [&](const MachineState* in, MachineState* out, uint32_t* flags) {
        interpreted.Run(name, in, out, 1, flags);
      };
      CompareAndCount(assembly, one, Variant::kPlainInterpreted);
    }
  }

  static std::string NameOf(size_t snippet) { return fmt::format("lifted_{}", snippet); }

  void CompareAndCount(const Assembly& assembly, const Compiled& one, Variant variant) {
    const uint64_t before = result_.comparisons;
    Compare(assembly.codes()[one.snippet].begin, one, variant);
    result_.comparisons_in[kVariantNames[static_cast<int>(variant)]] += result_.comparisons - before;
    CountMnemonics(*functions_[one.snippet], variant, result_.comparisons - before);
  }

  void CountMnemonics(const FunctionCode& function, Variant variant, uint64_t comparisons) {
    const std::vector<Instruction>& instructions = function.decoded().instructions;
    std::set<std::string> mnemonics;  // the last instruction is the jump back
    for (size_t i = 0; i + 1 < instructions.size(); ++i) {
      mnemonics.insert(ZydisMnemonicGetString(instructions[i].info.mnemonic));
    }
    for (const std::string& mnemonic : mnemonics) {
      MnemonicCounts& counts = result_.mnemonics[mnemonic];
      counts.snippets += variant == Variant::kPlainO0;
      counts.comparisons_in[kVariantNames[static_cast<int>(variant)]] += comparisons;
    }
  }

  void LiftOne(llvm::Module& module, size_t i, Variant variant, std::vector<Compiled>* compiled) {
    const FunctionCode& function = *functions_[i];
    const auto not_lifted = [&](const std::string& why) {
      if (variant == Variant::kPlainO0) result_.not_lifted.push_back(snippets_[i].lifted + ": " + why);
    };
    const LoopId loop = FirstLoop(function);
    if (loop == LoopId::kNone) return not_lifted("no loop found");
    auto facts = AnalyseLoop(function.decoded(), loop);
    if (!facts) return not_lifted(Describe(facts.error()));
    if (variant == Variant::kSlotsO3 && facts->slots.empty()) return;
    if (variant != Variant::kSlotsO3) facts->slots.clear();
    LiftOptions lift_options;
    if (options_.float_modes) lift_options.float_control = kFlushToZero;  // any that is not the default one
    if (variant == Variant::kDeadFlagsO3) {
      if (function.decoded().instructions.size() == 2) return;  // a single one, and the jump back
      RegisterSet flags;
      flags.AddFlags();
      lift_options.live_at_pause = RegisterSet::All() - flags;
    }
    auto lifted = LiftLoop(module, function.decoded(), *facts, lift_options, NameOf(i));
    if (!lifted) return not_lifted(Describe(lifted.error()));
    compiled->push_back({i, std::move(*facts), {}});
  }

  void Compare(uint64_t native_code, const Compiled& one, Variant variant) {
    const Snippet& snippet = snippets_[one.snippet];
    const std::vector<Instruction>& instructions = functions_[one.snippet]->decoded().instructions;
    StateGenerator generator(options_.seed * 1000003 + one.snippet);
    alignas(64) static std::array<uint8_t, kBufferBytes> buffer;
    int nan_width = 0;
    for (const Instruction& instruction : instructions) {
      nan_width = std::max(nan_width, SwappableNaN(instruction.info.mnemonic));
    }
    if (options_.float_modes) generator.VaryFloatModes();
    TestState start, expected, actual;
    const int states =
        variant == Variant::kPlainInterpreted ? std::min(options_.states, options_.interpreted_states) : options_.states;
    for (int n = 0; n < states; ++n) {
      generator.Fill(snippet.native, reinterpret_cast<uint64_t>(buffer.data()), &start);

      buffer = start.memory;
      const bool completes = RunNative(start.machine, native_code, &expected.machine);
      expected.memory = buffer;

      buffer = start.memory;
      MachineState in = start.machine;
      for (size_t i = 0; i < one.facts.slots.size(); ++i) {
        const Slot& slot = one.facts.slots[i];
        std::memcpy(in.slot[i].bytes.data(), reinterpret_cast<void*>(AddressOf(slot, in)), slot.bytes);
      }
      actual.machine = in;
      uint32_t flags = 0;
      {
        const FloatModeScope scope(in.mxcsr);
        one.run(&in, &actual.machine, &flags);
      }
      for (size_t i = 0; i < one.facts.slots.size(); ++i) {
        const Slot& slot = one.facts.slots[i];
        if (!slot.written) continue;
        std::memcpy(reinterpret_cast<void*>(AddressOf(slot, in)), actual.machine.slot[i].bytes.data(), slot.bytes);
      }
      actual.memory = buffer;

      ++result_.comparisons;
      std::string difference;
      if (!completes) {
        if ((flags & kFlagDivideFault) != 0) {
          ++result_.faults;
          continue;
        }
        difference = "the CPU raised a fault, the lifted code did not";
      } else if ((flags & kFlagDivideFault) != 0) {
        ++result_.declined;
        continue;
      } else {
        uint64_t undefined = variant == Variant::kDeadFlagsO3 ? kArithmeticFlags : 0;
        for (const Instruction& instruction : instructions) {
          undefined |= UndefinedFlags(instruction, instructions.size() == 2 ? &start.machine : nullptr);
        }
        difference = Difference(start, expected, actual, undefined, nan_width);
      }
      if (!difference.empty()) {
        if (options_.float_modes) difference += "; " + DescribeFloatEnvironment(start.machine.mxcsr);
        result_.mismatches.push_back({snippet.lifted, kVariantNames[static_cast<int>(variant)], difference});
        return;
      }
    }
  }

  std::string Difference(const TestState& start, const TestState& expected, const TestState& actual,
                         uint64_t undefined, int nan_width) {
    for (int i = 0; i < kGprCount; ++i) {
      if (expected.machine.gpr[i] == actual.machine.gpr[i]) continue;
      return fmt::format("gpr {}: from {:#x}, CPU {:#x}, lifted {:#x} (rcx {:#x})", i, start.machine.gpr[i],
                         expected.machine.gpr[i], actual.machine.gpr[i], start.machine.gpr[kRcx]);
    }
    const uint64_t flags = (expected.machine.rflags ^ actual.machine.rflags) & kArithmeticFlags & ~undefined;
    if (flags != 0) {
      return fmt::format("flags {:#x}: CPU {:#x}, lifted {:#x} (rax {:#x} rcx {:#x})", flags,
                         expected.machine.rflags & kArithmeticFlags, actual.machine.rflags & kArithmeticFlags,
                         start.machine.gpr[kRax], start.machine.gpr[kRcx]);
    }
    bool tolerated = false;
    for (int i = 0; i < kMaskCount; ++i) {
      if (expected.machine.mask[i] == actual.machine.mask[i]) continue;
      return fmt::format("k{}: from {:#x}, CPU {:#x}, lifted {:#x} (k1 {:#x}, k2 {:#x})", i, start.machine.mask[i],
                         expected.machine.mask[i], actual.machine.mask[i], start.machine.mask[1], start.machine.mask[2]);
    }
    for (int i = 0; i < VectorCount(); ++i) {
      const uint8_t* want = expected.machine.vector[i].bytes.data();
      const uint8_t* have = actual.machine.vector[i].bytes.data();
      const int bytes = VectorBytes();
      if (SameBytes(want, have, bytes, nan_width, &tolerated)) continue;
      return fmt::format("xmm{}: from {}, CPU {}, lifted {} (k1 {:#x}, xmm2 {})", i,
                         Hex(start.machine.vector[i].bytes.data(), bytes), Hex(want, bytes), Hex(have, bytes),
                         start.machine.mask[1],
                         Hex(start.machine.vector[2].bytes.data(), bytes));
    }
    for (size_t at = 0; at < kBufferBytes; at += 16) {
      const uint8_t* want = expected.memory.data() + at;
      const uint8_t* have = actual.memory.data() + at;
      if (SameBytes(want, have, 16, nan_width, &tolerated)) continue;
      return fmt::format("memory at {}: CPU {}, lifted {}", at, Hex(want, 16), Hex(have, 16));
    }
    if (tolerated) ++result_.nan_differences;
    return "";
  }

  static std::string Hex(const uint8_t* bytes, int count) {
    std::string text;
    for (int i = count - 1; i >= 0; --i) text += fmt::format("{:02x}", bytes[i]);
    return text;
  }

  static bool SameBytes(const uint8_t* want, const uint8_t* have, int count, int nan_width, bool* tolerated) {
    if (std::memcmp(want, have, static_cast<size_t>(count)) == 0) return true;
    if (nan_width == 0) return false;
    const int bytes = nan_width / 8;
    for (int at = 0; at < count; at += bytes) {
      uint64_t a = 0, b = 0;
      std::memcpy(&a, want + at, static_cast<size_t>(bytes));
      std::memcpy(&b, have + at, static_cast<size_t>(bytes));
      if (a != b && !(IsNaN(a, nan_width) && IsNaN(b, nan_width))) return false;
    }
    *tolerated = true;
    return true;
  }

  const std::vector<Snippet>& snippets_;
  const DifferentialOptions& options_;
  std::vector<std::shared_ptr<const FunctionCode>> functions_;
  DifferentialResult result_;
};

}  // namespace

DifferentialResult RunDifferential(const std::vector<Snippet>& snippets, const DifferentialOptions& options) {
  return Lifting(snippets, options).Run();
}

std::set<std::string> MnemonicsOf(const std::vector<std::string>& snippets, std::string* failure) {
  Assembly assembly(snippets, failure);
  std::set<std::string> result;
  for (const AssembledCode& code : assembly.codes()) {
    auto function = DecodeEndlessLoop(code);
    if (!function) continue;
    for (const Instruction& instruction : (*function)->decoded().instructions) {
      result.insert(ZydisMnemonicGetString(instruction.info.mnemonic));
    }
  }
  return result;
}

std::vector<bool> AreSupported(const std::vector<std::string>& snippets, std::string* failure) {
  Assembly assembly(snippets, failure);
  std::vector<bool> result;
  for (const AssembledCode& code : assembly.codes()) {
    auto function = DecodeEndlessLoop(code);
    bool all = function.has_value();
    if (all) {
      for (const Instruction& instruction : (*function)->decoded().instructions) all &= IsSupported(instruction);
    }
    result.push_back(all);
  }
  return result;
}

}  // namespace tracelift::jit
