// Calls that have become a part of the loop: pushes and pops, what a callee must give back, and MXCSR, which libm saves,
// sets and restores.
//
// Nothing is taken on trust. A return goes to where its call came from if that is what lies on the stack, and the
// registers that the ABI tells callees to keep are what they were: checked in the lifted code, where simplification
// proves it in all usual cases. From the check on they *are* what they were, so that no analysis has to look for them in
// the callee's stack frame.
//
// Of MXCSR the control bits are known (LiftOptions::float_control); the exception flags are not, because the order of
// operations is not kept. A program reads them as an unknown value; if anything depends on it when all is simplified, the
// loop is rejected (UnknownValue). Between clearing the flags and restoring them a pass may do what it likes; at its end
// those of its start must be there again.

#include "jit/artifact.h"
#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"
#include "jit/lift/unknown_value.h"

namespace tracelift::jit {
namespace {

constexpr Gpr kKeptByCallees[] = {kRbx, kRbp, kR12, kR13, kR14, kR15};
constexpr int kExceptionFlags = 6;  // the lowest bits of MXCSR, held as a number of their own width

}  // namespace

llvm::Value* Translator::UnknownFlags() {
  return UnknownValue(ir_, kUnknownFlagsMarker, IntType(kExceptionFlags), unknowns_++);
}

void Translator::Push(Value* value) {
  Value* rsp = ir_.CreateSub(ReadFullGpr(kRsp), ir_.getInt64(8));
  WriteFullGpr(kRsp, rsp);
  ir_.CreateAlignedStore(value, ir_.CreateGEP(ir_.getInt8Ty(), memory_base_, rsp), llvm::Align(1));
}

llvm::Value* Translator::Pop() {
  Value* rsp = ReadFullGpr(kRsp);
  Value* address = ir_.CreateGEP(ir_.getInt8Ty(), memory_base_, rsp);
  Value* value = ir_.CreateAlignedLoad(ir_.getInt64Ty(), address, llvm::Align(1));
  WriteFullGpr(kRsp, ir_.CreateAdd(rsp, ir_.getInt64(8)));
  return value;
}

bool Translator::TranslateStack() {
  switch (LegacyForm(at_->info.mnemonic)) {
    case ZYDIS_MNEMONIC_PUSH:
      Push(Read(0, 64));
      return true;
    case ZYDIS_MNEMONIC_POP:
      Write(0, Pop());  // a memory operand's address counts from rsp after the pop
      return true;
    case ZYDIS_MNEMONIC_LEAVE:
      WriteFullGpr(kRsp, ReadFullGpr(kRbp));
      WriteFullGpr(kRbp, Pop());
      return true;
    case ZYDIS_MNEMONIC_STMXCSR:
    case ZYDIS_MNEMONIC_VSTMXCSR:
      StoreMxcsr();
      return true;
    case ZYDIS_MNEMONIC_LDMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR:
      LoadMxcsr();
      return true;
    default: return false;
  }
}

void Translator::EnterCallee(const Instruction& call) {
  at_ = &call;
  const uint64_t return_to = call.next();
  for (Gpr gpr : kKeptByCallees) {
    llvm::AllocaInst*& kept = kept_[{return_to, gpr}];
    if (kept == nullptr) kept = entry_ir_.CreateAlloca(ir_.getInt64Ty(), nullptr, "kept");
    ir_.CreateStore(ReadFullGpr(gpr), kept);
  }
  Push(ProgramAddress(OriginalAddress(return_to)));
}

void Translator::LeaveCallee(const Instruction& ret, uint64_t return_to) {
  at_ = &ret;
  Value* unlike = ir_.CreateICmpNE(Pop(), ProgramAddress(OriginalAddress(return_to)));
  for (Gpr gpr : kKeptByCallees) {
    llvm::AllocaInst*& alloca = kept_[{return_to, gpr}];
    if (alloca == nullptr) alloca = entry_ir_.CreateAlloca(ir_.getInt64Ty(), nullptr, "kept");
    Value* kept = ir_.CreateLoad(ir_.getInt64Ty(), alloca);
    unlike = ir_.CreateOr(unlike, ir_.CreateICmpNE(ReadFullGpr(gpr), kept));
    WriteFullGpr(gpr, kept);
  }
  FlagFault(unlike, kFlagDetour);
  if (ret.linkage == Linkage::kLeaveLinked) ForgetLost();
}

// Any value will do for what nobody may rely on. That at entry makes it invariant.
void Translator::ForgetLost() {
  const auto forget = [this](llvm::AllocaInst* alloca) {
    if (alloca == nullptr) return;
    ir_.CreateStore(entry_ir_.CreateLoad(alloca->getAllocatedType(), alloca), alloca);
  };
  const RegisterSet lost = LostByLinkedCall();
  for (int gpr = 0; gpr < kGprCount; ++gpr) {
    if (!lost.HasGpr(gpr)) continue;
    CreateGpr(gpr);
    forget(gpr_[gpr]);
    forget(gpr_low_[gpr]);
  }
  for (int vector = 0; vector < kVectorCount; ++vector) {
    if (!lost.HasVector(vector) || vector_bits_[vector] == 0) continue;
    Place& place = VectorPlace(vector);
    for (llvm::AllocaInst* lane : place.lanes) forget(lane);
    for (llvm::AllocaInst* above : place.above) forget(above);
  }
}

void Translator::StartPass() {
  if (exception_flags_ == nullptr) return;
  Value* at_start = UnknownFlags();
  ir_.CreateStore(at_start, exception_flags_);
  ir_.CreateStore(at_start, exception_flags_at_start_);
}

void Translator::FinishPass() {
  if (exception_flags_ == nullptr) return;
  Value* at_start = ir_.CreateLoad(IntType(kExceptionFlags), exception_flags_at_start_);
  Value* now = ir_.CreateLoad(IntType(kExceptionFlags), exception_flags_);
  FlagFault(ir_.CreateICmpNE(ir_.CreateAnd(now, at_start), at_start), kFlagDetour);
}

void Translator::UseExceptionFlags() {
  exception_flags_ = entry_ir_.CreateAlloca(IntType(kExceptionFlags), nullptr, "exception_flags");
  exception_flags_at_start_ = entry_ir_.CreateAlloca(IntType(kExceptionFlags), nullptr, "exception_flags.start");
}

void Translator::StoreMxcsr() {
  Value* flags = ir_.CreateOr(ir_.CreateLoad(IntType(kExceptionFlags), exception_flags_), UnknownFlags());
  ir_.CreateStore(flags, exception_flags_);
  StoreAt(0, 0, ir_.CreateOr(ir_.CreateZExt(flags, ir_.getInt32Ty()), ir_.getInt32(MxcsrFor(float_control_))));
}

void Translator::LoadMxcsr() {
  Value* loaded = LoadAt(0, 0, ir_.getInt32Ty());
  ir_.CreateStore(ir_.CreateTrunc(loaded, IntType(kExceptionFlags)), exception_flags_);
  Value* control = ir_.CreateAnd(loaded, Constant(32, ~uint64_t{kMxcsrSticky}));
  FlagFault(ir_.CreateICmpNE(control, ir_.getInt32(MxcsrFor(float_control_))), kFlagDetour);
}

}  // namespace tracelift::jit
