// The idea: registers are followed as symbolic values along every way into the block that ends in the jump; a way grows
// backwards, block by block, until the table and the bound follow from it. Values are equal when they have the same
// origin and the same width: what `cmp edi, 7` bounds is the low half of rdi, and `mov eax, edi` makes exactly this
// value the index. gcc also compares in memory and loads after it: what memory holds has a value as well, until
// something is stored. Table addresses may be loaded far away, before the loop: they come from a forward data flow of
// address constants over the whole function.
//
// What is left out: sums of the index in memory operands, and tables in memory that the loader relocates.
#include "jit/code/jump_table.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace tracelift::jit {
namespace {

constexpr uint64_t kMostEntries = 4096;
constexpr size_t kMostBlocksUp = 8;
constexpr int kMostWays = 64;  // into one jump
// A bound this large may be no more than the width of a byte: a comparison within a few blocks gives a better one.
constexpr uint64_t kLooseBound = 255;
constexpr size_t kBlocksUpForABound = 3;

constexpr uint64_t MaskOf(int bits) { return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1; }

/// The number of a general purpose register that is read or written from bit 0 on, -1 for ah, ch, dh, bh and others.
int GprOf(ZydisRegister reg) {
  switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8:
      if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) return -1;
      [[fallthrough]];
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
      return ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
    default:
      return -1;
  }
}

int GprOf(const ZydisDecodedOperand& operand) {
  return operand.type == ZYDIS_OPERAND_TYPE_REGISTER ? GprOf(operand.reg.value) : -1;
}

bool IsImmediate(const ZydisDecodedOperand& operand) { return operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE; }

bool IsUnknownCall(const Instruction& instruction) {
  return instruction.info.meta.category == ZYDIS_CATEGORY_CALL && instruction.callee == KnownCallee::kNone;
}

/// lea r64, [rip+x], or mov of a number: an address that is known.
std::optional<uint64_t> AddressLoaded(const Instruction& instruction) {
  const ZydisDecodedOperand* operands = instruction.operands;
  if (!instruction.valid || GprOf(operands[0]) < 0) return std::nullopt;
  if (instruction.info.mnemonic == ZYDIS_MNEMONIC_MOV && IsImmediate(operands[1]) && operands[0].size >= 32) {
    return operands[1].imm.value.u & MaskOf(operands[0].size);
  }
  if (instruction.info.mnemonic != ZYDIS_MNEMONIC_LEA || operands[0].size != 64 ||
      instruction.info.address_width != 64 || operands[1].mem.base != ZYDIS_REGISTER_RIP) {
    return std::nullopt;
  }
  return instruction.next() + static_cast<uint64_t>(operands[1].mem.disp.value);
}

using Addresses = std::array<std::optional<uint64_t>, kGprCount>;

/// Per block the addresses that its general purpose registers hold when it begins, on all known ways to it.
class AddressFlow {
 public:
  AddressFlow(const DecodedFunction& function, const ReachableCode& reachable, Guesses guesses) : function_(function) {
    at_begin_.resize(function.blocks.size());
    std::vector<int> guessed;
    for (uint32_t offset : reachable.guessed) guessed.push_back(function.BlockAt(function.bounds.begin + offset));
    Meet(function.BlockAt(function.bounds.begin), Addresses());
    for (int b : guesses == Guesses::kUnknownEntries ? guessed : std::vector<int>()) Meet(b, Addresses());
    while (!pending_.empty()) {
      const int b = pending_.back();
      pending_.pop_back();
      Addresses addresses = *at_begin_[b];
      const BasicBlock& block = function.blocks[b];
      for (int i = block.first; i < block.first + block.count; ++i) Step(function.instructions[i], &addresses);
      for (int successor : block.successors) Meet(successor, addresses);
      if (block.end_kind != BlockEnd::kIndirect) continue;
      for (int successor : guessed) Meet(successor, addresses);
    }
  }

  Addresses AtBegin(int block) const { return at_begin_[block].value_or(Addresses()); }

 private:
  static void Step(const Instruction& instruction, Addresses* addresses) {
    const std::optional<uint64_t> loaded = AddressLoaded(instruction);
    const RegisterSet writes = UseOf(instruction).writes;
    for (int gpr = 0; gpr < kGprCount; ++gpr) {
      if (writes.HasGpr(gpr)) (*addresses)[gpr] = std::nullopt;
    }
    if (instruction.valid && IsUnknownCall(instruction)) {
      for (int gpr : {kRax, kRcx, kRdx, kRsi, kRdi, kR8, kR9, kR10, kR11}) (*addresses)[gpr] = std::nullopt;
    }
    if (loaded.has_value()) (*addresses)[GprOf(instruction.operands[0])] = loaded;
  }

