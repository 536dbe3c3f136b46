#include "jit/code/reachable_code.h"

#include <fmt/format.h>

namespace tracelift::jit {
namespace {

class Explorer {
 public:
  Explorer(std::span<const uint8_t> code, uint64_t begin, std::span<const JumpTable> tables, const CodeReader* reader)
      : code_(code), begin_(begin), tables_(tables), reader_(reader), decoder_(MakeDecoder()) {
    found_.bytes.assign(code.size(), ByteKind::kUnknown);
    found_.leader.assign(code.size(), false);
  }

  /// False when there are too many instructions.
  bool Run() {
    AddTarget(0);
    if (!Drain()) return false;
    found_.has_undecodable = undecodable_seen_;
    // Guesses may end in further indirect jumps and terminators: repeat until nothing new appears.
    for (size_t next = 0; has_indirect_ && next < terminator_ends_.size(); ++next) {
      const uint32_t start = SkipPadding(terminator_ends_[next]);
      if (start >= code_.size() || found_.bytes[start] != ByteKind::kUnknown) continue;
      found_.guessed.push_back(start);
      AddTarget(start);
      if (!Drain()) return false;
    }
    return true;
  }

  ReachableCode Take() { return std::move(found_); }

 private:
  void AddTarget(int64_t offset) {
    if (offset < 0 || static_cast<uint64_t>(offset) >= code_.size()) return;
    if (found_.bytes[offset] == ByteKind::kInside) {
      found_.entered_inside.push_back(static_cast<uint32_t>(offset));
      return;
    }
    found_.leader[offset] = true;
    if (found_.bytes[offset] == ByteKind::kUnknown) pending_.push_back(static_cast<uint32_t>(offset));
  }

  bool Drain() {
    while (!pending_.empty()) {
      const uint32_t offset = pending_.back();
      pending_.pop_back();
      if (!Follow(offset)) return false;
    }
    return true;
  }

  /// Decodes from `offset` to the end of straight-line code.
  bool Follow(uint64_t offset) {
    while (offset < code_.size()) {
      ByteKind& kind = found_.bytes[offset];
      if (kind == ByteKind::kInside) {
        found_.leader[offset] = false;
        found_.entered_inside.push_back(static_cast<uint32_t>(offset));
        return true;
      }
      if (kind != ByteKind::kUnknown) return true;
      if (++found_.instruction_count > kMaxInstructions) return false;
      ZydisDecodedInstruction info;
      if (!ZYAN_SUCCESS(
              ZydisDecoderDecodeInstruction(&decoder_, nullptr, code_.data() + offset, code_.size() - offset, &info)) ||
          IsMisread(info) || RunsIntoKnown(offset, info.length)) {
        kind = ByteKind::kUndecodable;
        undecodable_seen_ = true;
        return true;
      }
      kind = ByteKind::kStart;
      for (uint64_t i = 1; i < info.length; ++i) found_.bytes[offset + i] = ByteKind::kInside;
      const uint64_t next = offset + info.length;
      // Only meant for direct branches; for others this is some immediate, hence the wrapping sum.
      const auto target = static_cast<int64_t>(next + static_cast<uint64_t>(info.raw.imm[0].value.s));
      switch (ControlFlowOf(info)) {
        case BlockEnd::kFallThrough:
          break;
        case BlockEnd::kBranch:
          AddTarget(target);
          AddTarget(static_cast<int64_t>(next));
          break;
        case BlockEnd::kCall:
          if (reader_ != nullptr && CallNeverReturns(*reader_, info, begin_ + next)) {
            terminator_ends_.push_back(static_cast<uint32_t>(next));
            return true;
          }
          AddTarget(static_cast<int64_t>(next));
          break;
        case BlockEnd::kJump:
          AddTarget(target);
          terminator_ends_.push_back(static_cast<uint32_t>(next));
          return true;
        case BlockEnd::kIndirect:
          FollowTable(begin_ + offset);
          terminator_ends_.push_back(static_cast<uint32_t>(next));
          return true;
        case BlockEnd::kReturn:
        case BlockEnd::kTable:
        case BlockEnd::kEnter:
        case BlockEnd::kLeave:
        case BlockEnd::kStop:
          terminator_ends_.push_back(static_cast<uint32_t>(next));
          return true;
      }
      offset = next;
    }
    return true;
  }

