// Gathers and scatters: an element of memory for each element of a vector of indices. Those of AVX2 have their mask in the
// sign bits of a vector register. Elements that are masked off are not touched; in the end the mask is clear.

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"
#include "jit/lift/translator.h"

namespace tracelift::jit {

/// The address of the memory operand for element `lane` of its index register.
llvm::Value* Translator::IndexedPointer(int index, int lane, int index_bits) {
  const ZydisDecodedOperandMem& mem = Operand(index).mem;
  const int number = ZydisRegisterGetId(mem.index);
  Value* element = ReadPlace(VectorPlace(number), lane * index_bits, IntType(index_bits));
  Value* address = ir_.CreateMul(ir_.CreateSExt(element, ir_.getInt64Ty()), ir_.getInt64(mem.scale));
  if (mem.base != ZYDIS_REGISTER_NONE) address = ir_.CreateAdd(address, ReadGpr(mem.base));
  if (mem.segment == ZYDIS_REGISTER_FS) address = ir_.CreateAdd(address, FsBase());
  address = ir_.CreateAdd(address, ir_.getInt64(static_cast<uint64_t>(mem.disp.value)));
  return ir_.CreateGEP(ir_.getInt8Ty(), memory_base_, address);
}

/// Elements of a gather or scatter whose data lie in register operand `data`.
int Translator::IndexedCount(int memory, int data, int index_bits, int bits) const {
  const int indices = ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, Operand(memory).mem.index) / index_bits;
  return std::min(indices, VectorBits(Operand(data)) / bits);
}

void Translator::Gather(int index_bits, int bits) {
  const bool has_mask_register = IsEvex(at_->info);
  const int count = IndexedCount(1, 0, index_bits, bits);
  std::vector<Value*> mask;
  if (has_mask_register) {
    mask = ReadMask(MaskNumber(at_->info), count);
  } else {
    for (int i = 0; i < count; ++i) mask.push_back(ir_.CreateICmpSLT(ReadLane(2, i, IntType(bits)), Constant(bits, 0)));
  }
  Type* type = LaneTypeOf(0, bits);
  std::vector<Value*> values;
  for (int i = 0; i < count; ++i) {
    Value* chosen = mask[static_cast<size_t>(i)];
    Value* loaded = OnlyIf(chosen, [&] { return ir_.CreateAlignedLoad(type, IndexedPointer(1, i, index_bits), llvm::Align(1)); });
    values.push_back(ir_.CreateSelect(chosen, loaded, ReadLane(0, i, type)));
  }
  WriteLanes(0, values);
  WriteZeroAbove(0, count * bits);
  if (has_mask_register) return WriteMask(MaskNumber(at_->info), {});
  ZeroUpper(VectorPlaceOf(2), 0);
}

/// In the order of the elements: of several with the same address the last one stays.
void Translator::Scatter(int index_bits, int bits) {
  const int count = IndexedCount(0, 1, index_bits, bits);
  const std::vector<Value*> mask = ReadMask(MaskNumber(at_->info), count);
  Type* type = LaneTypeOf(1, bits);
  for (int i = 0; i < count; ++i) {
    OnlyIf(mask[static_cast<size_t>(i)], [&]() -> Value* {
      ir_.CreateAlignedStore(ReadLane(1, i, type), IndexedPointer(0, i, index_bits), llvm::Align(1));
      return nullptr;
    });
  }
  WriteMask(MaskNumber(at_->info), {});
}

}  // namespace tracelift::jit
