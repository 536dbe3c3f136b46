// What the device has is what the program has, whatever the program did between launches; and no more is sent than that needs.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <time.h>

#include <cstring>
#include <random>
#include <vector>

#include "offload/device/device_copies.h"

namespace tracelift::offload {
namespace {

constexpr uint64_t kBytes = 64 * kPageBytes;

double In(double seconds) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec) + seconds * 1e9;
}

uint8_t* NewMemory(uint64_t bytes) {
  auto* memory = static_cast<uint8_t*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (uint64_t i = 0; i < bytes; ++i) memory[i] = static_cast<uint8_t>(i * 2654435761u >> 11);
  return memory;
}

class DeviceCopiesTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto link = DeviceLink::Start(DEVICE_SERVER, "reference");
    ASSERT_TRUE(link.has_value()) << link.error();
    link_ = *link;
    copies_ = new DeviceCopies(*link_);
    std::vector<uint8_t> probe(2 * kPageBytes);
    WriteWatch watch;
    const auto page = (reinterpret_cast<uint64_t>(probe.data()) + kPageBytes - 1) / kPageBytes * kPageBytes;
    watches_ = watch.LookAt(page, page + kPageBytes, [](PageRange) {}) != WriteWatch::Answer::kCannot;
  }

  // As for a launch; how many bytes were sent.
  uint64_t Bring(std::vector<DeviceCopies::Wanted> wanted) {
    EXPECT_TRUE(link_->Take());
    const uint64_t before = copies_->sent_bytes();
    EXPECT_TRUE(copies_->Bring(wanted, In(10)));
    EXPECT_TRUE(link_->Finish(In(10)));
    wanted_ = wanted;
    link_->Release();
    return copies_->sent_bytes() - before;
  }
  uint64_t Bring(const uint8_t* begin, uint64_t bytes) { return Bring({WantedOf(begin, bytes)}); }
  static DeviceCopies::Wanted WantedOf(const uint8_t* begin, uint64_t bytes) {
    const auto at = reinterpret_cast<uint64_t>(begin);
    return {.begin = at, .end = at + bytes};
  }

  // Whether all that was wanted last is on the device as it is here.
  void ExpectSame() {
    ASSERT_TRUE(link_->Take());
    for (const DeviceCopies::Wanted& memory : wanted_) {
      const uint64_t bytes = memory.end - memory.begin;
      ASSERT_TRUE(link_->Post({.op = DeviceOp::kCopyOut, .buffer = memory.buffer, .offset = memory.begin - memory.copy_begin, .staging = kOutputAt, .bytes = bytes}));
      ASSERT_TRUE(link_->Finish(In(10)));
      EXPECT_EQ(std::memcmp(link_->staging() + kOutputAt, reinterpret_cast<const void*>(memory.begin), bytes), 0);
    }
    link_->Release();
  }

  // What a launch that writes all of it leaves: on the device, and as an image.
  std::vector<uint8_t> WriteOnDevice(const DeviceCopies::Wanted& memory, uint8_t value) {
    std::vector<uint8_t> image(memory.end - memory.begin, value);
    EXPECT_TRUE(link_->Take());
    std::memcpy(link_->staging() + kOutputAt, image.data(), image.size());
    EXPECT_TRUE(link_->Post({.op = DeviceOp::kCopyIn, .buffer = memory.buffer, .offset = memory.begin - memory.copy_begin, .staging = kOutputAt, .bytes = image.size()}));
    EXPECT_TRUE(link_->Finish(In(10)));
    copies_->Spoil(memory.begin, memory.end);
    link_->Release();
    return image;
  }

  DeviceLink* link_ = nullptr;
  DeviceCopies* copies_ = nullptr;
  bool watches_ = false;
  std::vector<DeviceCopies::Wanted> wanted_;
};

TEST_F(DeviceCopiesTest, SendsOnce) {
  uint8_t* memory = NewMemory(kBytes);
  EXPECT_EQ(Bring(memory + 100, kBytes - 200), kBytes) << "whole pages";
  ExpectSame();
  if (!watches_) GTEST_SKIP() << "this kernel keeps no account of writes (Linux 6.7)";
  EXPECT_EQ(Bring(memory + 100, kBytes - 200), 0u);
  EXPECT_EQ(Bring(memory + 5 * kPageBytes, 8), 0u) << "a part of it";
  memory[3 * kPageBytes] ^= 1;
  memory[9 * kPageBytes + 77] ^= 1;
  EXPECT_EQ(Bring(memory + 100, kBytes - 200), 2 * kPageBytes);
  ExpectSame();
}

TEST_F(DeviceCopiesTest, HoldsWhatWasWantedInParts) {
  uint8_t* memory = NewMemory(kBytes);
  EXPECT_EQ(Bring(memory, 4 * kPageBytes), 4 * kPageBytes);
  EXPECT_EQ(Bring(memory + 2 * kPageBytes, 4 * kPageBytes), 4 * kPageBytes) << "what is needed, to one copy of both";
  ExpectSame();
  EXPECT_GE(Bring(memory, 6 * kPageBytes), 2 * kPageBytes) << "the rest of it";
  ExpectSame();
  EXPECT_EQ(Bring(memory, 6 * kPageBytes), watches_ ? 0 : 6 * kPageBytes);
  // Two memories that share a page.
  Bring({WantedOf(memory + 20 * kPageBytes, 100), WantedOf(memory + 20 * kPageBytes + 200, kPageBytes)});
  EXPECT_EQ(wanted_[0].buffer, wanted_[1].buffer);
  ExpectSame();
  // All of these, and what lies between them.
  Bring({WantedOf(memory + 5 * kPageBytes, 16 * kPageBytes), WantedOf(memory, 10)});
  ExpectSame();
}

