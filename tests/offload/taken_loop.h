// One loop through the whole chain without sampling: decode, capture, compile, load, patch. For tests of what happens at
// its entries.
#pragma once

#include <functional>
#include <string>

#include "offload/host/region.h"

namespace tracelift::offload {

enum class Math { kStrict, kRelaxed };
enum class Place { kCores, kReferenceDevice };

struct TakenLoop {
  Region* region = nullptr;    // null: not taken over, `why` tells
  Variant* variant = nullptr;
  std::string why;
  std::vector<jit::Guard> unsteady;  // places whose values were seen to change
  Math math{};
  Place place{};
  /// The next entry is looked at, whatever the ones before it cost: on a busy machine variants lose.
  void Forgive() const {
    region->losses.Forgive();
    region->image->SkipNext(0);
  }
  uint64_t Declines(jit::RejectionReason reason) const {
    return region->decline_reasons[static_cast<size_t>(reason)].load();
  }
};

/// Takes over the outermost loop of `function`, or the first that many levels below; `run` executes it once, for its
/// registers. Stays until PutBack.
TakenLoop TakeOverLoop(const void* function, const std::function<void()>& run, int levels_down = 0, Math math = Math::kStrict,
                       Place place = Place::kCores);

/// Compiles again for the registers of another execution, as the session does when guards failed: for those values, or for any
/// in the places that the guards before were about.
enum class For { kTheseValues, kAnyValues };
bool TakeOverAgain(TakenLoop& taken, const std::function<void()>& run, For values = For::kTheseValues);

/// Compiles the same passes in one lane each; from then on both take turns. Null when that fails, `why` tells.
const Variant* AddRival(TakenLoop& taken);

/// From now on it is entered through a patch ahead of the loop. False when there is no place for one.
bool MoveAhead(const TakenLoop& taken);

/// False when the original code could not be written back.
bool PutBack(const TakenLoop& taken);

/// What happened at its entries, for messages.
std::string Explain(const TakenLoop& taken);

}  // namespace tracelift::offload
