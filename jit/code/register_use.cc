// Which registers an instruction reads and writes, from Zydis' operand actions and from what those leave out.
//
// `reads` may be too large but never too small, and `writes` likewise, with one more duty: a register in `writes` and
// not in `reads` is overwritten completely. tests/jit/code/register_use_test.cc holds all of it against the real CPU.
#include "jit/code/decoded_function.h"
#include "jit/code/evex_operands.h"
#include "jit/vector_math.h"

namespace tracelift::jit {
namespace {

constexpr uint32_t kStatusFlags =
    ZYDIS_CPUFLAG_CF | ZYDIS_CPUFLAG_PF | ZYDIS_CPUFLAG_AF | ZYDIS_CPUFLAG_ZF | ZYDIS_CPUFLAG_SF | ZYDIS_CPUFLAG_OF;

/// The register as a set of one, empty when it is not tracked; GPRs of any width are their 64-bit register.
RegisterSet Tracked(ZydisRegister reg) {
  RegisterSet set;
  switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
      set.AddGpr(ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg)));
      break;
    case ZYDIS_REGCLASS_XMM:
    case ZYDIS_REGCLASS_YMM:
    case ZYDIS_REGCLASS_ZMM:
      set.AddVector(ZydisRegisterGetId(reg));
      break;
    case ZYDIS_REGCLASS_MASK:
      set.AddMask(ZydisRegisterGetId(reg));
      break;
    default:
      break;
  }
  return set;
}

/// The write leaves some bits of the register as they were.
bool KeepsPart(const ZydisDecodedInstruction& info, const ZydisDecodedOperand& operand) {
  switch (ZydisRegisterGetClass(operand.reg.value)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
      return true;
    case ZYDIS_REGCLASS_XMM:
      // Legacy scalars keep the rest of the register (Zydis gives the bits written); these three clear it.
      return info.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && operand.size < 128 &&
             info.mnemonic != ZYDIS_MNEMONIC_CVTPD2PS && info.mnemonic != ZYDIS_MNEMONIC_CVTPD2DQ &&
             info.mnemonic != ZYDIS_MNEMONIC_CVTTPD2DQ;
    default:
      return false;
  }
}

