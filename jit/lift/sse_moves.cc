// Moves, shuffles and bit logic of vector registers, in both encodings: whole lanes travel, nothing is computed.

#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {

bool Translator::TranslateSseMove() {
  const int selector = static_cast<int>(Control());
  const int part = part_bit_ / 128;
  const auto pick = [selector](int lane) { return selector >> (2 * lane) & 3; };
  switch (form_) {
    case ZYDIS_MNEMONIC_MOVSS: MoveScalar(32); return true;
    case ZYDIS_MNEMONIC_MOVSD: MoveScalar(64); return true;
    case ZYDIS_MNEMONIC_MOVAPS:
    case ZYDIS_MNEMONIC_MOVAPD:
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQA:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_MOVNTDQA:
    case ZYDIS_MNEMONIC_MOVNTPS:
    case ZYDIS_MNEMONIC_MOVNTPD:
    case ZYDIS_MNEMONIC_MOVNTDQ: MoveWhole(); return true;
    case ZYDIS_MNEMONIC_MOVD: MoveDword(32); return true;
    case ZYDIS_MNEMONIC_MOVQ: MoveDword(64); return true;
    case ZYDIS_MNEMONIC_MOVLPS:
    case ZYDIS_MNEMONIC_MOVLPD: MoveHalf(false); return true;
    case ZYDIS_MNEMONIC_MOVHPS:
    case ZYDIS_MNEMONIC_MOVHPD: MoveHalf(true); return true;
    case ZYDIS_MNEMONIC_MOVHLPS: Shuffle(64, {{1, 1}, {0, 1}}); return true;
    case ZYDIS_MNEMONIC_MOVLHPS: Shuffle(64, {{0, 0}, {1, 0}}); return true;
    case ZYDIS_MNEMONIC_MOVDDUP: Shuffle(64, {{1, 0}, {1, 0}}); return true;
    case ZYDIS_MNEMONIC_MOVSLDUP: Shuffle(32, {{1, 0}, {1, 0}, {1, 2}, {1, 2}}); return true;
    case ZYDIS_MNEMONIC_MOVSHDUP: Shuffle(32, {{1, 1}, {1, 1}, {1, 3}, {1, 3}}); return true;
    case ZYDIS_MNEMONIC_UNPCKLPS:
    case ZYDIS_MNEMONIC_PUNPCKLDQ: Shuffle(32, {{0, 0}, {1, 0}, {0, 1}, {1, 1}}); return true;
    case ZYDIS_MNEMONIC_UNPCKHPS:
    case ZYDIS_MNEMONIC_PUNPCKHDQ: Shuffle(32, {{0, 2}, {1, 2}, {0, 3}, {1, 3}}); return true;
    case ZYDIS_MNEMONIC_UNPCKLPD:
    case ZYDIS_MNEMONIC_PUNPCKLQDQ: Shuffle(64, {{0, 0}, {1, 0}}); return true;
    case ZYDIS_MNEMONIC_UNPCKHPD:
    case ZYDIS_MNEMONIC_PUNPCKHQDQ: Shuffle(64, {{0, 1}, {1, 1}}); return true;
    case ZYDIS_MNEMONIC_SHUFPS: Shuffle(32, {{0, pick(0)}, {0, pick(1)}, {1, pick(2)}, {1, pick(3)}}); return true;
    case ZYDIS_MNEMONIC_SHUFPD:
      Shuffle(64, {{0, selector >> (2 * part) & 1}, {1, selector >> (2 * part + 1) & 1}});
      return true;
    case ZYDIS_MNEMONIC_PSHUFD: Shuffle(32, {{1, pick(0)}, {1, pick(1)}, {1, pick(2)}, {1, pick(3)}}); return true;
    case ZYDIS_MNEMONIC_BLENDPS:
    case ZYDIS_MNEMONIC_BLENDPD: {
      BlendLanes(form_ == ZYDIS_MNEMONIC_BLENDPS ? 32 : 64);
      return true;
    }
    case ZYDIS_MNEMONIC_ANDPS:
    case ZYDIS_MNEMONIC_ANDPD:
    case ZYDIS_MNEMONIC_PAND: LaneLogic(llvm::Instruction::And, false); return true;
    case ZYDIS_MNEMONIC_ANDNPS:
    case ZYDIS_MNEMONIC_ANDNPD:
    case ZYDIS_MNEMONIC_PANDN: LaneLogic(llvm::Instruction::And, true); return true;
    case ZYDIS_MNEMONIC_ORPS:
    case ZYDIS_MNEMONIC_ORPD:
    case ZYDIS_MNEMONIC_POR: LaneLogic(llvm::Instruction::Or, false); return true;
    case ZYDIS_MNEMONIC_XORPS:
    case ZYDIS_MNEMONIC_XORPD:
    case ZYDIS_MNEMONIC_PXOR: LaneLogic(llvm::Instruction::Xor, false); return true;
    case ZYDIS_MNEMONIC_BLENDVPS: BlendByMask(32); return true;
    case ZYDIS_MNEMONIC_BLENDVPD: BlendByMask(64); return true;
    case ZYDIS_MNEMONIC_PEXTRD:
    case ZYDIS_MNEMONIC_EXTRACTPS: ExtractElement(32); return true;
    case ZYDIS_MNEMONIC_PEXTRQ: ExtractElement(64); return true;
    case ZYDIS_MNEMONIC_PINSRD: InsertElement(32); return true;
    case ZYDIS_MNEMONIC_PINSRQ: InsertElement(64); return true;
    case ZYDIS_MNEMONIC_INSERTPS: InsertFloat(); return true;
    default: return false;
  }
}

