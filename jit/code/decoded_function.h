// The inside of FunctionCode: instructions (Zydis), basic blocks, loops, and facts about each loop. Private to jit/.
#pragma once

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "jit/function_code.h"
#include "jit/machine_state.h"
#include "jit/slot.h"

namespace tracelift::jit {

/// The encoding of one instruction, kept in place: decoding a function allocates nothing per instruction.
class InstructionBytes {
 public:
  InstructionBytes() = default;
  explicit InstructionBytes(std::span<const uint8_t> bytes) : size_(static_cast<uint8_t>(bytes.size())) {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  }
  const uint8_t* data() const { return bytes_.data(); }
  size_t size() const { return size_; }
  const uint8_t* begin() const { return bytes_.data(); }
  const uint8_t* end() const { return bytes_.data() + size_; }
  uint8_t operator[](size_t i) const { return bytes_[i]; }

 private:
  std::array<uint8_t, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes_{};
  uint8_t size_ = 0;
};

/// Copies of callees that are spliced into a function (jit/code/callees.h) have addresses of their own: the bits above
/// those of user space count the copies.
inline constexpr int kUserAddressBits = 48;
constexpr bool IsInCopy(uint64_t address) { return address >> kUserAddressBits != 0; }
constexpr uint64_t OriginalAddress(uint64_t address) { return address & ((uint64_t{1} << kUserAddressBits) - 1); }

/// What becomes of a call and of the return that answers it when the callee is spliced in: a push and a pop. After a call
/// through a linkage table nothing is left but what the ABI promises, because anybody might have been called: results, and
/// the registers that callees keep.
enum class Linkage : uint8_t { kNone, kEnter, kLeave, kLeaveLinked };

struct Instruction {
  uint64_t address = 0;
  bool valid = false;  // false: bytes not decodable; length is then 1
  bool jumps_by_table = false;              // an indirect jump whose targets are known
  bool never_returns = false;               // a call that control does not come back from: nothing follows it
  Linkage linkage = Linkage::kNone;         // of a call whose callee follows, or of a return from it
  KnownCallee callee = KnownCallee::kNone;  // of a call
  int32_t constant = -1;                    // its memory operand never changes: index in DecodedFunction::constants
  InstructionBytes bytes;
  ZydisDecodedInstruction info{};
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT]{};  // info.operand_count of them, implicit ones included

  uint64_t next() const { return address + bytes.size(); }
  /// What rip holds while it runs, which relative operands count from.
  uint64_t rip() const { return OriginalAddress(next()); }
};

/// The address counts from the base of fs or gs: the numbers in the instruction alone do not tell it.
inline bool CountsFromSegment(const ZydisDecodedOperandMem& mem) {
  return mem.segment == ZYDIS_REGISTER_FS || mem.segment == ZYDIS_REGISTER_GS;
}

/// "addsd xmm0, qword ptr [rax+rcx*8]": Intel syntax with absolute addresses.
std::string Disassemble(const Instruction& instruction);

enum class BlockEnd : uint8_t {
  kFallThrough,  // the next instruction starts another block
  kJump,         // unconditional direct jump; target[0]
  kBranch,       // conditional: target[0] taken, target[1] fall-through (also JRCXZ, LOOP)
  kCall,         // a call ends a block; target[0] is the return point (the callee is not followed)
  kReturn,       // ret
  kIndirect,     // jmp reg/mem: successors unknown
  kStop,         // ud2, hlt, undecodable bytes, or end of the function's bytes
  kTable,        // an indirect jump through a proven jump table; targets are its distinct entries, ascending
  kEnter,        // a call of a function that is spliced in; target[0] is where its copy begins
  kLeave,        // a return from such a copy; target[0] is where its caller goes on
};

/// A switch: an indirect jump of which it is proven where it goes.
struct JumpTable {
  uint64_t jump = 0;              // address of the jump
  uint64_t read_at = 0;           // the instruction of its block that reads the table (maybe the jump itself). When it
                                  // runs, the index register of its memory operand is below targets.size()
  std::vector<uint64_t> targets;  // by index
  bool operator==(const JumpTable&) const = default;
};

struct BasicBlock {
  uint64_t begin = 0, end = 0;  // byte addresses, half open
  int first = 0, count = 0;     // index range in DecodedFunction::instructions
  BlockEnd end_kind = BlockEnd::kStop;
  std::vector<uint64_t> targets;  // successor addresses in the order given above, also outside the function
  std::vector<int> successors;    // block indices inside the function
  std::vector<int> predecessors;
  int immediate_dominator = -1;  // -1 for entries and unreachable blocks
  int innermost_loop = -1;       // index in loops, -1 outside
  bool passable = true;          // every instruction is lifted
};

/// A memory operand of at most 64 bytes that never changes.
using ConstantBytes = std::array<uint8_t, 64>;

struct DecodedFunction {
  AddressRange bounds;
  std::vector<Instruction> instructions;  // ascending by address, reachable code only
  std::vector<BasicBlock> blocks;         // ascending by address
  std::vector<LoopInfo> loops;
  std::vector<bool> loop_irreducible;  // per loop: entered elsewhere than at the header
  std::vector<uint64_t> entered_inside;  // targets of branches that lie inside another instruction, ascending
  std::vector<JumpTable> jump_tables;  // ascending by address of the jump
  uint64_t code_hash = 0;              // of the bytes, and of the tables
  std::vector<RegisterSet> live_in;  // per block: registers live at its first instruction
  std::vector<ConstantBytes> constants;
  std::map<uint64_t, std::string> opaque_calls;  // by address of the call: why its callee was not spliced in

