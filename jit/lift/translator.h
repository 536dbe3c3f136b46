// Translates the instructions of one loop, one at a time, into LLVM IR over allocas that stand for the registers.
// Private to jit/lift; the only header here that includes LLVM.
//
// lifter.cc owns the shape of the function; operands.cc reads and writes registers and memory, vector_operands.cc
// vector registers, opmasks.cc mask registers; integer*.cc, sse_*.cc (all encodings), vex_*.cc and evex_*.cc know the
// instructions. Nothing here optimises: mem2reg and instcombine do, and dead code costs only compile time. What must be
// right here are the bits.
#pragma once

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <array>
#include <functional>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "jit/code/decoded_function.h"
#include "jit/lift/allow_list.h"
#include "jit/lift/flag_liveness.h"
#include "jit/lift/float_operations.h"
#include "jit/lift/vector_lanes.h"
#include "jit/module_bases.h"

namespace tracelift::jit {

/// Bytes held in scalar allocas of equal width, lowest first: a slot, or a vector register as far as the loop names it.
/// Slots whose users disagree on the width are held in an array of bytes instead (slot_areas.cc).
struct Place {
  int lane_bits = 0;
  std::vector<llvm::AllocaInst*> lanes;
  std::vector<llvm::AllocaInst*> above;  // i64s: the rest of a vector register, only ever zeroed
  llvm::AllocaInst* area = nullptr;      // then there are no lanes
  std::map<std::pair<int, int>, llvm::Type*> pieces;  // of an area, (byte, bytes): what was written, and as what
  bool written = false;
  int bits() const { return lane_bits * static_cast<int>(lanes.size()); }
};

/// A mask register as single bits, as many as the loop uses.
struct MaskPlace {
  std::vector<llvm::AllocaInst*> bits;
  llvm::AllocaInst* above = nullptr;  // an i64: the other bits, in their place, only ever zeroed
  bool written = false;
};

class Translator {
 public:
  Translator(llvm::Function& function, const DecodedFunction& code, const LoopFacts& facts, llvm::BasicBlock* entry);

  /// Appends `instruction` (not a branch) to the builder's block. False: not on the allow-list after all.
  bool Translate(const Instruction& instruction, FlagMask live_flags_after);
  /// The i1 on which `instruction`, a conditional branch, is taken.
  llvm::Value* BranchCondition(const Instruction& instruction);

  /// The index with which `read`, the next instruction, reads a jump table.
  llvm::Value* TableIndex(const Instruction& read);

  /// A call of memset or memmove, as the intrinsic, or of libm. False: libm's own bits are asked for.
  bool TranslateKnownCall();

  /// A call whose callee follows, and a return from it to where it was called.
  void EnterCallee(const Instruction& call);
  void LeaveCallee(const Instruction& ret, uint64_t return_to);
  /// The loop reads or sets MXCSR; before the first instruction.
  void UseExceptionFlags();
  /// At the begin of the header, and where a pass is complete.
  void StartPass();
  void FinishPass();

  llvm::IRBuilder<>& builder() { return ir_; }
  /// The address space of the program: address 0, but unknown to LLVM.
  llvm::Value* memory_base() const { return memory_base_; }

  /// Makes the start value of a place a constant. Before the first instruction.
  void SetKnownGpr(int gpr, uint64_t value) { known_gpr_[gpr] = {true, value}; }
  void SetUpperZero(RegisterSet gprs) { upper_zero_ = gprs; }
  /// Registers that hold these at entry, kept by reference. Before the first instruction.
  void SetSame(std::span<const SameAddress> same) { same_ = same; }
  /// Of the instructions that follow.
  void SetRelaxed(bool relaxed) { floats_.SetRelaxed(relaxed); }
  void SetFloatControl(FloatControl control) {
    floats_.SetControl(control);
    float_control_ = control;
  }
  /// What lies in these is addressed from where they begin. Before the first instruction; kept by reference.
  void SetModules(const ModuleBases* modules) { modules_ = modules; }
  const FloatOperations& floats() const { return floats_; }
  void SetKnownSlot(int slot, uint64_t low, uint64_t high) { known_slot_[slot] = {true, {low, high}}; }

  /// At the end of the region: stores to the MachineState `out` what the region writes; of registers, those in `wanted`.
  void StoreState(llvm::Value* out, RegisterSet wanted);

  /// When all instructions and ends are there: gives slots whose users disagree the types that serve analyses best.
  void SettleAreas();

 private:
  using Value = llvm::Value;
  using Type = llvm::Type;
  using Opcode = llvm::Instruction::BinaryOps;