/// x op x whose result does not depend on x: zero, or all ones for comparisons, or minus carry for sbb.
bool IgnoresItsSource(const Instruction& instruction) {
  const ZydisDecodedInstruction& info = instruction.info;
  if (IsMasked(info)) return false;
  if (IsEvex(info) && HasMaskOperand(instruction)) return IgnoresItsSource(WithoutMaskOperand(instruction));
  switch (info.mnemonic) {
    case ZYDIS_MNEMONIC_VPTERNLOGD:
    case ZYDIS_MNEMONIC_VPTERNLOGQ: {  // always zero, always one
      const uint64_t table = instruction.operands[info.operand_count_visible - 1].imm.value.u & 0xff;
      return table == 0 || table == 0xff;
    }

    case ZYDIS_MNEMONIC_XOR:
    case ZYDIS_MNEMONIC_SUB:
    case ZYDIS_MNEMONIC_SBB:
    case ZYDIS_MNEMONIC_PXOR:
    case ZYDIS_MNEMONIC_XORPS:
    case ZYDIS_MNEMONIC_XORPD:
    case ZYDIS_MNEMONIC_PSUBB:
    case ZYDIS_MNEMONIC_PSUBW:
    case ZYDIS_MNEMONIC_PSUBD:
    case ZYDIS_MNEMONIC_PSUBQ:
    case ZYDIS_MNEMONIC_PCMPEQB:
    case ZYDIS_MNEMONIC_PCMPEQW:
    case ZYDIS_MNEMONIC_PCMPEQD:
    case ZYDIS_MNEMONIC_PCMPEQQ:
    case ZYDIS_MNEMONIC_PCMPGTB:
    case ZYDIS_MNEMONIC_PCMPGTW:
    case ZYDIS_MNEMONIC_PCMPGTD:
    case ZYDIS_MNEMONIC_PCMPGTQ:
      return instruction.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
             instruction.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
             instruction.operands[0].reg.value == instruction.operands[1].reg.value;
    case ZYDIS_MNEMONIC_VPXOR:
    case ZYDIS_MNEMONIC_VPXORD:
    case ZYDIS_MNEMONIC_VPXORQ:
    case ZYDIS_MNEMONIC_VXORPS:
    case ZYDIS_MNEMONIC_VXORPD:
    case ZYDIS_MNEMONIC_VPSUBB:
    case ZYDIS_MNEMONIC_VPSUBW:
    case ZYDIS_MNEMONIC_VPSUBD:
    case ZYDIS_MNEMONIC_VPSUBQ:
    case ZYDIS_MNEMONIC_VPCMPEQB:
    case ZYDIS_MNEMONIC_VPCMPEQW:
    case ZYDIS_MNEMONIC_VPCMPEQD:
    case ZYDIS_MNEMONIC_VPCMPEQQ:
    case ZYDIS_MNEMONIC_VPCMPGTB:
    case ZYDIS_MNEMONIC_VPCMPGTW:
    case ZYDIS_MNEMONIC_VPCMPGTD:
    case ZYDIS_MNEMONIC_VPCMPGTQ:
    case ZYDIS_MNEMONIC_KXORB:
    case ZYDIS_MNEMONIC_KXORW:
    case ZYDIS_MNEMONIC_KXORD:
    case ZYDIS_MNEMONIC_KXORQ:
    case ZYDIS_MNEMONIC_KXNORB:
    case ZYDIS_MNEMONIC_KXNORW:
    case ZYDIS_MNEMONIC_KXNORD:
    case ZYDIS_MNEMONIC_KXNORQ:
      return info.operand_count_visible == 3 && instruction.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
             instruction.operands[2].type == ZYDIS_OPERAND_TYPE_REGISTER &&
             instruction.operands[1].reg.value == instruction.operands[2].reg.value;
    default:
      return false;
  }
}

/// Instructions whose effect on registers goes beyond their operands: the kernel, a debugger, or a memory area reads
/// or writes the register file.
bool TouchesEverything(const ZydisDecodedInstruction& info) {
  switch (info.meta.category) {
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_XSAVE:
    case ZYDIS_CATEGORY_XSAVEOPT:
      return true;
    default:
      break;
  }
  switch (info.mnemonic) {
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_XBEGIN:
    case ZYDIS_MNEMONIC_XABORT:
      return true;
    default:
      return false;
  }
}

/// The flags may stay as they were: shifts and rotates by zero, repeated comparisons of nothing.
bool MayKeepFlags(const Instruction& instruction) {
  const ZydisDecodedInstruction& info = instruction.info;
  if (info.meta.category == ZYDIS_CATEGORY_STRINGOP) return true;
  if (info.meta.category != ZYDIS_CATEGORY_SHIFT && info.meta.category != ZYDIS_CATEGORY_ROTATE) return false;
  const int last = info.operand_count_visible - 1;
  const ZydisDecodedOperand& amount = instruction.operands[last];
  if (amount.type != ZYDIS_OPERAND_TYPE_IMMEDIATE) return true;
  return (amount.imm.value.u & (info.operand_width == 64 ? 63 : 31)) == 0;
}

void AddFlags(const Instruction& instruction, RegisterUse* use) {
  const ZydisAccessedFlags* flags = instruction.info.cpu_flags;
  if (flags == nullptr) return;
  const uint32_t written = (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) & kStatusFlags;
  if ((flags->tested & kStatusFlags) != 0) use->reads.AddFlags();
  if (written == 0) return;
  use->writes.AddFlags();
  if (written != kStatusFlags || MayKeepFlags(instruction)) use->reads.AddFlags();
}

