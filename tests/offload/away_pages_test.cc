// What stays on the device is the program's memory all the same: however it is touched, moved, dropped or inherited, and though the
// device is lost.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "offload/device/device_copies.h"
#include "offload/device/page_server.h"

namespace tracelift::offload {
namespace {

constexpr uint64_t kBytes = 64 * kGranuleBytes;
constexpr uint64_t kMostLogged = uint64_t{1} << 30;

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

uint8_t After(uint8_t before, uint64_t key, uint64_t at) { return static_cast<uint8_t>(before * 5 + key + at / 100); }

// The code of a region: changes gpr[2] bytes at gpr[0] in place, by gpr[1].
void Change(const jit::MachineState* in, jit::MachineState*, int64_t, int64_t, jit::ChunkResult*) {
  auto* memory = reinterpret_cast<uint8_t*>(in->gpr[0]);
  for (uint64_t i = 0; i < in->gpr[2]; ++i) memory[i] = After(memory[i], in->gpr[1], i);
}

class AwayPagesTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto link = DeviceLink::Start(DEVICE_SERVER, "reference");
    ASSERT_TRUE(link.has_value()) << link.error();
    link_ = *link;
    copies_ = DeviceCopies::CreateForever(*link_, kMostLogged);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const bool serves = PageServer::Start(*copies_) != nullptr;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!serves) GTEST_SKIP() << "userfaultfd with events needs CAP_SYS_PTRACE, and Linux 6.9";
  }

  // What a launch of Change does, the kernel aside: what it needs is brought, its results are put on the device, and stay. How much of
  // them did.
  uint64_t Launch(uint8_t* begin, uint64_t bytes, uint64_t key) {
    EXPECT_TRUE(link_->Take());
    const auto at = reinterpret_cast<uint64_t>(begin);
    DeviceCopies::Wanted wanted{.begin = at, .end = at + bytes};
    copies_->BeginLaunch(/*may_leave=*/true, /*can_be_repeated=*/true);
    EXPECT_TRUE(copies_->Bring({&wanted, 1}, In(10)));
    std::vector<uint8_t> image(bytes);
    DeviceCommand command{.op = DeviceOp::kCopyOut, .buffer = wanted.buffer, .offset = at - wanted.copy_begin, .staging = kOutputAt, .bytes = bytes};
    EXPECT_TRUE(link_->Post(command) && link_->Finish(In(10)));
    std::memcpy(image.data(), link_->staging() + kOutputAt, bytes);
    for (uint64_t i = 0; i < bytes; ++i) image[i] = After(image[i], key, i);
    std::memcpy(link_->staging() + kOutputAt, image.data(), bytes);
    command.op = DeviceOp::kCopyIn;
    EXPECT_TRUE(link_->Post(command));
    const PageRange stays = copies_->IsLogging() ? copies_->PrepareToLeave(at, at + bytes) : PageRange{};
    EXPECT_TRUE(link_->Finish(In(10)));
    copies_->Spoil(at, at + bytes);
    jit::MachineState state{};
    state.gpr[0] = at;
    state.gpr[1] = key;
    state.gpr[2] = bytes;
    copies_->Log(&Change, state, 1);
    const auto take = [&](uint64_t from, uint64_t to) {
      if (from < to) std::memcpy(reinterpret_cast<void*>(from), image.data() + (from - at), to - from);
    };
    if (stays.IsEmpty()) {
      take(at, at + bytes);
    } else {
      take(at, stays.begin);
      take(stays.end, at + bytes);
      copies_->Leave(stays);
    }
    link_->Release();
    return stays.bytes();
  }

  // The same here.
  static void Apply(std::vector<uint8_t>& memory, uint64_t begin, uint64_t bytes, uint64_t key) {
    for (uint64_t i = 0; i < bytes; ++i) memory[begin + i] = After(memory[begin + i], key, i);
  }

  void Kill() const {
    kill(link_->server_pid(), SIGKILL);
    while (kill(link_->server_pid(), 0) == 0 && !Ended()) usleep(100);
  }
  bool Ended() const {
    char path[64], text[256] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", link_->server_pid());
    const int file = open(path, O_RDONLY);
    if (file < 0) return true;
    const bool ended = read(file, text, sizeof(text) - 1) <= 0 || strstr(text, ") Z") != nullptr;
    close(file);
    return ended;
  }

  DeviceLink* link_ = nullptr;
  DeviceCopies* copies_ = nullptr;
};

TEST_F(AwayPagesTest, ComeHomeWhenTouched) {
  uint8_t* memory = NewMemory(kBytes);
  std::vector<uint8_t> expected(memory, memory + kBytes);
  EXPECT_GE(Launch(memory, kBytes, 3), kBytes - 2 * kGranuleBytes);
  Apply(expected, 0, kBytes, 3);
  const uint8_t one = memory[kBytes / 2 + 123];
  EXPECT_EQ(one, expected[kBytes / 2 + 123]);
  EXPECT_LE(copies_->home_bytes(), 2 * kGranuleBytes) << "and not all of it";
  EXPECT_EQ(std::memcmp(memory, expected.data(), kBytes), 0);
}

