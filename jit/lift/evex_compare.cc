// Comparisons and tests whose result is a mask, and masks that become vectors.

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {

using llvm::CmpInst;

namespace {

/// Which of the eight predicates of VPCMPD and the like; the fourth and the last do not compare.
CmpInst::Predicate IntegerPredicate(uint64_t control, bool is_signed) {
  switch (control & 7) {
    case 0: return CmpInst::ICMP_EQ;
    case 1: return is_signed ? CmpInst::ICMP_SLT : CmpInst::ICMP_ULT;
    case 2: return is_signed ? CmpInst::ICMP_SLE : CmpInst::ICMP_ULE;
    case 4: return CmpInst::ICMP_NE;
    case 5: return is_signed ? CmpInst::ICMP_SGE : CmpInst::ICMP_UGE;
    case 6: return is_signed ? CmpInst::ICMP_SGT : CmpInst::ICMP_UGT;
    default: return CmpInst::BAD_ICMP_PREDICATE;
  }
}

}  // namespace

/// Of `elements` with one result bit each: those that hold and are not masked off.
void Translator::WriteMaskResult(std::vector<Value*> bits) {
  if (IsMasked(at_->info)) {
    const std::vector<Value*> mask = ReadMask(MaskNumber(at_->info), static_cast<int>(bits.size()));
    for (size_t i = 0; i < bits.size(); ++i) bits[i] = ir_.CreateAnd(bits[i], mask[i]);
  }
  WriteMask(MaskNumberOf(0), bits);
}

/// `test` gives an i1 for two elements, or a vector of them for 128 bits of narrow ones.
void Translator::TestElements(int bits, int first, int second, const std::function<Value*(Value*, Value*)>& test) {
  const int count = OperandBits(first) / bits;
  std::vector<Value*> results;
  if (bits >= 32) {
    for (int i = 0; i < count; ++i) {
      results.push_back(test(ReadLane(first, i, IntType(bits)), ReadLane(second, i, IntType(bits))));
    }
    return WriteMaskResult(std::move(results));
  }
  for (part_bit_ = 0; part_bit_ < count * bits; part_bit_ += 128) {
    Value* a = ReadVector(first, bits);
    Value* tested = test(a, ReadVector(second, bits));
    for (int i = 0; i < 128 / bits; ++i) results.push_back(ir_.CreateExtractElement(tested, static_cast<uint64_t>(i)));
  }
  part_bit_ = 0;
  WriteMaskResult(std::move(results));
}

void Translator::CompareElements(int bits, CmpInst::Predicate predicate) {
  const bool is_constant = SameRegister(first_, second_) || predicate == CmpInst::BAD_ICMP_PREDICATE;
  if (is_constant) {  // does not read
    const bool holds = predicate == CmpInst::BAD_ICMP_PREDICATE ? (Control() & 4) != 0 : CmpInst::isTrueWhenEqual(predicate);
    return WriteMaskResult(std::vector<Value*>(static_cast<size_t>(OperandBits(first_) / bits), ir_.getInt1(holds)));
  }
  TestElements(bits, first_, second_, [&](Value* a, Value* b) { return ir_.CreateICmp(predicate, a, b); });
}

void Translator::CompareFloats(int bits, int count) {
  std::vector<Value*> results;
  for (int i = 0; i < count; ++i) {
    Value* a = ReadLane(first_, i, FloatType(bits));
    results.push_back(floats_.Compare(FloatPredicate(), a, ReadLane(second_, i, FloatType(bits))));
  }
  WriteMaskResult(std::move(results));
}

/// Whether two elements have a bit in common, or none.
void Translator::TestCommonBits(int bits, bool any) {
  TestElements(bits, first_, second_, [&](Value* a, Value* b) {
    Value* common = ir_.CreateAnd(a, b);
    Value* zero = llvm::Constant::getNullValue(common->getType());
    return any ? ir_.CreateICmpNE(common, zero) : ir_.CreateICmpEQ(common, zero);
  });
}

bool Translator::TranslateToMask() {
  const int total = OperandBits(1);
  switch (form_) {
#define TL_COMPARE(name, bits, is_signed)                                                              \
  case ZYDIS_MNEMONIC_VPCMP##name: CompareElements(bits, IntegerPredicate(Control(), is_signed)); return true;
    TL_COMPARE(B, 8, true) TL_COMPARE(UB, 8, false) TL_COMPARE(W, 16, true) TL_COMPARE(UW, 16, false)
    TL_COMPARE(D, 32, true) TL_COMPARE(UD, 32, false) TL_COMPARE(Q, 64, true) TL_COMPARE(UQ, 64, false)
#undef TL_COMPARE
#define TL_TEST(name, bits)                                                            \
  case ZYDIS_MNEMONIC_PCMPEQ##name: CompareElements(bits, CmpInst::ICMP_EQ); return true;  \
  case ZYDIS_MNEMONIC_PCMPGT##name: CompareElements(bits, CmpInst::ICMP_SGT); return true; \
  case ZYDIS_MNEMONIC_VPTESTM##name: TestCommonBits(bits, true); return true;          \
  case ZYDIS_MNEMONIC_VPTESTNM##name: TestCommonBits(bits, false); return true;        \
  case ZYDIS_MNEMONIC_VPMOV##name##2M:                                                 \
    TestElements(bits, 1, 1, [this](Value* a, Value*) {                                \
      return ir_.CreateICmpSLT(a, llvm::Constant::getNullValue(a->getType()));         \
    });                                                                                \
    return true;
    TL_TEST(B, 8) TL_TEST(W, 16) TL_TEST(D, 32) TL_TEST(Q, 64)
#undef TL_TEST
    case ZYDIS_MNEMONIC_CMPPS: CompareFloats(32, total / 32); return true;
    case ZYDIS_MNEMONIC_CMPPD: CompareFloats(64, total / 64); return true;
    case ZYDIS_MNEMONIC_CMPSS: CompareFloats(32, 1); return true;
    case ZYDIS_MNEMONIC_CMPSD: CompareFloats(64, 1); return true;
    case ZYDIS_MNEMONIC_VFPCLASSPS:
    case ZYDIS_MNEMONIC_VFPCLASSPD:
    case ZYDIS_MNEMONIC_VFPCLASSSS:
    case ZYDIS_MNEMONIC_VFPCLASSSD: ClassifyFloats(); return true;
    default: return false;
  }
}

void Translator::ClassifyFloats() {
  const bool is_scalar = form_ == ZYDIS_MNEMONIC_VFPCLASSSS || form_ == ZYDIS_MNEMONIC_VFPCLASSSD;
  const bool is_double = form_ == ZYDIS_MNEMONIC_VFPCLASSPD || form_ == ZYDIS_MNEMONIC_VFPCLASSSD;
  Value* kinds = ir_.getInt32(static_cast<uint32_t>(Control()));
  const std::string type = is_double ? "d" : "s";
  if (is_scalar) {
    Value* value = ScalarInVector(1, is_double ? 64 : 32);
    Value* bit = CallX86("avx512.mask.fpclass.s" + type, {value, kinds, ir_.getInt8(1)});
    return WriteMaskResult({ir_.CreateTrunc(bit, IntType(1))});
  }
  const int total = OperandBits(1);
  Value* bits = CallX86("avx512.fpclass.p" + type + "." + std::to_string(total),
                        {ReadAll(1, FloatType(is_double ? 64 : 32), total), kinds});
  std::vector<Value*> results;
  const auto count = llvm::cast<llvm::FixedVectorType>(bits->getType())->getNumElements();
  for (uint64_t i = 0; i < count; ++i) results.push_back(ir_.CreateExtractElement(bits, i));
  WriteMaskResult(std::move(results));
}

/// Each bit as an element of all ones or zeros.
void Translator::MaskToElements(int bits) {
  const int total = VectorBits(Operand(0));
  const std::vector<Value*> mask = ReadMask(MaskNumberOf(1), total / bits);
  auto* type = llvm::FixedVectorType::get(IntType(bits), static_cast<unsigned>(mask.size()));
  WriteAll(0, ir_.CreateSExt(BitVector(mask), type));
}

/// The whole mask as a number, in every element.
void Translator::BroadcastMask(int mask_bits, int bits) {
  Value* value = ir_.CreateZExt(PackBits(ReadMask(MaskNumberOf(1), mask_bits)), IntType(bits));
  for (int i = 0; i < VectorBits(Operand(0)) / bits; ++i) WriteLane(0, i, value);
}

}  // namespace tracelift::jit
