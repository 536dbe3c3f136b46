// UseOf against the real CPU. Each instruction runs twice from states that agree only in the registers that UseOf says
// it reads: what it writes must come out equal, and everything else must come out as it went in.
#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>

#include "jit/code/decoded_function.h"
#include "jit/code/reachable_code.h"

extern "C" void RunInstruction(tracelift::jit::MachineState* state, const void* code, int vector_bytes);
extern "C" const char run_instruction_back[];

namespace tracelift::jit {
namespace {

constexpr uint64_t kStatusFlags = 0x8d5;  // CF PF AF ZF SF OF

sigjmp_buf g_fault;
void OnFault(int) { siglongjmp(g_fault, 1); }

Instruction Decode(std::span<const uint8_t> bytes) {
  Instruction instruction;
  ZydisDecoderContext context;
  const ZydisDecoder decoder = MakeDecoder();
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, &context, bytes.data(), bytes.size(), &instruction.info)) ||
      !ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&decoder, &context, &instruction.info, instruction.operands,
                                               instruction.info.operand_count))) {
    return instruction;
  }
  instruction.valid = true;
  instruction.bytes = InstructionBytes(bytes.first(instruction.info.length));
  return instruction;
}

/// Only computes: registers in, registers out, the same each time, whatever was executed before.
bool IsPure(const Instruction& instruction) {
  const ZydisDecodedInstruction& info = instruction.info;
  if (!instruction.valid || IsMisread(info) || ControlFlowOf(info) != BlockEnd::kFallThrough) return false;
  switch (info.meta.category) {
    case ZYDIS_CATEGORY_CET:
    case ZYDIS_CATEGORY_CLZERO:
    case ZYDIS_CATEGORY_ENQCMD:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_IO:
    case ZYDIS_CATEGORY_IOSTRINGOP:
    case ZYDIS_CATEGORY_KEYLOCKER:
    case ZYDIS_CATEGORY_KEYLOCKER_WIDE:
    case ZYDIS_CATEGORY_PADLOCK:
    case ZYDIS_CATEGORY_PCONFIG:
    case ZYDIS_CATEGORY_PKU:
    case ZYDIS_CATEGORY_POP:
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_RDPID:
    case ZYDIS_CATEGORY_RDPRU:
    case ZYDIS_CATEGORY_RDRAND:
    case ZYDIS_CATEGORY_RDSEED:
    case ZYDIS_CATEGORY_RDWRFSGS:
    case ZYDIS_CATEGORY_SEGOP:
    case ZYDIS_CATEGORY_SERIALIZE:
    case ZYDIS_CATEGORY_SGX:
    case ZYDIS_CATEGORY_SMAP:
    case ZYDIS_CATEGORY_STRINGOP:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_TSX_LDTRK:
    case ZYDIS_CATEGORY_UINTR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_VTX:
    case ZYDIS_CATEGORY_WAITPKG:
    case ZYDIS_CATEGORY_X87_ALU:
    case ZYDIS_CATEGORY_XSAVE:
    case ZYDIS_CATEGORY_XSAVEOPT:
      return false;
    default:
      break;
  }
  switch (info.mnemonic) {
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_LEAVE:
    case ZYDIS_MNEMONIC_MONITORX:
    case ZYDIS_MNEMONIC_MWAITX:
    case ZYDIS_MNEMONIC_LSL:  // depends on the CPU it runs on (vgetcpu's segment)
    case ZYDIS_MNEMONIC_EMMS:
    case ZYDIS_MNEMONIC_FEMMS:
      return false;
    default:
      break;
  }
  if (UseOf(instruction).reads.HasGpr(kRsp) || UseOf(instruction).writes.HasGpr(kRsp)) return false;
  for (int i = 0; i < info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = instruction.operands[i];
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type != ZYDIS_MEMOP_TYPE_AGEN) return false;
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
    switch (ZydisRegisterGetClass(operand.reg.value)) {
      case ZYDIS_REGCLASS_GPR8:
      case ZYDIS_REGCLASS_GPR16:
      case ZYDIS_REGCLASS_GPR32:
      case ZYDIS_REGCLASS_GPR64:
      case ZYDIS_REGCLASS_XMM:
      case ZYDIS_REGCLASS_YMM:
      case ZYDIS_REGCLASS_ZMM:
      case ZYDIS_REGCLASS_MASK:
      case ZYDIS_REGCLASS_FLAGS:
        break;
      default:
        return false;
    }
  }
  return true;
}

