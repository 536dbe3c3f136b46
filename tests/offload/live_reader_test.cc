// What is known of this process's own code.

#include "offload/runtime/live_reader.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "profiler/modules.h"

namespace tracelift::offload {
namespace {

/// Never called, so that the loader has not bound what it calls. A call of that alone comes first.
[[gnu::noinline, gnu::used]] void CallsQuickExit() { std::quick_exit(3); }
[[gnu::noinline, gnu::used]] int CallsSystem() { return std::system("true") + 1; }

/// Where the first call of `function` leads.
template <typename F>
uint64_t CalledBy(F* function) {
  const auto* code = reinterpret_cast<const uint8_t*>(function);
  for (int i = 0; i < 64; ++i) {
    if (code[i] != 0xe8) continue;
    int32_t distance = 0;
    std::memcpy(&distance, code + i + 1, sizeof distance);
    return reinterpret_cast<uint64_t>(code + i + 5) + static_cast<uint64_t>(static_cast<int64_t>(distance));
  }
  return 0;
}

TEST(LiveReader, KnowsByNameWhatNeverReturnsBeforeItIsBound) {
  const profiler::ModuleList modules = profiler::ModuleList::Snapshot();
  const LiveReader reader(modules);
  EXPECT_TRUE(reader.NeverReturns(CalledBy(&CallsQuickExit)));
  EXPECT_FALSE(reader.NeverReturns(CalledBy(&CallsSystem)));
  EXPECT_FALSE(reader.NeverReturns(reinterpret_cast<uint64_t>(&CallsSystem)));
  EXPECT_FALSE(reader.NeverReturns(0));
}

}  // namespace
}  // namespace tracelift::offload