  void Meet(int block, const Addresses& addresses) {
    std::optional<Addresses>& known = at_begin_[block];
    Addresses met = known.value_or(addresses);
    for (int gpr = 0; gpr < kGprCount; ++gpr) {
      if (met[gpr] != addresses[gpr]) met[gpr] = std::nullopt;
    }
    if (known == met) return;
    known = met;
    pending_.push_back(block);
  }

  const DecodedFunction& function_;
  std::vector<std::optional<Addresses>> at_begin_;  // none: not reached yet
  std::vector<int> pending_;
};

/// The low `width` bits of what `origin` stands for, zeros above.
struct Value {
  int origin = 0;
  int width = 64;
  bool operator==(const Value&) const = default;
};

struct Origin {
  enum Kind : uint8_t {
    kAnything,
    kAddress,  // a known address: `address`
    kEntry,    // an entry of the table at `address`, to be added to it
    kTarget,   // the address that an entry of the table at `address` stands for
  } kind = kAnything;
  uint64_t most = ~uint64_t{0};  // it is not larger, as an unsigned number
  uint64_t address = 0;
  int entry_bytes = 0;
  Value index = {};
  uint64_t read_at = 0;  // the instruction that reads the table
};

/// Registers as values, one instruction after the other.
class Evaluator {
 public:
  explicit Evaluator(const Addresses& addresses) {
    for (int gpr = 0; gpr < kGprCount; ++gpr) {
      registers_[gpr] = addresses[gpr].has_value() ? NewAddress(*addresses[gpr]) : New({});
    }
  }

  void Step(const Instruction& instruction) {
    const std::optional<Value> result = ResultOf(instruction);
    const RegisterSet writes = UseOf(instruction).writes;
    for (int gpr = 0; gpr < kGprCount; ++gpr) {
      if (writes.HasGpr(gpr) || (instruction.valid && IsUnknownCall(instruction))) registers_[gpr] = New({});
    }
    if (result.has_value()) registers_[GprOf(instruction.operands[0])] = *result;
    if (MayStore(instruction)) memory_.clear();
    if (!writes.HasFlags()) return;
    compared_.reset();
    if (instruction.info.mnemonic != ZYDIS_MNEMONIC_CMP || !IsImmediate(instruction.operands[1])) return;
    const int bits = instruction.operands[0].size;
    if (const std::optional<Value> value = ValueOf(instruction, instruction.operands[0])) {
      compared_ = {Narrow(*value, bits), instruction.operands[1].imm.value.u & MaskOf(bits)};
    }
  }

  /// The conditional branch `branch` was taken or not: the value compared before it may be bounded now.
  void Branch(const Instruction& branch, bool is_taken) {
    if (!compared_.has_value()) return;
    const auto [value, number] = *compared_;
    const ZydisMnemonic mnemonic = branch.info.mnemonic;
    const bool up_to = is_taken ? mnemonic == ZYDIS_MNEMONIC_JBE : mnemonic == ZYDIS_MNEMONIC_JNBE;
    const bool below = is_taken ? mnemonic == ZYDIS_MNEMONIC_JB : mnemonic == ZYDIS_MNEMONIC_JNB;
    if (up_to) bounds_.push_back({value, number});
    if (below && number > 0) bounds_.push_back({value, number - 1});
  }

  /// The table behind an indirect jump, with its index; `address`, `entry_bytes`, `index` and `read_at` are set.
  std::optional<Origin> TableOf(const Instruction& jump) const {
    const ZydisDecodedOperand& target = jump.operands[0];
    if (target.type == ZYDIS_OPERAND_TYPE_MEMORY) return TableAt(jump, target, 8);
    if (GprOf(target) < 0 || target.size != 64) return std::nullopt;
    const Value value = registers_[GprOf(target)];
    const Origin& origin = origins_[value.origin];
    if (origin.kind != Origin::kTarget || value.width != 64) return std::nullopt;
    return origin;
  }

  uint64_t MostOf(Value value) const {
    uint64_t most = std::min(origins_[value.origin].most, MaskOf(value.width));
    for (const auto& [bounded, number] : bounds_) {
      if (bounded == value) most = std::min(most, number);
    }
    return most;
  }

