// A loop of test_loops.S made into a region, with the test's own dispatch function.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <random>

#include "jit/function_code.h"
#include "jit/patch/entry_block.h"
#include "jit/region_image.h"
#include "jit/code_reader.h"

namespace tracelift::jit {

#define TL_LOOP(name)                    \
  extern "C" const char name[];          \
  extern "C" const char name##_header[]; \
  extern "C" const char name##_end[]

TL_LOOP(red_zone_loop);
TL_LOOP(carry_loop);
TL_LOOP(flags_loop);
TL_LOOP(jrcxz_loop);
TL_LOOP(loop_instruction_loop);
TL_LOOP(search_loop);
TL_LOOP(nested_loop);
TL_LOOP(crossing_loop);
TL_LOOP(short_loop);
TL_LOOP(punned_loop);
TL_LOOP(adjacent_loop);
TL_LOOP(conditional_loop);
TL_LOOP(crowded_loop);
TL_LOOP(jump_site_loop);
TL_LOOP(copy_loop);
TL_LOOP(calling_loop);
TL_LOOP(table_loop);
TL_LOOP(wide_table_loop);
TL_LOOP(guarded_loop);
TL_LOOP(far_guarded_loop);
#undef TL_LOOP

extern "C" const char test_tables[], test_tables_end[];

struct TestLoop {
  const char* name;
  const char* begin;
  const char* header;
  const char* end;
};
#define TL_TEST_LOOP(name) \
  TestLoop { #name, name, name##_header, name##_end }

inline uint64_t Address(const char* label) { return reinterpret_cast<uint64_t>(label); }

/// The code of a test loop and the jump tables, which are taken for constant.
class TestLoopReader : public CodeReader {
 public:
  explicit TestLoopReader(const TestLoop& loop)
      : ranges_{{{Address(loop.begin), Address(loop.end)}, {Address(test_tables), Address(test_tables_end)}}} {}
  bool Read(uint64_t address, std::span<uint8_t> out) const override {
    if (!IsConstant(address, out.size())) return false;
    std::memcpy(out.data(), reinterpret_cast<const void*>(address), out.size());
    return true;
  }
  bool IsConstant(uint64_t address, size_t size) const override {
    for (const AddressRange& range : ranges_) {
      if (range.Contains(address) && size <= range.end - address) return true;
    }
    return false;
  }

 private:
  std::array<AddressRange, 2> ranges_;
};

inline std::shared_ptr<const FunctionCode> Decode(const TestLoop& loop) {
  const TestLoopReader reader(loop);
  auto function = DecodeFunction(reader, {Address(loop.begin), Address(loop.end)});
  EXPECT_TRUE(function.has_value()) << loop.name;
  return *function;
}

inline LoopId LoopAt(const FunctionCode& function, uint64_t header) {
  for (size_t i = 0; i < function.loops().size(); ++i) {
    if (function.loops()[i].header == header) return static_cast<LoopId>(i);
  }
  return LoopId::kNone;
}

/// Counts arrivals and does as told with each.
class PatchedLoop {
 public:
  using Visit = std::function<uint32_t(RegionImage&, SavedContext*)>;

  PatchedLoop(const TestLoop& loop, bool allow_trap, Visit visit)
      : PatchedLoop(loop, Address(loop.header), allow_trap, std::move(visit)) {}

  /// `header`: of an inner loop, perhaps.
  PatchedLoop(const TestLoop& loop, uint64_t header, bool allow_trap, Visit visit, PatchPlace place = PatchPlace::kInLoop)
      : visit_(std::move(visit)), function_(Decode(loop)) {
    auto built = RegionImage::Build(*function_, LoopAt(*function_, header), Memory(), {.allow_trap = allow_trap}, &Dispatch, this, place);
    EXPECT_TRUE(built.has_value()) << loop.name << ": " << Describe(built.error());
    if (built) image_ = std::move(*built);
  }

  RegionImage& image() { return *image_; }
  uint64_t arrivals() const { return arrivals_.load(); }

  static NearMemory& Memory() {
    static NearMemory memory;
    return memory;
  }
  static Patcher& ThePatcher() {
    static std::unique_ptr<Patcher> patcher = *Patcher::Create();
    return *patcher;
  }

 private:
  static uint32_t Dispatch(void* cookie, SavedContext* context) {
    auto& loop = *static_cast<PatchedLoop*>(cookie);
    loop.arrivals_.fetch_add(1);
    return loop.visit_(*loop.image_, context);
  }

  Visit visit_;
  std::shared_ptr<const FunctionCode> function_;
  std::unique_ptr<RegionImage> image_;
  std::atomic<uint64_t> arrivals_{0};
};

/// A copy of a loop in pages of its own, so that a test can do to them what it likes. They stay.
class MovedLoop {
 public:
  /// `lonely`: nothing else is within 2 GiB, so that landing pads find their place.
  explicit MovedLoop(const TestLoop& loop, bool lonely = false);
  const TestLoop& loop() const { return loop_; }
  char* pages() const { return pages_; }
  static constexpr size_t kBytes = 8192;

 private:
  char* pages_;
  TestLoop loop_;
};

/// Installed as long as it lives.
class Installed {
 public:
  explicit Installed(PatchedLoop& loop) : loop_(loop) {
    const auto result = PatchedLoop::ThePatcher().Install(loop.image());
    EXPECT_TRUE(result.has_value()) << Describe(result.error());
  }
  ~Installed() {
    const auto result = PatchedLoop::ThePatcher().Remove(loop_.image());
    EXPECT_TRUE(result.has_value()) << Describe(result.error());
  }

 private:
  PatchedLoop& loop_;
};

/// Layout known to tl_test_call.
struct alignas(64) CpuState {
  uint64_t gpr[16];
  uint64_t rflags;
  uint64_t spare[7];
  uint8_t xsave[8192];
};
static_assert(offsetof(CpuState, xsave) == 192);

extern "C" void tl_test_call(const CpuState* in, CpuState* out, const void* function, uint64_t xsave_mask);

inline constexpr int kBufferQwords = 1024;
using Buffer = std::array<uint64_t, kBufferQwords>;

/// Everything random that may be: registers, x87, vectors to their full width, masks, rounding mode, flags.
CpuState RandomState(std::mt19937_64& random, uint64_t* buffer, uint64_t passes);

struct RunResult {
  CpuState state;
  Buffer buffer;
};
/// Calls the loop's function from `state` with a buffer derived from `seed`.
void RunLoop(const TestLoop& loop, uint64_t seed, uint64_t passes, RunResult* result);

/// "" when equal, else what differs.
std::string Difference(const RunResult& expected, const RunResult& actual);

}  // namespace tracelift::jit