  // operands.cc: places of the machine state
  void FindNarrowGprs(const DecodedFunction& code);
  void CreateGpr(int gpr);
  Value* GprAtEntry(int gpr);
  Value* ReadFullGpr(int gpr);
  Value* ReadLowGpr(int gpr);          // 32 bits
  void WriteFullGpr(int gpr, Value* value);
  llvm::AllocaInst* FlagAlloca(StatusFlag flag);
  Place MakePlace(const llvm::Twine& name, size_t offset, int bytes, LaneKind kind, const uint64_t* known);
  Value* ReadPlace(const Place& place, int bit, Type* type);
  void WritePlace(Place& place, int bit, Value* value);
  void StorePlace(const Place& place, Value* out, size_t offset, int bytes);

  // slot_areas.cc
  void FindAreas(const DecodedFunction& code);
  Place& SlotPlace(int slot);
  llvm::AllocaInst* MakeArea(const llvm::Twine& name, size_t offset, int bytes, const uint64_t* known);
  Value* AreaAddress(const Place& place, int64_t byte);
  Value* ReadArea(const Place& place, int bit, Type* type);
  void WriteArea(Place& place, int bit, Value* value);
  void MakeCutFloatsIntegers(Place& place);
  void MakeWholePiecesIntegers(Place& place);
  void StoreArea(const Place& place, Value* out, size_t offset);

  // operands.cc: operands of the current instruction
  const ZydisDecodedOperand& Operand(int index) const { return at_->operands[index]; }
  bool IsMemory(int index) const { return Operand(index).type == ZYDIS_OPERAND_TYPE_MEMORY; }
  bool IsImmediate(int index) const { return Operand(index).type == ZYDIS_OPERAND_TYPE_IMMEDIATE; }
  bool SameRegister(int a, int b) const;
  int Bits(int index) const { return Operand(index).size; }
  Type* IntType(int bits) { return ir_.getIntNTy(static_cast<unsigned>(bits)); }
  Type* FloatType(int bits) { return bits == 64 ? ir_.getDoubleTy() : ir_.getFloatTy(); }
  Value* Constant(int bits, uint64_t value);
  uint64_t Immediate(int index) const { return Operand(index).imm.value.u; }
  Value* ProgramAddress(uint64_t address);
  Value* FsBase();
  Value* Address(int index, int bits = 64);     // computed modulo 2^bits, for lea
  Value* ReadGpr(ZydisRegister reg);
  void WriteGpr(ZydisRegister reg, Value* value);
  Value* ReadWhole(Gpr gpr, int bits);         // low `bits` of a register
  void WriteWhole(Gpr gpr, Value* value);      // as an instruction with that operand size writes it
  void WriteBits(int gpr, int first_bit, Value* value);
  void CheckHeldAddress();
  Value* LoadAt(int index, int bit, Type* type);   // from a memory operand or slot, `bit` bits in
  void StoreAt(int index, int bit, Value* value);
  Value* Read(int index);                      // general purpose register, memory or immediate as an integer
  Value* Read(int index, int bits);            // the same, an immediate as `bits` bits
  void Write(int index, Value* value);
  Value* AsInt(Value* value);
  Value* AsFloat(Value* value);

  // vector_operands.cc: places of vector registers
  void FindVectorWidths(const DecodedFunction& code);
  Place& VectorPlace(int number);
  void StoreVector(int number, Value* out, bool upper);
  void ZeroPlace(Place& place, int first_bit, int end_bit);
  void ZeroUpper(Place& place, int first_bit);       // up to the full register

  // vector_operands.cc: vector instructions, 128 bits at a time (CrossesParts: all at once), and their operands
  bool TranslateVector(InstructionFamily family);
  bool TranslateParts(InstructionFamily family);
  bool TranslatePart(InstructionFamily family);
  bool IsVector(int index) const;
  int Width() const;                                 // of the widest vector operand, in bits
  int SourceBits(int index) const;                   // of a vector register or a memory operand
  uint64_t Control() const;
  Place& VectorPlaceOf(int index);
  Value* ReadAt(int index, int bit, Type* type);
  Value* ReadLane(int index, int lane, Type* type);  // lane of the type's size of this part of a register or memory
  void WriteLane(int index, int lane, Value* value);
  void WriteZeroAbove(int index, int first_bit);     // clears the rest of a vector register
  void CopyFirst();
  Value* ReadVector(int index, int element_bits);    // the 128 bits of this part as <n x iM>
  void WriteVector(int index, Value* value);
  std::vector<Value*> ReadLanes(int index, int count, Type* type);
  void WriteLanes(int index, const std::vector<Value*>& values);
  Type* LaneTypeOf(int index, int bits);             // the type in which a copy of that width keeps it

