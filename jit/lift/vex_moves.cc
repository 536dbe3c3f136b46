// Moves without a legacy form: broadcasts, moves across the two halves of 256 bits, moves under a mask, clearing.

#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {

bool Translator::TranslateVexMove() {
  switch (form_) {
    case ZYDIS_MNEMONIC_VBROADCASTSS:
    case ZYDIS_MNEMONIC_VPBROADCASTD: Broadcast(32); return true;
    case ZYDIS_MNEMONIC_VBROADCASTSD:
    case ZYDIS_MNEMONIC_VPBROADCASTQ: Broadcast(64); return true;
    case ZYDIS_MNEMONIC_VPBROADCASTB: Broadcast(8); return true;
    case ZYDIS_MNEMONIC_VPBROADCASTW: Broadcast(16); return true;
    case ZYDIS_MNEMONIC_VBROADCASTF128:
    case ZYDIS_MNEMONIC_VBROADCASTI128: BroadcastPart(); return true;
    case ZYDIS_MNEMONIC_VEXTRACTF128:
    case ZYDIS_MNEMONIC_VEXTRACTI128: ExtractPart(); return true;
    case ZYDIS_MNEMONIC_VINSERTF128:
    case ZYDIS_MNEMONIC_VINSERTI128: InsertPart(); return true;
    case ZYDIS_MNEMONIC_VPERM2F128:
    case ZYDIS_MNEMONIC_VPERM2I128: PermuteParts(); return true;
    case ZYDIS_MNEMONIC_VPERMPD:
    case ZYDIS_MNEMONIC_VPERMQ: PermuteLanes(); return true;
    case ZYDIS_MNEMONIC_VPERMPS:
    case ZYDIS_MNEMONIC_VPERMD: PermuteByIndex(); return true;
    case ZYDIS_MNEMONIC_VPERMILPS: PermuteInPart(32); return true;
    case ZYDIS_MNEMONIC_VPERMILPD: PermuteInPart(64); return true;
    case ZYDIS_MNEMONIC_VPBLENDD: BlendLanes(32); return true;
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VPMASKMOVD: MaskedMove(32); return true;
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ: MaskedMove(64); return true;
    case ZYDIS_MNEMONIC_VZEROUPPER: ZeroRegisters(128); return true;
    case ZYDIS_MNEMONIC_VZEROALL: ZeroRegisters(0); return true;
    default: return false;
  }
}

void Translator::Broadcast(int bits) {
  if (bits >= 32) {
    Value* value = ReadLane(1, 0, LaneTypeOf(0, bits));
    return WriteLanes(0, std::vector<Value*>(static_cast<size_t>(VectorBits(Operand(0)) / bits), value));
  }
  Value* all = ir_.CreateVectorSplat(static_cast<unsigned>(128 / bits), ReadLane(1, 0, IntType(bits)));
  for (; part_bit_ < VectorBits(Operand(0)); part_bit_ += 128) WriteVector(0, all);
}

void Translator::BroadcastPart() {
  const int bits = VectorPlaceOf(0).lane_bits;
  std::vector<Value*> values = ReadLanes(1, 128 / bits, LaneTypeOf(0, bits));
  const std::vector<Value*> copy = values;
  values.insert(values.end(), copy.begin(), copy.end());
  WriteLanes(0, values);
}

void Translator::ExtractPart() {
  const int bits = VectorPlaceOf(1).lane_bits;
  const int first = (Control() & 1) != 0 ? 128 / bits : 0;
  std::vector<Value*> values;
  for (int lane = 0; lane < 128 / bits; ++lane) values.push_back(ReadLane(1, first + lane, LaneTypeOf(1, bits)));
  WriteLanes(0, values);
}

void Translator::InsertPart() {
  const int bits = VectorPlaceOf(0).lane_bits;
  std::vector<Value*> values = ReadLanes(first_, 256 / bits, LaneTypeOf(0, bits));
  const std::vector<Value*> inserted = ReadLanes(second_, 128 / bits, LaneTypeOf(0, bits));
  std::copy(inserted.begin(), inserted.end(), values.begin() + ((Control() & 1) != 0 ? 128 / bits : 0));
  WriteLanes(0, values);
}

