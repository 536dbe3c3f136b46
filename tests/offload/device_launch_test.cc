// Launches as a device process does them: results, and what is as before when a flag was raised.
#include <gtest/gtest.h>
#include <time.h>

#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "offload/device/device_link.h"

namespace tracelift::offload {
namespace {

constexpr uint64_t kFrom = 0x1000'0000, kTo = 0x2000'0000;  // what the buffers are copies of: no addresses of ours
constexpr uint32_t kFromBuffer = 3, kToBuffer = 4;
constexpr uint64_t kBytes = 100'000, kTooManyBytes = uint64_t{1} << 60;
constexpr uint64_t kInputAt = kPiecesAt, kResultAt = kOutputAt;  // of the staging area

double In(double seconds) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (static_cast<double>(now.tv_sec) + seconds) * 1e9 + static_cast<double>(now.tv_nsec);
}

std::vector<uint8_t> BytesOf(const char* file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

uint8_t InputByte(uint64_t i) { return static_cast<uint8_t>(i * 7 + 3); }
uint8_t OldByte(uint64_t i) { return static_cast<uint8_t>(i * 5 + 1); }

/// Two buffers with known bytes, and the kernel of device_kernel.cc.
class DeviceLaunch : public testing::Test {
 protected:
  void SetUp() override {
    const auto link = DeviceLink::Start(DEVICE_SERVER, "reference");
    ASSERT_TRUE(link) << link.error();
    link_ = *link;
    jit::Kernel kernel;
    kernel.code = BytesOf(DEVICE_KERNEL);
    kernel.symbol = "tl_kernel";
    const auto loaded = link_->Load(kernel);
    ASSERT_TRUE(loaded) << loaded.error();
    kernel_ = *loaded;
    ASSERT_TRUE(link_->Take());
    Fill(kFromBuffer, kInputAt, &InputByte);
    Fill(kToBuffer, kInputAt + kBytes, &OldByte);
  }
  void TearDown() override {
    if (link_) link_->Abandon();
  }

  void Fill(uint32_t buffer, uint64_t staged, uint8_t (*byte)(uint64_t)) {
    for (uint64_t i = 0; i < kBytes; ++i) link_->staging()[staged + i] = byte(i);
    EXPECT_TRUE(link_->Post({.op = DeviceOp::kReserve, .buffer = buffer, .bytes = kBytes}));
    EXPECT_TRUE(link_->Post({.op = DeviceOp::kCopyIn, .buffer = buffer, .staging = staged, .bytes = kBytes}));
  }

  LaunchRequest& request() { return *reinterpret_cast<LaunchRequest*>(link_->staging() + kRequestAt); }

  /// Of bytes [begin, end) of the buffers.
  void PostLaunch(uint64_t begin, uint64_t end, uint32_t flags, uint64_t kept_offset = 0, uint64_t kept_bytes = 0) {
    LaunchRequest& launch = *new (&request()) LaunchRequest{};
    launch.kernel = kernel_;
    launch.memory_count = 2;
    launch.blocks = static_cast<int64_t>((end - begin + jit::kBlockThreads - 1) / jit::kBlockThreads);
    launch.memories[0] = {kFromBuffer, kFrom};
    launch.memories[1] = {kToBuffer, kTo, kept_offset, kept_bytes};
    launch.state.gpr[jit::kRsi] = kFrom + begin;
    launch.state.gpr[jit::kRdi] = kTo + begin;
    launch.state.gpr[jit::kRcx] = end - begin;
    launch.state.gpr[jit::kRax] = flags;
    (void)link_->Post({.op = DeviceOp::kLaunch, .staging = kRequestAt, .bytes = sizeof(LaunchRequest)});
  }

  /// What buffer `buffer` holds when all commands are done; nothing when one fails.
  std::vector<uint8_t> Contents(uint32_t buffer) {
    (void)link_->Post({.op = DeviceOp::kCopyOut, .buffer = buffer, .staging = kResultAt, .bytes = kBytes});
    if (!link_->Finish(In(20))) return {};
    return {link_->staging() + kResultAt, link_->staging() + kResultAt + kBytes};
  }

  static std::vector<uint8_t> Expected(uint64_t begin, uint64_t end) {
    std::vector<uint8_t> bytes(kBytes);
    for (uint64_t i = 0; i < kBytes; ++i) bytes[i] = i >= begin && i < end ? static_cast<uint8_t>(InputByte(i) + 1) : OldByte(i);
    return bytes;
  }

  static void SetOld(uint64_t begin, uint64_t bytes, std::vector<uint8_t>* to) {
    for (uint64_t i = begin; i < begin + bytes; ++i) (*to)[i] = OldByte(i);
  }

  DeviceLink* link_ = nullptr;
  uint32_t kernel_ = 0;
};

TEST_F(DeviceLaunch, LeavesItsResults) {
  PostLaunch(500, 90'000, 0);
  const auto expected = Expected(500, 90'000);
  EXPECT_EQ(Contents(kToBuffer), expected);
  EXPECT_EQ(request().flags, 0u);
  EXPECT_EQ(request().partial[0], std::accumulate(expected.begin() + 500, expected.begin() + 90'000, uint64_t{0}));
}

TEST_F(DeviceLaunch, WithoutAFlagKeepsWhatItWrote) {
  PostLaunch(500, 90'000, 0, 400, 90'000);
  EXPECT_EQ(Contents(kToBuffer), Expected(500, 90'000));
}

TEST_F(DeviceLaunch, WithAFlagGivesBackWhatWasToBeKept) {
  PostLaunch(500, 90'000, jit::kFlagNaN, 500, 89'500);
  EXPECT_EQ(Contents(kToBuffer), Expected(0, 0));
  EXPECT_EQ(request().flags, jit::kFlagNaN);
  PostLaunch(500, 90'000, jit::kFlagNaN, 1000, 8001);  // no more than that
  auto expected = Expected(500, 90'000);
  SetOld(1000, 8001, &expected);
  EXPECT_EQ(Contents(kToBuffer), expected);
}

TEST_F(DeviceLaunch, KeepsSeveralRanges) {
  PostLaunch(0, kBytes, jit::kFlagNaN, 10, 1001);
  ASSERT_TRUE(link_->Finish(In(20)));
  LaunchRequest& launch = request();
  launch.flags = 0;
  for (uint64_t i : {2, 3}) launch.memories[i] = {kToBuffer, kTo, 10'000 * i, 333 * i};
  launch.memory_count = 4;
  ASSERT_TRUE(link_->Post({.op = DeviceOp::kCopyIn, .buffer = kToBuffer, .staging = kInputAt + kBytes, .bytes = kBytes}));
  ASSERT_TRUE(link_->Post({.op = DeviceOp::kLaunch, .staging = kRequestAt, .bytes = sizeof(LaunchRequest)}));
  auto expected = Expected(0, kBytes);
  SetOld(10, 1001, &expected);
  SetOld(20'000, 666, &expected);
  SetOld(30'000, 999, &expected);
  EXPECT_EQ(Contents(kToBuffer), expected);
}

TEST_F(DeviceLaunch, ThatKeepsWhatIsNotThereDoesNotBegin) {
  PostLaunch(500, 90'000, 0, 1, kBytes);
  EXPECT_FALSE(link_->Finish(In(20)));
  EXPECT_EQ(link_->status(), DeviceStatus::kFailed);
  link_->BeginBatch();
  EXPECT_EQ(Contents(kToBuffer), Expected(0, 0));
}

TEST_F(DeviceLaunch, WithoutMemoryForABackupDoesNotBegin) {
  PostLaunch(500, 90'000, 0, 0, kTooManyBytes);
  EXPECT_FALSE(link_->Finish(In(20)));
  EXPECT_EQ(link_->status(), DeviceStatus::kOutOfMemory);
  link_->BeginBatch();
  EXPECT_EQ(Contents(kToBuffer), Expected(0, 0));
}

TEST_F(DeviceLaunch, LeavesMemoryOfBackupsToOthers) {
  const uint64_t most = link_->memory_bytes() - 2 * kBytes;  // beside the two buffers
  PostLaunch(0, kBytes, 0, 0, kBytes);
  EXPECT_EQ(Contents(kToBuffer), Expected(0, kBytes));
  EXPECT_TRUE(link_->Post({.op = DeviceOp::kReserve, .buffer = 0, .bytes = most}));
  EXPECT_TRUE(link_->Finish(In(20))) << link_->Why();
  PostLaunch(0, kBytes, 0, 0, kBytes);
  EXPECT_FALSE(link_->Finish(In(20))) << "there was nothing to take it from";
  EXPECT_EQ(link_->status(), DeviceStatus::kOutOfMemory);
}

TEST_F(DeviceLaunch, BuffersBeyondTheLastAreRefused) {
  EXPECT_FALSE(link_->Post({.op = DeviceOp::kReserve, .buffer = kMostBuffers, .bytes = kBytes}) && link_->Finish(In(20)));
  EXPECT_EQ(link_->status(), DeviceStatus::kFailed);
}

}  // namespace
}  // namespace tracelift::offload