  // operands.cc: flags
  bool Wants(StatusFlag flag) const { return (wanted_ & Bit(flag)) != 0; }
  void WantSources();                                // before a flag result without combinations of its own
  Value* ReadFlag(StatusFlag flag);
  Value* ReadCondition(Condition condition);
  void SetFlag(StatusFlag flag, Value* value);
  void SetResultFlags(Value* result);                // zero, sign, parity
  void SetCombinedFlags();                           // less, less-or-equal, below-or-equal from their sources

  // integer.cc
  Gpr GprOf(int index) const;                        // of a general purpose register, whatever part of it is named
  bool TranslateInteger();
  void ExtendAccumulator();
  void CompareExchange();
  void LoadFlags();
  void StoreFlags();

  // integer_arithmetic.cc
  bool TranslateArithmetic();
  Value* Add(Value* a, Value* b, Value* carry_in);
  void AddThrough(StatusFlag carry);
  void SubtractWithBorrow(bool with_borrow, bool keep_result);
  void SetSubtractFlags(Value* a, Value* b, Value* result);
  void SetLogicFlags(Value* result);
  void Increment(int by);
  void Logic(Opcode opcode, bool keep_result);
  void Multiply(bool is_signed);
  void MultiplyWithoutFlags();
  void MultiplyTruncated();
  void SetMultiplyFlags(Value* overflow);
  void Divide(bool is_signed);
  void FlagFault(Value* fault, uint32_t flag);

  // linkage.cc
  bool TranslateStack();
  void Push(Value* value);
  Value* Pop();
  void ForgetLost();
  void StoreMxcsr();
  void LoadMxcsr();
  Value* UnknownFlags();                             // of which nothing may be known

  // integer_shifts.cc
  bool TranslateShift();
  void Shift();
  void SetRotateFlags(Value* result, Value* carry, Value* masked);
  void Rotate();
  void RotateThroughCarry();
  void DoubleShift();
  void ShiftWithoutFlags();
  void KeepFlagsUnless(Value* changes, const std::function<void()>& set_flags);

  // integer_bits.cc
  bool TranslateBits();
  void BitTest();
  void BitScan(bool reverse);
  void CountZeros(bool leading);
  void LowestSetBit();
  Value* KeepLowBits(Value* value, Value* count);
  void ExtractField();
  void ZeroHighBits();
  void DepositOrExtract();
  void Checksum();
  void SetFieldFlags(Value* result, Value* carry);

  // integer_strings.cc
  void TranslateString();
  void StringElement();
  void RequireUpwards();

  // opmasks.cc
  void FindMaskWidths(const DecodedFunction& code);
  MaskPlace& MaskPlaceOf(int number);
  std::vector<Value*> ReadMask(int number, int count);          // i1s
  void WriteMask(int number, const std::vector<Value*>& bits);  // clears the others
  void StoreMask(int number, Value* out);
  Value* BitVector(const std::vector<Value*>& bits);            // <n x i1>
  Value* PackBits(const std::vector<Value*>& bits);             // an integer of n bits
  std::vector<Value*> UnpackBits(Value* integer);
  bool IsMask(int index) const;
  int MaskNumberOf(int index) const;
  bool TranslateMask();
  void MoveMask(int width);
  void ShiftMask(int width, int distance);
  void TestMasks(int width, bool is_and);
  void SetTestFlags(Value* zero, Value* carry);

  // evex_masking.cc: around operations on all elements
  struct Elements {
    int bits = 0, count = 0;
  };
  bool TranslateEvex(InstructionFamily family);
  Elements MaskedElements() const;
  int OperandBits(int index) const;
  Place NewPlace(int bits, int lane_bits, Type* type);
  Value* OnlyIf(Value* condition, llvm::function_ref<Value*()> value);
  Value* Pointer(int index);
  Place LoadOperand(int index, Elements result);
  void StoreOperand(const Place& operand, Elements elements);
  std::vector<Value*> ReadKept(int index, Elements elements);
  void Blend(const std::vector<Value*>& kept, Elements elements);
  Value* ReadAll(int index, Type* element, int bits);
  void WriteAll(int index, Value* vector);

  // evex_compare.cc
  bool TranslateToMask();
  void WriteMaskResult(std::vector<Value*> bits);
  void TestElements(int bits, int first, int second, const std::function<Value*(Value*, Value*)>& test);
  void CompareElements(int bits, llvm::CmpInst::Predicate predicate);
  void CompareFloats(int bits, int count);
  void TestCommonBits(int bits, bool any);
  void ClassifyFloats();
  void MaskToElements(int bits);
  void BroadcastMask(int mask_bits, int bits);