/// Each half is one of the sources' four, or zero.
void Translator::PermuteParts() {
  const int bits = VectorPlaceOf(0).lane_bits;
  const int lanes = 128 / bits;
  std::vector<Value*> values;
  for (int part = 0; part < 2; ++part) {
    const int choice = static_cast<int>(Control() >> (4 * part));
    for (int lane = 0; lane < lanes; ++lane) {
      const int from = (choice & 2) != 0 ? second_ : first_;
      const bool is_zero = (choice & 8) != 0;
      values.push_back(is_zero ? Constant(bits, 0) : ReadLane(from, (choice & 1) * lanes + lane, LaneTypeOf(0, bits)));
    }
  }
  WriteLanes(0, values);
}

void Translator::PermuteLanes() {
  std::vector<Value*> values;
  for (int lane = 0; lane < 4; ++lane) {
    values.push_back(ReadLane(1, static_cast<int>(Control() >> (2 * lane) & 3), LaneTypeOf(0, 64)));
  }
  WriteLanes(0, values);
}

/// Each element of the first source picks one of the second.
void Translator::PermuteByIndex() {
  Type* type = LaneTypeOf(0, 32);
  Value* source = llvm::PoisonValue::get(llvm::FixedVectorType::get(type, 8));
  for (int lane = 0; lane < 8; ++lane) {
    source = ir_.CreateInsertElement(source, ReadLane(second_, lane, type), static_cast<uint64_t>(lane));
  }
  std::vector<Value*> values = ReadLanes(first_, 8, IntType(32));
  for (Value*& value : values) value = ir_.CreateExtractElement(source, ir_.CreateAnd(value, Constant(32, 7)));
  WriteLanes(0, values);
}

/// vpermilps, vpermilpd: within 128 bits, picked by a constant or by the elements of the second source.
void Translator::PermuteInPart(int bits) {
  const int lanes = 128 / bits;
  const bool is_constant = IsImmediate(2);
  std::vector<Value*> values;
  for (int lane = 0; lane < lanes; ++lane) {
    const auto read = [&](int from) { return ReadLane(1, from, LaneTypeOf(0, bits)); };
    if (is_constant) {
      const int at = bits == 32 ? 2 * lane : 2 * (part_bit_ / 128) + lane;
      values.push_back(read(static_cast<int>(Control() >> at) & (lanes - 1)));
      continue;
    }
    Value* control = ReadLane(2, lane, IntType(bits));
    const auto bit = [&](uint64_t number) {
      return ir_.CreateTrunc(ir_.CreateLShr(control, number), IntType(1));
    };
    if (bits == 64) {
      values.push_back(ir_.CreateSelect(bit(1), read(1), read(0)));
    } else {
      Value* low = ir_.CreateSelect(bit(0), read(1), read(0));
      Value* high = ir_.CreateSelect(bit(0), read(3), read(2));
      values.push_back(ir_.CreateSelect(bit(1), high, low));
    }
  }
  WriteLanes(0, values);
}

/// Elements whose mask has its sign bit set. The others are not touched in memory, and zero in a register.
void Translator::MaskedMove(int bits) {
  const int lanes = Width() / bits;
  const bool loads = IsMemory(2);
  Type* type = LaneTypeOf(loads ? 0 : 2, bits);
  std::vector<Value*> values;
  for (int lane = 0; lane < lanes; ++lane) {
    Value* chosen = ir_.CreateICmpSLT(ReadLane(1, lane, IntType(bits)), Constant(bits, 0));
    llvm::BasicBlock* before = ir_.GetInsertBlock();
    llvm::BasicBlock* moves = llvm::BasicBlock::Create(context_, "chosen", &function_);
    llvm::BasicBlock* after = llvm::BasicBlock::Create(context_, "after", &function_);
    ir_.CreateCondBr(chosen, moves, after);
    ir_.SetInsertPoint(moves);
    Value* value = ReadLane(2, lane, type);
    if (!loads) WriteLane(0, lane, value);
    ir_.CreateBr(after);
    ir_.SetInsertPoint(after);
    if (!loads) continue;
    llvm::PHINode* loaded = ir_.CreatePHI(type, 2);
    loaded->addIncoming(value, moves);
    loaded->addIncoming(llvm::Constant::getNullValue(type), before);
    values.push_back(loaded);
  }
  if (loads) WriteLanes(0, values);
}

void Translator::ZeroRegisters(int first_bit) {
  constexpr int kRegisters = 16;  // the others keep what they have
  for (int number = 0; number < kRegisters; ++number) ZeroUpper(VectorPlace(number), first_bit);
}

}  // namespace tracelift::jit
