#include "jit/footprint_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>
#include <vector>

namespace tracelift::jit {
namespace {

struct OpName {
  ExprOp op;
  std::string_view name;
};
constexpr OpName kOps[] = {{ExprOp::kConst, "const"}, {ExprOp::kGpr, "gpr"},    {ExprOp::kSlot, "slot"},
                           {ExprOp::kFsBase, "fs"},   {ExprOp::kIv, "iv"},      {ExprOp::kAny, "any"},
                           {ExprOp::kModule, "module"},
                           {ExprOp::kAdd, "add"},     {ExprOp::kMul, "mul"},
                           {ExprOp::kSMax, "smax"},   {ExprOp::kSMin, "smin"},  {ExprOp::kUMax, "umax"},
                           {ExprOp::kUMin, "umin"},   {ExprOp::kUDiv, "udiv"},  {ExprOp::kExactDiv, "exactdiv"},
                           {ExprOp::kURem, "urem"},   {ExprOp::kSRem, "srem"},
                           {ExprOp::kZext, "zext"},
                           {ExprOp::kSext, "sext"},   {ExprOp::kTrunc, "trunc"}};
constexpr std::string_view kGprNames[kGprCount] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

bool IsLeaf(ExprOp op) { return op <= ExprOp::kModule; }
bool HasNumber(ExprOp op) { return IsLeaf(op) && op != ExprOp::kFsBase && op != ExprOp::kAny; }
bool IsCast(ExprOp op) { return op >= ExprOp::kZext; }

std::string_view NameOf(ExprOp op) {
  const auto* found = std::ranges::find(kOps, op, &OpName::op);
  return found == std::end(kOps) ? "?" : found->name;
}

std::string GprName(int64_t gpr) {
  return gpr >= 0 && gpr < kGprCount ? std::string(kGprNames[gpr]) : fmt::format("r?{}", gpr);
}

std::string PrintSlot(const Slot& slot) {
  std::string line = slot.fs ? "slot fs:" : "slot ";
  if (slot.through >= 0) {
    line += fmt::format("*{}{:+}", slot.through, slot.displacement);
  } else if (slot.base < 0) {
    line += fmt::format("[{:#x}]", static_cast<uint64_t>(slot.displacement));
  } else {
    line += fmt::format("{}{:+}", GprName(slot.base), slot.displacement);
  }
  line += fmt::format(" bytes {} {}{}", slot.bytes, slot.read ? "r" : "", slot.written ? "w" : "");
  if (!slot.read && !slot.written) line += "-";
  if (slot.written && slot.stored != SlotByteMask(slot.bytes)) line += fmt::format(" stored {:#x}", slot.stored);
  if (slot.instruction != 0) line += fmt::format(" instruction {:#x}", slot.instruction);
  return line;
}

std::string PrintNode(const ExprNode& node) {
  std::string line = fmt::format("i{} {}", node.width, NameOf(node.op));
  if (node.op == ExprOp::kGpr) return line + " " + GprName(node.imm);
  if (node.op == ExprOp::kSlot) {
    line += fmt::format(" {}", node.imm / kSlotBytes);
    return node.imm % kSlotBytes == 0 ? line : line + fmt::format("+{}", node.imm % kSlotBytes);
  }
  if (HasNumber(node.op)) return line + fmt::format(" {}", node.imm);
  if (IsLeaf(node.op)) return line;
  if (IsCast(node.op)) return line + fmt::format(" %{} from i{}", node.a, node.from);
  return line + fmt::format(" %{} %{}", node.a, node.b);
}

std::string PrintId(ExprId id) { return id == kNoExpr ? "unknown" : fmt::format("%{}", id); }

// One line, taken apart word by word.
class Line {
 public:
  explicit Line(std::string_view text) : rest_(text.substr(0, text.find('#'))) {}

  std::string_view Word() {
    const size_t begin = rest_.find_first_not_of(" \t\r");
    if (begin == rest_.npos) {
      rest_ = {};
      return {};
    }
    const size_t end = std::min(rest_.find_first_of(" \t\r", begin), rest_.size());
    const std::string_view word = rest_.substr(begin, end - begin);
    rest_.remove_prefix(end);
    return word;
  }
  bool Accept(std::string_view expected) {
    const std::string_view before = rest_;
    if (Word() == expected) return true;
    rest_ = before;
    return false;
  }
  bool AtEnd() { return Word().empty(); }

