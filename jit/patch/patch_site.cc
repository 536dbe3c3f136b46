#include "jit/patch/patch_site.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "jit/patch/relocate.h"

namespace tracelift::jit {
namespace {

constexpr size_t kJumpBytes = 5;
constexpr size_t kFewestPunnedBytes = 3;
constexpr uint64_t kPageBytes = 4096;

/// Position of each block of the loop that is executed in every pass, along the path from the header (1) to the
/// latches; 0 for the others.
class EveryPass {
 public:
  EveryPass(const DecodedFunction& function, const std::vector<int>& blocks) : depth_(function.blocks.size(), 0) {
    const int header = blocks[0];
    std::vector<std::vector<int>> chains;  // per latch: its dominators up to the header
    for (int latch : function.blocks[header].predecessors) {
      if (std::find(blocks.begin(), blocks.end(), latch) == blocks.end()) continue;
      std::vector<int>& chain = chains.emplace_back();
      for (int b = latch; b >= 0; b = b == header ? -1 : function.blocks[b].immediate_dominator) chain.push_back(b);
      if (chain.back() != header) chain.clear();
    }
    if (chains.empty()) return;
    int depth = 0;
    for (auto b = chains[0].rbegin(); b != chains[0].rend(); ++b) {
      ++depth;
      const bool always = std::all_of(chains.begin(), chains.end(), [&](const std::vector<int>& chain) {
        return std::find(chain.begin(), chain.end(), *b) != chain.end();
      });
      if (always) depth_[*b] = depth;
    }
  }

  int Depth(int block) const { return depth_[block]; }