 private:
  Value New(Origin origin) {
    origins_.push_back(origin);
    return Narrow({static_cast<int>(origins_.size()) - 1, 64}, 64);
  }
  Value NewAddress(uint64_t address) { return New({.kind = Origin::kAddress, .most = address, .address = address}); }

  /// The low bits of a value. Widths that make no difference are all written as one, so that equal values look equal.
  Value Narrow(Value value, int bits) const {
    int width = std::min(value.width, bits);
    for (const int smaller : {8, 16, 32}) {
      if (origins_[value.origin].most <= MaskOf(smaller)) {
        width = std::min(width, smaller);
        break;
      }
    }
    return {value.origin, width};
  }

  static bool MayStore(const Instruction& instruction) {
    if (!instruction.valid || instruction.info.meta.category == ZYDIS_CATEGORY_CALL) return true;
    if (UseOf(instruction).writes == RegisterSet::All()) return true;
    return std::any_of(
        instruction.operands, instruction.operands + instruction.info.operand_count, [](const auto& operand) {
          return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
        });
  }

  /// Of a register from bit 0 on, or of memory, where the same operand gives the same value until something is stored.
  std::optional<Value> ValueOf(const Instruction& instruction, const ZydisDecodedOperand& operand) {
    if (GprOf(operand) >= 0) return registers_[GprOf(operand)];
    const ZydisDecodedOperandMem& mem = operand.mem;
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || mem.type != ZYDIS_MEMOP_TYPE_MEM ||
        instruction.info.address_width != 64) {
      return std::nullopt;
    }
    Place place{.bits = operand.size, .scale = mem.scale, .segment = mem.segment};
    place.displacement = mem.disp.has_displacement ? static_cast<uint64_t>(mem.disp.value) : 0;
    if (mem.base == ZYDIS_REGISTER_RIP) {
      place.displacement += instruction.next();
    } else if (mem.base != ZYDIS_REGISTER_NONE) {
      if (GprOf(mem.base) < 0) return std::nullopt;
      place.base = registers_[GprOf(mem.base)];
    }
    if (mem.index != ZYDIS_REGISTER_NONE) {
      if (GprOf(mem.index) < 0) return std::nullopt;
      place.index = registers_[GprOf(mem.index)];
    }
    for (const auto& [known, value] : memory_) {
      if (known == place) return value;
    }
    memory_.emplace_back(place, New({.most = MaskOf(operand.size)}));
    return memory_.back().second;
  }

  std::optional<uint64_t> AddressIn(ZydisRegister reg) const {
    if (reg == ZYDIS_REGISTER_NONE) return 0;
    if (ZydisRegisterGetClass(reg) != ZYDIS_REGCLASS_GPR64) return std::nullopt;
    const Origin& origin = origins_[registers_[GprOf(reg)].origin];
    if (origin.kind != Origin::kAddress) return std::nullopt;
    return origin.address;
  }

  /// `operand` reads an entry of a table at a known address.
  std::optional<Origin> TableAt(const Instruction& instruction, const ZydisDecodedOperand& operand, int bytes) const {
    const ZydisDecodedOperandMem& mem = operand.mem;
    if (mem.type != ZYDIS_MEMOP_TYPE_MEM || instruction.info.address_width != 64 || operand.size != bytes * 8)
      return std::nullopt;
    if (CountsFromSegment(mem)) return std::nullopt;
    if (ZydisRegisterGetClass(mem.index) != ZYDIS_REGCLASS_GPR64 || mem.scale != bytes) return std::nullopt;
    const std::optional<uint64_t> base = AddressIn(mem.base);
    if (!base.has_value()) return std::nullopt;
    const uint64_t displacement = mem.disp.has_displacement ? static_cast<uint64_t>(mem.disp.value) : 0;
    return Origin{.address = *base + displacement,
                  .entry_bytes = bytes,
                  .index = registers_[GprOf(mem.index)],
                  .read_at = instruction.address};
  }

  /// What the instruction leaves in its first operand, a general purpose register; nullopt when that is not known.
  std::optional<Value> ResultOf(const Instruction& instruction) {
    const ZydisDecodedOperand* operands = instruction.operands;
    const int to = instruction.valid ? GprOf(operands[0]) : -1;
    if (to < 0 || operands[0].size < 32) return std::nullopt;
    const int bits = operands[0].size;
    if (const std::optional<uint64_t> address = AddressLoaded(instruction)) return NewAddress(*address);
    switch (instruction.info.mnemonic) {
      case ZYDIS_MNEMONIC_MOV:
        if (operands[1].type == ZYDIS_OPERAND_TYPE_MEMORY && bits == 64) {
          if (std::optional<Origin> table = TableAt(instruction, operands[1], 8)) {
            table->kind = Origin::kTarget;
            return New(*table);
          }
        }
        [[fallthrough]];
      case ZYDIS_MNEMONIC_MOVZX:
        if (const std::optional<Value> value = ValueOf(instruction, operands[1]))
          return Narrow(*value, operands[1].size);
        return New({.most = MaskOf(operands[1].size)});
      case ZYDIS_MNEMONIC_MOVSXD:
        if (operands[1].type == ZYDIS_OPERAND_TYPE_MEMORY && bits == 64) {
          if (std::optional<Origin> table = TableAt(instruction, operands[1], 4)) {
            table->kind = Origin::kEntry;
            return New(*table);
          }
        }
        break;
      case ZYDIS_MNEMONIC_AND:
        if (IsImmediate(operands[1])) return New({.most = operands[1].imm.value.u & MaskOf(bits)});
        break;
      case ZYDIS_MNEMONIC_ADD:
        if (bits == 64 && GprOf(operands[1]) >= 0) {
          if (std::optional<Value> target = TargetOf(registers_[to], registers_[GprOf(operands[1])])) return target;
          return TargetOf(registers_[GprOf(operands[1])], registers_[to]);
        }
        break;
      // These, with the ones above, write all 64 bits in their 32-bit form.
      case ZYDIS_MNEMONIC_SUB:
      case ZYDIS_MNEMONIC_OR:
      case ZYDIS_MNEMONIC_XOR:
      case ZYDIS_MNEMONIC_LEA:
      case ZYDIS_MNEMONIC_IMUL:
      case ZYDIS_MNEMONIC_NEG:
      case ZYDIS_MNEMONIC_NOT:
      case ZYDIS_MNEMONIC_INC:
      case ZYDIS_MNEMONIC_DEC:
      case ZYDIS_MNEMONIC_MOVSX:
        break;
      default:
        return std::nullopt;
    }
    // The one-operand form of imul names its factor.
    const bool is_written = (operands[0].actions & ZYDIS_OPERAND_ACTION_WRITE) != 0;
    return bits == 32 && is_written ? std::optional(New({.most = MaskOf(32)})) : std::nullopt;
  }

  std::optional<Value> TargetOf(Value entry, Value base) {
    const Origin& of_entry = origins_[entry.origin];
    const Origin& of_base = origins_[base.origin];
    if (of_entry.kind != Origin::kEntry || entry.width != 64 || of_base.kind != Origin::kAddress ||
        of_base.address != of_entry.address) {
      return std::nullopt;
    }
    Origin target = of_entry;
    target.kind = Origin::kTarget;
    return New(target);
  }

  /// An address in memory as far as it is known.
  struct Place {
    int bits = 0, scale = 0;
    ZydisRegister segment = ZYDIS_REGISTER_NONE;
    uint64_t displacement = 0;
    std::optional<Value> base = {}, index = {};
    bool operator==(const Place&) const = default;
  };

  std::vector<Origin> origins_;
  std::array<Value, kGprCount> registers_;
  std::vector<std::pair<Place, Value>> memory_;
  std::optional<std::pair<Value, uint64_t>> compared_;
  std::vector<std::pair<Value, uint64_t>> bounds_;
};