  int BlockAt(uint64_t address) const;  // the block that begins at `address`, or -1
  const Instruction* InstructionAt(uint64_t address) const;
  const Instruction& LastOf(const BasicBlock& block) const { return instructions[block.first + block.count - 1]; }
  /// Instructions as lines of debug locations, counted from 1.
  unsigned LineOf(uint64_t address) const;
  const Instruction* InstructionOnLine(unsigned line) const;  // null: there is no such line
  /// The table of a block that ends in kTable, null for others.
  const JumpTable* TableOf(const BasicBlock& block) const;
  /// Some branch of the function leads into the middle of one of its instructions.
  bool IsEnteredInside(const BasicBlock& block) const;
  /// Block indices of a loop, header first.
  std::vector<int> LoopBlocks(LoopId loop) const;
  /// Those without detours: blocks that end in an unknown call or an indirect jump, or hold an instruction that is not
  /// lifted, and need not be passed on every way round (the error path of sqrt, an assertion), and what only they lead
  /// to. Going there leaves the region. When no way round is free of them, all blocks of the loop.
  std::vector<int> LiftedBlocks(LoopId loop) const;
  /// Those of `allowed` (per block) that a walk along `edges` from the blocks of `start` meets, these included.
  std::vector<bool> Reach(const std::vector<bool>& allowed, const std::vector<int>& start,
                          std::vector<int> BasicBlock::* edges) const;
  /// The block can be part of a region: it does not end in an unknown call or an indirect jump, and is not marked.
  bool CanPass(const BasicBlock& block) const;
  /// The blocks of a loop that cannot be part of a region although every way round leads through them.
  std::vector<int> Obstacles(LoopId loop) const;
};

/// Successors and predecessors of all blocks, from their targets.
void LinkBlocks(DecodedFunction* function);

/// Explicit and implicit registers of one instruction (xmm/ymm/zmm are the same vector register; partial writes
/// count as read and write). An instruction that zeroes a register (xor r,r; pxor x,x) does not read it.
struct RegisterUse {
  RegisterSet reads, writes;
};
RegisterUse UseOf(const Instruction& instruction);
/// Registers that nobody may rely on after a call of any function; those of results are not among them.
RegisterSet LostByLinkedCall();
/// The same of `call`, of a known function.
RegisterSet LostByKnownCall(const Instruction& call);

/// What register `base` holds at a loop's header, and `offset` more.
struct HeldAddress {
  int8_t base = -1;  // a general purpose register; -1: not known
  int64_t offset = 0;
  bool known() const { return base >= 0; }
  bool operator==(const HeldAddress&) const = default;
  auto operator<=>(const HeldAddress&) const = default;
};

/// At the header, `gpr` holds `address`.
struct SameAddress {
  int8_t gpr = -1;
  HeldAddress address;
  bool operator==(const SameAddress&) const = default;
};

/// What the lifter needs to know about one loop before it starts.
struct LoopFacts {
  LoopId loop = LoopId::kNone;
  uint64_t header = 0;
  RegisterSet written;          // by any instruction of the loop
  RegisterSet clobbered;        // of those, without what callees restore before they return
  RegisterSet live_at_header;   // registers that matter when the header is reached (loop and what follows it)
  RegisterSet comparable_at_header;  // of those, without what a pass may have lost to a call: any value is right there
  std::vector<Slot> slots;      // memory scalars that can live in registers
  std::vector<uint64_t> exits;  // addresses outside the lifted blocks that they branch to, ascending, unique
  std::vector<bool> is_detour;       // per exit: inside the loop, but not lifted
  std::vector<int64_t> exit_stack;   // per exit: bytes that are pushed there
  int64_t pass_stack = 0;            // most bytes that a pass has pushed below rsp at the header, return addresses included
  // By address, of instructions that run while something is pushed: how many bytes.
  std::unordered_map<uint64_t, int64_t> pushed;
  // By address, of instructions whose memory operand has a base that holds an address no pass changes, in another register's
  // terms or in a callee: which. To be checked where it is relied on.
  std::unordered_map<uint64_t, HeldAddress> held;
  std::vector<SameAddress> same_at_header;  // of registers that the loop leaves alone; to be checked at each entry

  int64_t PushedAt(const Instruction& instruction) const {
    const auto at = pushed.find(instruction.address);
    return at == pushed.end() ? 0 : at->second;
  }
  /// Of the operand that an instruction names.
  HeldAddress HeldAt(const Instruction& instruction, const ZydisDecodedOperand& operand) const {
    if (operand.visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT || operand.mem.base == ZYDIS_REGISTER_RSP) return {};
    const auto at = held.find(instruction.address);
    return at == held.end() ? HeldAddress() : at->second;
  }
};

/// Checks that the loop is liftable as far as control flow goes: rejects irreducible loops, calls, indirect branches,
/// undecodable bytes, returns reached inside (a return block is an exit, not part of a natural loop), and changes of
/// rsp that cannot be followed or are not undone on every way round; then computes the facts. `loop` must be a loop of `function`.
std::expected<LoopFacts, Rejection> AnalyseLoop(const DecodedFunction& function, LoopId loop);

/// The slot that operand `operand_index` of `instruction` (an instruction of the loop) reads or writes, or -1 when it
/// is an ordinary memory access, an address computation, or no memory operand at all.
int SlotIndexOf(const LoopFacts& facts, const Instruction& instruction, int operand_index);

}  // namespace tracelift::jit
