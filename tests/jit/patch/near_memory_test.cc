#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "jit/patch/mappings.h"
#include "jit/region_image.h"

namespace tracelift::jit {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

uint64_t Distance(const uint8_t* memory, uint64_t anchor) {
  const auto address = reinterpret_cast<uint64_t>(memory);
  return address > anchor ? address - anchor : anchor - address;
}

void Anchor() {}

TEST(NearMemory, IsNearAndZeroAndItsOwn) {
  NearMemory memory;
  const uint64_t anchors[] = {reinterpret_cast<uint64_t>(&Anchor), reinterpret_cast<uint64_t>(&getpid)};
  for (uint64_t anchor : anchors) {
    uint8_t* last = nullptr;
    for (int i = 0; i < 100; ++i) {
      uint8_t* const got = memory.Allocate(anchor, 5000);
      ASSERT_NE(got, nullptr);
      EXPECT_LT(Distance(got, anchor), kGiB);
      EXPECT_EQ(reinterpret_cast<uint64_t>(got) % 4096, 0u);
      for (int k = 0; k < 5000; ++k) ASSERT_EQ(got[k], 0);
      memset(got, 0xff, 5000);
      last = got;
    }
    EXPECT_EQ(last[0], 0xff);
  }
}

TEST(NearMemory, ManyMebibytesAreMoreThanOneSlab) {
  NearMemory memory;
  const auto anchor = reinterpret_cast<uint64_t>(&Anchor);
  for (int i = 0; i < 40; ++i) {
    uint8_t* const got = memory.Allocate(anchor, 300 * 1024);
    ASSERT_NE(got, nullptr);
    EXPECT_LT(Distance(got, anchor), kGiB);
  }
  EXPECT_NE(memory.Allocate(anchor, 3 << 20), nullptr) << "larger than a slab";
}

TEST(NearMemory, LeavesTheHeapAndTheStackRoomToGrow) {
  NearMemory memory;
  const auto heap = reinterpret_cast<uint64_t>(sbrk(0));
  uint8_t* const got = memory.Allocate(reinterpret_cast<uint64_t>(&Anchor), 4096);
  ASSERT_NE(got, nullptr);
  EXPECT_LT(reinterpret_cast<uint64_t>(got), heap);
  const auto stack = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  uint8_t* const by_stack = memory.Allocate(stack, 4096);
  if (by_stack != nullptr) {
    bool mapped_between = false;
    for (const Mapping& mapping : ReadMappings()) {
      mapped_between |= mapping.name != "[stack]" && mapping.range.begin > reinterpret_cast<uint64_t>(by_stack) &&
                        mapping.range.end < stack;
    }
    EXPECT_TRUE(mapped_between || reinterpret_cast<uint64_t>(by_stack) > stack);
  }
  EXPECT_NE(sbrk(64 << 20), reinterpret_cast<void*>(-1));
  sbrk(-(64 << 20));
}

TEST(NearMemory, SealedPagesAreExecutableAndNotWritable) {
  NearMemory memory;
  uint8_t* const code = memory.Allocate(reinterpret_cast<uint64_t>(&Anchor), 8192);
  ASSERT_NE(code, nullptr);
  code[0] = 0xb8;  // mov eax, 42; ret
  code[1] = 42;
  code[5] = 0xc3;
  ASSERT_TRUE(NearMemory::Seal(code, 4096));
  EXPECT_EQ(reinterpret_cast<int (*)()>(code)(), 42);
  const auto mappings = ReadMappings();
  EXPECT_EQ(ProtectionAt(mappings, reinterpret_cast<uint64_t>(code)), PROT_READ | PROT_EXEC);
  EXPECT_EQ(ProtectionAt(mappings, reinterpret_cast<uint64_t>(code) + 4096), PROT_READ | PROT_WRITE);
}

TEST(Mappings, KnowTheProtectionOfEveryPage) {
  auto* const pages = static_cast<uint8_t*>(mmap(nullptr, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(pages + 4096, 4096, PROT_READ);
  munmap(pages + 2 * 4096, 4096);
  const auto mappings = ReadMappings();
  const auto address = reinterpret_cast<uint64_t>(pages);
  EXPECT_EQ(ProtectionAt(mappings, address), PROT_NONE);
  EXPECT_EQ(ProtectionAt(mappings, address + 4096 + 4095), PROT_READ);
  EXPECT_EQ(ProtectionAt(mappings, 8), std::nullopt);
  bool stack = false;
  for (const Mapping& mapping : mappings) stack |= mapping.name == "[stack]";
  EXPECT_TRUE(stack);
}

}  // namespace
}  // namespace tracelift::jit