class TableFinder {
 public:
  TableFinder(const CodeReader& reader, const DecodedFunction& function, const ReachableCode& reachable,
              Guesses guesses)
      : reader_(reader), function_(function), reachable_(reachable), addresses_(function, reachable, guesses) {}

  std::optional<JumpTable> TableBehind(int block) const {
    std::optional<Proof> found;
    std::vector<std::vector<int>> pending = {{block}};  // ways, in the order of execution
    for (int tried = 0; !pending.empty(); ++tried) {
      if (tried == kMostWays) return std::nullopt;
      const std::vector<int> way = std::move(pending.back());
      pending.pop_back();
      const std::vector<int>& before = function_.blocks[way.front()].predecessors;
      const bool can_grow = !before.empty() && !IsEntered(way.front()) && way.size() < kMostBlocksUp;
      const std::optional<Proof> proof = Prove(way);
      const bool is_loose = proof.has_value() && proof->most_index >= kLooseBound && way.size() < kBlocksUpForABound;
      if (proof.has_value() && !(is_loose && can_grow)) {
        if (found.has_value() && !found->SameTable(*proof)) return std::nullopt;
        const uint64_t most = std::max(proof->most_index, found.has_value() ? found->most_index : 0);
        found = Proof{proof->table, most};
        continue;
      }
      if (!can_grow) return std::nullopt;
      for (int b : before) {
        pending.push_back(way);
        pending.back().insert(pending.back().begin(), b);
      }
    }
    return Read(*found, function_.LastOf(function_.blocks[block]).address);
  }

