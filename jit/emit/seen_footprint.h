// What the footprint of the state that a region was seen in says beyond the independence of its passes: which accesses
// never meet, which inner loops have independent iterations too. Code may be compiled for that; entries are checked for
// it (Reliance). Private to jit/emit.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "jit/emit/footprint_from_scev.h"

namespace tracelift::jit {

class SeenFootprint {
 public:
  /// `headers` are those of program.loops, by which loops are told later on.
  SeenFootprint(const FootprintProgram& program, const std::vector<const llvm::BasicBlock*>& headers,
                const MachineState& observed);

  /// Tells LLVM which accesses do not alias, and relies on it.
  void SeparateMemories(llvm::Function& function, const std::vector<AccessBy>& accesses_by);

  /// The most iterations that a loop made; 0: not known.
  int64_t LengthOf(const llvm::BasicBlock* header) const;

  /// Whether enough iterations of a loop are independent.
  bool MayWiden(const llvm::BasicBlock* header) const;
  void RelyOnWidened(const llvm::BasicBlock* header);

  /// Whether the loops may be cut into panels (Reliance::panels), and passes read something large alike.
  bool MayCut(const std::vector<llvm::BasicBlock*>& headers) const;
  /// Whether each pass needs what the ones just before it do.
  bool PassesMeet() const;
  /// Whether panels of the loops are independent of each other even where the passes are not.
  bool MayCutInOrder(const std::vector<llvm::BasicBlock*>& headers) const;
  /// Whether passes that go on side by side in vectors, instruction by instruction, do what they do one after the other, though
  /// they need each other. The loop must be an innermost one.
  bool ReadsComeFirst(const llvm::Loop& region, const std::vector<AccessBy>& accesses_by) const;
  void RelyOnReadsFirst();
  void RelyOnPanels(const std::vector<llvm::BasicBlock*>& headers, bool ordered);

  /// Whether iterations of the loops of each dimension may be threads of a grid.
  bool MayBeGrid(const std::vector<std::vector<llvm::BasicBlock*>>& dimensions) const;
  void RelyOnGrid(const std::vector<std::vector<llvm::BasicBlock*>>& dimensions);
  /// Whether more accesses go on along memory from pass to pass than from iteration to iteration of the loop.
  bool FollowsPasses(const llvm::BasicBlock* header) const;
  /// By access (jit::RangesApart); empty when they are not known.
  std::vector<uint8_t> RangesApart() const;
  /// By access (jit::AlignmentOf).
  std::vector<uint8_t> Alignments() const;

  /// Whether every pass, not just some, meets what the one before it touched.
  bool EachMeetsTheNext() const;
  /// The instruction that does, of the first two passes.
  std::optional<uint64_t> WhereEachMeetsTheNext() const;
  /// Whether the wavefront keeps the order of all accesses that meet.
  bool KeepsOrder(const Wavefront& wavefront) const;
  bool IsHandedOn(const Wavefront& wavefront, const HandedOn& handed) const;
  void RelyOnWavefront(const Wavefront& wavefront);

  /// Whether the lead is most of the iterations that its loop, longer by one from pass to pass, makes in the middle of all passes.
  bool MostIsLead(const Lead& lead) const;
  void RelyOnLead(const Lead& lead);

  size_t accesses() const { return program_.accesses.size(); }
  const FootprintProgram& program() const { return program_; }
  /// By index of FootprintProgram::loops; -1: none of them.
  int LoopOf(const llvm::BasicBlock* header) const;

  /// Writes to memory that is also read, if each pass makes them once a byte.
  std::vector<uint16_t> WritesToUndo() const;

  /// How many groups of passes should go through a panel before the next one is read.
  int GroupsPerChunk(int group) const;

  const Reliance& reliance() const { return reliance_; }

 private:
  bool Holds(const Reliance& reliance) const;
  Reliance GridOf(const std::vector<std::vector<llvm::BasicBlock*>>& dimensions) const;
  std::optional<IndependenceResult> AmongFirst(int64_t most) const;
  template <typename Headers>
  std::vector<bool> Loops(const Headers& headers) const;

  const FootprintProgram& program_;
  const std::vector<const llvm::BasicBlock*>& headers_;
  const MachineState& observed_;
  std::unique_ptr<Footprint> footprint_;
  bool known_ = false;
  Reliance reliance_;
};

/// Adds scopes to those that the instruction has.
void AddScopes(llvm::Instruction& instruction, llvm::MDNode* in, llvm::MDNode* apart_from);

}  // namespace tracelift::jit
