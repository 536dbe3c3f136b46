// Registers, slots, flags and memory as LLVM values.

#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/ValueSymbolTable.h>

#include "jit/artifact.h"
#include "jit/code/slots.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {
namespace {

constexpr std::pair<StatusFlag, int> kFlagBits[] = {{kCarry, 0}, {kParity, 2}, {kAdjust, 4},
                                                    {kZero, 6},  {kSign, 7},   {kOverflow, 11}};

int GprNumber(ZydisRegister reg) {
  return ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
}

bool IsHighByte(ZydisRegister reg) { return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH; }

constexpr const char* kGprNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr const char* kFlagNames[] = {"cf", "pf", "af", "zf", "sf", "of", "less", "less_equal", "below_equal"};

}  // namespace

Translator::Translator(llvm::Function& function, const DecodedFunction& code, const LoopFacts& facts,
                       llvm::BasicBlock* entry)
    : function_(function),
      context_(function.getContext()),
      facts_(facts),
      constants_(code.constants),
      entry_(entry),
      ir_(context_),
      entry_ir_(entry->getTerminator()),
      kinds_(ChooseLanes(code, facts)),
      slot_(facts.slots.size()),
      slot_is_area_(facts.slots.size()),
      known_slot_(facts.slots.size()) {
  FindNarrowGprs(code);
  FindVectorWidths(code);
  FindMaskWidths(code);
  FindAreas(code);
  entry_ir_.SetCurrentDebugLocation(entry->getTerminator()->getDebugLoc());
  // A volatile round trip: LLVM must not learn that the base is null, whose dereference it takes for undefined.
  llvm::AllocaInst* null = entry_ir_.CreateAlloca(entry_ir_.getPtrTy(), nullptr, "null");
  entry_ir_.CreateStore(llvm::ConstantPointerNull::get(entry_ir_.getPtrTy()), null, /*isVolatile=*/true);
  memory_base_ = entry_ir_.CreateLoad(entry_ir_.getPtrTy(), null, /*isVolatile=*/true, "mem");
}

// --- places of the machine state -------------------------------------------------------------------------------------

void Translator::FindNarrowGprs(const DecodedFunction& code) {
  for (int b : code.LiftedBlocks(facts_.loop)) {
    const BasicBlock& block = code.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& instruction = code.instructions[i];
      for (int n = 0; n < instruction.info.operand_count; ++n) {
        const ZydisDecodedOperand& operand = instruction.operands[n];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
        const ZydisRegisterClass kind = ZydisRegisterGetClass(operand.reg.value);
        const bool is_part =
            kind == ZYDIS_REGCLASS_GPR8 || kind == ZYDIS_REGCLASS_GPR16 || kind == ZYDIS_REGCLASS_GPR32;
        if (is_part && (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0) {
          gpr_is_narrow_[GprNumber(operand.reg.value)] = true;
        }
      }
    }
  }
}

void Translator::CreateGpr(int gpr) {
  if (gpr_[gpr] != nullptr) return;
  gpr_[gpr] = entry_ir_.CreateAlloca(entry_ir_.getInt64Ty(), nullptr, kGprNames[gpr]);
  Value* start;
  const auto same = std::ranges::find(same_, gpr, &SameAddress::gpr);
  if (known_gpr_[gpr].first) {
    start = entry_ir_.getInt64(known_gpr_[gpr].second);
  } else if (same != same_.end()) {
    const auto offset = static_cast<uint64_t>(same->address.offset);
    start = entry_ir_.CreateAdd(GprAtEntry(same->address.base), entry_ir_.getInt64(offset));
  } else {
    Value* from = entry_ir_.CreateConstInBoundsGEP1_64(entry_ir_.getInt8Ty(), function_.getArg(0), 8 * gpr);
    start = entry_ir_.CreateAlignedLoad(entry_ir_.getInt64Ty(), from, llvm::Align(8),
                                        llvm::Twine(kGprNames[gpr]) + ".in");
  }
  Value* low = entry_ir_.CreateTrunc(start, entry_ir_.getInt32Ty());
  if (upper_zero_.HasGpr(gpr)) start = entry_ir_.CreateZExt(low, entry_ir_.getInt64Ty());
  entry_ir_.CreateStore(start, gpr_[gpr]);
  if (!gpr_is_narrow_[gpr]) return;
  gpr_low_[gpr] = entry_ir_.CreateAlloca(entry_ir_.getInt32Ty(), nullptr, llvm::Twine(kGprNames[gpr]) + ".low");
  entry_ir_.CreateStore(low, gpr_low_[gpr]);
}

