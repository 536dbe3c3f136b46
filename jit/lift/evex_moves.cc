// Moves of AVX-512 that look at whole registers: broadcasts, parts in and out, permutations across 128 bits, elements
// pressed together and spread, narrowed elements.

#include <array>

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {

bool Translator::TranslateEvexMove() {
  switch (form_) {
    case ZYDIS_MNEMONIC_VBROADCASTF32X2:
    case ZYDIS_MNEMONIC_VBROADCASTI32X2: RepeatPart(64); return true;
    case ZYDIS_MNEMONIC_VBROADCASTF32X4:
    case ZYDIS_MNEMONIC_VBROADCASTI32X4:
    case ZYDIS_MNEMONIC_VBROADCASTF64X2:
    case ZYDIS_MNEMONIC_VBROADCASTI64X2: RepeatPart(128); return true;
    case ZYDIS_MNEMONIC_VBROADCASTF32X8:
    case ZYDIS_MNEMONIC_VBROADCASTI32X8:
    case ZYDIS_MNEMONIC_VBROADCASTF64X4:
    case ZYDIS_MNEMONIC_VBROADCASTI64X4: RepeatPart(256); return true;
    case ZYDIS_MNEMONIC_VEXTRACTF32X4:
    case ZYDIS_MNEMONIC_VEXTRACTI32X4:
    case ZYDIS_MNEMONIC_VEXTRACTF64X2:
    case ZYDIS_MNEMONIC_VEXTRACTI64X2: TakePart(128); return true;
    case ZYDIS_MNEMONIC_VEXTRACTF32X8:
    case ZYDIS_MNEMONIC_VEXTRACTI32X8:
    case ZYDIS_MNEMONIC_VEXTRACTF64X4:
    case ZYDIS_MNEMONIC_VEXTRACTI64X4: TakePart(256); return true;
    case ZYDIS_MNEMONIC_VINSERTF32X4:
    case ZYDIS_MNEMONIC_VINSERTI32X4:
    case ZYDIS_MNEMONIC_VINSERTF64X2:
    case ZYDIS_MNEMONIC_VINSERTI64X2: PutPart(128); return true;
    case ZYDIS_MNEMONIC_VINSERTF32X8:
    case ZYDIS_MNEMONIC_VINSERTI32X8:
    case ZYDIS_MNEMONIC_VINSERTF64X4:
    case ZYDIS_MNEMONIC_VINSERTI64X4: PutPart(256); return true;
    case ZYDIS_MNEMONIC_VSHUFF32X4:
    case ZYDIS_MNEMONIC_VSHUFI32X4:
    case ZYDIS_MNEMONIC_VSHUFF64X2:
    case ZYDIS_MNEMONIC_VSHUFI64X2: ShuffleParts(); return true;
    case ZYDIS_MNEMONIC_VALIGND: AlignElements(32); return true;
    case ZYDIS_MNEMONIC_VALIGNQ: AlignElements(64); return true;
    case ZYDIS_MNEMONIC_VBLENDMPS:
    case ZYDIS_MNEMONIC_VBLENDMPD:
    case ZYDIS_MNEMONIC_VPBLENDMB:
    case ZYDIS_MNEMONIC_VPBLENDMW:
    case ZYDIS_MNEMONIC_VPBLENDMD:
    case ZYDIS_MNEMONIC_VPBLENDMQ: CopySecond(); return true;
    case ZYDIS_MNEMONIC_VPERMB: PermuteAll("qi", 8); return true;
    case ZYDIS_MNEMONIC_VPERMW: PermuteAll("hi", 16); return true;
    case ZYDIS_MNEMONIC_VPERMI2B:
    case ZYDIS_MNEMONIC_VPERMT2B: PermuteTwo("qi", 8, false); return true;
    case ZYDIS_MNEMONIC_VPERMI2W:
    case ZYDIS_MNEMONIC_VPERMT2W: PermuteTwo("hi", 16, false); return true;
    case ZYDIS_MNEMONIC_VPERMI2D:
    case ZYDIS_MNEMONIC_VPERMT2D: PermuteTwo("d", 32, false); return true;
    case ZYDIS_MNEMONIC_VPERMI2Q:
    case ZYDIS_MNEMONIC_VPERMT2Q: PermuteTwo("q", 64, false); return true;
    case ZYDIS_MNEMONIC_VPERMI2PS:
    case ZYDIS_MNEMONIC_VPERMT2PS: PermuteTwo("ps", 32, true); return true;
    case ZYDIS_MNEMONIC_VPERMI2PD:
    case ZYDIS_MNEMONIC_VPERMT2PD: PermuteTwo("pd", 64, true); return true;
    case ZYDIS_MNEMONIC_VPCOMPRESSB: Compress(8); return true;
    case ZYDIS_MNEMONIC_VPCOMPRESSW: Compress(16); return true;
    case ZYDIS_MNEMONIC_VCOMPRESSPS:
    case ZYDIS_MNEMONIC_VPCOMPRESSD: Compress(32); return true;
    case ZYDIS_MNEMONIC_VCOMPRESSPD:
    case ZYDIS_MNEMONIC_VPCOMPRESSQ: Compress(64); return true;
    case ZYDIS_MNEMONIC_VPEXPANDB: Expand(8); return true;
    case ZYDIS_MNEMONIC_VPEXPANDW: Expand(16); return true;
    case ZYDIS_MNEMONIC_VEXPANDPS:
    case ZYDIS_MNEMONIC_VPEXPANDD: Expand(32); return true;
    case ZYDIS_MNEMONIC_VEXPANDPD:
    case ZYDIS_MNEMONIC_VPEXPANDQ: Expand(64); return true;
#define TL_NARROW(name, from, to)                                                                   \
  case ZYDIS_MNEMONIC_VPMOV##name: NarrowElements(from, to, Saturation::kNone); return true;        \
  case ZYDIS_MNEMONIC_VPMOVS##name: NarrowElements(from, to, Saturation::kSigned); return true;     \
  case ZYDIS_MNEMONIC_VPMOVUS##name: NarrowElements(from, to, Saturation::kUnsigned); return true;
    TL_NARROW(QB, 64, 8) TL_NARROW(QW, 64, 16) TL_NARROW(QD, 64, 32)
    TL_NARROW(DB, 32, 8) TL_NARROW(DW, 32, 16) TL_NARROW(WB, 16, 8)
#undef TL_NARROW
    case ZYDIS_MNEMONIC_VPMOVM2B: MaskToElements(8); return true;
    case ZYDIS_MNEMONIC_VPMOVM2W: MaskToElements(16); return true;
    case ZYDIS_MNEMONIC_VPMOVM2D: MaskToElements(32); return true;
    case ZYDIS_MNEMONIC_VPMOVM2Q: MaskToElements(64); return true;
    case ZYDIS_MNEMONIC_VPBROADCASTMB2Q: BroadcastMask(8, 64); return true;
    case ZYDIS_MNEMONIC_VPBROADCASTMW2D: BroadcastMask(16, 32); return true;
    case ZYDIS_MNEMONIC_VGATHERDPS:
    case ZYDIS_MNEMONIC_VPGATHERDD: Gather(32, 32); return true;
    case ZYDIS_MNEMONIC_VGATHERDPD:
    case ZYDIS_MNEMONIC_VPGATHERDQ: Gather(32, 64); return true;
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VPGATHERQD: Gather(64, 32); return true;
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERQQ: Gather(64, 64); return true;
    case ZYDIS_MNEMONIC_VSCATTERDPS:
    case ZYDIS_MNEMONIC_VPSCATTERDD: Scatter(32, 32); return true;
    case ZYDIS_MNEMONIC_VSCATTERDPD:
    case ZYDIS_MNEMONIC_VPSCATTERDQ: Scatter(32, 64); return true;
    case ZYDIS_MNEMONIC_VSCATTERQPS:
    case ZYDIS_MNEMONIC_VPSCATTERQD: Scatter(64, 32); return true;
    case ZYDIS_MNEMONIC_VSCATTERQPD:
    case ZYDIS_MNEMONIC_VPSCATTERQQ: Scatter(64, 64); return true;
    default: return false;
  }
}

/// Instructions with a VEX form that mean something else, or more, in EVEX encodings.
bool Translator::TranslateWiderMove() {
  switch (form_) {
    case ZYDIS_MNEMONIC_VPBROADCASTB: return BroadcastGpr(8);
    case ZYDIS_MNEMONIC_VPBROADCASTW: return BroadcastGpr(16);
    case ZYDIS_MNEMONIC_VPBROADCASTD: return BroadcastGpr(32);
    case ZYDIS_MNEMONIC_VPBROADCASTQ: return BroadcastGpr(64);
    case ZYDIS_MNEMONIC_VPERMPD:
    case ZYDIS_MNEMONIC_VPERMQ:
      if (IsImmediate(2)) {
        PermuteFours();
      } else {
        PermuteAll(form_ == ZYDIS_MNEMONIC_VPERMPD ? "df" : "di", 64);
      }
      return true;
    case ZYDIS_MNEMONIC_VPERMPS: PermuteAll("sf", 32); return true;
    case ZYDIS_MNEMONIC_VPERMD: PermuteAll("si", 32); return true;
    default: return false;
  }
}

bool Translator::BroadcastGpr(int bits) {
  if (IsVector(1) || IsMemory(1)) return false;
  Value* value = ir_.CreateTrunc(Read(1), IntType(bits));
  WriteAll(0, ir_.CreateVectorSplat(static_cast<unsigned>(VectorBits(Operand(0)) / bits), value));
  return true;
}

// --- parts -----------------------------------------------------------------------------------------------------------

/// `count` lanes of an operand from `first_bit` on, as the destination keeps them.
std::vector<llvm::Value*> Translator::ReadRun(int index, int first_bit, int run_bits) {
  const int typed = IsVector(0) ? 0 : index;
  const int bits = VectorPlaceOf(typed).lane_bits;
  std::vector<Value*> values;
  for (int bit = 0; bit < run_bits; bit += bits) values.push_back(ReadAt(index, first_bit + bit, LaneTypeOf(typed, bits)));
  return values;
}

void Translator::RepeatPart(int part_bits) {
  const std::vector<Value*> part = ReadRun(1, 0, part_bits);
  std::vector<Value*> values;
  for (int bit = 0; bit < VectorBits(Operand(0)); bit += part_bits) values.insert(values.end(), part.begin(), part.end());
  WriteLanes(0, values);
}

void Translator::TakePart(int part_bits) {
  const int parts = VectorBits(Operand(1)) / part_bits;
  const int part = static_cast<int>(Control()) & (parts - 1);
  WriteLanes(0, ReadRun(1, part * part_bits, part_bits));
}

void Translator::PutPart(int part_bits) {
  const int total = VectorBits(Operand(0));
  const int part = static_cast<int>(Control()) & (total / part_bits - 1);
  std::vector<Value*> values = ReadRun(first_, 0, total);
  const std::vector<Value*> put = ReadRun(second_, 0, part_bits);
  std::copy(put.begin(), put.end(), values.begin() + static_cast<std::ptrdiff_t>(put.size()) * part);
  WriteLanes(0, values);
}

/// Parts of 128 bits: those of the lower half come from the first source, those of the upper half from the second.
void Translator::ShuffleParts() {
  const int parts = VectorBits(Operand(0)) / 128;
  std::vector<Value*> values;
  for (int part = 0; part < parts; ++part) {
    const int pick = static_cast<int>(Control()) >> (part * (parts / 2)) & (parts - 1);
    const std::vector<Value*> run = ReadRun(part < parts / 2 ? first_ : second_, 128 * pick, 128);
    values.insert(values.end(), run.begin(), run.end());
  }
  WriteLanes(0, values);
}

/// Elements of first:second (second is the lower), shifted down.
void Translator::AlignElements(int bits) {
  const int count = VectorBits(Operand(0)) / bits;
  const int shift = static_cast<int>(Control()) & (count - 1);
  std::vector<Value*> values;
  for (int i = 0; i < count; ++i) {
    const int from = i + shift;
    values.push_back(ReadLane(from < count ? second_ : first_, from % count, LaneTypeOf(0, bits)));
  }
  WriteLanes(0, values);
}

void Translator::CopySecond() { WriteLanes(0, ReadRun(second_, 0, VectorBits(Operand(0)))); }

// --- permutations ----------------------------------------------------------------------------------------------------

/// Within 256 bits, four elements as a constant picks them.
void Translator::PermuteFours() {
  std::vector<Value*> values;
  for (int i = 0; i < VectorBits(Operand(0)) / 64; ++i) {
    const int pick = static_cast<int>(Control()) >> (2 * (i & 3)) & 3;
    values.push_back(ReadLane(1, (i & ~3) + pick, LaneTypeOf(0, 64)));
  }
  WriteLanes(0, values);
}

llvm::Value* Translator::CallX86(const std::string& name, llvm::ArrayRef<Value*> arguments, llvm::ArrayRef<Type*> types) {
  return ir_.CreateIntrinsic(llvm::Function::lookupIntrinsicID("llvm.x86." + name), types, arguments);
}

/// Each element of the first source picks one of the second. The intrinsics are the instructions.
void Translator::PermuteAll(const std::string& kind, int bits) {
  const int total = VectorBits(Operand(0));
  const bool is_float = kind.back() == 'f';
  Value* table = ReadAll(second_, is_float ? FloatType(bits) : IntType(bits), total);
  Value* picks = ReadAll(first_, IntType(bits), total);
  const bool is_avx2 = bits == 32 && total == 256;
  const std::string name = is_avx2 ? (is_float ? "avx2.permps" : "avx2.permd")
                                   : "avx512.permvar." + kind + "." + std::to_string(total);
  WriteAll(0, CallX86(name, {table, picks}));
}

/// From two tables: vpermi2 overwrites what picks, vpermt2 the first table.
void Translator::PermuteTwo(const std::string& kind, int bits, bool is_float) {
  const int total = VectorBits(Operand(0));
  const std::string mnemonic = ZydisMnemonicGetString(at_->info.mnemonic);
  const bool overwrites_picks = mnemonic.starts_with("vpermi2");
  Type* type = is_float ? FloatType(bits) : IntType(bits);
  Value* low = ReadAll(overwrites_picks ? 1 : 0, type, total);
  Value* picks = ReadAll(overwrites_picks ? 0 : 1, IntType(bits), total);
  WriteAll(0, CallX86("avx512.vpermi2var." + kind + "." + std::to_string(total), {low, picks, ReadAll(2, type, total)}));
}

// --- elements pressed together and spread ------------------------------------------------------------------------------

llvm::Value* Translator::WholeMask(int count) { return BitVector(ReadMask(MaskNumber(at_->info), count)); }

void Translator::Compress(int bits) {
  const int total = VectorBits(Operand(1));
  Value* elements = ReadAll(1, IntType(bits), total);
  if (!IsMasked(at_->info)) return WriteAll(0, elements);  // a plain move; its memory may be a slot
  Value* mask = WholeMask(total / bits);
  if (IsMemory(0)) {
    ir_.CreateMaskedCompressStore(elements, Pointer(0), mask);
    return;
  }
  const bool zeroes = ZeroesMasked(at_->info);
  Value* kept = zeroes ? llvm::Constant::getNullValue(elements->getType()) : ReadAll(0, IntType(bits), total);
  WriteAll(0, CallX86("avx512.mask.compress", {elements, kept, mask}, {elements->getType()}));
}

void Translator::Expand(int bits) {
  const int total = VectorBits(Operand(0));
  if (!IsMasked(at_->info)) return WriteAll(0, ReadAll(1, IntType(bits), total));
  auto* type = llvm::FixedVectorType::get(IntType(bits), static_cast<unsigned>(total / bits));
  Value* mask = WholeMask(total / bits);
  Value* kept = ZeroesMasked(at_->info) ? llvm::Constant::getNullValue(type) : ReadAll(0, IntType(bits), total);
  if (IsMemory(1)) return WriteAll(0, ir_.CreateMaskedExpandLoad(type, Pointer(1), mask, kept));
  WriteAll(0, CallX86("avx512.mask.expand", {ReadAll(1, IntType(bits), total), kept, mask}, {type}));
}

void Translator::NarrowElements(int from, int to, Saturation saturation) {
  const int count = VectorBits(Operand(1)) / from;
  Value* value = ReadAll(1, IntType(from), count * from);
  const auto bound = [&](const llvm::APInt& limit) {
    return llvm::ConstantInt::get(value->getType(), limit);
  };
  const auto low_bits = static_cast<unsigned>(to), high_bits = static_cast<unsigned>(from);
  if (saturation == Saturation::kSigned) {
    Value* low = bound(llvm::APInt::getSignedMinValue(low_bits).sext(high_bits));
    Value* high = bound(llvm::APInt::getSignedMaxValue(low_bits).sext(high_bits));
    value = ir_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, value, low);
    value = ir_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, value, high);
  } else if (saturation == Saturation::kUnsigned) {
    value = ir_.CreateBinaryIntrinsic(llvm::Intrinsic::umin, value, bound(llvm::APInt::getMaxValue(low_bits).zext(high_bits)));
  }
  value = ir_.CreateTrunc(value, llvm::FixedVectorType::get(IntType(to), static_cast<unsigned>(count)));
  WriteAll(0, value);
  if (IsVector(0)) WriteZeroAbove(0, count * to);
}

}  // namespace tracelift::jit