/// movss, movsd: a load clears the rest of the register, a move between registers takes it from the first source.
void Translator::MoveScalar(int bits) {
  const int typed = IsVector(0) ? 0 : 1;
  Value* value = ReadLane(second_, 0, LaneTypeOf(typed, bits));
  if (IsVector(0)) CopyFirst();
  WriteLane(0, 0, value);
  if (IsMemory(1)) WriteZeroAbove(0, bits);
}

void Translator::MoveWhole() {
  const int typed = IsVector(0) ? 0 : 1;
  const int bits = VectorPlaceOf(typed).lane_bits;
  WriteLanes(0, ReadLanes(1, 128 / bits, LaneTypeOf(typed, bits)));
}

/// movd, movq: between a vector register and a general one or memory; into a vector register it clears the rest.
void Translator::MoveDword(int bits) {
  if (!IsVector(0)) {
    Value* value = ReadLane(1, 0, IsMemory(0) ? LaneTypeOf(1, bits) : IntType(bits));
    if (IsMemory(0)) return WriteLane(0, 0, value);
    return Write(0, value);
  }
  const bool from_gpr = !IsVector(1) && !IsMemory(1);
  WriteLane(0, 0, from_gpr ? Read(1) : ReadLane(1, 0, LaneTypeOf(0, bits)));
  WriteZeroAbove(0, bits);
}

void Translator::MoveHalf(bool high) {
  if (IsMemory(0)) return WriteLane(0, 0, ReadLane(1, high ? 1 : 0, LaneTypeOf(1, 64)));
  Value* value = ReadLane(second_, 0, LaneTypeOf(0, 64));
  CopyFirst();
  WriteLane(0, high ? 1 : 0, value);
}

/// Each lane of the destination from a lane of the first (0) or second (1) source.
void Translator::Shuffle(int bits, const std::vector<std::pair<int, int>>& sources) {
  std::vector<Value*> values;
  for (const auto& [source, lane] : sources) {
    values.push_back(ReadLane(source == 0 ? first_ : second_, lane, LaneTypeOf(0, bits)));
  }
  WriteLanes(0, values);
}

void Translator::BlendLanes(int bits) {
  const int lanes = 128 / bits;
  std::vector<std::pair<int, int>> sources;
  for (int lane = 0; lane < lanes; ++lane) {
    sources.emplace_back(Control() >> (lanes * (part_bit_ / 128) + lane) & 1, lane);
  }
  Shuffle(bits, sources);
}

void Translator::LaneLogic(Opcode opcode, bool invert_first) {
  const int bits = VectorPlaceOf(0).lane_bits;
  const int lanes = 128 / bits;
  if (SameRegister(first_, second_) && (opcode == llvm::Instruction::Xor || invert_first)) {  // zeroes: does not read
    return WriteLanes(0, std::vector<Value*>(static_cast<size_t>(lanes), Constant(bits, 0)));
  }
  std::vector<Value*> a = ReadLanes(first_, lanes, IntType(bits));
  const std::vector<Value*> b = ReadLanes(second_, lanes, IntType(bits));
  for (int lane = 0; lane < lanes; ++lane) {
    Value* first = invert_first ? ir_.CreateNot(a[lane]) : a[lane];
    a[lane] = ir_.CreateBinOp(opcode, first, b[lane]);
  }
  WriteLanes(0, a);
}

/// The operand that selects lanes: of legacy instructions xmm0, named or not.
llvm::Value* Translator::ReadSelector(int lane, int bits) {
  if (ClearsUpperBits(at_->info)) return ReadLane(3, lane, IntType(bits));
  return ReadPlace(VectorPlace(0), lane * bits, IntType(bits));
}

/// Takes lanes of the second source where the selector has its sign bit set.
void Translator::BlendByMask(int bits) {
  const int lanes = 128 / bits;
  std::vector<Value*> a = ReadLanes(first_, lanes, IntType(bits));
  const std::vector<Value*> b = ReadLanes(second_, lanes, IntType(bits));
  for (int lane = 0; lane < lanes; ++lane) {
    Value* mask = ReadSelector(lane, bits);
    a[lane] = ir_.CreateSelect(ir_.CreateICmpSLT(mask, Constant(bits, 0)), b[lane], a[lane]);
  }
  WriteLanes(0, a);
}

void Translator::InsertFloat() {
  const uint64_t control = Control();
  Value* value = ReadLane(second_, IsMemory(second_) ? 0 : static_cast<int>(control >> 6 & 3), LaneTypeOf(0, 32));
  CopyFirst();
  WriteLane(0, static_cast<int>(control >> 4 & 3), value);
  for (int lane = 0; lane < 4; ++lane) {
    if ((control >> lane & 1) != 0) WriteLane(0, lane, Constant(32, 0));
  }
}

void Translator::InsertElement(int bits) {
  const int lane = static_cast<int>(Control()) & (128 / bits - 1);
  Value* value = IsMemory(second_) ? LoadAt(second_, 0, IntType(bits)) : ir_.CreateTrunc(Read(second_), IntType(bits));
  CopyFirst();
  WriteLane(0, lane, value);
}

/// To a register the element is zero-extended, to memory it goes as it is.
void Translator::ExtractElement(int bits) {
  Value* value = ReadLane(1, static_cast<int>(Control()) & (128 / bits - 1), IntType(bits));
  Write(0, IsMemory(0) ? value : ir_.CreateZExt(value, IntType(Bits(0))));
}

}  // namespace tracelift::jit