  std::optional<int64_t> Number() { return ParseNumber(Word()); }
  std::optional<int64_t> Prefixed(char prefix) {
    const std::string_view word = Word();
    if (word.empty() || word.front() != prefix) return std::nullopt;
    return ParseNumber(word.substr(1));
  }
  // "%3" or "unknown".
  std::optional<ExprId> Id() {
    if (Accept("unknown")) return kNoExpr;
    const auto id = Prefixed('%');
    if (!id || *id < 0 || *id > INT32_MAX) return std::nullopt;
    return static_cast<ExprId>(*id);
  }
  // Optional "instruction ADDRESS" and then the end of the line.
  std::optional<uint64_t> InstructionToEnd() {
    uint64_t address = 0;
    if (Accept("instruction")) {
      const auto number = Number();
      if (!number) return std::nullopt;
      address = static_cast<uint64_t>(*number);
    }
    return AtEnd() ? std::optional(address) : std::nullopt;
  }

  static std::optional<int64_t> ParseNumber(std::string_view word) {
    const bool negative = word.starts_with('-');
    if (negative || word.starts_with('+')) word.remove_prefix(1);
    int base = 10;
    if (word.starts_with("0x")) {
      base = 16;
      word.remove_prefix(2);
    }
    uint64_t magnitude = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), magnitude, base);
    if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
    return static_cast<int64_t>(negative ? 0 - magnitude : magnitude);
  }

 private:
  std::string_view rest_;
};

std::optional<int64_t> GprNamed(std::string_view name) {
  const auto* found = std::ranges::find(kGprNames, name);
  if (found == std::end(kGprNames)) return std::nullopt;
  return found - std::begin(kGprNames);
}

std::optional<uint8_t> ParseWidth(Line& line) {
  const auto width = line.Prefixed('i');
  if (!width || *width < 1 || *width > 64) return std::nullopt;
  return static_cast<uint8_t>(*width);
}

class Parser {
 public:
  // The name of what is wrong, or empty.
  std::string_view ParseLine(Line line) {
    const std::string_view first = line.Word();
    if (first.empty()) return {};
    if (first.starts_with('%')) return ParseNode(first, line);
    if (first == "slot") return ParseSlot(line);
    if (first == "loop") return ParseLoop(line);
    if (first == "window") return ParseWindow(line);
    if (first == "read" || first == "write") return ParseAccess(first == "write", line);
    return "expected a node, slot, loop, read, write or window";
  }

  std::string_view Verify() const {
    const auto exists = [&](ExprId id) { return id < static_cast<ExprId>(program_.nodes.size()); };
    for (const LoopDim& loop : program_.loops) {
      if (!exists(loop.backedge_taken) || !exists(loop.trips)) return "a loop's count is not a node";
    }
    for (const Access& access : program_.accesses) {
      if (!exists(access.address)) return "an access's address is not a node";
      if (access.innermost_loop < 0 || access.innermost_loop >= static_cast<int>(program_.loops.size())) {
        return "an access is in no loop";
      }
    }
    for (const WindowBase& window : program_.windows) {
      if (window.base == kNoExpr || !exists(window.base)) return "a window's base is not a node";
    }
    return {};
  }

  FootprintProgram Take() { return std::move(program_); }

 private:
  std::string_view ParseNode(std::string_view name, Line& line) {
    if (Line::ParseNumber(name.substr(1)) != static_cast<int64_t>(program_.nodes.size())) {
      return "nodes must be numbered in order";
    }
    if (!line.Accept("=")) return "expected '='";
    ExprNode node;
    const auto width = ParseWidth(line);
    if (!width) return "expected a width such as i64";
    node.width = *width;
    const auto* op = std::ranges::find(kOps, line.Word(), &OpName::name);
    if (op == std::end(kOps)) return "unknown operation";
    node.op = op->op;
    if (HasNumber(node.op)) {
      const auto imm = node.op == ExprOp::kGpr    ? GprNamed(line.Word())
                       : node.op == ExprOp::kSlot ? SlotByte(line.Word())
                                                  : line.Number();
      if (!imm) return "expected a number or register";
      node.imm = *imm;
    } else if (!IsLeaf(node.op)) {
      if (!ParseOperand(line, &node.a)) return "expected an earlier node";
      if (IsCast(node.op)) {
        if (!line.Accept("from")) return "expected 'from'";
        const auto from = ParseWidth(line);
        if (!from) return "expected a width such as i32";
        node.from = *from;
      } else if (!ParseOperand(line, &node.b)) {
        return "expected an earlier node";
      }
    }
    if (!line.AtEnd()) return "too much on the line";
    program_.nodes.push_back(node);
    return {};
  }