llvm::Value* Translator::GprAtEntry(int gpr) {
  CreateGpr(gpr);
  return entry_ir_.CreateLoad(entry_ir_.getInt64Ty(), gpr_[gpr]);
}

llvm::Value* Translator::ReadFullGpr(int gpr) {
  CreateGpr(gpr);
  return ir_.CreateLoad(ir_.getInt64Ty(), gpr_[gpr]);
}

llvm::Value* Translator::ReadLowGpr(int gpr) {
  CreateGpr(gpr);
  if (gpr_low_[gpr] != nullptr) return ir_.CreateLoad(ir_.getInt32Ty(), gpr_low_[gpr]);
  return ir_.CreateTrunc(ReadFullGpr(gpr), ir_.getInt32Ty());
}

void Translator::WriteFullGpr(int gpr, Value* value) {
  CreateGpr(gpr);
  gpr_written_[gpr] = true;
  ir_.CreateStore(value, gpr_[gpr]);
  if (gpr_low_[gpr] != nullptr) ir_.CreateStore(ir_.CreateTrunc(value, ir_.getInt32Ty()), gpr_low_[gpr]);
}

Place Translator::MakePlace(const llvm::Twine& name, size_t offset, int bytes, LaneKind kind, const uint64_t* known) {
  Place place;
  place.lane_bits = std::min(bytes * 8, LaneBits(kind));
  const bool is_float = IsFloat(kind) && place.lane_bits == LaneBits(kind);
  Type* type = is_float ? FloatType(place.lane_bits) : IntType(place.lane_bits);
  for (int lane = 0; lane * place.lane_bits < bytes * 8; ++lane) {
    const int bit = lane * place.lane_bits;
    llvm::AllocaInst* alloca = entry_ir_.CreateAlloca(type, nullptr, name + ".lane" + llvm::Twine(lane));
    Value* start;
    if (known != nullptr) {
      start = entry_ir_.CreateBitCast(Constant(place.lane_bits, known[bit / 64] >> (bit % 64)), type);
    } else {
      Value* from = entry_ir_.CreateConstInBoundsGEP1_64(entry_ir_.getInt8Ty(), function_.getArg(0), offset + bit / 8);
      start = entry_ir_.CreateAlignedLoad(type, from, llvm::Align(std::min(bytes, place.lane_bits / 8)),
                                          name + ".lane" + llvm::Twine(lane) + ".in");
    }
    entry_ir_.CreateStore(start, alloca);
    place.lanes.push_back(alloca);
  }
  return place;
}

llvm::AllocaInst* Translator::FlagAlloca(StatusFlag flag) {
  if (flag_[flag] != nullptr) return flag_[flag];
  Value* from = entry_ir_.CreateConstInBoundsGEP1_64(entry_ir_.getInt8Ty(), function_.getArg(0),
                                                     offsetof(MachineState, rflags));
  Value* rflags = entry_ir_.CreateAlignedLoad(entry_ir_.getInt64Ty(), from, llvm::Align(8), "rflags.in");
  std::array<Value*, kStatusFlagCount> start{};
  for (const auto& [source, bit] : kFlagBits) {
    start[source] = entry_ir_.CreateTrunc(entry_ir_.CreateLShr(rflags, static_cast<uint64_t>(bit)), IntType(1));
  }
  start[kLess] = entry_ir_.CreateXor(start[kSign], start[kOverflow]);
  start[kLessEqual] = entry_ir_.CreateOr(start[kZero], start[kLess]);
  start[kBelowEqual] = entry_ir_.CreateOr(start[kCarry], start[kZero]);
  for (int i = 0; i < kStatusFlagCount; ++i) {
    flag_[i] = entry_ir_.CreateAlloca(IntType(1), nullptr, kFlagNames[i]);
    entry_ir_.CreateStore(start[i], flag_[i]);
  }
  return flag_[flag];
}

