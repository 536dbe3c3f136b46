// What compiled code relies on beside independent passes: memories that are apart, inner loops with independent
// iterations.
#include <algorithm>
#include <numeric>

#include "jit/footprint/meeting.h"

namespace tracelift::jit {
namespace {

bool IsInside(const FootprintProgram& program, int inner, int outer) {
  while (inner > outer) inner = program.loops[static_cast<size_t>(inner)].parent;
  return inner == outer;
}

// The loops around `loop` are in the same iteration on both sides, those inside it in any.
Solvable MeetAcrossIterationsOf(int loop, const AccessForm& a, const AccessForm& b, const FootprintProgram& program,
                                const Footprint& footprint, int* budget) {
  ByteEquation rest(a, b);
  for (int k = 0; k < footprint.loop_count; ++k) {
    const auto at = static_cast<size_t>(k);
    const int64_t last = footprint.TripOf(a, k) - 1;
    if (k == loop || last == 0) continue;
    if (IsInside(program, loop, k)) {
      int64_t difference = 0;
      if (__builtin_sub_overflow(a.stride[at], b.stride[at], &difference)) return Solvable::kUnknown;
      if (difference != 0) rest.AddTerm(difference, 0, last);
    } else {
      if (a.stride[at] != 0) rest.AddTerm(a.stride[at], 0, last);
      if (b.stride[at] != 0) rest.AddTerm(-b.stride[at], 0, last);
    }
  }
  const auto at = static_cast<size_t>(loop);
  return MeetAcrossIterations(a.stride[at], b.stride[at], footprint.TripOf(a, loop), rest, &a == &b, budget);
}

IndependenceResult CheckWidened(const FootprintProgram& program, const Footprint& footprint, int loop) {
  int budget = kSearchBudget;
  const std::span<const AccessForm> forms = footprint.all();
  const auto inside = [&](const AccessForm& form) {
    return !IsSlot(form) && IsInside(program, program.accesses[form.access].innermost_loop, loop);
  };
  for (size_t w = 0; w < forms.size(); ++w) {
    if (!forms[w].write || !inside(forms[w])) continue;
    for (size_t a = 0; a < forms.size(); ++a) {
      if (!inside(forms[a]) || (forms[a].write && a < w) || !RangesMeet(forms[w], forms[a])) continue;
      if (forms[a].phase != forms[w].phase) continue;  // of different passes
      const Solvable meet = MeetAcrossIterationsOf(loop, forms[w], forms[a], program, footprint, &budget);
      if (meet != Solvable::kNo) return {Independence::kUnknown, forms[w].access, forms[a].access};
    }
  }
  return {Independence::kIndependent, 0, 0};
}

// The loop with panels that contains the access, -1 for none.
int PanelLoopOf(const AccessForm& form, const FootprintProgram& program, const std::vector<bool>& panels) {
  int loop = program.accesses[form.access].innermost_loop;
  while (loop >= 0 && !panels[static_cast<size_t>(loop)]) loop = program.loops[static_cast<size_t>(loop)].parent;
  return loop;
}

// Within one pass, or in any when passes are ordered, what one iteration of a panel loop writes no other iteration of one
// touches, nor code around them.
IndependenceResult CheckPanels(const FootprintProgram& program, const Footprint& footprint,
                               const std::vector<bool>& panels, bool ordered) {
  if (ordered && footprint.phases > 1) return {Independence::kUnknown, 0, 0};
  int budget = kSearchBudget;
  const std::span<const AccessForm> forms = footprint.all();
  for (const AccessForm& write : forms) {
    if (!write.write || IsSlot(write)) continue;
    const int own = PanelLoopOf(write, program, panels);
    if (own < 0) return {Independence::kUnknown, write.access, write.access};
    for (const AccessForm& other : forms) {
      if (IsSlot(other) || other.phase != write.phase || !RangesMeet(write, other)) continue;
      const int others = PanelLoopOf(other, program, panels);
      ByteEquation rest(write, other);
      int64_t difference = 0;
      if (__builtin_sub_overflow(write.stride[0], other.stride[0], &difference))
        return {Independence::kUnknown, write.access, other.access};
      if (!ordered && difference != 0) rest.AddTerm(difference, 0, footprint.TripOf(write, 0) - 1);
      for (int k = ordered ? 0 : 1; k < footprint.loop_count; ++k) {
        const auto at = static_cast<size_t>(k);
        const int64_t last = footprint.TripOf(write, k) - 1;
        if (last == 0) continue;
        if (write.stride[at] != 0 && (k != own || others < 0)) rest.AddTerm(write.stride[at], 0, last);
        if (other.stride[at] != 0 && k != others) rest.AddTerm(-other.stride[at], 0, last);
      }
      const Solvable meet = others < 0 ? rest.Solve(&budget)
                                       : MeetAcrossIterations(write.stride[static_cast<size_t>(own)],
                                                              other.stride[static_cast<size_t>(others)],
                                                              std::max(footprint.TripOf(write, own), footprint.TripOf(other, others)), rest, &write == &other, &budget);
      if (meet != Solvable::kNo) return {Independence::kUnknown, write.access, other.access};
    }
  }
  return {Independence::kIndependent, 0, 0};
}

// No pass touches what an earlier one has written. Two writes of one byte by passes p < q meet as such a pair, too.
IndependenceResult CheckReadsFirst(const Footprint& footprint) {
  if (footprint.phases > 1) return {Independence::kUnknown, 0, 0};
  int budget = kSearchBudget;
  const std::span<const AccessForm> forms = footprint.all();
  for (const AccessForm& write : forms) {
    if (!write.write || IsSlot(write)) continue;
    for (const AccessForm& other : forms) {
      if (IsSlot(other) || !RangesMeet(write, other)) continue;
      ByteEquation rest(write, other);
      AddLoops(write, other, footprint, 1, &rest);
      if (MeetLater(write.stride[0], other.stride[0], footprint.trip[0], rest, &budget) != Solvable::kNo)
        return {Independence::kUnknown, write.access, other.access};
    }
  }
  return {Independence::kIndependent, 0, 0};
}

IndependenceResult CheckMemories(const Footprint& footprint, const std::vector<uint8_t>& memory) {
  const std::span<const AccessForm> forms = footprint.all();
  for (const AccessForm& write : forms) {
    if (!write.write || IsSlot(write)) continue;
    for (const AccessForm& other : forms) {
      if (IsSlot(other) || memory[other.access] == memory[write.access] || !RangesMeet(write, other)) continue;
      return {Independence::kUnknown, write.access, other.access};
    }
  }
  return {Independence::kIndependent, 0, 0};
}

}  // namespace

IndependenceResult CheckReliance(const FootprintProgram& program, const Footprint& footprint,
                                 const Reliance& reliance) {
  IndependenceResult result{Independence::kIndependent, 0, 0};
  if (!reliance.memory.empty()) result = CheckMemories(footprint, reliance.memory);
  for (size_t loop = 0; loop < reliance.widened.size() && result.verdict == Independence::kIndependent; ++loop) {
    if (reliance.widened[loop]) result = CheckWidened(program, footprint, static_cast<int>(loop));
  }
  if (!reliance.panels.empty() && result.verdict == Independence::kIndependent)
    result = CheckPanels(program, footprint, reliance.panels, reliance.ordered);
  for (size_t i = 0; i < reliance.grid.size() && result.verdict == Independence::kIndependent; ++i) {
    result = CheckPanels(program, footprint, reliance.grid[i], /*ordered=*/false);
  }
  if (reliance.reads_first && result.verdict == Independence::kIndependent) result = CheckReadsFirst(footprint);
  if (reliance.wavefront.lanes > 0 && result.verdict == Independence::kIndependent)
    result = CheckWavefront(program, footprint, reliance.wavefront);
  return result;
}

bool WritesOnce(const FootprintProgram& program, const Footprint& footprint, std::span<const uint16_t> accesses) {
  int budget = kSearchBudget;
  const std::span<const AccessForm> forms = footprint.all();
  const auto is_meant = [&](const AccessForm& form) { return std::ranges::find(accesses, form.access) != accesses.end(); };
  for (size_t a = 0; a < forms.size(); ++a) {
    if (!is_meant(forms[a])) continue;
    for (int loop = 1; loop < footprint.loop_count; ++loop) {
      if (!IsInside(program, program.accesses[forms[a].access].innermost_loop, loop)) continue;
      if (MeetAcrossIterationsOf(loop, forms[a], forms[a], program, footprint, &budget) != Solvable::kNo) return false;
    }
    for (size_t b = a + 1; b < forms.size(); ++b) {
      if (!is_meant(forms[b]) || forms[a].phase != forms[b].phase || !RangesMeet(forms[a], forms[b])) continue;
      ByteEquation equation(forms[a], forms[b]);
      int64_t difference = 0;
      if (__builtin_sub_overflow(forms[a].stride[0], forms[b].stride[0], &difference)) return false;
      equation.AddTerm(difference, 0, footprint.TripOf(forms[a], 0) - 1);
      AddLoops(forms[a], forms[b], footprint, 1, &equation);
      if (equation.Solve(&budget) != Solvable::kNo) return false;
    }
  }
  return true;
}

std::vector<uint8_t> MemoriesOf(const FootprintProgram& program, const Footprint& footprint) {
  std::vector<uint8_t> memory(program.accesses.size());
  std::iota(memory.begin(), memory.end(), uint8_t{0});  // at most kMaxAccesses
  const std::span<const AccessForm> forms = footprint.all();
  for (const AccessForm& write : forms) {
    if (!write.write || IsSlot(write)) continue;
    for (const AccessForm& other : forms) {
      if (IsSlot(other) || !RangesMeet(write, other)) continue;
      const uint8_t from = memory[other.access], to = memory[write.access];
      std::replace(memory.begin(), memory.end(), from, to);
    }
  }
  return memory;
}

uint8_t AlignmentOf(const Footprint& footprint, const AccessForm& form) {
  if (form.slack != 0) return 1;
  uint64_t bits = form.base | 16;
  for (int k = 0; k < footprint.loop_count; ++k) {
    if (footprint.TripOf(form, k) > 1) bits |= static_cast<uint64_t>(form.stride[static_cast<size_t>(k)]);
  }
  return static_cast<uint8_t>(bits & -bits);
}

std::vector<uint8_t> RangesApart(const FootprintProgram& program, const Footprint& footprint) {
  std::vector<uint8_t> memory(program.accesses.size());
  std::iota(memory.begin(), memory.end(), uint8_t{0});
  const std::span<const AccessForm> forms = footprint.all();
  for (const AccessForm& form : forms) {
    for (const AccessForm& other : forms) {
      if (IsSlot(form) || IsSlot(other) || !RangesMeet(form, other)) continue;
      const uint8_t from = memory[other.access], to = memory[form.access];
      std::replace(memory.begin(), memory.end(), from, to);
    }
  }
  return memory;
}

}  // namespace tracelift::jit