 private:
  std::vector<int> depth_;
};

/// Per block of the function: one of which `is_it` holds can run between its begin and the next arrival at the header.
template <typename Predicate>
std::vector<bool> LeadTo(const DecodedFunction& function, const std::vector<int>& blocks, Predicate is_it) {
  std::vector<bool> in_loop(function.blocks.size(), false), before(function.blocks.size(), false);
  for (int b : blocks) in_loop[b] = true;
  std::vector<int> pending;
  const auto mark = [&](int b) {
    if (!in_loop[b] || before[b]) return;
    before[b] = true;
    if (b != blocks[0]) pending.push_back(b);  // beyond the header is another pass
  };
  for (int b : blocks) {
    if (is_it(function.blocks[b])) mark(b);
  }
  while (!pending.empty()) {
    const int b = pending.back();
    pending.pop_back();
    for (int predecessor : function.blocks[b].predecessors) mark(predecessor);
  }
  return before;
}

/// The bytes from instruction `index` on, at least a jump's worth; empty when it is not known what follows it.
std::vector<uint8_t> CodeFrom(const DecodedFunction& function, int index) {
  std::vector<uint8_t> code;
  for (size_t i = static_cast<size_t>(index); code.size() < kJumpBytes; ++i) {
    if (i == function.instructions.size()) return {};
    const Instruction& instruction = function.instructions[i];
    if (i > static_cast<size_t>(index) && instruction.address != function.instructions[i - 1].next()) return {};
    code.insert(code.end(), instruction.bytes.begin(), instruction.bytes.end());
  }
  return code;
}

bool FitsOnePage(const Instruction& instruction) {
  return instruction.address % kPageBytes + instruction.bytes.size() <= kPageBytes;
}

/// How the jump can take the place of an instruction that is executed always; nullopt when it cannot.
std::optional<PatchSite> SiteAt(const DecodedFunction& function, int index, bool allow_trap) {
  const Instruction& instruction = function.instructions[index];
  const std::vector<uint8_t> own(instruction.bytes.begin(), instruction.bytes.end());
  const size_t in_word = std::min({own.size(), kJumpBytes, static_cast<size_t>(8 - instruction.address % 8)});
  if (in_word == kJumpBytes) return PatchSite{&instruction, PatchKind::kAtomicJump, own, kJumpBytes};
  if (in_word >= kFewestPunnedBytes) {
    std::vector<uint8_t> code = CodeFrom(function, index);
    if (!code.empty()) return PatchSite{&instruction, PatchKind::kAtomicJump, std::move(code), in_word};
  }
  if (!allow_trap || own.size() < kJumpBytes || !FitsOnePage(instruction)) return std::nullopt;
  return PatchSite{&instruction, PatchKind::kTrappedJump, own, kJumpBytes};
}

/// The only block outside the loop that leads to `block`; -1 when there is none, or a call or the like comes between.
int OnlyWayTo(const DecodedFunction& function, int block, const std::vector<int>& loop) {
  int only = -1;
  for (int predecessor : function.blocks[block].predecessors) {
    if (std::ranges::find(loop, predecessor) != loop.end()) continue;
    if (only >= 0) return -1;
    only = predecessor;
  }
  if (only < 0 || IsInCopy(function.blocks[only].begin)) return -1;
  const BlockEnd end = function.blocks[only].end_kind;
  const bool passes_on = end == BlockEnd::kFallThrough || end == BlockEnd::kJump || end == BlockEnd::kBranch;
  return passes_on ? only : -1;
}

bool CanBeOnTheWay(const Instruction& instruction) {
  return CanRelocate(instruction) && instruction.callee == KnownCallee::kNone && !instruction.jumps_by_table &&
         instruction.linkage == Linkage::kNone && instruction.info.meta.category != ZYDIS_CATEGORY_SYSCALL &&
         !UseOf(instruction).writes.HasGpr(kRsp);
}

/// It may raise an exception. Not in the stack frame or the module's own data.
bool MayFault(const Instruction& instruction) {
  const ZydisMnemonic mnemonic = instruction.info.mnemonic;
  if (mnemonic == ZYDIS_MNEMONIC_DIV || mnemonic == ZYDIS_MNEMONIC_IDIV) return true;
  for (int i = 0; i < instruction.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = instruction.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type == ZYDIS_MEMOP_TYPE_AGEN) continue;
    const bool has_index = operand.mem.index != ZYDIS_REGISTER_NONE;
    const bool in_frame = operand.mem.base == ZYDIS_REGISTER_RSP ||
                          (operand.mem.base == ZYDIS_REGISTER_RBP && operand.mem.disp.value < 0);
    if (has_index || !(in_frame || operand.mem.base == ZYDIS_REGISTER_RIP)) return true;
  }
  return false;
}

bool MayFault(const DecodedFunction& function, int from, int end) {
  const auto begin = function.instructions.begin();
  return std::any_of(begin + from, begin + end, [](const Instruction& one) { return MayFault(one); });
}

struct Rank {
  int category;  // lower is better
  bool not_the_header;
  bool before_inner_loops;
  int depth;  // negative: later is better
  int index;

  auto operator<=>(const Rank&) const = default;
};

}  // namespace

AddressRange JumpWindow(const PatchSite& site) {
  uint8_t bytes[4] = {};
  for (size_t i = site.written; i < kJumpBytes; ++i) bytes[i - 1] = site.expected[i];
  int32_t displacement = 0;
  std::memcpy(&displacement, bytes, sizeof(displacement));
  const uint64_t begin = site.instruction->address + kJumpBytes + static_cast<uint64_t>(int64_t{displacement});
  return {begin, begin + (uint64_t{1} << 8 * (site.written - 1))};
}

