// Where a chunk function keeps what it overwrites (jit::Artifact::logged): each write has a part of the log for itself,
// in which passes follow each other, in those the iterations of the outer loop around the write, and so on. Inner loops
// have room for as many iterations as they have at most.
#pragma once

#include <array>
#include <cstdint>

#include "jit/artifact.h"

namespace tracelift::offload {

class UndoLog {
 public:
  /// For chunks of `passes` passes; false when it would be too large to count.
  bool Make(const jit::Artifact& artifact, const jit::Footprint& footprint, int64_t passes);

  uint64_t bytes() const { return bytes_; }
  uint64_t pass_bytes() const { return pass_bytes_; }
  /// jit::ChunkResult::log_layout: of each write where its part begins, and the steps of the loops around it from the
  /// region's inwards, without that of the innermost one, the bytes of the write.
  const int64_t* layout() const { return numbers_.data(); }

 private:
  std::array<int64_t, jit::kMaxLogged * jit::kMaxLoops> numbers_{};
  uint64_t bytes_ = 0, pass_bytes_ = 0;
};

}  // namespace tracelift::offload