TEST_F(AwayPagesTest, StayForTheNextLaunch) {
  uint8_t* memory = NewMemory(kBytes);
  std::vector<uint8_t> expected(memory, memory + kBytes);
  Launch(memory, kBytes, 1);
  const uint64_t sent = copies_->sent_bytes();
  Apply(expected, 0, kBytes, 1);
  for (uint64_t key = 2; key < 20; ++key) {
    memory[kBytes / 2] = static_cast<uint8_t>(key);  // what is written here meanwhile counts
    expected[kBytes / 2] = static_cast<uint8_t>(key);
    Launch(memory, kBytes, key);
    Apply(expected, 0, kBytes, key);
  }
  EXPECT_LE(copies_->sent_bytes() - sent, 18 * 4 * kPageBytes) << "only the pages that were written, and those at the ends";
  EXPECT_EQ(std::memcmp(memory, expected.data(), kBytes), 0);
}

TEST_F(AwayPagesTest, AreThereForSystemCalls) {
  uint8_t* memory = NewMemory(kBytes);
  std::vector<uint8_t> expected(memory, memory + kBytes), read_back(kBytes);
  Launch(memory, kBytes, 7);
  Apply(expected, 0, kBytes, 7);
  const int file = memfd_create("out", 0);
  EXPECT_EQ(write(file, memory, kBytes), static_cast<ssize_t>(kBytes));
  EXPECT_EQ(pread(file, read_back.data(), kBytes, 0), static_cast<ssize_t>(kBytes));
  EXPECT_EQ(read_back, expected);
  Launch(memory, kBytes, 8);
  Apply(expected, 0, kBytes, 8);
  EXPECT_EQ(pread(file, memory + 1000, 300'000, 0), 300'000) << "into what is away";
  std::memcpy(expected.data() + 1000, read_back.data(), 300'000);
  EXPECT_EQ(std::memcmp(memory, expected.data(), kBytes), 0);
  close(file);
}

TEST_F(AwayPagesTest, AreInheritedByAChild) {
  uint8_t* memory = NewMemory(kBytes);
  std::vector<uint8_t> expected(memory, memory + kBytes);
  Launch(memory, kBytes, 9);
  Apply(expected, 0, kBytes, 9);
  int go[2];
  ASSERT_EQ(pipe(go), 0);
  const int child = fork();
  if (child == 0) {  // looks when the device has gone on already
    char byte;
    (void)!read(go[0], &byte, 1);
    _exit(std::memcmp(memory, expected.data(), kBytes) == 0 ? 0 : 1);
  }
  Launch(memory, kBytes, 10);
  EXPECT_EQ(write(go[1], "", 1), 1);
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  Apply(expected, 0, kBytes, 10);
  EXPECT_EQ(std::memcmp(memory, expected.data(), kBytes), 0);
}

TEST_F(AwayPagesTest, GoWithTheirMemory) {
  uint8_t* memory = NewMemory(kBytes);
  std::vector<uint8_t> expected(memory, memory + kBytes);
  Launch(memory, kBytes, 4);
  Apply(expected, 0, kBytes, 4);
  constexpr uint64_t kAt = 5 * kGranuleBytes + 3 * kPageBytes, kDropped = 7 * kGranuleBytes;
  ASSERT_EQ(madvise(memory + kAt, kDropped, MADV_DONTNEED), 0);
  std::memset(expected.data() + kAt, 0, kDropped);
  EXPECT_EQ(std::memcmp(memory + kAt - kPageBytes, expected.data() + kAt - kPageBytes, kDropped + 2 * kPageBytes), 0);
  Launch(memory, kBytes, 5);
  Apply(expected, 0, kBytes, 5);
  auto* moved = static_cast<uint8_t*>(mremap(memory + kBytes / 2, kBytes / 2, kBytes, MREMAP_MAYMOVE));
  ASSERT_NE(moved, MAP_FAILED);
  EXPECT_EQ(std::memcmp(moved, expected.data() + kBytes / 2, kBytes / 2), 0);
  EXPECT_EQ(moved[kBytes / 2 + 5], 0);
  EXPECT_EQ(std::memcmp(memory, expected.data(), kBytes / 2), 0);
}

TEST_F(AwayPagesTest, AreNobodysOnceUnmapped) {
  uint8_t* memory = NewMemory(kBytes);
  uint8_t* other = NewMemory(kBytes);
  std::vector<uint8_t> expected(other, other + kBytes);
  Launch(memory, kBytes, 4);
  Launch(other, kBytes, 5);
  Apply(expected, 0, kBytes, 5);
  constexpr uint64_t kFrom = kPageBytes, kTo = 40 * kGranuleBytes;
  ASSERT_EQ(munmap(memory + kFrom, kTo - kFrom), 0);
  ASSERT_EQ(mmap(memory + kFrom, kTo - kFrom, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), memory + kFrom);
  for (uint64_t at = kFrom; at < kTo; at += 1000) ASSERT_EQ(memory[at], 0);
  Kill();
  EXPECT_EQ(std::memcmp(other, expected.data(), kBytes), 0);
}

TEST_F(AwayPagesTest, AreComputedAgainWhenTheDeviceIsLost) {
  uint8_t* memory = NewMemory(kBytes);
  uint8_t* other = NewMemory(kBytes);
  std::vector<uint8_t> expected(memory, memory + kBytes), of_other(other, other + kBytes);
  for (uint64_t key = 1; key < 6; ++key) {
    Launch(memory, kBytes, key);
    Apply(expected, 0, kBytes, key);
    memory[kBytes / 3] = expected[kBytes / 3] = 99;
    Launch(other + 100, kBytes / 2, key);
    Apply(of_other, 100, kBytes / 2, key);
  }
  Kill();
  memory[kBytes / 4] = expected[kBytes / 4] = 1;
  EXPECT_EQ(std::memcmp(memory, expected.data(), kBytes), 0);
  EXPECT_EQ(std::memcmp(other, of_other.data(), kBytes), 0);
  EXPECT_TRUE(link_->is_lost());
}

TEST_F(AwayPagesTest, AreInheritedThoughTheDeviceIsLost) {
  uint8_t* memory = NewMemory(kBytes);
  std::vector<uint8_t> expected(memory, memory + kBytes);
  Launch(memory, kBytes, 3);
  Apply(expected, 0, kBytes, 3);
  Kill();
  const int child = fork();
  if (child == 0) _exit(std::memcmp(memory, expected.data(), kBytes) == 0 ? 0 : 1);
  EXPECT_EQ(std::memcmp(memory, expected.data(), kBytes), 0);
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(AwayPagesTest, DoNotStayWhereTheyAlwaysComeHome) {
  uint8_t* memory = NewMemory(kBytes);
  std::vector<uint8_t> expected(memory, memory + kBytes);
  uint64_t stayed = 0;
  for (uint64_t key = 0; key < 20; ++key) {
    stayed += Launch(memory, kBytes, key);
    Apply(expected, 0, kBytes, key);
    ASSERT_EQ(std::memcmp(memory, expected.data(), kBytes), 0);
  }
  EXPECT_LE(stayed, 5 * kBytes);
  EXPECT_GE(stayed, 2 * kBytes);
}

// Whatever the program does, and whenever the device is lost.
TEST_F(AwayPagesTest, AreAlwaysTheProgramsMemory) {
  std::mt19937_64 random(20261130);
  const auto some = [&](uint64_t most) { return random() % most; };
  constexpr uint64_t kAll = 4 * kBytes;
  uint8_t* memory = NewMemory(kAll);
  std::vector<uint8_t> expected(memory, memory + kAll);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0};
  const int rounds = 400, kill_at = 300;
  for (int round = 0; round < rounds; ++round) {
    const uint64_t at = some(kAll - 1), bytes = 1 + some(kAll - at);
    switch (some(8)) {
      case 0: case 1: case 2: case 3: {
        if (link_->is_lost() || round > kill_at) break;
        const uint64_t begin = some(8) * kBytes / 2 + some(3) * 777, size = std::min(kAll - begin, (1 + some(4)) * kBytes / 2);
        const uint64_t key = random();
        Launch(memory + begin, size, key);
        Apply(expected, begin, size, key);
        break;
      }
      case 4: ASSERT_EQ(std::memcmp(memory + at, expected.data() + at, std::min(bytes, 3 * kGranuleBytes)), 0) << round; break;
      case 5: {
        const auto value = static_cast<uint8_t>(random());
        const uint64_t size = std::min(bytes, some(2) ? uint64_t{1} : 2 * kGranuleBytes);
        std::memset(memory + at, value, size);
        std::memset(expected.data() + at, value, size);
        break;
      }
      case 6: {
        const uint64_t first = at & ~(kPageBytes - 1), size = std::min((bytes + kPageBytes - 1) & ~(kPageBytes - 1), 5 * kGranuleBytes);
        const uint64_t fits = std::min(size, kAll - first);
        if (some(2)) {
          ASSERT_EQ(madvise(memory + first, fits, MADV_DONTNEED), 0);
        } else {
          ASSERT_EQ(mmap(memory + first, fits, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), memory + first);
        }
        std::memset(expected.data() + first, 0, fits);
        break;
      }
      case 7: {
        const int child = fork();
        if (child == 0) _exit(std::memcmp(memory + at, expected.data() + at, bytes) == 0 ? 0 : 1);
        int status = -1;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_EQ(status, 0) << round;
        break;
      }
    }
    if (round == kill_at) Kill();
  }
  EXPECT_EQ(std::memcmp(memory, expected.data(), kAll), 0);
}

}  // namespace
}  // namespace tracelift::offload