llvm::Value* Translator::ReadPlace(const Place& place, int bit, Type* type) {
  if (place.area != nullptr) return ReadArea(place, bit, type);
  const int bits = static_cast<int>(type->getPrimitiveSizeInBits());
  const int first = bit / place.lane_bits;
  const auto load = [&](int lane) {
    return ir_.CreateLoad(place.lanes[lane]->getAllocatedType(), place.lanes[lane]);
  };
  if (bits == place.lane_bits && bit % place.lane_bits == 0) return ir_.CreateBitCast(load(first), type);
  Value* result;
  if (bits < place.lane_bits) {
    Value* lane = ir_.CreateLShr(AsInt(load(first)), static_cast<uint64_t>(bit % place.lane_bits));
    result = ir_.CreateTrunc(lane, IntType(bits));
  } else {
    result = llvm::ConstantInt::get(IntType(bits), 0);
    for (int part = 0; part * place.lane_bits < bits; ++part) {
      Value* lane = ir_.CreateZExt(AsInt(load(first + part)), IntType(bits));
      result = ir_.CreateOr(result, ir_.CreateShl(lane, static_cast<uint64_t>(part * place.lane_bits)));
    }
  }
  return ir_.CreateBitCast(result, type);
}

void Translator::WritePlace(Place& place, int bit, Value* value) {
  if (place.area != nullptr) return WriteArea(place, bit, value);
  place.written = true;
  const int bits = static_cast<int>(value->getType()->getPrimitiveSizeInBits());
  const int first = bit / place.lane_bits;
  Type* lane_type = place.lanes[0]->getAllocatedType();
  if (bits == place.lane_bits && bit % place.lane_bits == 0) {
    ir_.CreateStore(ir_.CreateBitCast(value, lane_type), place.lanes[first]);
  } else if (bits < place.lane_bits) {
    const llvm::APInt mask = llvm::APInt::getBitsSet(place.lane_bits, bit % place.lane_bits,
                                                     bit % place.lane_bits + bits);
    Value* old = AsInt(ir_.CreateLoad(lane_type, place.lanes[first]));
    Value* wide = ir_.CreateZExt(AsInt(value), IntType(place.lane_bits));
    wide = ir_.CreateShl(wide, static_cast<uint64_t>(bit % place.lane_bits));
    Value* merged = ir_.CreateOr(ir_.CreateAnd(old, llvm::ConstantInt::get(context_, ~mask)), wide);
    ir_.CreateStore(ir_.CreateBitCast(merged, lane_type), place.lanes[first]);
  } else {
    Value* whole = AsInt(value);
    for (int part = 0; part * place.lane_bits < bits; ++part) {
      Value* lane = ir_.CreateTrunc(ir_.CreateLShr(whole, static_cast<uint64_t>(part * place.lane_bits)),
                                    IntType(place.lane_bits));
      ir_.CreateStore(ir_.CreateBitCast(lane, lane_type), place.lanes[first + part]);
    }
  }
}

/// The lanes that begin in the first `bytes`.
void Translator::StorePlace(const Place& place, Value* out, size_t offset, int bytes) {
  const int lane_bytes = place.lane_bits / 8;
  for (size_t lane = 0; lane < place.lanes.size(); ++lane) {
    const size_t at = lane * static_cast<size_t>(lane_bytes);
    if (at >= static_cast<size_t>(bytes)) break;
    Value* value = ir_.CreateLoad(place.lanes[lane]->getAllocatedType(), place.lanes[lane]);
    Value* to = ir_.CreateConstInBoundsGEP1_64(ir_.getInt8Ty(), out, offset + at);
    ir_.CreateAlignedStore(value, to, llvm::Align(lane_bytes));
  }
}

void Translator::StoreState(Value* out, RegisterSet wanted) {
  const auto at = [&](size_t offset) { return ir_.CreateConstInBoundsGEP1_64(ir_.getInt8Ty(), out, offset); };
  for (int i = 0; i < kGprCount; ++i) {
    if (!gpr_written_[i] || !wanted.HasGpr(i)) continue;
    ir_.CreateAlignedStore(ir_.CreateLoad(ir_.getInt64Ty(), gpr_[i]), at(8 * i), llvm::Align(8));
  }
  for (int i = 0; i < kVectorCount; ++i) {
    if (vector_[i].written && wanted.HasVector(i)) StoreVector(i, out, wanted.HasVectorUpper(i));
  }
  for (int i = 0; i < kMaskCount; ++i) {
    if (mask_[i].written && wanted.HasMask(i)) StoreMask(i, out);
  }
  for (size_t i = 0; i < slot_.size(); ++i) {
    if (!slot_[i].written) continue;
    const size_t offset = offsetof(MachineState, slot) + i * sizeof(SlotValue);
    if (slot_[i].area != nullptr) {
      StoreArea(slot_[i], out, offset);
    } else {
      StorePlace(slot_[i], out, offset, sizeof(SlotValue));
    }
  }
  if (flags_written_ && wanted.HasFlags()) {
    Value* in = ir_.CreateConstInBoundsGEP1_64(ir_.getInt8Ty(), function_.getArg(0), offsetof(MachineState, rflags));
    uint64_t others = ~uint64_t{0};
    for (const auto& [flag, bit] : kFlagBits) others &= ~(uint64_t{1} << bit);
    Value* rflags = ir_.CreateAnd(ir_.CreateAlignedLoad(ir_.getInt64Ty(), in, llvm::Align(8)), others);
    for (const auto& [flag, bit] : kFlagBits) {
      Value* value = ir_.CreateZExt(ReadFlag(flag), ir_.getInt64Ty());
      rflags = ir_.CreateOr(rflags, ir_.CreateShl(value, static_cast<uint64_t>(bit)));
    }
    ir_.CreateAlignedStore(rflags, at(offsetof(MachineState, rflags)), llvm::Align(8));
  }
}