class RegisterUseOnTheCpu : public testing::Test {
 protected:
  void SetUp() override {
    // AVX-512 state also needs the operating system; __builtin_cpu_supports asks for both.
    const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
    vector_bytes_ = has_avx512 ? 64 : __builtin_cpu_supports("avx") ? 32 : 16;
    page_ = static_cast<uint8_t*>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(page_, MAP_FAILED);
    stack_t stack = {};
    static uint8_t signal_stack[1 << 16];
    stack.ss_sp = signal_stack;
    stack.ss_size = sizeof(signal_stack);
    sigaltstack(&stack, nullptr);
    struct sigaction action = {};
    action.sa_handler = OnFault;
    action.sa_flags = SA_ONSTACK;
    for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &action, &old_[i]);
  }
  void TearDown() override {
    for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &old_[i], nullptr);
    munmap(page_, 4096);
  }

  MachineState RandomState() {
    MachineState state = {};
    for (uint64_t& gpr : state.gpr) gpr = Interesting();
    for (VectorRegister& vector : state.vector) {
      for (size_t i = 0; i < 64; i += 8) {
        const uint64_t value = Interesting();
        std::memcpy(&vector.bytes[i], &value, 8);
      }
    }
    state.rflags = 0x202 | (random_() & kStatusFlags);
    return state;
  }
  uint64_t Interesting() {
    switch (random_() % 8) {
      case 0:
        return 0;
      case 1:
        return random_() % 64;
      case 2:
        return 0x3ff0000000000000 + (random_() % 1024 << 44);
      default:
        return random_();
    }
  }

  bool Run(const Instruction& instruction, MachineState* state) {
    std::memcpy(page_, instruction.bytes.data(), instruction.bytes.size());
    uint8_t* p = page_ + instruction.bytes.size();
    const uint8_t jump[] = {0xff, 0x25, 0, 0, 0, 0};
    std::memcpy(p, jump, sizeof(jump));
    const auto back = reinterpret_cast<uint64_t>(run_instruction_back);
    std::memcpy(p + sizeof(jump), &back, sizeof(back));
    if (sigsetjmp(g_fault, 1) != 0) return false;  // not on this CPU, or a division error
    RunInstruction(state, page_, vector_bytes_);
    return true;
  }

  size_t ComparedBytes(const Instruction& instruction) const {
    // Legacy encodings never touch what is above bit 127 and are understood that way.
    return instruction.info.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ? 16 : static_cast<size_t>(vector_bytes_);
  }

  void Check(const Instruction& instruction) {
    const RegisterUse use = UseOf(instruction);
    const size_t compared = ComparedBytes(instruction);
    const uint64_t undefined =
        instruction.info.cpu_flags != nullptr ? instruction.info.cpu_flags->undefined & kStatusFlags : 0;
    for (int round = 0; round < 4; ++round) {
      const MachineState before = RandomState();
      MachineState other_before = RandomState();
      for (int n = 0; n < kGprCount; ++n) {
        if (use.reads.HasGpr(n)) other_before.gpr[n] = before.gpr[n];
      }
      for (int n = 0; n < kVectorCount; ++n) {
        if (use.reads.HasVector(n)) other_before.vector[n] = before.vector[n];
        // Above the part that counts both start equal.
        std::copy(before.vector[n].bytes.begin() + static_cast<ptrdiff_t>(compared), before.vector[n].bytes.end(),
                  other_before.vector[n].bytes.begin() + static_cast<ptrdiff_t>(compared));
      }
      if (use.reads.HasFlags()) other_before.rflags = before.rflags;
      MachineState after = before, other_after = other_before;
      if (!Run(instruction, &after) || !Run(instruction, &other_after)) {
        ++faults_;
        return;
      }
      executed_.insert(instruction.info.mnemonic);
      const std::string name = Disassemble(instruction);
      for (int n = 0; n < kGprCount; ++n) {
        if (n == kRsp) continue;
        if (use.writes.HasGpr(n)) {
          ASSERT_EQ(after.gpr[n], other_after.gpr[n]) << name << ": result in gpr " << n << " depends on more";
        } else {
          ASSERT_EQ(after.gpr[n], before.gpr[n]) << name << ": changes gpr " << n;
        }
      }
      const int vectors = vector_bytes_ == 64 ? 32 : 16;
      for (int n = 0; n < vectors; ++n) {
        const MachineState& expected = use.writes.HasVector(n) ? other_after : before;
        ASSERT_EQ(std::memcmp(&after.vector[n], &expected.vector[n], compared), 0)
            << name << ": vector " << n << (use.writes.HasVector(n) ? " depends on more" : " changes");
      }
      if (use.writes.HasFlags()) {
        ASSERT_EQ(after.rflags & kStatusFlags & ~undefined, other_after.rflags & kStatusFlags & ~undefined)
            << name << ": flags depend on more";
      } else {
        ASSERT_EQ(after.rflags & kStatusFlags, before.rflags & kStatusFlags) << name << ": changes flags";
      }
    }
    ++checked_;
  }

  /// Completes `start` with modrm bytes for register operands and an immediate, and checks what comes out.
  void CheckForms(const std::vector<uint8_t>& start, int forms) {
    for (int form = 0; form < forms; ++form) {
      std::vector<uint8_t> bytes = start;
      const auto reg = static_cast<uint8_t>(random_() % 8);
      const auto rm = form == 0 ? reg : static_cast<uint8_t>(random_() % 8);  // once the same register twice
      bytes.push_back(static_cast<uint8_t>(0xc0 | reg << 3 | rm));
      while (bytes.size() < 15) bytes.push_back(static_cast<uint8_t>(random_() % 3 == 0 ? 0 : random_()));
      const Instruction instruction = Decode(bytes);
      if (!IsPure(instruction)) continue;
      Check(instruction);
      if (HasFatalFailure()) return;
    }
  }

  static constexpr int kSignals[] = {SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP};
  struct sigaction old_[std::size(kSignals)];
  uint8_t* page_ = nullptr;
  int vector_bytes_ = 16;
  std::mt19937_64 random_{5};
  std::set<ZydisMnemonic> executed_;
  int checked_ = 0;
  int faults_ = 0;
};

