#include "tests/jit/lift/instruction_forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <random>

#include "jit/code/vex_forms.h"
#include "jit/code/decoded_function.h"
#include "jit/code/reachable_code.h"
#include "jit/lift/lifter.h"

namespace tracelift::jit {
namespace {

constexpr uint32_t kDisplacement = 64;  // aligned for every vector width, inside the test buffer
constexpr uint8_t kRegisters = 3, kWithDisplacement = 2;

/// Encodings of one form: so many of all that were met, each as likely as any other.
struct Form {
  uint64_t met = 0;
  std::vector<std::string> snippets;
};

class Search {
 public:
  Search(uint64_t seed, size_t per_form) : random_(seed), per_form_(per_form), decoder_(MakeDecoder()) {}

  std::vector<std::string> Run() {
    Legacy();
    Vex();
    Evex();
    std::vector<std::string> all;
    for (auto& [name, form] : forms_) {
      for (std::string& snippet : form.snippets) all.push_back(std::move(snippet));
    }
    return all;
  }

 private:
  uint8_t Any(int limit) { return static_cast<uint8_t>(random_() % static_cast<uint64_t>(limit)); }

  void Legacy() {
    const std::vector<std::vector<uint8_t>> prefixes = {{},     {0x66}, {0xf2},       {0xf3},
                                                        {0x3e}, {0x2e}, {0x66, 0xf2}, {0x66, 0xf3}};
    const std::vector<std::vector<uint8_t>> maps = {{}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};
    for (const std::vector<uint8_t>& prefix : prefixes) {
      for (const int rex : {0, 0x40, 0x48, 0x44, 0x4c, 0x45, 0x4d}) {
        for (const std::vector<uint8_t>& map : maps) {
          for (int opcode = 0; opcode < 256; ++opcode) {
            std::vector<uint8_t> start = prefix;
            if (rex != 0) start.push_back(static_cast<uint8_t>(rex));
            start.insert(start.end(), map.begin(), map.end());
            start.push_back(static_cast<uint8_t>(opcode));
            Complete(start, (rex & 1) != 0);
          }
        }
      }
    }
  }

  void Vex() {
    for (int map = 1; map <= 3; ++map) {
      for (int opcode = 0; opcode < 256; ++opcode) {
        for (int length_and_prefix = 0; length_and_prefix < 8; ++length_and_prefix) {
          for (int wide = 0; wide < 2; ++wide) {
            for (const int v : {15, static_cast<int>(Any(16))}) {
              for (const int high : {0xe0, 0x60, 0xc0}) {  // none, R, B
                Complete({0xc4, static_cast<uint8_t>(high | map),
                          static_cast<uint8_t>(wide << 7 | v << 3 | length_and_prefix), static_cast<uint8_t>(opcode)},
                         high == 0xc0);
              }
            }
          }
        }
      }
    }
  }

  void Evex() {
    for (const int map : {1, 2, 3, 5, 6}) {
      for (int opcode = 0; opcode < 256; ++opcode) {
        for (int pp = 0; pp < 4; ++pp) {
          for (int wide = 0; wide < 2; ++wide) {
            for (int length_and_b = 0; length_and_b < 8; ++length_and_b) {  // b: broadcast or embedded rounding
              for (const int mask : {0, 2, 0x83}) {                         // none, merging, zeroing
                const int v = Any(3) == 0 ? 15 : Any(16);
                Complete({0x62, static_cast<uint8_t>((Any(2) == 0 ? 0xf0 : 0x70) | map),
                          static_cast<uint8_t>(wide << 7 | v << 3 | 4 | pp),
                          static_cast<uint8_t>(0x08 | (length_and_b >> 1) << 5 | (length_and_b & 1) << 4 | mask),
                          static_cast<uint8_t>(opcode)},
                         false);
              }
            }
          }
        }
      }
    }
  }

  /// With register operands, and unless the base would be another register (`extended`) with a memory operand.
  void Complete(const std::vector<uint8_t>& start, bool extended) {
    for (uint8_t reg = 0; reg < 8; ++reg) {
      for (const uint8_t mod : {kRegisters, kWithDisplacement}) {
        if (mod == kWithDisplacement && extended) continue;
        std::vector<uint8_t> bytes = start;
        const uint8_t rm = mod == kWithDisplacement ? uint8_t{kRdi} : Any(8);
        bytes.push_back(static_cast<uint8_t>(mod << 6 | reg << 3 | rm));
        if (mod == kWithDisplacement) bytes.insert(bytes.end(), {kDisplacement, 0, 0, 0});
        while (bytes.size() < ZYDIS_MAX_INSTRUCTION_LENGTH) bytes.push_back(Any(4) == 0 ? Any(8) : Any(256));
        Consider(bytes);
        if (mod != kWithDisplacement || start.front() == 0x2e || start.front() == 0x3e || Any(4) != 0) continue;
        bytes.insert(bytes.begin(), 0x64);  // the same, as data of the thread
        bytes.pop_back();
        Consider(bytes);
      }
    }
  }