// --- operands --------------------------------------------------------------------------------------------------------

bool Translator::SameRegister(int a, int b) const {
  return Operand(a).type == ZYDIS_OPERAND_TYPE_REGISTER && Operand(b).type == ZYDIS_OPERAND_TYPE_REGISTER &&
         Operand(a).reg.value == Operand(b).reg.value;
}

llvm::Value* Translator::Constant(int bits, uint64_t value) {
  return llvm::ConstantInt::get(context_, llvm::APInt(64, value).zextOrTrunc(static_cast<unsigned>(bits)));
}

llvm::Value* Translator::AsInt(Value* value) {
  return ir_.CreateBitCast(value, IntType(static_cast<int>(value->getType()->getPrimitiveSizeInBits())));
}

llvm::Value* Translator::AsFloat(Value* value) {
  return ir_.CreateBitCast(value, FloatType(static_cast<int>(value->getType()->getPrimitiveSizeInBits())));
}

// `address` is the program's, of the module that the current instruction lies in. One value for each, made ahead of the loop:
// where two ways that load the same address meet, it is still known.
llvm::Value* Translator::ProgramAddress(uint64_t address) {
  const int module = modules_->IndexOf(OriginalAddress(at_->address));
  if (module < 0) return ir_.getInt64(address);
  Value*& base = module_base_[static_cast<size_t>(module)];
  if (base == nullptr) {
    const size_t offset = offsetof(MachineState, module_base) + sizeof(uint64_t) * static_cast<size_t>(module);
    Value* from = entry_ir_.CreateConstInBoundsGEP1_64(entry_ir_.getInt8Ty(), function_.getArg(0), offset);
    llvm::LoadInst* load = entry_ir_.CreateAlignedLoad(entry_ir_.getInt64Ty(), from, llvm::Align(8), "module.in");
    // In user space: adding an offset does not wrap.
    constexpr uint64_t kLowest = 4096, kUserSpace = uint64_t{1} << (kUserAddressBits - 1);
    llvm::MDNode* range = llvm::MDBuilder(context_).createRange(llvm::APInt(64, kLowest), llvm::APInt(64, kUserSpace));
    load->setMetadata(llvm::LLVMContext::MD_range, range);
    base = load;
  }
  Value*& known = program_address_[address];
  if (known == nullptr) known = entry_ir_.CreateAdd(base, entry_ir_.getInt64(address - modules_->begin(module)));
  return known;
}

/// Of the thread whose loop this is, whichever thread runs it.
llvm::Value* Translator::FsBase() {
  if (fs_base_ != nullptr) return fs_base_;
  Value* from = entry_ir_.CreateConstInBoundsGEP1_64(entry_ir_.getInt8Ty(), function_.getArg(0),
                                                     offsetof(MachineState, fs_base));
  fs_base_ = entry_ir_.CreateAlignedLoad(entry_ir_.getInt64Ty(), from, llvm::Align(8), "fs.in");
  return fs_base_;
}