TEST_F(RegisterUseOnTheCpu, HoldsForLegacyEncodings) {
  for (int prefix : {0, 0x66, 0xf2, 0xf3}) {
    for (int rex : {0, 0x40, 0x48, 0x45, 0x4d}) {
      for (int map = 0; map < 4; ++map) {
        for (int opcode = 0; opcode < 256; ++opcode) {
          std::vector<uint8_t> start;
          if (prefix != 0) start.push_back(static_cast<uint8_t>(prefix));
          if (rex != 0) start.push_back(static_cast<uint8_t>(rex));
          if (map > 0) start.push_back(0x0f);
          if (map == 2) start.push_back(0x38);
          if (map == 3) start.push_back(0x3a);
          start.push_back(static_cast<uint8_t>(opcode));
          CheckForms(start, 12);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
  EXPECT_GT(executed_.size(), 300u);
  GTEST_LOG_(INFO) << checked_ << " instructions, " << executed_.size() << " mnemonics, " << faults_ << " faults";
}

TEST_F(RegisterUseOnTheCpu, HoldsForVexEncodings) {
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "no AVX2";
  for (int map = 1; map <= 3; ++map) {
    for (int opcode = 0; opcode < 256; ++opcode) {
      for (int low = 0; low < 8; ++low) {       // L, pp
        for (int wide = 0; wide < 2; ++wide) {  // W
          const int v = static_cast<int>(random_() % 4 == 0 ? 15 : random_() % 16);
          CheckForms({0xc4, static_cast<uint8_t>(0xe0 | map), static_cast<uint8_t>(wide << 7 | v << 3 | low),
                      static_cast<uint8_t>(opcode)},
                     4);
          CheckForms({0xc4, static_cast<uint8_t>(0xe0 | map), static_cast<uint8_t>(wide << 7 | 15 << 3 | low),
                      static_cast<uint8_t>(opcode)},
                     1);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
  EXPECT_GT(executed_.size(), 250u);
  GTEST_LOG_(INFO) << checked_ << " instructions, " << executed_.size() << " mnemonics, " << faults_ << " faults";
}

TEST_F(RegisterUseOnTheCpu, HoldsForEvexEncodings) {
  if (vector_bytes_ != 64) GTEST_SKIP() << "no AVX-512";
  for (int map = 1; map <= 3; ++map) {
    for (int opcode = 0; opcode < 256; ++opcode) {
      for (int pp = 0; pp < 4; ++pp) {
        for (int wide = 0; wide < 2; ++wide) {
          for (int length = 0; length < 3; ++length) {
            for (int mask : {0, 2, 0x83}) {  // none, merging, zeroing
              const int v = static_cast<int>(random_() % 4 == 0 ? 15 : random_() % 16);
              CheckForms({0x62, static_cast<uint8_t>(0xf0 | map), static_cast<uint8_t>(wide << 7 | v << 3 | 4 | pp),
                          static_cast<uint8_t>(0x08 | length << 5 | mask), static_cast<uint8_t>(opcode)},
                         2);
              if (HasFatalFailure()) return;
            }
          }
        }
      }
    }
  }
  EXPECT_GT(executed_.size(), 300u);
  GTEST_LOG_(INFO) << checked_ << " instructions, " << executed_.size() << " mnemonics, " << faults_ << " faults";
}

RegisterUse UseOfBytes(std::initializer_list<uint8_t> bytes) {
  const std::vector<uint8_t> copy(bytes);
  const Instruction instruction = Decode(copy);
  EXPECT_TRUE(instruction.valid);
  return UseOf(instruction);
}

RegisterSet Set(std::initializer_list<Gpr> gprs, std::initializer_list<int> vectors = {}, bool flags = false) {
  RegisterSet set;
  for (Gpr gpr : gprs) set.AddGpr(gpr);
  for (int vector : vectors) set.AddVector(vector);
  if (flags) set.AddFlags();
  return set;
}

void ExpectUse(std::initializer_list<uint8_t> bytes, RegisterSet reads, RegisterSet writes) {
  const RegisterUse use = UseOfBytes(bytes);
  EXPECT_EQ(use.reads, reads);
  EXPECT_EQ(use.writes, writes);
}

// The CPU shows where a set is too small; these show that it is not needlessly large, and what a CPU run cannot:
// memory.
TEST(RegisterUse, LoadsOfScalarsOverwriteTheWholeRegister) {
  ExpectUse({0xf2, 0x0f, 0x10, 0x00}, Set({kRax}), Set({}, {0}));       // movsd xmm0, [rax]
  ExpectUse({0xf2, 0x0f, 0x10, 0xc1}, Set({}, {0, 1}), Set({}, {0}));   // movsd xmm0, xmm1
  ExpectUse({0xf3, 0x0f, 0x10, 0x00}, Set({kRax}), Set({}, {0}));       // movss xmm0, [rax]
  ExpectUse({0x66, 0x0f, 0x16, 0x00}, Set({kRax}, {0}), Set({}, {0}));  // movhpd xmm0, [rax]
  ExpectUse({0x66, 0x0f, 0x6e, 0xc1}, Set({kRcx}), Set({}, {0}));       // movd xmm0, ecx
  ExpectUse({0xf3, 0x0f, 0x7e, 0x00}, Set({kRax}), Set({}, {0}));       // movq xmm0, [rax]
  ExpectUse({0xf2, 0x0f, 0x2a, 0xc1}, Set({kRcx}, {0}), Set({}, {0}));  // cvtsi2sd xmm0, ecx
  ExpectUse({0x66, 0x0f, 0x5a, 0xc1}, Set({}, {1}), Set({}, {0}));      // cvtpd2ps xmm0, xmm1
  ExpectUse({0xc5, 0xf3, 0x2a, 0xc1}, Set({kRcx}, {1}), Set({}, {0}));  // vcvtsi2sd xmm0, xmm1, ecx
  ExpectUse({0xc5, 0xfb, 0x10, 0x00}, Set({kRax}), Set({}, {0}));       // vmovsd xmm0, [rax]
}

TEST(RegisterUse, ZeroingIdiomsReadNothing) {
  ExpectUse({0x31, 0xc0}, Set({}), Set({kRax}, {}, true));            // xor eax, eax
  ExpectUse({0x19, 0xc0}, Set({}, {}, true), Set({kRax}, {}, true));  // sbb eax, eax
  ExpectUse({0x30, 0xc0}, Set({kRax}), Set({kRax}, {}, true));        // xor al, al
  ExpectUse({0x66, 0x0f, 0xef, 0xc0}, Set({}), Set({}, {0}));         // pxor xmm0, xmm0
  ExpectUse({0x66, 0x0f, 0x76, 0xc0}, Set({}), Set({}, {0}));         // pcmpeqd xmm0, xmm0
  ExpectUse({0xc5, 0xf1, 0xef, 0xc1}, Set({}), Set({}, {0}));         // vpxor xmm0, xmm1, xmm1
  ExpectUse({0x0f, 0x57, 0xc1}, Set({}, {0, 1}), Set({}, {0}));       // xorps xmm0, xmm1
}

TEST(RegisterUse, PartialAndConditionalWritesReadWhatTheyKeep) {
  ExpectUse({0x89, 0xc8}, Set({kRcx}), Set({kRax}));                            // mov eax, ecx
  ExpectUse({0x66, 0x89, 0xc8}, Set({kRcx, kRax}), Set({kRax}));                // mov ax, cx
  ExpectUse({0x88, 0xcc}, Set({kRcx, kRax}), Set({kRax}));                      // mov ah, cl
  ExpectUse({0x0f, 0x44, 0xc1}, Set({kRcx, kRax}, {}, true), Set({kRax}));      // cmove eax, ecx
  ExpectUse({0xd3, 0xe0}, Set({kRcx, kRax}, {}, true), Set({kRax}, {}, true));  // shl eax, cl
  ExpectUse({0xc1, 0xe0, 0x03}, Set({kRax}), Set({kRax}, {}, true));            // shl eax, 3
  ExpectUse({0xff, 0xc0}, Set({kRax}, {}, true), Set({kRax}, {}, true));        // inc eax keeps CF
  ExpectUse({0x48, 0x01, 0xc8}, Set({kRax, kRcx}), Set({kRax}, {}, true));      // add rax, rcx
}

TEST(RegisterUse, ImplicitOperandsCount) {
  ExpectUse({0x48, 0xf7, 0xe1}, Set({kRax, kRcx}), Set({kRax, kRdx}, {}, true));                  // mul rcx
  ExpectUse({0x48, 0xf7, 0xf9}, Set({kRax, kRdx, kRcx}), Set({kRax, kRdx}, {}, true));            // idiv rcx
  ExpectUse({0x99}, Set({kRax}), Set({kRdx}));                                                    // cdq
  ExpectUse({0x48, 0x99}, Set({kRax}), Set({kRdx}));                                              // cqo
  ExpectUse({0xf3, 0x48, 0xa5}, Set({kRcx, kRsi, kRdi}), Set({kRcx, kRsi, kRdi}));                // rep movsq
  ExpectUse({0xf3, 0xab}, Set({kRax, kRcx, kRdi}), Set({kRcx, kRdi}));                            // rep stosd
  ExpectUse({0xf3, 0xa6}, Set({kRcx, kRsi, kRdi}, {}, true), Set({kRcx, kRsi, kRdi}, {}, true));  // repe cmpsb
  ExpectUse({0x50}, Set({kRax, kRsp}), Set({kRsp}));                                              // push rax
  ExpectUse({0xd7}, Set({kRax, kRbx}), Set({kRax}));                                              // xlat
  ExpectUse({0x0f, 0x1f, 0x04, 0x08}, Set({}), Set({}));                                          // nop [rax+rcx]
  ExpectUse({0x48, 0x8d, 0x04, 0x8b}, Set({kRbx, kRcx}), Set({kRax}));  // lea rax, [rbx+rcx*4]
}

TEST(RegisterUse, SystemCallsTouchEverything) {
  EXPECT_EQ(UseOfBytes({0x0f, 0x05}).reads, RegisterSet::All());
  EXPECT_EQ(UseOfBytes({0x0f, 0xae, 0x00}).reads, RegisterSet::All());  // fxsave [rax]
}

}  // namespace
}  // namespace tracelift::jit