  // evex_moves.cc
  enum class Saturation : uint8_t { kNone, kSigned, kUnsigned };
  bool TranslateEvexMove();
  bool TranslateWiderMove();
  bool BroadcastGpr(int bits);
  std::vector<Value*> ReadRun(int index, int first_bit, int run_bits);
  void RepeatPart(int part_bits);
  void TakePart(int part_bits);
  void PutPart(int part_bits);
  void ShuffleParts();
  void AlignElements(int bits);
  void CopySecond();
  void PermuteFours();
  Value* CallX86(const std::string& name, llvm::ArrayRef<Value*> arguments, llvm::ArrayRef<Type*> types = {});
  void PermuteAll(const std::string& kind, int bits);
  void PermuteTwo(const std::string& kind, int bits, bool is_float);
  Value* WholeMask(int count);
  void Compress(int bits);
  void Expand(int bits);
  void NarrowElements(int from, int to, Saturation saturation);

  // evex_gather.cc
  Value* IndexedPointer(int index, int lane, int index_bits);
  int IndexedCount(int memory, int data, int index_bits, int bits) const;
  void Gather(int index_bits, int bits);
  void Scatter(int index_bits, int bits);

  // evex_integer.cc
  bool TranslateEvexInteger();
  void PackedUnary(int bits, llvm::Intrinsic::ID id, Value* option);
  void RotateElements(int bits, llvm::Intrinsic::ID funnel);
  void ShiftPairs(int bits, llvm::Intrinsic::ID funnel, bool by_vector);
  void TernaryLogic();
  Value* LogicOfThree(uint32_t table, Value* a, Value* b, Value* c);

  // evex_float.cc, evex_intrinsics.cc
  bool TranslateEvexFloat();
  void ConvertToFloats(int from, int to, bool is_signed);
  void ConvertToIntegers(int from, int to, bool is_signed, bool truncate);
  Value* ConvertToInteger(Value* value, int bits, bool is_signed, bool truncate);
  uint32_t RoundingArgument() const;
  Value* ScalarInVector(int index, int bits);
  bool TranslateRounded();
  void RoundedPacked(const std::string& name, int bits);
  void RoundedScalar(const std::string& name, int bits);
  void RoundedFromInteger(const std::string& name, int bits);
  bool RoundedFused();
  bool TranslateOwnForm();
  bool TranslateOwnInteger();

  // sse_float.cc
  bool TranslateSseFloat();
  void FloatBinary(int bits, int lanes, const std::function<Value*(Value*, Value*)>& op);
  void FloatUnary(int bits, int lanes, const std::function<Value*(Value*)>& op);
  void FloatApproximation(const std::string& operation);
  void WriteScalar(Value* value);
  void FloatHorizontal(int bits, bool subtract);
  void FloatAddSubtract(int bits);
  llvm::CmpInst::Predicate FloatPredicate() const;
  void FloatCompareMask(int bits, int lanes);
  void FloatCompareFlags(int bits);
  void FloatRound(int bits, int lanes);
  void FloatToGpr(int bits, bool truncate);
  void FloatToLanes(int bits, bool truncate);
  void MoveSignMask(int bits);

  // sse_moves.cc
  bool TranslateSseMove();
  void MoveScalar(int bits);
  void MoveWhole();
  void MoveDword(int bits);
  void MoveHalf(bool high);
  void Shuffle(int bits, const std::vector<std::pair<int, int>>& sources);  // (source 0 or 1, lane) per lane
  void BlendLanes(int bits);
  Value* ReadSelector(int lane, int bits);
  void Unpack(int bits, bool high);
  void LaneLogic(Opcode opcode, bool invert_first);
  void BlendByMask(int bits);
  void InsertFloat();