llvm::Value* Translator::Address(int index, int bits) {
  const ZydisDecodedOperandMem& mem = Operand(index).mem;
  auto displacement = static_cast<uint64_t>(mem.disp.value);
  const auto read = [&](ZydisRegister reg) { return ReadWhole(static_cast<Gpr>(GprNumber(reg)), bits); };
  Value* address = nullptr;
  if (mem.base == ZYDIS_REGISTER_RIP) {
    address = ir_.CreateTrunc(ProgramAddress(std::exchange(displacement, 0) + at_->rip()), IntType(bits));
  } else if (mem.base != ZYDIS_REGISTER_NONE) {
    address = read(mem.base);
  }
  if (mem.index != ZYDIS_REGISTER_NONE) {
    Value* scaled = read(mem.index);
    if (mem.scale > 1) scaled = ir_.CreateMul(scaled, Constant(bits, mem.scale));
    address = address == nullptr ? scaled : ir_.CreateAdd(address, scaled);
  }
  if (mem.segment == ZYDIS_REGISTER_FS && mem.type != ZYDIS_MEMOP_TYPE_AGEN) {  // lea knows no segments
    address = address == nullptr ? FsBase() : ir_.CreateAdd(FsBase(), address);
  }
  if (address == nullptr) return Constant(bits, displacement);
  return displacement == 0 ? address : ir_.CreateAdd(address, Constant(bits, displacement));
}

llvm::Value* Translator::ReadWhole(Gpr gpr, int bits) {
  return bits > 32 ? ReadFullGpr(gpr) : ir_.CreateTrunc(ReadLowGpr(gpr), IntType(bits));
}

void Translator::WriteWhole(Gpr gpr, Value* value) {
  const unsigned bits = value->getType()->getIntegerBitWidth();
  if (bits == 64) return WriteFullGpr(gpr, value);
  if (bits == 32) {
    CreateGpr(gpr);
    gpr_written_[gpr] = true;
    ir_.CreateStore(value, gpr_low_[gpr]);
    ir_.CreateStore(ir_.CreateZExt(value, ir_.getInt64Ty()), gpr_[gpr]);
    return;
  }
  WriteBits(gpr, 0, value);
}

/// Replaces some low bits: the others of the register stay.
void Translator::WriteBits(int gpr, int first_bit, Value* value) {
  const auto bits = static_cast<int>(value->getType()->getIntegerBitWidth());
  const uint64_t mask = ((uint64_t{1} << bits) - 1) << first_bit;
  const auto merge = [&](Value* old) {
    Value* shifted = ir_.CreateShl(ir_.CreateZExt(value, old->getType()), static_cast<uint64_t>(first_bit));
    const auto width = static_cast<int>(old->getType()->getIntegerBitWidth());
    return ir_.CreateOr(ir_.CreateAnd(old, Constant(width, ~mask)), shifted);
  };
  CreateGpr(gpr);
  gpr_written_[gpr] = true;
  ir_.CreateStore(merge(ir_.CreateLoad(ir_.getInt64Ty(), gpr_[gpr])), gpr_[gpr]);
  ir_.CreateStore(merge(ir_.CreateLoad(ir_.getInt32Ty(), gpr_low_[gpr])), gpr_low_[gpr]);
}

llvm::Value* Translator::ReadGpr(ZydisRegister reg) {
  const int number = GprNumber(reg);
  if (IsHighByte(reg)) return ir_.CreateTrunc(ir_.CreateLShr(ReadLowGpr(number), 8), ir_.getInt8Ty());
  return ReadWhole(static_cast<Gpr>(number), ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, reg));
}

void Translator::WriteGpr(ZydisRegister reg, Value* value) {
  const int number = GprNumber(reg);
  if (IsHighByte(reg)) return WriteBits(number, 8, value);
  WriteWhole(static_cast<Gpr>(number), value);
}

/// An operand that is a slot because its base is said to hold a certain address: it does, or the pass is left to the original.
/// Simplification proves it, but for pointers that a store to an unknown address may have changed.
void Translator::CheckHeldAddress() {
  for (int index = 0; index < at_->info.operand_count_visible; ++index) {
    if (!IsMemory(index)) continue;
    const HeldAddress held = facts_.HeldAt(*at_, Operand(index));
    if (!held.known() || SlotIndexOf(facts_, *at_, index) < 0) continue;
    Value* address = ir_.CreateAdd(GprAtEntry(held.base), ir_.getInt64(static_cast<uint64_t>(held.offset)));
    FlagFault(ir_.CreateICmpNE(ReadGpr(Operand(index).mem.base), address), kFlagDetour);
  }
}