 private:
  struct Proof {
    Origin table;
    uint64_t most_index = 0;
    bool SameTable(const Proof& other) const {
      return table.address == other.table.address && table.entry_bytes == other.table.entry_bytes &&
             table.read_at == other.table.read_at;
    }
  };

  std::optional<Proof> Prove(const std::vector<int>& way) const {
    Evaluator evaluator(addresses_.AtBegin(way.front()));
    for (size_t i = 0; i + 1 < way.size(); ++i) {
      const BasicBlock& at = function_.blocks[way[i]];
      for (int n = at.first; n < at.first + at.count; ++n) evaluator.Step(function_.instructions[n]);
      if (at.end_kind != BlockEnd::kBranch || at.targets[0] == at.targets[1]) continue;
      evaluator.Branch(function_.LastOf(at), /*is_taken=*/at.targets[0] == function_.blocks[way[i + 1]].begin);
    }
    const BasicBlock& last = function_.blocks[way.back()];
    for (int n = last.first; n + 1 < last.first + last.count; ++n) evaluator.Step(function_.instructions[n]);
    const std::optional<Origin> table = evaluator.TableOf(function_.LastOf(last));
    // The index is asked for where the table is read, which must be in the block of the jump.
    if (!table.has_value() || table->read_at < last.begin || table->read_at >= last.end) return std::nullopt;
    const uint64_t most = evaluator.MostOf(table->index);
    if (most >= kMostEntries) return std::nullopt;
    return Proof{*table, most};
  }

  /// By calls of the function, or by indirect jumps.
  bool IsEntered(int block) const {
    const uint64_t offset = function_.blocks[block].begin - function_.bounds.begin;
    return offset == 0 || std::ranges::find(reachable_.guessed, offset) != reachable_.guessed.end();
  }

  std::optional<JumpTable> Read(const Proof& proof, uint64_t jump) const {
    const Origin& table = proof.table;
    const uint64_t count = proof.most_index + 1;
    const size_t bytes = count * static_cast<uint64_t>(table.entry_bytes);
    std::vector<uint8_t> raw(bytes);
    if (table.address + bytes < table.address || !reader_.IsConstant(table.address, bytes) ||
        !reader_.Read(table.address, raw)) {
      return std::nullopt;
    }
    JumpTable found{.jump = jump, .read_at = table.read_at, .targets = {}};
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t target = 0;
      if (table.entry_bytes == 4) {
        int32_t distance;
        std::memcpy(&distance, raw.data() + 4 * i, sizeof(distance));
        target = table.address + static_cast<uint64_t>(int64_t{distance});
      } else {
        std::memcpy(&target, raw.data() + 8 * i, sizeof(target));
      }
      if (!function_.bounds.Contains(target)) return std::nullopt;
      const ByteKind kind = reachable_.bytes[target - function_.bounds.begin];
      if (kind == ByteKind::kInside || kind == ByteKind::kUndecodable) return std::nullopt;
      found.targets.push_back(target);
    }
    return found;
  }

  const CodeReader& reader_;
  const DecodedFunction& function_;
  const ReachableCode& reachable_;
  const AddressFlow addresses_;
};

}  // namespace

std::vector<JumpTable> FindJumpTables(const CodeReader& reader, const DecodedFunction& function,
                                      const ReachableCode& reachable, Guesses guesses) {
  const auto ends_in_indirect_jump = [](const BasicBlock& block) {
    return block.end_kind == BlockEnd::kIndirect || block.end_kind == BlockEnd::kTable;
  };
  if (std::ranges::none_of(function.blocks, ends_in_indirect_jump)) return {};
  const TableFinder finder(reader, function, reachable, guesses);
  std::vector<JumpTable> tables;
  for (size_t b = 0; b < function.blocks.size(); ++b) {
    if (!ends_in_indirect_jump(function.blocks[b])) continue;
    if (std::optional<JumpTable> table = finder.TableBehind(static_cast<int>(b))) tables.push_back(std::move(*table));
  }
  return tables;
}

}  // namespace tracelift::jit