std::expected<std::vector<PatchSite>, Rejection> ChoosePatchSites(const DecodedFunction& function, const LoopFacts& facts,
                                                                  PatchRules rules) {
  const std::vector<int> blocks = function.LiftedBlocks(facts.loop);
  const int loop_index = static_cast<int>(facts.loop);
  const EveryPass every_pass(function, blocks);
  const std::vector<bool> before_inner_loops =
      LeadTo(function, blocks, [&](const BasicBlock& block) { return block.innermost_loop != loop_index; });
  const auto may_fault = [&](const BasicBlock& block) { return MayFault(function, block.first, block.first + block.count); };
  const std::vector<bool> before_faults = rules.avoid_faults ? LeadTo(function, blocks, may_fault) : std::vector<bool>();
  const uint64_t header = function.blocks[blocks[0]].begin;
  // A thread that arrives elsewhere than at the header goes on to it in the native clone.
  const auto faults_on_the_way = [&](const BasicBlock& block, int from) {
    return MayFault(function, from, block.first + block.count) ||
           std::any_of(block.successors.begin(), block.successors.end(),
                       [&](int next) { return next != blocks[0] && next >= 0 && before_faults[next]; });
  };

  std::vector<std::pair<Rank, PatchSite>> found;
  for (int b : blocks) {
    const BasicBlock& block = function.blocks[b];
    if (block.innermost_loop != loop_index || IsInCopy(block.begin)) continue;
    const int depth = every_pass.Depth(b);
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& instruction = function.instructions[i];
      if (!CanRelocate(instruction) || instruction.callee != KnownCallee::kNone || instruction.jumps_by_table ||
          instruction.linkage != Linkage::kNone || facts.PushedAt(instruction) != 0) {
        continue;
      }
      const bool is_header = instruction.address == header;
      const std::vector<uint8_t> own(instruction.bytes.begin(), instruction.bytes.end());
      if (rules.avoid_faults && !is_header && faults_on_the_way(block, i)) continue;
      const auto add = [&](int category, PatchKind kind, std::vector<uint8_t> expected, size_t written) {
        found.emplace_back(Rank{category, !is_header, before_inner_loops[b], -depth, -i},
                           PatchSite{&instruction, kind, std::move(expected), written});
      };
      const size_t in_word = std::min({own.size(), kJumpBytes, static_cast<size_t>(8 - instruction.address % 8)});
      if (in_word == kJumpBytes) {
        add(depth > 0 ? 1 : 4, PatchKind::kAtomicJump, own, kJumpBytes);
      } else if (in_word >= kFewestPunnedBytes) {
        if (std::vector<uint8_t> code = CodeFrom(function, i); !code.empty()) {
          add(depth > 0 ? 2 : 5, PatchKind::kAtomicJump, std::move(code), in_word);
        }
      }
      if (rules.allow_trap && depth > 0 && own.size() >= kJumpBytes && in_word < kJumpBytes && FitsOnePage(instruction)) {
        add(3, PatchKind::kTrappedJump, own, kJumpBytes);
      }
      if (rules.allow_trap && is_header) add(6, PatchKind::kTrap, own, 1);
    }
  }
  if (found.empty()) return std::unexpected(Rejection{RejectionReason::kNoPatchSite, header, ""});
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<PatchSite> sites;
  for (auto& [rank, site] : found) sites.push_back(std::move(site));
  return sites;
}

std::vector<Approach> ChooseApproaches(const DecodedFunction& function, const LoopFacts& facts, PatchRules rules) {
  constexpr int kFarthest = 16;  // instructions: what comes farther ahead may lead elsewhere more often than here
  const std::vector<int> loop = function.LiftedBlocks(facts.loop);
  std::vector<Approach> found;
  std::vector<ApproachBlock> way;  // from the site's block to the header
  std::set<int> seen;
  int steps = 0;
  for (int block = OnlyWayTo(function, loop[0], loop); block >= 0 && seen.insert(block).second;
       block = OnlyWayTo(function, block, {})) {
    const BasicBlock& from = function.blocks[block];
    way.insert(way.begin(), {block, from.first});
    for (int i = from.first + from.count - 1; i >= from.first; --i) {
      const bool faults = rules.avoid_faults && MayFault(function.instructions[i]);
      if (++steps > kFarthest || !CanBeOnTheWay(function.instructions[i]) || faults) {
        block = -1;
        break;
      }
      if (auto site = SiteAt(function, i, rules.allow_trap)) {
        way.front().first = i;
        found.push_back({std::move(*site), way});
      }
    }
    if (block < 0) break;
    way.front().first = from.first;
  }
  std::ranges::stable_partition(found, [](const Approach& approach) { return approach.site.kind == PatchKind::kAtomicJump; });
  return found;
}

}  // namespace tracelift::jit
