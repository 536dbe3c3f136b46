// Which instruction of a loop gives way to the jump into its region.
#pragma once

#include <expected>

#include "jit/code/decoded_function.h"
#include "jit/region_image.h"

namespace tracelift::jit {

struct PatchSite {
  const Instruction* instruction = nullptr;
  PatchKind kind{};
  std::vector<uint8_t> expected;  // the instruction and, where the jump is longer, the code behind it
  size_t written = 0;             // so many of them are replaced
};

/// One whole instruction is replaced, so no branch can lead into the middle of the jump and no thread can stand there.
///
/// An instruction shorter than the five bytes of `jmp rel32`, or of which fewer lie in its aligned 8-byte word, can
/// give way as well: the jump's last bytes are then the code that is there already. They are the high bytes of the
/// displacement, so the jump leads to some place in a window that they determine, and a landing pad is put there.
/// (Instruction punning: Chamith et al., PLDI 2017.) It takes two free bytes, a window of 64 KiB, to find one.
///
/// All candidates, in order of preference:
///   1. executed in every pass, five bytes within the word: replaced by one store (kAtomicJump)
///   2. executed in every pass, three or four bytes within the word: the same with a landing pad
///   3. executed in every pass, five bytes or more (kTrappedJump), if rules.allow_trap
///   4., 5. as 1 and 2, but not executed in every pass
///   6. the header's first instruction, of any length (kTrap), if rules.allow_trap
/// Never inside inner loops, and never where something is pushed: our frames are counted from rsp as it is at the header.
/// With rules.avoid_faults only the header, and instructions from which nothing on the way to it can fault: a thread that arrives
/// there goes that way in the native clone, and a handler of the program may look where it was, or throw from there.
/// Among equals the header's first instruction, which needs no native run to get there;
/// then the one from which the header is nearest: no inner loop on the way (a thread runs the rest of the pass with
/// its signals blocked), late in the pass. kNoPatchSite when there is none.
std::expected<std::vector<PatchSite>, Rejection> ChoosePatchSites(const DecodedFunction& function, const LoopFacts& facts,
                                                                  PatchRules rules);

/// A way into the loop that all entries take: instructions ahead of the header, the last of them leading to it.
struct ApproachBlock {
  int block = 0;
  int first = 0;  // index of the first instruction on the way
};
struct Approach {
  PatchSite site;                     // the first instruction
  std::vector<ApproachBlock> blocks;  // in order
};

/// Sites ahead of the loop, through which whoever is not in it yet comes to its header: an arrival is an entry there, not a
/// pass. Nearest first, those replaced by one store before those that need a trap (only if rules.allow_trap). What lies between may
/// lead elsewhere, to addresses that are exits then; it makes no calls and leaves rsp alone, and with
/// rules.avoid_faults nothing there may fault. Empty when there are none.
std::vector<Approach> ChooseApproaches(const DecodedFunction& function, const LoopFacts& facts, PatchRules rules);

/// Where the jump at `site` can lead, given its first `site.written` bytes.
AddressRange JumpWindow(const PatchSite& site);

}  // namespace tracelift::jit
