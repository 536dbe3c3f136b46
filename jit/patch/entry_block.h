// What the code of one region image keeps in memory: shared between C++, region_entry.S (by offset) and emitted code
// (by address). Lies in writable pages next to the code, so that emitted code reaches it RIP-relative.
#pragma once

#include <cstddef>
#include <cstdint>

#include "jit/region_image.h"

namespace tracelift::jit {

struct EntryBlock {
  // Constant once the image is built.
  DispatchFunction dispatch;
  void* cookie;
  uint64_t xsave_bytes;
  uint64_t xsave_mask;  // components saved and restored
  uint64_t has_avx;     // vzeroupper exists
  // Of the one thread that runs the clone (the region's execution lock is held).
  uint64_t native_rsp;  // our own stack while the clone uses the program's
  uint8_t* frames;      // copy of our frames meanwhile: a signal handler of the program may overwrite them
  uint64_t frame_capacity;
  uint64_t frame_bytes;
  const uint64_t* tails;   // constant: where to go on, by ResumeAt
  void (*region_entry)();  // constant: the three addresses that emitted code jumps and pushes through
  void (*native_exit)();
  EntryBlock* self;
  uint64_t pass_stack;  // constant: bytes that the clone and its callees push below the program's rsp
  int64_t passes_left;  // arrivals at the header until the clone pauses
  uint64_t borrowed;    // the program's value of the register that counts them
  uint64_t scratch;
  int32_t exit_index;  // how the clone ended: kPaused or an index in exits()
  // Of all threads, without locks: see RegionImage::SkipNext.
  alignas(64) int64_t arrivals;
  int64_t skip_until;
};

inline constexpr int32_t kPaused = -1;

static_assert(offsetof(EntryBlock, cookie) == 8 && offsetof(EntryBlock, xsave_bytes) == 16);
static_assert(offsetof(EntryBlock, xsave_mask) == 24 && offsetof(EntryBlock, has_avx) == 32);
static_assert(offsetof(EntryBlock, native_rsp) == 40 && offsetof(EntryBlock, frames) == 48);
static_assert(offsetof(EntryBlock, frame_capacity) == 56 && offsetof(EntryBlock, frame_bytes) == 64);
static_assert(offsetof(EntryBlock, tails) == 72 && offsetof(EntryBlock, pass_stack) == 104);
static_assert(offsetof(SavedContext, rflags) == 128 && offsetof(SavedContext, xsave) == 136);
static_assert(sizeof(SavedContext) == 144);

/// Fixed by region_entry.S: from where a tail is entered up to the program's rsp, less EntryBlock::pass_stack.
inline constexpr int kRedZoneBytes = 128;
inline constexpr int kTailToProgramRsp = 144;

extern "C" {
/// Entered by jumps of emitted code, 128 bytes below the program's rsp, with the EntryBlock's address pushed.
void tl_region_entry();
void tl_native_exit();
/// Loads `context` completely and goes on at `tail`; returns when emitted code jumps to tl_native_exit, which saves
/// everything back. `context` must be the one given to the dispatch function, in its place.
void tl_native_run(EntryBlock* block, SavedContext* context, uint64_t tail);
}

/// Components of XCR0 to save, and the bytes of an XSAVE area (standard format) that holds them. bytes is 0 when the
/// CPU or the kernel offers no XSAVE. AMX tiles and PKRU are left alone: nothing of ours touches them, and 8 KiB of
/// tiles would not fit on small stacks.
struct XsaveLayout {
  uint64_t mask = 0;
  uint64_t bytes = 0;
  bool has_avx = false;
};
XsaveLayout HostXsaveLayout();

}  // namespace tracelift::jit
