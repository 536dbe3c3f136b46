// Commands as device processes do them, for the reference device, and for a GPU whose driver is a stand-in (tests/e2e/programs/fake_cuda.c):
// results of launches, what is as before when a flag was raised, and any commands in any order.
#include <gtest/gtest.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <span>
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

constexpr char kFakePtx[] = "// stand-in: add one\n.visible .entry tl_kernel(\n";
constexpr char kReference[] = "reference", kGpu[] = "gpu";

/// The kernel of device_kernel.cc.
std::vector<uint8_t> KernelFor(const std::string& device) {
  return device == kGpu ? std::vector<uint8_t>(std::begin(kFakePtx), std::end(kFakePtx) - 1) : BytesOf(DEVICE_KERNEL);
}

/// A device with the kernel loaded, taken.
class Device : public testing::Test {
 protected:
  void TearDown() override {
    if (link_) link_->Abandon();
  }

  /// `act` is FAKE_CUDA.
  void Start(const std::string& device, const char* act = "idle") {
    setenv("LD_LIBRARY_PATH", FAKE_DRIVER, 1);
    setenv("FAKE_CUDA", act, 1);
    const auto link = DeviceLink::Start(DEVICE_SERVER, device);
    ASSERT_TRUE(link) << link.error();
    link_ = *link;
    jit::Kernel kernel;
    kernel.code = KernelFor(device);
    kernel.symbol = "tl_kernel";
    const auto loaded = link_->Load(kernel);
    ASSERT_TRUE(loaded) << loaded.error();
    kernel_ = *loaded;
    ASSERT_TRUE(link_->Take());
  }

  DeviceLink* link_ = nullptr;
  uint32_t kernel_ = 0;
};

/// Two buffers with known bytes.
class DeviceLaunch : public Device, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(Start(GetParam()));
    Fill(kFromBuffer, kInputAt, &InputByte);
    Fill(kToBuffer, kInputAt + kBytes, &OldByte);
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
};