  void Consider(const std::vector<uint8_t>& bytes) {
    Instruction instruction;
    ZydisDecoderContext context;
    if (!ZYAN_SUCCESS(
            ZydisDecoderDecodeInstruction(&decoder_, &context, bytes.data(), bytes.size(), &instruction.info))) {
      return;
    }
    if (ControlFlowOf(instruction.info) != BlockEnd::kFallThrough || IsMisread(instruction.info)) return;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&decoder_, &context, &instruction.info, instruction.operands,
                                                 instruction.info.operand_count))) {
      return;
    }
    instruction.valid = true;
    instruction.bytes = InstructionBytes(std::span(bytes).first(instruction.info.length));
    if (!IsSupported(instruction) || !StaysInBuffer(instruction) || NeedsACallee(instruction)) return;
    Form& form = forms_[FormOf(instruction)];
    const uint64_t place = form.snippets.size() < per_form_ ? form.snippets.size() : random_() % (form.met + 1);
    ++form.met;
    if (place >= per_form_) return;
    form.snippets.resize(std::max<size_t>(form.snippets.size(), place + 1));
    form.snippets[place] = SnippetOf(instruction);
  }

  static std::string SnippetOf(const Instruction& instruction) {
    std::string text = ".byte ";
    for (size_t i = 0; i < instruction.bytes.size(); ++i) {
      text += fmt::format("{}{:#04x}", i == 0 ? "" : ", ", instruction.bytes[i]);
    }
    return text + " # " + Disassemble(instruction);
  }

/// What only callees are lifted with: they have a stack, and MXCSR's exception flags mean nothing in a snippet.
bool NeedsACallee(const Instruction& instruction) {
  switch (LegacyForm(instruction.info.mnemonic)) {
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_POP:
    case ZYDIS_MNEMONIC_LEAVE:
    case ZYDIS_MNEMONIC_STMXCSR:
    case ZYDIS_MNEMONIC_LDMXCSR: return true;
    default: return false;
  }
}

  static bool StaysInBuffer(const Instruction& instruction) {
    const ZydisDecodedInstruction& info = instruction.info;
    if (info.meta.category == ZYDIS_CATEGORY_STRINGOP || UseOf(instruction).writes.HasGpr(kRsp)) return false;
    for (int i = 0; i < info.operand_count; ++i) {
      const ZydisDecodedOperand& operand = instruction.operands[i];
      if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
      if (operand.mem.type == ZYDIS_MEMOP_TYPE_AGEN || info.mnemonic == ZYDIS_MNEMONIC_NOP) continue;
      const bool is_bit_string =
          info.meta.category == ZYDIS_CATEGORY_BITBYTE &&
          instruction.operands[info.operand_count_visible - 1].type == ZYDIS_OPERAND_TYPE_REGISTER;
      if (is_bit_string && info.operand_count_visible == 2) return false;
      if (operand.mem.base != ZYDIS_REGISTER_RDI || operand.mem.index != ZYDIS_REGISTER_NONE ||
          operand.mem.disp.value != kDisplacement) {
        return false;
      }
    }
    return true;
  }

  static std::string FormOf(const Instruction& instruction) {
    const ZydisDecodedInstruction& info = instruction.info;
    std::string form =
        fmt::format("{} {} {} {} {} {}", static_cast<int>(info.mnemonic), static_cast<int>(info.encoding),
                    static_cast<int>(info.opcode), static_cast<int>(info.avx.mask.mode),
                    static_cast<int>(info.avx.rounding.mode), static_cast<int>(info.avx.broadcast.mode));
    for (int i = 0; i < info.raw.prefix_count; ++i) form += fmt::format(" {:x}", info.raw.prefixes[i].value & ~0xf);
    for (int i = 0; i < info.operand_count_visible; ++i) {
      const ZydisDecodedOperand& operand = instruction.operands[i];
      form += fmt::format(" {}:{}", static_cast<int>(operand.type), operand.size);
      if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && CountsFromSegment(operand.mem)) form += " fs";
      if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
      const bool high_byte = operand.reg.value >= ZYDIS_REGISTER_AH && operand.reg.value <= ZYDIS_REGISTER_BH;
      form += fmt::format(":{}{}", static_cast<int>(ZydisRegisterGetClass(operand.reg.value)), high_byte ? "h" : "");
      if (i > 0 && instruction.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
          instruction.operands[0].reg.value == operand.reg.value) {
        form += "=";
      }
    }
    return form;
  }

  std::mt19937_64 random_;
  const size_t per_form_;
  const ZydisDecoder decoder_;
  std::map<std::string, Form> forms_;
};

}  // namespace

std::vector<std::string> EncodedForms(uint64_t seed, size_t per_form) { return Search(seed, per_form).Run(); }

}  // namespace tracelift::jit