  /// "3" or, in the middle of a slot, "3+4".
  static std::optional<int64_t> SlotByte(std::string_view text) {
    const size_t plus = text.find('+');
    const auto slot = Line::ParseNumber(text.substr(0, plus));
    const auto byte = plus == text.npos ? 0 : Line::ParseNumber(text.substr(plus + 1));
    if (!slot || !byte || *slot < 0 || *slot >= kMaxSlots || *byte < 0 || *byte >= kSlotBytes) return std::nullopt;
    return *slot * kSlotBytes + *byte;
  }

  bool ParseOperand(Line& line, ExprId* out) {
    const auto id = line.Prefixed('%');
    if (!id || *id < 0 || *id >= static_cast<int64_t>(program_.nodes.size())) return false;
    *out = static_cast<ExprId>(*id);
    return true;
  }

  std::string_view ParseSlot(Line& line) {
    Slot slot;
    std::string_view where = line.Word();
    slot.fs = where.starts_with("fs:");
    if (slot.fs) where.remove_prefix(3);
    if (where.starts_with('[') && where.ends_with(']')) {
      where = where.substr(1, where.size() - 2);
    } else if (where.starts_with('*')) {
      const size_t sign = where.find_first_of("+-");
      const auto through = Line::ParseNumber(where.substr(1, sign - 1));
      if (sign == where.npos || !through || *through < 0 || *through >= static_cast<int64_t>(program_.slots.size())) {
        return "expected an earlier slot";
      }
      slot.through = static_cast<int16_t>(*through);
      where.remove_prefix(sign);
    } else {
      const size_t sign = where.find_first_of("+-");
      const auto base = GprNamed(where.substr(0, sign));
      if (!base || sign == where.npos) return "expected a slot such as rsp+8 or [0x404040]";
      slot.base = static_cast<int8_t>(*base);
      where.remove_prefix(sign);
    }
    const auto displacement = Line::ParseNumber(where);
    if (!displacement) return "expected a slot such as rsp+8 or [0x404040]";
    slot.displacement = *displacement;
    if (!line.Accept("bytes")) return "expected 'bytes'";
    const auto bytes = line.Number();
    if (!bytes || *bytes < 1 || *bytes > kSlotBytes) return "a slot has 1 to 64 bytes";
    slot.bytes = static_cast<uint8_t>(*bytes);
    const std::string_view use = line.Word();
    slot.read = use == "r" || use == "rw";
    slot.written = use == "w" || use == "rw";
    if (!slot.read && !slot.written && use != "-") return "expected r, w, rw or -";
    if (slot.written) slot.stored = SlotByteMask(slot.bytes);
    if (line.Accept("stored")) {
      const auto stored = line.Number();
      if (!stored) return "expected a set of bytes";
      slot.stored = static_cast<uint64_t>(*stored);
    }
    const auto instruction = line.InstructionToEnd();
    if (!instruction) return "expected 'instruction ADDRESS' or nothing";
    slot.instruction = *instruction;
    program_.slots.push_back(slot);
    return {};
  }

  std::string_view ParseLoop(Line& line) {
    if (line.Number() != static_cast<int64_t>(program_.loops.size())) return "loops must be numbered in order";
    LoopDim loop;
    if (line.Accept("in")) {
      const auto parent = line.Number();
      if (!parent || *parent < 0 || *parent >= static_cast<int64_t>(program_.loops.size())) return "no such loop";
      loop.parent = static_cast<int>(*parent);
    }
    if (!line.Accept("backedge")) return "expected 'backedge'";
    const auto taken = line.Id();
    if (!taken) return "expected a node or 'unknown'";
    if (line.Accept("or")) {
      const auto trips = line.Id();
      if (!trips || *trips == kNoExpr) return "expected the node of all iterations";
      loop.trips = *trips;
    }
    loop.body_only = line.Accept("body");
    loop.must_divide = line.Accept("must-divide");
    if (!line.AtEnd()) return "expected the end of the line";
    loop.backedge_taken = *taken;
    program_.loops.push_back(loop);
    return {};
  }