  void FollowTable(uint64_t jump) {
    const auto table = std::ranges::find(tables_, jump, &JumpTable::jump);
    if (table == tables_.end()) {
      has_indirect_ = true;
      return;
    }
    for (uint64_t target : table->targets) AddTarget(static_cast<int64_t>(target - begin_));
  }

  bool RunsIntoKnown(uint64_t offset, uint64_t length) const {
    for (uint64_t i = offset + 1; i < offset + length; ++i) {
      if (found_.bytes[i] != ByteKind::kUnknown) return true;
    }
    return false;
  }

  /// Compilers pad with (long) nops, some linkers and hand-written code with int3.
  uint32_t SkipPadding(uint32_t offset) const {
    while (offset < code_.size() && found_.bytes[offset] == ByteKind::kUnknown) {
      ZydisDecodedInstruction info;
      if (!ZYAN_SUCCESS(
              ZydisDecoderDecodeInstruction(&decoder_, nullptr, code_.data() + offset, code_.size() - offset, &info))) {
        break;
      }
      if (info.mnemonic != ZYDIS_MNEMONIC_NOP && info.mnemonic != ZYDIS_MNEMONIC_INT3) break;
      offset += info.length;
    }
    return offset;
  }

  std::span<const uint8_t> code_;
  const uint64_t begin_;
  std::span<const JumpTable> tables_;
  const CodeReader* reader_;
  ZydisDecoder decoder_;
  ReachableCode found_;
  std::vector<uint32_t> pending_;
  std::vector<uint32_t> terminator_ends_;
  bool has_indirect_ = false;
  bool undecodable_seen_ = false;
};

}  // namespace

bool IsMisread(const ZydisDecodedInstruction& info) {
  return info.mnemonic == ZYDIS_MNEMONIC_PAUSE && info.raw.rex.B != 0;
}

bool CallNeverReturns(const CodeReader& reader, const ZydisDecodedInstruction& info, uint64_t next) {
  if (info.raw.imm[0].is_relative) return reader.NeverReturns(next + static_cast<uint64_t>(info.raw.imm[0].value.s));
  const bool is_rip_relative = info.raw.modrm.mod == 0 && info.raw.modrm.rm == 5 && info.address_width == 64;
  if (!is_rip_relative) return false;
  const auto callee = reader.LinkedFunction(next + static_cast<uint64_t>(info.raw.disp.value));
  return callee.has_value() && reader.NeverReturns(*callee);
}

ZydisDecoder MakeDecoder() {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  return decoder;
}

BlockEnd ControlFlowOf(const ZydisDecodedInstruction& info) {
  switch (info.mnemonic) {
    case ZYDIS_MNEMONIC_JMP:
      return info.raw.imm[0].is_relative ? BlockEnd::kJump : BlockEnd::kIndirect;
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_HLT:
      return BlockEnd::kStop;
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSEXIT:
      return BlockEnd::kReturn;
    default:
      break;
  }
  switch (info.meta.category) {
    case ZYDIS_CATEGORY_CALL:
      return BlockEnd::kCall;
    case ZYDIS_CATEGORY_RET:
      return BlockEnd::kReturn;
    case ZYDIS_CATEGORY_COND_BR:
      // XEND is in this category as well, but branches nowhere.
      return info.raw.imm[0].is_relative ? BlockEnd::kBranch : BlockEnd::kFallThrough;
    default:
      return BlockEnd::kFallThrough;
  }
}

std::expected<ReachableCode, Rejection> FindReachableCode(std::span<const uint8_t> code, uint64_t begin,
                                                          std::span<const JumpTable> tables,
                                                          const CodeReader* reader) {
  Explorer explorer(code, begin, tables, reader);
  if (!explorer.Run()) {
    return std::unexpected(Rejection{RejectionReason::kFunctionTooLarge, begin,
                                     fmt::format("more than {} instructions", kMaxInstructions)});
  }
  return explorer.Take();
}

}  // namespace tracelift::jit