TEST_P(DeviceLaunch, LeavesItsResults) {
  PostLaunch(500, 90'000, 0);
  const auto expected = Expected(500, 90'000);
  EXPECT_EQ(Contents(kToBuffer), expected);
  EXPECT_EQ(request().flags, 0u);
  EXPECT_EQ(request().partial[0], std::accumulate(expected.begin() + 500, expected.begin() + 90'000, uint64_t{0}));
}

TEST_P(DeviceLaunch, WithoutAFlagKeepsWhatItWrote) {
  PostLaunch(500, 90'000, 0, 400, 90'000);
  EXPECT_EQ(Contents(kToBuffer), Expected(500, 90'000));
}

TEST_P(DeviceLaunch, WithAFlagGivesBackWhatWasToBeKept) {
  PostLaunch(500, 90'000, jit::kFlagNaN, 500, 89'500);
  EXPECT_EQ(Contents(kToBuffer), Expected(0, 0));
  EXPECT_EQ(request().flags, jit::kFlagNaN);
  PostLaunch(500, 90'000, jit::kFlagNaN, 1000, 8001);  // no more than that
  auto expected = Expected(500, 90'000);
  SetOld(1000, 8001, &expected);
  EXPECT_EQ(Contents(kToBuffer), expected);
}

TEST_P(DeviceLaunch, KeepsSeveralRanges) {
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

TEST_P(DeviceLaunch, ThatKeepsWhatIsNotThereDoesNotBegin) {
  PostLaunch(500, 90'000, 0, 1, kBytes);
  EXPECT_FALSE(link_->Finish(In(20)));
  EXPECT_EQ(link_->status(), DeviceStatus::kFailed);
  link_->BeginBatch();
  EXPECT_EQ(Contents(kToBuffer), Expected(0, 0));
}

TEST_P(DeviceLaunch, WithoutMemoryForABackupDoesNotBegin) {
  PostLaunch(500, 90'000, 0, 0, kTooManyBytes);
  EXPECT_FALSE(link_->Finish(In(20)));
  EXPECT_EQ(link_->status(), DeviceStatus::kOutOfMemory);
  link_->BeginBatch();
  EXPECT_EQ(Contents(kToBuffer), Expected(0, 0));
}

TEST_P(DeviceLaunch, LeavesMemoryOfBackupsToOthers) {
  constexpr uint64_t kSpareOnGpu = (256 << 20) - (64 << 10);  // that the program is not told of, but little
  const uint64_t most = link_->memory_bytes() - 2 * kBytes + (GetParam() == kGpu ? kSpareOnGpu : 0);  // beside the two buffers
  PostLaunch(0, kBytes, 0, 0, kBytes);
  EXPECT_EQ(Contents(kToBuffer), Expected(0, kBytes));
  EXPECT_TRUE(link_->Post({.op = DeviceOp::kReserve, .buffer = 0, .bytes = most}));
  EXPECT_TRUE(link_->Finish(In(20))) << link_->Why();
  PostLaunch(0, kBytes, 0, 0, kBytes);
  EXPECT_FALSE(link_->Finish(In(20))) << "there was nothing to take it from";
  EXPECT_EQ(link_->status(), DeviceStatus::kOutOfMemory);
}

TEST_P(DeviceLaunch, BuffersBeyondTheLastAreRefused) {
  EXPECT_FALSE(link_->Post({.op = DeviceOp::kReserve, .buffer = kMostBuffers, .bytes = kBytes}) && link_->Finish(In(20)));
  EXPECT_EQ(link_->status(), DeviceStatus::kFailed);
}

INSTANTIATE_TEST_SUITE_P(, DeviceLaunch, testing::Values(kReference, kGpu), [](const auto& test) { return std::string(test.param); });

/// Random commands, each with a slot of the staging area that is used again when the command is done; and what buffers must hold then.
class DeviceCommands : public Device {
 protected:
  static constexpr uint32_t kBuffers = 5;
  static constexpr uint64_t kSlots = 24, kSlotBytes = 64 << 10;  // launch requests have some, too

  struct Slot {
    uint32_t command = 0;
    std::vector<uint8_t> result;  // of a copy out
    uint64_t sum = 0;             // of a launch
    uint32_t flags = 0;
    enum { kNothing, kCopy, kLaunch } check = kNothing;
  };

  uint64_t Below(uint64_t end) { return random_() % end; }
  uint8_t* At(uint64_t slot) { return link_->staging() + slot * kSlotBytes; }

  /// The slot, when its command is done, checked.
  Slot& Next() {
    slot_ = (slot_ + 1) % kSlots;
    Check(slot_);
    return slots_[slot_];
  }

  void Check(uint64_t number) {
    Slot& slot = slots_[number];
    EXPECT_TRUE(slot.command == 0 || link_->WaitFor(slot.command, In(20))) << link_->Why();
    EXPECT_TRUE(slot.check != Slot::kCopy || std::ranges::equal(slot.result, std::span(At(number), slot.result.size())));
    if (slot.check == Slot::kLaunch) {
      const auto& request = *reinterpret_cast<const LaunchRequest*>(At(number));
      EXPECT_EQ(request.partial[0], slot.sum);
      EXPECT_EQ(request.flags, slot.flags);
    }
    slot = {};
  }

  void CopyIn(uint32_t buffer) {
    Slot& slot = Next();
    const uint64_t offset = Below(holds_[buffer].size()), bytes = Below(holds_[buffer].size() - offset) + 1;
    std::generate_n(At(slot_), bytes, [&] { return static_cast<uint8_t>(random_()); });
    std::copy_n(At(slot_), bytes, holds_[buffer].begin() + static_cast<int64_t>(offset));
    EXPECT_TRUE(link_->Post({.op = DeviceOp::kCopyIn, .buffer = buffer, .offset = offset, .staging = slot_ * kSlotBytes, .bytes = bytes}, &slot.command));
  }

  void CopyOut(uint32_t buffer) {
    Slot& slot = Next();
    const uint64_t offset = Below(holds_[buffer].size()), bytes = Below(holds_[buffer].size() - offset) + 1;
    const auto begin = holds_[buffer].begin() + static_cast<int64_t>(offset);
    slot.check = Slot::kCopy;
    slot.result.assign(begin, begin + static_cast<int64_t>(bytes));
    EXPECT_TRUE(link_->Post({.op = DeviceOp::kCopyOut, .buffer = buffer, .offset = offset, .staging = slot_ * kSlotBytes, .bytes = bytes}, &slot.command));
  }

  void Launch(uint32_t from, uint32_t to, bool keeps) {
    Slot& slot = Next();
    LaunchRequest& launch = *new (At(slot_)) LaunchRequest{};
    std::vector<uint8_t>&source = holds_[from], &target = holds_[to];
    const uint64_t bytes = std::min(source.size(), target.size());
    slot.check = Slot::kLaunch;
    slot.flags = Below(2) == 0 ? jit::kFlagNaN : 0;
    launch.kernel = kernel_;
    launch.memory_count = keeps ? jit::kMaxMemories : 2;
    launch.blocks = static_cast<int64_t>((bytes + jit::kBlockThreads - 1) / jit::kBlockThreads);
    launch.memories[0] = {from, kFrom};
    launch.memories[1] = {to, kTo};
    const uint64_t part = target.size() / (jit::kMaxMemories - 1) + 1;
    for (uint64_t i = 1; i < jit::kMaxMemories && keeps; ++i) {  // all of it, in parts
      const uint64_t begin = std::min((i - 1) * part, target.size());
      launch.memories[i] = {to, kTo, begin, std::min(part, target.size() - begin)};
    }
    launch.state.gpr[jit::kRsi] = kFrom;
    launch.state.gpr[jit::kRdi] = kTo;
    launch.state.gpr[jit::kRcx] = bytes;
    launch.state.gpr[jit::kRax] = slot.flags;
    const std::vector<uint8_t> before = target;
    for (uint64_t i = 0; i < bytes; ++i) slot.sum += target[i] = static_cast<uint8_t>(source[i] + 1);
    if (keeps && slot.flags != 0) target = before;
    EXPECT_TRUE(link_->Post({.op = DeviceOp::kLaunch, .staging = slot_ * kSlotBytes, .bytes = sizeof(LaunchRequest)}, &slot.command));
  }

  /// Makes it another size, with known bytes.
  void Renew(uint32_t buffer) {
    holds_[buffer].resize(Below(kSlotBytes) + 1);
    EXPECT_TRUE(link_->Post({.op = DeviceOp::kFree, .buffer = buffer}));
    EXPECT_TRUE(link_->Post({.op = DeviceOp::kReserve, .buffer = buffer, .bytes = holds_[buffer].size()}));
    Slot& slot = Next();
    std::generate_n(At(slot_), holds_[buffer].size(), [&] { return static_cast<uint8_t>(random_()); });
    std::copy_n(At(slot_), holds_[buffer].size(), holds_[buffer].begin());
    EXPECT_TRUE(link_->Post({.op = DeviceOp::kCopyIn, .buffer = buffer, .staging = slot_ * kSlotBytes, .bytes = holds_[buffer].size()}, &slot.command));
  }

  void RunAny(const std::string& device, const char* act) {
    constexpr int kCommands = 3000;
    ASSERT_NO_FATAL_FAILURE(Start(device, act));
    for (uint32_t buffer = 0; buffer < kBuffers; ++buffer) Renew(buffer);
    for (int i = 0; i < kCommands && !HasFailure(); ++i) {
      const auto buffer = static_cast<uint32_t>(Below(kBuffers)), other = static_cast<uint32_t>((buffer + 1 + Below(kBuffers - 1)) % kBuffers);
      switch (Below(12)) {
        case 0: Renew(buffer); break;
        case 1: case 2: case 3: CopyIn(buffer); break;
        case 4: case 5: case 6: CopyOut(buffer); break;
        default: Launch(buffer, other, Below(3) == 0);
      }
    }
    EXPECT_TRUE(link_->Finish(In(20))) << link_->Why();
    for (uint64_t slot = 0; slot < kSlots; ++slot) Check(slot);
  }

  std::mt19937_64 random_{2026};
  std::array<std::vector<uint8_t>, kBuffers> holds_;
  std::array<Slot, kSlots> slots_;
  uint64_t slot_ = 0;
};

TEST_F(DeviceCommands, OnTheReferenceDevice) { RunAny(kReference, "idle"); }
TEST_F(DeviceCommands, OnAGpu) { RunAny(kGpu, "idle"); }
TEST_F(DeviceCommands, OnAGpuWithoutPinnedMemory) { RunAny(kGpu, "no-pinning"); }

TEST_F(DeviceCommands, AreMoreThanEventsAtOnce) {
  ASSERT_NO_FATAL_FAILURE(Start(kGpu));
  for (uint32_t buffer : {0, 1, 2}) Renew(buffer);
  EXPECT_TRUE(link_->Finish(In(20)));
  CopyIn(0);
  for (int i = 0; i < 20; ++i) CopyOut(2);
  Launch(0, 1, /*keeps=*/true);  // with a copy for each memory
  CopyOut(1);
  for (uint64_t slot = 0; slot < kSlots; ++slot) Check(slot);
}

TEST_F(DeviceCommands, OfWhichAKernelFailsAreNotDone) {
  ASSERT_NO_FATAL_FAILURE(Start(kGpu, "fault"));
  for (uint32_t buffer : {0, 1}) Renew(buffer);
  ASSERT_TRUE(link_->Finish(In(20)));
  link_->BeginBatch();
  Launch(0, 1, /*keeps=*/false);
  EXPECT_FALSE(link_->Finish(In(20)));
  EXPECT_EQ(link_->status(), DeviceStatus::kFailed);
  EXPECT_NE(link_->Why().find("unspecified launch failure"), std::string::npos) << link_->Why();
  EXPECT_FALSE(link_->is_lost()) << "its process lives";
}

TEST_F(DeviceCommands, OfOtherBuffersGoOnBesideAKernel) {
  ASSERT_NO_FATAL_FAILURE(Start(kGpu, "endless"));
  for (uint32_t buffer : {0, 1, 2}) Renew(buffer);
  ASSERT_TRUE(link_->Finish(In(20)));
  Launch(0, 1, /*keeps=*/false);
  CopyOut(2);
  const auto& copied = slots_[slot_].result;
  const auto is_there = [&] { return std::ranges::equal(copied, std::span(At(slot_), copied.size())); };
  for (const double deadline = In(20); !is_there() && In(0) < deadline;) usleep(1000);
  EXPECT_TRUE(is_there());
  EXPECT_FALSE(link_->Finish(In(0.1))) << "in order";
}

TEST_F(DeviceCommands, BeforeALaunchThatIsWaitedForAreDone) {
  ASSERT_NO_FATAL_FAILURE(Start(kGpu, "endless"));
  for (uint32_t buffer : {0, 1}) Renew(buffer);
  CopyOut(0);
  const uint32_t before = slots_[slot_].command;
  Launch(0, 1, /*keeps=*/true);
  EXPECT_TRUE(link_->WaitFor(before, In(20)));
  EXPECT_FALSE(link_->Finish(In(0.1)));
}

TEST_F(DeviceCommands, AreNotDoneBeforeTheirWorkIs) {
  ASSERT_NO_FATAL_FAILURE(Start(kGpu, "stuck"));
  EXPECT_TRUE(link_->Post({.op = DeviceOp::kReserve, .buffer = 0, .bytes = kBytes}));
  EXPECT_TRUE(link_->Finish(In(20)));
  EXPECT_TRUE(link_->Post({.op = DeviceOp::kCopyIn, .buffer = 0, .staging = kInputAt, .bytes = kBytes}));
  EXPECT_FALSE(link_->Finish(In(0.2)));
  EXPECT_EQ(link_->Why(), "it did not answer in time");
}

}  // namespace
}  // namespace tracelift::offload
