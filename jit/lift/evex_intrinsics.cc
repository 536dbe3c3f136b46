// Instructions that are lifted to themselves, through LLVM's intrinsics for them: approximations, parts of floats,
// rounding to multiples, sums of products. The intrinsics have masks of their own; all their elements are computed here
// (evex_masking.cc chooses).

#include <optional>
#include <string_view>

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {
namespace {

/// The order of an intrinsic's arguments; a: first source, b: second, n: the constant, k: what masked elements keep,
/// m: the mask, s: how to round (of packed forms only with 512 bits), t: a table as integers.
struct FloatForm {
  const char* name;
  const char* packed;  // arguments of the packed form
  const char* scalar;  // of the scalar one
};

std::optional<FloatForm> FormOf(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
#define TL_CASES(name)            \
  case ZYDIS_MNEMONIC_##name##PS: \
  case ZYDIS_MNEMONIC_##name##PD: \
  case ZYDIS_MNEMONIC_##name##SS: \
  case ZYDIS_MNEMONIC_##name##SD:
#define TL_APPROXIMATIONS(name)     \
  case ZYDIS_MNEMONIC_##name##14PS: \
  case ZYDIS_MNEMONIC_##name##14PD: \
  case ZYDIS_MNEMONIC_##name##14SS: \
  case ZYDIS_MNEMONIC_##name##14SD:
    TL_CASES(VRNDSCALE) return FloatForm{"mask.rndscale", "bnkms", "abkmns"};
    TL_CASES(VREDUCE) return FloatForm{"mask.reduce", "bnkms", "abkmns"};
    TL_CASES(VGETEXP) return FloatForm{"mask.getexp", "bkms", "abkms"};
    TL_CASES(VGETMANT) return FloatForm{"mask.getmant", "bnkms", "abnkms"};
    TL_CASES(VRANGE) return FloatForm{"mask.range", "abnkms", "abkmns"};
    TL_CASES(VSCALEF) return FloatForm{"mask.scalef", "abkms", "abkms"};
    TL_APPROXIMATIONS(VRCP) return FloatForm{"rcp14", "bkm", "abkm"};
    TL_APPROXIMATIONS(VRSQRT) return FloatForm{"rsqrt14", "bkm", "abkm"};
    TL_CASES(VFIXUPIMM) return FloatForm{"mask.fixupimm", "datnms", "datnms"};
#undef TL_CASES
#undef TL_APPROXIMATIONS
    default: return std::nullopt;
  }
}

}  // namespace

bool Translator::TranslateOwnForm() {
  const std::optional<FloatForm> form = FormOf(form_);
  if (!form) return TranslateOwnInteger();
  const std::string_view mnemonic = ZydisMnemonicGetString(form_);
  const int bits = mnemonic.back() == 's' ? 32 : 64;
  const bool is_scalar = mnemonic[mnemonic.size() - 2] == 's';
  const int total = is_scalar ? 128 : VectorBits(Operand(0));
  const auto read = [&](int index, Type* element) {
    if (!is_scalar) return ReadAll(index, element, total);
    auto* type = llvm::FixedVectorType::get(element, static_cast<unsigned>(total / bits));
    return ir_.CreateInsertElement(llvm::Constant::getNullValue(type), ReadLane(index, 0, element), uint64_t{0});
  };
  Type* element = FloatType(bits);
  std::vector<Value*> arguments;
  for (const char argument : std::string_view(is_scalar ? form->scalar : form->packed)) {
    switch (argument) {
      case 'a': arguments.push_back(read(first_, element)); break;
      case 'b': arguments.push_back(read(second_, element)); break;
      case 'd': arguments.push_back(read(0, element)); break;
      case 't': arguments.push_back(read(second_, IntType(bits))); break;
      case 'n': arguments.push_back(ir_.getInt32(static_cast<uint32_t>(Control()))); break;
      case 'k':
        arguments.push_back(llvm::Constant::getNullValue(
            llvm::FixedVectorType::get(element, static_cast<unsigned>(total / bits))));
        break;
      case 'm': arguments.push_back(Constant(std::max(8, total / bits), ~uint64_t{0})); break;
      default:
        if (is_scalar || total == 512) arguments.push_back(ir_.getInt32(RoundingArgument()));
    }
  }
  const std::string suffix = is_scalar ? (bits == 32 ? ".ss" : ".sd")
                                       : (bits == 32 ? ".ps." : ".pd.") + std::to_string(total);
  Value* result = CallX86(std::string("avx512.") + form->name + suffix, arguments);
  if (is_scalar) {
    WriteScalar(ir_.CreateExtractElement(result, uint64_t{0}));
  } else {
    WriteAll(0, result);
  }
  return true;
}

bool Translator::TranslateOwnInteger() {
  const int total = Width();
  const std::string size = std::to_string(total);
  const auto accumulate = [&](const std::string& name, int bits) {
    Value* sum = ReadAll(0, IntType(bits), total);
    Value* a = ReadAll(1, IntType(bits), total);
    WriteAll(0, CallX86("avx512." + name + "." + size, {sum, a, ReadAll(2, IntType(bits), total)}));
    return true;
  };
  switch (form_) {
    case ZYDIS_MNEMONIC_VPDPBUSD: return accumulate("vpdpbusd", 32);
    case ZYDIS_MNEMONIC_VPDPBUSDS: return accumulate("vpdpbusds", 32);
    case ZYDIS_MNEMONIC_VPDPWSSD: return accumulate("vpdpwssd", 32);
    case ZYDIS_MNEMONIC_VPDPWSSDS: return accumulate("vpdpwssds", 32);
    // Their arguments: the factors last.
    case ZYDIS_MNEMONIC_VPMADD52LUQ: return accumulate("vpmadd52l.uq", 64);
    case ZYDIS_MNEMONIC_VPMADD52HUQ: return accumulate("vpmadd52h.uq", 64);
    case ZYDIS_MNEMONIC_VPCONFLICTD:
      WriteAll(0, CallX86("avx512.conflict.d." + size, {ReadAll(1, IntType(32), total)}));
      return true;
    case ZYDIS_MNEMONIC_VPCONFLICTQ:
      WriteAll(0, CallX86("avx512.conflict.q." + size, {ReadAll(1, IntType(64), total)}));
      return true;
    case ZYDIS_MNEMONIC_VPMULTISHIFTQB: {
      Value* by = ReadAll(first_, IntType(8), total);
      WriteAll(0, CallX86("avx512.pmultishift.qb." + size, {by, ReadAll(second_, IntType(8), total)}));
      return true;
    }
    case ZYDIS_MNEMONIC_VDBPSADBW: {
      Value* a = ReadAll(first_, IntType(8), total);
      Value* b = ReadAll(second_, IntType(8), total);
      WriteAll(0, CallX86("avx512.dbpsadbw." + size, {a, b, ir_.getInt32(static_cast<uint32_t>(Control()))}));
      return true;
    }
    default: return false;
  }
}

}  // namespace tracelift::jit
