#include "jit/emit/seen_footprint.h"

#include <llvm/ADT/PostOrderIterator.h>
#include <llvm/IR/CFG.h>
#include <llvm/IR/MDBuilder.h>

#include <algorithm>
#include <array>
#include <map>
#include <ranges>

namespace tracelift::jit {

SeenFootprint::SeenFootprint(const FootprintProgram& program, const std::vector<const llvm::BasicBlock*>& headers,
                             const MachineState& observed)
    : program_(program), headers_(headers), observed_(observed), footprint_(std::make_unique<Footprint>()) {
  const auto trip = EvaluateTripCount(program, observed);
  known_ = trip && *trip > 0 && Evaluate(program, observed, *trip, footprint_.get());
}

int SeenFootprint::LoopOf(const llvm::BasicBlock* header) const {
  const auto found = std::ranges::find(headers_, header);
  return found == headers_.end() ? -1 : static_cast<int>(found - headers_.begin());
}

template <typename Headers>
std::vector<bool> SeenFootprint::Loops(const Headers& headers) const {
  std::vector<bool> loops(program_.loops.size());
  for (const llvm::BasicBlock* header : headers) loops[static_cast<size_t>(LoopOf(header))] = true;
  return loops;
}

// Of the first `most` passes, or of all where there are fewer; nullopt when they are not known, or there is only one.
std::optional<IndependenceResult> SeenFootprint::AmongFirst(int64_t most) const {
  if (!known_ || footprint_->trip[0] < 2) return std::nullopt;
  const auto first = std::make_unique<Footprint>();
  if (!Evaluate(program_, observed_, std::min(most, footprint_->trip[0]), first.get())) return std::nullopt;
  return CheckIndependent(*first);
}

bool SeenFootprint::PassesMeet() const {
  constexpr int64_t kNeighbours = 4;
  const auto result = AmongFirst(kNeighbours);
  return result && result->verdict != Independence::kIndependent;
}

bool SeenFootprint::Holds(const Reliance& reliance) const {
  return CheckReliance(program_, *footprint_, reliance).verdict == Independence::kIndependent;
}

bool SeenFootprint::ReadsComeFirst(const llvm::Loop& region, const std::vector<AccessBy>& accesses_by) const {
  constexpr int64_t kMany = 1 << 16;  // so many independent passes had better go to all cores
  if (!region.isInnermost()) return false;
  const auto result = AmongFirst(kMany);
  if (!result || result->verdict == Independence::kIndependent) return false;
  Reliance reliance;
  reliance.reads_first = true;
  if (!Holds(reliance)) return false;

  std::map<const llvm::Instruction*, size_t> position;
  for (const llvm::BasicBlock* block : llvm::ReversePostOrderTraversal<const llvm::BasicBlock*>(region.getHeader())) {
    if (!region.contains(block)) continue;
    for (const llvm::Instruction& instruction : *block) position.emplace(&instruction, position.size());
  }
  const std::vector<uint8_t> memory = MemoriesOf(program_, *footprint_);
  return std::ranges::all_of(accesses_by, [&](const AccessBy& write) {
    const auto written = static_cast<size_t>(write.access);
    return !program_.accesses[written].write || std::ranges::all_of(accesses_by, [&](const AccessBy& read) {
      const auto at = static_cast<size_t>(read.access);
      return program_.accesses[at].write || memory[at] != memory[written] ||
             position[read.instruction] < position[write.instruction];
    });
  });
}

void SeenFootprint::RelyOnReadsFirst() { reliance_.reads_first = true; }

bool SeenFootprint::MayCutInOrder(const std::vector<llvm::BasicBlock*>& headers) const {
  if (!known_ || std::ranges::any_of(headers, [&](const llvm::BasicBlock* header) { return LoopOf(header) < 0; })) return false;
  Reliance reliance;
  reliance.panels = Loops(headers);
  reliance.ordered = true;
  return Holds(reliance);
}

bool SeenFootprint::MayCut(const std::vector<llvm::BasicBlock*>& headers) const {
  constexpr uint64_t kLarge = 128 << 10;  // more than the nearest cache keeps from pass to pass
  constexpr int64_t kFewestPasses = 16;
  if (!known_ || footprint_->trip[0] < kFewestPasses) return false;
  if (std::ranges::any_of(headers, [&](const llvm::BasicBlock* header) { return LoopOf(header) < 0; })) return false;
  const bool large = std::ranges::any_of(footprint_->all(), [&](const AccessForm& form) {
    return !form.write && form.access < kSlotBase && form.stride[0] == 0 && form.high - form.low >= kLarge;
  });
  Reliance reliance;
  reliance.panels = Loops(headers);
  return large && Holds(reliance);
}

void SeenFootprint::RelyOnPanels(const std::vector<llvm::BasicBlock*>& headers, bool ordered) {
  reliance_.panels = Loops(headers);
  reliance_.ordered = ordered;
}

Reliance SeenFootprint::GridOf(const std::vector<std::vector<llvm::BasicBlock*>>& dimensions) const {
  Reliance reliance;
  for (const std::vector<llvm::BasicBlock*>& headers : dimensions) reliance.grid.push_back(Loops(headers));
  return reliance;
}

bool SeenFootprint::MayBeGrid(const std::vector<std::vector<llvm::BasicBlock*>>& dimensions) const {
  const auto is_known = [&](const llvm::BasicBlock* header) { return LoopOf(header) >= 0; };
  const bool all = std::ranges::all_of(dimensions, [&](const auto& headers) { return std::ranges::all_of(headers, is_known); });
  return known_ && all && Holds(GridOf(dimensions));
}

void SeenFootprint::RelyOnGrid(const std::vector<std::vector<llvm::BasicBlock*>>& dimensions) {
  reliance_.grid = GridOf(dimensions).grid;
}

bool SeenFootprint::FollowsPasses(const llvm::BasicBlock* header) const {
  constexpr int64_t kNear = 16;
  const auto along = [&](int loop) {
    return std::ranges::count_if(footprint_->all(), [&](const AccessForm& form) {
      const int64_t stride = form.stride[static_cast<size_t>(loop)];
      return form.access < kSlotBase && stride != 0 && std::abs(stride) <= kNear;
    });
  };
  return known_ && along(0) > along(LoopOf(header));
}

std::vector<uint8_t> SeenFootprint::RangesApart() const {
  return known_ ? jit::RangesApart(program_, *footprint_) : std::vector<uint8_t>{};
}

std::vector<uint8_t> SeenFootprint::Alignments() const {
  std::vector<uint8_t> alignments(program_.accesses.size(), 16);
  for (const AccessForm& form : footprint_->all()) {
    if (form.access < kSlotBase) alignments[form.access] = std::min(alignments[form.access], AlignmentOf(*footprint_, form));
  }
  return alignments;
}

int64_t SeenFootprint::LengthOf(const llvm::BasicBlock* header) const {
  const int loop = LoopOf(header);
  return known_ && loop >= 0 ? footprint_->trip[loop] : 0;
}

bool SeenFootprint::MayWiden(const llvm::BasicBlock* header) const {
  constexpr int64_t kFewest = 32;
  const int loop = LoopOf(header);
  if (!known_ || loop < 0 || footprint_->trip[loop] < kFewest) return false;
  if (loop == 0) return true;
  Reliance reliance;
  reliance.widened = Loops(std::array{header});
  return Holds(reliance);
}

void SeenFootprint::RelyOnWidened(const llvm::BasicBlock* header) {
  const int loop = LoopOf(header);
  if (loop > 0) reliance_.widened = Loops(std::array{header});
}

bool SeenFootprint::EachMeetsTheNext() const {
  if (!known_ || footprint_->phases > 1) return PassesMeet();
  // Accesses of the same stride meet in each two passes or in none; two passes stand for all.
  Footprint two = *footprint_;
  two.trip[0] = std::min<int64_t>(two.trip[0], 2);
  two.form_count = 0;
  for (const AccessForm& write : footprint_->all()) {
    const auto meets_in_step = [&](const AccessForm& form) {
      return form.stride[0] == write.stride[0] && form.low < write.high && write.low < form.high;
    };
    if (!write.write || write.access >= kSlotBase || two.form_count > 0) continue;
    for (const AccessForm& form : footprint_->all()) {
      if (form.access < kSlotBase && meets_in_step(form)) two.forms[two.form_count++] = form;
    }
    if (CheckIndependent(two).verdict == Independence::kIndependent) two.form_count = 0;
  }
  return two.form_count > 0;
}

std::optional<uint64_t> SeenFootprint::WhereEachMeetsTheNext() const {
  if (!EachMeetsTheNext()) return std::nullopt;
  const auto result = AmongFirst(2);
  if (!result || result->verdict != Independence::kDependent) return std::nullopt;
  const uint16_t access = result->first < kSlotBase ? result->first : result->second;
  return access < program_.accesses.size() ? program_.accesses[access].instruction : 0;
}

bool SeenFootprint::KeepsOrder(const Wavefront& wavefront) const {
  Reliance reliance;
  reliance.wavefront = wavefront;
  return known_ && Holds(reliance);
}

bool SeenFootprint::IsHandedOn(const Wavefront& wavefront, const HandedOn& handed) const {
  return known_ && jit::IsHandedOn(program_, *footprint_, wavefront, handed);
}

void SeenFootprint::RelyOnWavefront(const Wavefront& wavefront) {
  reliance_.wavefront = wavefront;
}

bool SeenFootprint::MostIsLead(const Lead& lead) const {
  constexpr int64_t kTogether = 16, kShortest = 64;
  if (!known_ || footprint_->phases > 1 || footprint_->trip[0] < 2 * kTogether) return false;
  const auto some = std::make_unique<Footprint>();
  if (!Evaluate(program_, observed_, 1, some.get())) return false;
  const int64_t middle = footprint_->trip[0] / 2, length = some->trip[lead.loop] + middle;
  if (length < kShortest || !Evaluate(program_, observed_, middle + kTogether, some.get())) return false;
  return LeadOf(program_, observed_, *some, kTogether, lead, length) > length / 2;
}

void SeenFootprint::RelyOnLead(const Lead& lead) { reliance_.lead = lead; }

int SeenFootprint::GroupsPerChunk(int group) const {
  constexpr int64_t kMost = 32, kFewestChunks = 16;  // many, so that no core is left with a large one at the end
  return static_cast<int>(std::clamp<int64_t>(footprint_->trip[0] / (kFewestChunks * group), 1, kMost));
}

std::vector<uint16_t> SeenFootprint::WritesToUndo() const {
  if (!known_ || !ReadsWhatItWrites(*footprint_)) return {};
  const std::vector<Access>& all = program_.accesses;
  std::vector<uint16_t> writes;
  for (size_t write = 0; write < all.size(); ++write) {
    const auto is_read = [&](size_t read) { return !all[read].write && reliance_.memory[read] == reliance_.memory[write]; };
    const bool needed = reliance_.memory.empty() || std::ranges::any_of(std::views::iota(size_t{0}, all.size()), is_read);
    if (all[write].write && needed) writes.push_back(static_cast<uint16_t>(write));
  }
  return WritesOnce(program_, *footprint_, writes) ? writes : std::vector<uint16_t>{};
}

void AddScopes(llvm::Instruction& instruction, llvm::MDNode* in, llvm::MDNode* apart_from) {
  const auto add = [&](unsigned kind, llvm::MDNode* scopes) {
    instruction.setMetadata(kind, llvm::MDNode::concatenate(instruction.getMetadata(kind), scopes));
  };
  add(llvm::LLVMContext::MD_alias_scope, in);
  add(llvm::LLVMContext::MD_noalias, apart_from);
}

void SeenFootprint::SeparateMemories(llvm::Function& function, const std::vector<AccessBy>& accesses_by) {
  if (!known_) return;
  const std::vector<uint8_t> memory = MemoriesOf(program_, *footprint_);
  std::map<uint8_t, llvm::Metadata*> scopes;
  for (uint8_t of : memory) scopes[of] = nullptr;
  if (scopes.size() < 2) return;
  reliance_.memory = memory;
  llvm::LLVMContext& context = function.getContext();
  llvm::MDBuilder metadata(context);
  llvm::MDNode* domain = metadata.createAnonymousAliasScopeDomain("memories");
  for (auto& [of, scope] : scopes) scope = metadata.createAnonymousAliasScope(domain);
  std::map<llvm::Instruction*, std::vector<uint8_t>> touched;
  for (const AccessBy& by : accesses_by) touched[by.instruction].push_back(memory[static_cast<size_t>(by.access)]);
  for (const auto& [instruction, memories] : touched) {
    std::vector<llvm::Metadata*> own, others;
    for (const auto& [of, scope] : scopes) (std::ranges::count(memories, of) > 0 ? own : others).push_back(scope);
    AddScopes(*instruction, llvm::MDNode::get(context, own), llvm::MDNode::get(context, others));
  }
}

}  // namespace tracelift::jit