/// A function of three integers, or of floats, that obeys the System V ABI. The return address it pushes is gone after it.
RegisterUse UseOfKnownCall(KnownCallee callee) {
  RegisterUse use;
  use.reads.AddGpr(kRsp);
  if (const MathFunction* function = MathFunctionOf(callee)) {
    for (int vector = 0; vector < function->arguments; ++vector) use.reads.AddVectorLow(vector);
  } else {
    for (int gpr : {kRdi, kRsi, kRdx}) use.reads.AddGpr(gpr);
  }
  for (int gpr : {kRax, kRcx, kRdx, kRsi, kRdi, kR8, kR9, kR10, kR11}) use.writes.AddGpr(gpr);
  for (int vector = 0; vector < kVectorCount; ++vector) use.writes.AddVector(vector);
  for (int mask = 0; mask < kMaskCount; ++mask) use.writes.AddMask(mask);
  use.writes.AddFlags();
  return use;
}

}  // namespace

RegisterSet LostByLinkedCall() {
  RegisterSet lost;
  for (int gpr : {kRcx, kRsi, kRdi, kR8, kR9, kR10, kR11}) lost.AddGpr(gpr);
  for (int vector = 2; vector < kVectorCount; ++vector) lost.AddVector(vector);
  for (int mask = 0; mask < kMaskCount; ++mask) lost.AddMask(mask);
  lost.AddFlags();
  return lost;
}

RegisterSet LostByKnownCall(const Instruction& call) {
  RegisterSet lost = UseOf(call).writes;
  if (MathFunctionOf(call.callee)) {
    lost.RemoveVectorLow(0);
  } else {
    lost.RemoveGpr(kRax);
  }
  return lost;
}

RegisterUse UseOf(const Instruction& instruction) {
  const ZydisDecodedInstruction& info = instruction.info;
  RegisterUse use;
  if (instruction.callee != KnownCallee::kNone) return UseOfKnownCall(instruction.callee);
  if (instruction.linkage != Linkage::kNone) {  // a push, a pop
    use.reads.AddGpr(kRsp);
    use.writes.AddGpr(kRsp);
    if (instruction.linkage == Linkage::kLeaveLinked) use.writes = use.writes | LostByLinkedCall();
    return use;
  }
  if (!instruction.valid || TouchesEverything(info)) return {RegisterSet::All(), RegisterSet::All()};
  if (info.mnemonic == ZYDIS_MNEMONIC_NOP) return use;  // its operands are decoration

  const bool ignores_source = IgnoresItsSource(instruction);
  for (int i = 0; i < info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = instruction.operands[i];
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
      use.reads = use.reads | Tracked(operand.mem.base) | Tracked(operand.mem.index);
      // Zydis does not list rsi and rdi as written by some string instructions.
      if (info.meta.category == ZYDIS_CATEGORY_STRINGOP || info.meta.category == ZYDIS_CATEGORY_IOSTRINGOP) {
        use.writes = use.writes | Tracked(operand.mem.base);
      }
      continue;
    }
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER || IsNoMask(operand)) continue;
    const RegisterSet reg = Tracked(operand.reg.value);
    if ((operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0 && !ignores_source) use.reads = use.reads | reg;
    if ((operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0) {
      use.writes = use.writes | reg;
      const bool always = (operand.actions & ZYDIS_OPERAND_ACTION_WRITE) != 0;
      if (!always || KeepsPart(info, operand)) use.reads = use.reads | reg;
    }
  }
  switch (info.mnemonic) {
    case ZYDIS_MNEMONIC_BSF:
    case ZYDIS_MNEMONIC_BSR:  // of zero: the destination stays as it was
      use.reads = use.reads | Tracked(instruction.operands[0].reg.value);
      break;
    case ZYDIS_MNEMONIC_XLAT:
      use.reads.AddGpr(kRax);
      break;
    case ZYDIS_MNEMONIC_VZEROUPPER:  // clears above bit 127; registers 16 to 31 are left alone
    case ZYDIS_MNEMONIC_VZEROALL:
      for (int n = 0; n < 16; ++n) {
        use.writes.AddVector(n);
        if (info.mnemonic == ZYDIS_MNEMONIC_VZEROUPPER) use.reads.AddVector(n);
      }
      break;
    default:
      break;
  }
  AddFlags(instruction, &use);
  return use;
}

}  // namespace tracelift::jit