TEST_F(DeviceCopiesTest, WhatALaunchWroteIsThereOnceItIsHereToo) {
  uint8_t* memory = NewMemory(kBytes);
  Bring(memory, kBytes);
  const std::vector<uint8_t> image = WriteOnDevice(wanted_[0], 9);
  std::memcpy(memory, image.data(), image.size());
  ASSERT_TRUE(link_->Take());
  copies_->Settle(wanted_[0].begin, image);
  link_->Release();
  const uint64_t sent = Bring(memory, kBytes);
  EXPECT_TRUE(sent == 0 || !watches_) << sent;
  ExpectSame();
}

TEST_F(DeviceCopiesTest, WhatALaunchWroteInVainIsSentAgain) {
  uint8_t* memory = NewMemory(kBytes);
  Bring(memory, kBytes);
  WriteOnDevice(wanted_[0], 9);  // and the original does it here instead: nothing changes
  EXPECT_EQ(Bring(memory, kBytes), kBytes);
  ExpectSame();
}

TEST_F(DeviceCopiesTest, WhatOthersWroteMeanwhileIsSent) {
  uint8_t* memory = NewMemory(kBytes);
  Bring(memory, kBytes);
  std::vector<uint8_t> image = WriteOnDevice(wanted_[0], 9);
  std::memcpy(memory, image.data(), image.size());
  memory[7 * kPageBytes + 5] = 1;  // another thread's, before anybody looks
  ASSERT_TRUE(link_->Take());
  copies_->Settle(wanted_[0].begin, image);
  link_->Release();
  memory[8 * kPageBytes + 5] = 2;
  Bring(memory, kBytes);
  ExpectSame();
}

// Arrays of which one copy holds several may be freed one by one.
TEST_F(DeviceCopiesTest, LooksAtNothingThatIsNotNeeded) {
  uint8_t* memory = NewMemory(kBytes);
  Bring(memory, kBytes);
  ASSERT_EQ(munmap(memory + 10 * kPageBytes, 4 * kPageBytes), 0);
  memory[2 * kPageBytes] ^= 1;
  memory[20 * kPageBytes] ^= 1;
  Bring(memory, 5 * kPageBytes);
  ExpectSame();
  Bring(memory + 14 * kPageBytes, 20 * kPageBytes);
  ExpectSame();
  // A larger one, whose copy takes the place of the one with the gap.
  uint8_t* room = NewMemory(kBytes);
  Bring(room, 8 * kPageBytes);
  ASSERT_EQ(munmap(room + 4 * kPageBytes, kPageBytes), 0);
  Bring(room + 6 * kPageBytes, 6 * kPageBytes);
  ExpectSame();
  Bring(room, 2 * kPageBytes);
  ExpectSame();
}

TEST_F(DeviceCopiesTest, ForgetsAllAfterAFailure) {
  uint8_t* memory = NewMemory(kBytes);
  Bring(memory, kBytes);
  ASSERT_TRUE(link_->Take());
  copies_->Reset();
  link_->Release();
  EXPECT_EQ(Bring(memory, kBytes), kBytes);
  ExpectSame();
}

TEST_F(DeviceCopiesTest, MakesRoomForOthers) {
  std::vector<uint8_t*> memories;
  for (int i = 0; i < DeviceCopies::kMostCopies + 20; ++i) {  // apart from each other
    memories.push_back(NewMemory(4 * kPageBytes) + kPageBytes);
    mprotect(memories.back() + 2 * kPageBytes, kPageBytes, PROT_NONE);
    Bring(memories.back(), kPageBytes);
    ExpectSame();
  }
  EXPECT_EQ(Bring(memories.front(), kPageBytes), kPageBytes) << "the oldest had to go";
  ExpectSame();
}

// A program of many arrays that writes here and there, with launches that write others, against the truth.
TEST_F(DeviceCopiesTest, NeverHasAnythingElse) {
  std::mt19937 random(5);
  constexpr uint64_t kPagesOfAll = 200;
  uint8_t* memory = NewMemory(kPagesOfAll * kPageBytes);
  const auto some = [&](uint64_t below) { return random() % below; };
  for (int round = 0; round < 400; ++round) {
    for (uint64_t writes = some(6); writes > 0; --writes) memory[some(kPagesOfAll * kPageBytes)] ^= 0x55;
    if (some(20) == 0) madvise(memory + some(kPagesOfAll) * kPageBytes, kPageBytes, MADV_DONTNEED);
    if (some(20) == 0) {
      uint8_t* page = memory + some(kPagesOfAll) * kPageBytes;
      munmap(page, kPageBytes);
      mmap(page, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      page[some(kPageBytes)] = 3;
    }
    std::vector<DeviceCopies::Wanted> wanted;
    for (uint64_t count = 1 + some(3); count > 0; --count) {
      const uint64_t begin = some(kPagesOfAll * kPageBytes - 1), bytes = 1 + some(std::min<uint64_t>(30 * kPageBytes, kPagesOfAll * kPageBytes - begin));
      wanted.push_back(WantedOf(memory + begin, bytes));
    }
    Bring(wanted);
    ExpectSame();
    if (some(2) == 0) {
      const DeviceCopies::Wanted written = wanted_[some(wanted_.size())];
      const std::vector<uint8_t> image = WriteOnDevice(written, static_cast<uint8_t>(round));
      if (some(3) == 0) continue;  // in vain
      std::memcpy(reinterpret_cast<void*>(written.begin), image.data(), image.size());
      if (some(3) == 0) *reinterpret_cast<uint8_t*>(written.begin + some(image.size())) ^= 1;
      ASSERT_TRUE(link_->Take());
      copies_->Settle(written.begin, image);
      link_->Release();
    }
  }
}

}  // namespace
}  // namespace tracelift::offload