  std::string_view ParseAccess(bool write, Line& line) {
    Access access;
    access.write = write;
    const auto bytes = line.Number();
    if (!bytes || *bytes < 1 || *bytes > UINT32_MAX) return "expected a number of bytes";
    access.bytes = static_cast<uint32_t>(*bytes);
    if (!line.Accept("at")) return "expected 'at'";
    const auto address = line.Id();
    if (!address) return "expected a node or 'unknown'";
    access.address = *address;
    if (!line.Accept("in") || !line.Accept("loop")) return "expected 'in loop'";
    const auto loop = line.Number();
    if (!loop || *loop < 0 || *loop >= kMaxLoops) return "expected a loop number";
    access.innermost_loop = static_cast<int>(*loop);
    access.always_safe = line.Accept("safe");
    if (line.Accept("float")) {
      const auto bits = line.Number();
      if (!write || !bits || (*bits != 32 && *bits != 64)) return "expected 'float 32' or 'float 64', of a write";
      access.float_bits = static_cast<uint8_t>(*bits);
    }
    const auto instruction = line.InstructionToEnd();
    if (!instruction) return "expected 'instruction ADDRESS' or nothing";
    access.instruction = *instruction;
    program_.accesses.push_back(access);
    return {};
  }

  std::string_view ParseWindow(Line& line) {
    WindowBase window;
    const auto bytes = line.Number();
    if (!bytes || *bytes < 1 || *bytes > UINT32_MAX) return "expected a number of bytes";
    window.bytes = static_cast<uint32_t>(*bytes);
    if (!line.Accept("around")) return "expected 'around'";
    const auto base = line.Id();
    if (!base) return "expected a node";
    window.base = *base;
    const auto instruction = line.InstructionToEnd();
    if (!instruction) return "expected 'instruction ADDRESS' or nothing";
    window.instruction = *instruction;
    program_.windows.push_back(window);
    return {};
  }

  FootprintProgram program_;
};

}  // namespace

std::string Print(const FootprintProgram& program) {
  std::string text;
  for (const Slot& slot : program.slots) text += PrintSlot(slot) + "\n";
  for (size_t i = 0; i < program.nodes.size(); ++i) text += fmt::format("%{} = {}\n", i, PrintNode(program.nodes[i]));
  for (size_t k = 0; k < program.loops.size(); ++k) {
    const LoopDim& loop = program.loops[k];
    text += fmt::format("loop {}", k);
    if (loop.parent >= 0) text += fmt::format(" in {}", loop.parent);
    text += fmt::format(" backedge {}", PrintId(loop.backedge_taken));
    if (loop.trips != kNoExpr) text += fmt::format(" or {}", PrintId(loop.trips));
    text += fmt::format("{}{}\n", loop.body_only ? " body" : "",
                        loop.must_divide ? " must-divide" : "");
  }
  for (const Access& access : program.accesses) {
    text += fmt::format("{} {} at {} in loop {}", access.write ? "write" : "read", access.bytes,
                        PrintId(access.address), access.innermost_loop);
    if (access.always_safe) text += " safe";
    if (access.float_bits != 0) text += fmt::format(" float {}", access.float_bits);
    if (access.instruction != 0) text += fmt::format(" instruction {:#x}", access.instruction);
    text += "\n";
  }
  for (const WindowBase& window : program.windows) {
    text += fmt::format("window {} around {}", window.bytes, PrintId(window.base));
    if (window.instruction != 0) text += fmt::format(" instruction {:#x}", window.instruction);
    text += "\n";
  }
  return text;
}

std::expected<FootprintProgram, std::string> ParseFootprintProgram(std::string_view text) {
  Parser parser;
  for (int number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (const std::string_view problem = parser.ParseLine(Line(line)); !problem.empty()) {
      return std::unexpected(fmt::format("line {}: {}: {}", number, problem, line));
    }
  }
  if (const std::string_view problem = parser.Verify(); !problem.empty()) return std::unexpected(std::string(problem));
  return parser.Take();
}

std::string Print(const Footprint& footprint) {
  std::string text = "trips";
  for (int k = 0; k < footprint.loop_count; ++k) text += fmt::format(" {}", footprint.trip[k]);
  if (footprint.phases > 1) text += fmt::format(" in {} phases", footprint.phases);
  text += "\n";
  for (const AccessForm& form : footprint.all()) {
    if (footprint.phases > 1) text += fmt::format("phase {}: ", form.phase);
    text += fmt::format("{} {} at {:#x}", form.write ? "write" : "read", form.bytes, form.base);
    for (int k = 0; k < footprint.loop_count; ++k) {
      if (form.stride[static_cast<size_t>(k)] != 0) {
        text += fmt::format(" {:+}*i{}", form.stride[static_cast<size_t>(k)], k);
      }
    }
    if (form.slack != 0) text += fmt::format(" +[0,{}]", form.slack);
    text += fmt::format(" in [{:#x},{:#x})\n", form.low, form.high);
  }
  return text;
}

}  // namespace tracelift::jit