  // sse_integer.cc
  bool TranslateSseInteger();
  void LaneBinary(int bits, const std::function<Value*(Value*, Value*)>& op);    // scalar lanes of 32 or 64
  void VectorBinary(int bits, const std::function<Value*(Value*, Value*)>& op);  // <n x iM>
  void PackedBinary(int bits, const std::function<Value*(Value*, Value*)>& op);  // whichever suits the width
  void PackedCompare(int bits, llvm::CmpInst::Predicate predicate);
  void PackedMinMax(int bits, llvm::Intrinsic::ID intrinsic);
  void PackedShift(int bits, Opcode opcode);
  void ByteShift(bool left);
  void Pack(int bits, bool is_signed);
  void PackedExtend(int from, int to, bool is_signed);
  void PackedAverage(int bits);
  void MultiplyHigh(bool is_signed);
  void MultiplyLongLanes(bool is_signed);
  void MultiplyAddPairs();
  void MultiplyAddBytes();
  void SumOfDifferences();
  void ShuffleBytes();
  void ShuffleWords(int first);
  void AlignRight();
  void MoveByteMask();
  void InsertElement(int bits);
  void ExtractElement(int bits);
  void MultiplyHighRounded();
  void PackedHorizontal(int bits, const std::function<Value*(Value*, Value*)>& op);
  void PackedSign(int bits);
  void BlendWords();
  void BlendBytesByMask();
  void TestBits();

  // vex_float.cc
  bool TranslateVexFloat();
  void FusedMultiplyAdd(int bits, int lanes, int order, bool negate_product, int subtract);
  void HalfToFloat();
  void FloatToHalf();

  // vex_moves.cc
  bool TranslateVexMove();
  void Broadcast(int bits);
  void BroadcastPart();
  void ExtractPart();
  void InsertPart();
  void PermuteParts();
  void PermuteLanes();
  void PermuteByIndex();
  void PermuteInPart(int bits);
  void MaskedMove(int bits);
  void ZeroRegisters(int first_bit);

  // vex_integer.cc
  bool TranslateVexInteger();
  void ShiftEach(int bits, Opcode opcode);

  llvm::Function& function_;
  llvm::LLVMContext& context_;
  const LoopFacts& facts_;
  const std::vector<ConstantBytes>& constants_;
  llvm::BasicBlock* entry_;
  llvm::IRBuilder<> ir_;
  llvm::IRBuilder<> entry_ir_;  // inserts before the entry block's branch
  FloatOperations floats_{ir_};
  Value* memory_base_;
  std::span<const SameAddress> same_;
  const ModuleBases* modules_ = nullptr;
  std::array<Value*, kMaxModules> module_base_{};  // loaded before the loop
  std::map<uint64_t, Value*> program_address_;
  Value* fs_base_ = nullptr;  // once it was asked for
  LaneKinds kinds_;

  // A register that the loop writes in part is held twice, whole and as its low 32 bits. 32-bit counters then are 32-bit
  // phis, and whichever copy nobody reads disappears.
  std::array<llvm::AllocaInst*, kGprCount> gpr_{};
  std::array<llvm::AllocaInst*, kGprCount> gpr_low_{};
  std::array<bool, kGprCount> gpr_is_narrow_{};
  std::array<bool, kGprCount> gpr_written_{};
  std::array<Place, kVectorCount> vector_;
  std::array<int, kVectorCount> vector_bits_{};      // of the widest operand that names it
  std::array<bool, kVectorCount> vector_cleared_{};  // an instruction of the loop clears its upper part
  std::array<MaskPlace, kMaskCount> mask_;
  std::array<int, kMaskCount> mask_bits_{};          // as many as the loop uses
  std::vector<Place> slot_;
  std::vector<bool> slot_is_area_;
  std::array<llvm::AllocaInst*, kStatusFlagCount> flag_{};
  bool flags_written_ = false;
  std::array<std::pair<bool, uint64_t>, kGprCount> known_gpr_{};
  RegisterSet upper_zero_;
  struct KnownSlot {
    bool known = false;
    uint64_t value[2] = {};
  };
  std::vector<KnownSlot> known_slot_;

  FloatControl float_control_ = kDefaultFloatControl;
  std::map<std::pair<uint64_t, Gpr>, llvm::AllocaInst*> kept_;  // by return address: what a callee must give back
  llvm::AllocaInst* exception_flags_ = nullptr;
  llvm::AllocaInst* exception_flags_at_start_ = nullptr;
  uint64_t unknowns_ = 0;
  const Instruction* at_ = nullptr;  // the current instruction
  FlagMask wanted_ = kNoFlags;       // flags its result must provide
  bool requires_upwards_ = false;    // the direction flag is checked at entry
  // Of a vector instruction: `op a, b` computes a = a op b, `op a, b, c` a = b op c.
  ZydisMnemonic form_ = ZYDIS_MNEMONIC_INVALID;  // its legacy name, see vex_forms.h
  int first_ = 0, second_ = 1;                   // the operands b and c
  Place* operand_ = nullptr;                     // stands for the memory operand: a masked or repeated one
  int part_bit_ = 0;                             // where the 128 bits begin that are computed now
};

}  // namespace tracelift::jit