llvm::Value* Translator::LoadAt(int index, int bit, Type* type) {
  if (at_->constant >= 0) {
    const ConstantBytes& bytes = constants_[static_cast<size_t>(at_->constant)];
    llvm::APInt value(8 * sizeof(bytes), 0);
    llvm::LoadIntFromMemory(value, bytes.data(), sizeof(bytes));
    const auto bits = static_cast<unsigned>(type->getPrimitiveSizeInBits());
    return ir_.CreateBitCast(ir_.getInt(value.extractBits(bits, static_cast<unsigned>(bit))), type);
  }
  const int slot = SlotIndexOf(facts_, *at_, index);
  if (slot >= 0) return ReadPlace(SlotPlace(slot), 8 * OffsetInSlot(facts_, slot, *at_, index) + bit, type);
  Value* address = Address(index);
  if (bit != 0) address = ir_.CreateAdd(address, ir_.getInt64(bit / 8));
  return ir_.CreateAlignedLoad(type, ir_.CreateGEP(ir_.getInt8Ty(), memory_base_, address), llvm::Align(1));
}

void Translator::StoreAt(int index, int bit, Value* value) {
  const int slot = SlotIndexOf(facts_, *at_, index);
  if (slot >= 0) return WritePlace(SlotPlace(slot), 8 * OffsetInSlot(facts_, slot, *at_, index) + bit, value);
  Value* address = Address(index);
  if (bit != 0) address = ir_.CreateAdd(address, ir_.getInt64(bit / 8));
  ir_.CreateAlignedStore(value, ir_.CreateGEP(ir_.getInt8Ty(), memory_base_, address), llvm::Align(1));
}

llvm::Value* Translator::Read(int index) { return Read(index, Bits(index)); }

llvm::Value* Translator::Read(int index, int bits) {
  const ZydisDecodedOperand& operand = Operand(index);
  if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return Constant(bits, operand.imm.value.u);
  if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) return LoadAt(index, 0, IntType(bits));
  if (IsVector(index)) return ReadLane(index, 0, IntType(bits));
  return ReadGpr(operand.reg.value);
}

void Translator::Write(int index, Value* value) {
  if (IsMemory(index)) {
    StoreAt(index, 0, value);
  } else {
    WriteGpr(Operand(index).reg.value, value);
  }
}

// --- flags -----------------------------------------------------------------------------------------------------------

void Translator::WantSources() {
  if (Wants(kLess) || Wants(kLessEqual)) wanted_ |= FlagsWritten(*at_) & (Bit(kSign) | Bit(kOverflow));
  if (Wants(kLessEqual) || Wants(kBelowEqual)) wanted_ |= FlagsWritten(*at_) & Bit(kZero);
  if (Wants(kBelowEqual)) wanted_ |= FlagsWritten(*at_) & Bit(kCarry);
}

llvm::Value* Translator::ReadFlag(StatusFlag flag) { return ir_.CreateLoad(IntType(1), FlagAlloca(flag)); }

llvm::Value* Translator::ReadCondition(Condition condition) {
  Value* value = ReadFlag(condition.flag);
  return condition.negated ? ir_.CreateNot(value) : value;
}

void Translator::SetFlag(StatusFlag flag, Value* value) {
  if (Wants(flag)) ir_.CreateStore(value, FlagAlloca(flag));
}

void Translator::SetResultFlags(Value* result) {
  Value* zero = llvm::Constant::getNullValue(result->getType());
  if (Wants(kZero)) SetFlag(kZero, ir_.CreateICmpEQ(result, zero));
  if (Wants(kSign)) SetFlag(kSign, ir_.CreateICmpSLT(result, zero));
  if (Wants(kParity)) {
    Value* ones = ir_.CreateUnaryIntrinsic(llvm::Intrinsic::ctpop, ir_.CreateTrunc(result, ir_.getInt8Ty()));
    SetFlag(kParity, ir_.CreateNot(ir_.CreateTrunc(ones, IntType(1))));
  }
}

void Translator::SetCombinedFlags() {
  if (Wants(kLess) || Wants(kLessEqual)) {
    Value* less = ir_.CreateXor(ReadFlag(kSign), ReadFlag(kOverflow));
    SetFlag(kLess, less);
    if (Wants(kLessEqual)) SetFlag(kLessEqual, ir_.CreateOr(ReadFlag(kZero), less));
  }
  if (Wants(kBelowEqual)) SetFlag(kBelowEqual, ir_.CreateOr(ReadFlag(kCarry), ReadFlag(kZero)));
}

}  // namespace tracelift::jit
