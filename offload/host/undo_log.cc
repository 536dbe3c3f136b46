#include "offload/host/undo_log.h"

#include <algorithm>
#include <cstddef>

namespace tracelift::offload {
namespace {

// Of the passes that make most of them.
int64_t MostIterations(const jit::Footprint& footprint, uint16_t access, int loop) {
  int64_t most = 1;
  for (const jit::AccessForm& form : footprint.all()) {
    if (form.access == access) most = std::max(most, footprint.TripOf(form, loop));
  }
  return most;
}

}  // namespace

bool UndoLog::Make(const jit::Artifact& artifact, const jit::Footprint& footprint, int64_t passes) {
  const jit::FootprintProgram& program = artifact.footprint;
  size_t count = 0;
  bytes_ = pass_bytes_ = 0;
  for (const uint16_t logged : artifact.logged) {
    const jit::Access& access = program.accesses[logged];
    std::array<int, jit::kMaxLoops> inwards{};
    size_t depth = 0;
    for (int loop = access.innermost_loop; loop >= 0; loop = program.loops[static_cast<size_t>(loop)].parent) {
      if (depth == inwards.size()) return false;
      inwards[depth++] = loop;
    }
    std::reverse(inwards.begin(), inwards.begin() + static_cast<std::ptrdiff_t>(depth));
    numbers_[count] = static_cast<int64_t>(bytes_);
    int64_t step = access.bytes;
    for (size_t k = depth; k-- > 1;) {
      if (__builtin_mul_overflow(step, MostIterations(footprint, logged, inwards[k]), &step)) return false;
      numbers_[count + k] = step;
    }
    count += std::max<size_t>(1, depth);
    int64_t part = 0;
    if (__builtin_mul_overflow(step, passes, &part) ||
        __builtin_add_overflow(bytes_, static_cast<uint64_t>(part), &bytes_))
      return false;
    pass_bytes_ += static_cast<uint64_t>(step);
  }
  return true;
}

}  // namespace tracelift::offload
