// A device process and the program it works for: what goes wrong on one side never harms the other.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "offload/device/device_link.h"

namespace tracelift::offload {
namespace {

double NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

double In(double seconds) { return NowNs() + seconds * 1e9; }

/// Runs: what has ended may be there still, until somebody asks for its status.
bool Exists(int pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return false;
  const size_t state = line.rfind(") ");
  return state != std::string::npos && line[state + 2] != 'Z' && line[state + 2] != 'X';
}

bool EndsWithin(int pid, double seconds) {
  const double deadline = In(seconds);
  while (Exists(pid) && NowNs() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return !Exists(pid);
}

DeviceLink* Started() {
  const auto link = DeviceLink::Start(DEVICE_SERVER, "reference");
  if (!link) ADD_FAILURE() << link.error();
  return link ? *link : nullptr;
}

TEST(DeviceLink, BringsDataThereAndBack) {
  DeviceLink& link = *Started();
  EXPECT_STREQ(link.name(), "reference");
  EXPECT_GT(link.memory_bytes(), 0u);
  constexpr uint64_t kBytes = 1 << 20;
  std::iota(link.staging(), link.staging() + kBytes, uint8_t{3});
  ASSERT_TRUE(link.Take());
  EXPECT_FALSE(link.Take()) << "one at a time";
  EXPECT_TRUE(link.Post({.op = DeviceOp::kReserve, .buffer = 5, .bytes = kBytes}));
  EXPECT_TRUE(link.Post({.op = DeviceOp::kCopyIn, .buffer = 5, .bytes = kBytes}));
  ASSERT_TRUE(link.Finish(In(5)));
  std::memset(link.staging(), 0, kBytes);
  EXPECT_TRUE(link.Post({.op = DeviceOp::kCopyOut, .buffer = 5, .offset = 1000, .staging = 64, .bytes = kBytes - 1000}));
  ASSERT_TRUE(link.Finish(In(5)));
  link.Release();
  for (uint64_t i = 0; i < kBytes - 1000; ++i) ASSERT_EQ(link.staging()[64 + i], static_cast<uint8_t>(3 + 1000 + i)) << i;
  EXPECT_EQ(link.staging()[63], 0);
}

TEST(DeviceLink, TakesMoreCommandsThanAreUnderWayAtOnce) {
  DeviceLink& link = *Started();
  ASSERT_TRUE(link.Take());
  ASSERT_TRUE(link.Post({.op = DeviceOp::kReserve, .buffer = 0, .bytes = 8 * 1000}));
  for (uint64_t i = 0; i < 1000; ++i) {
    std::memcpy(link.staging() + 8 * i, &i, 8);
    ASSERT_TRUE(link.Post({.op = DeviceOp::kCopyIn, .buffer = 0, .offset = 8 * (999 - i), .staging = 8 * i, .bytes = 8})) << i;
  }
  ASSERT_TRUE(link.Post({.op = DeviceOp::kCopyOut, .buffer = 0, .staging = 1 << 20, .bytes = 8000}));
  ASSERT_TRUE(link.Finish(In(5)));
  for (uint64_t i = 0; i < 1000; ++i) {
    uint64_t value = 0;
    std::memcpy(&value, link.staging() + (1 << 20) + 8 * i, 8);
    ASSERT_EQ(value, 999 - i);
  }
}

TEST(DeviceLink, SkipsTheRestOfABatchThatFailed) {
  DeviceLink& link = *Started();
  ASSERT_TRUE(link.Take());
  link.staging()[0] = 7;
  (void)link.Post({.op = DeviceOp::kReserve, .buffer = 0, .bytes = 16});
  (void)link.Post({.op = DeviceOp::kLaunch, .bytes = sizeof(LaunchRequest)});  // of a kernel that was never loaded
  (void)link.Post({.op = DeviceOp::kCopyOut, .buffer = 0, .bytes = 16});
  EXPECT_FALSE(link.Finish(In(5)));
  EXPECT_EQ(link.status(), DeviceStatus::kFailed);
  EXPECT_NE(link.Why().find("a launch that names what is not there"), std::string::npos) << link.Why();
  EXPECT_EQ(link.staging()[0], 7) << "skipped";
  link.Release();
  ASSERT_TRUE(link.Take());  // the next batch is another one
  EXPECT_TRUE(link.Post({.op = DeviceOp::kCopyOut, .buffer = 0, .bytes = 16}));
  EXPECT_TRUE(link.Finish(In(5)));
  EXPECT_EQ(link.staging()[0], 0);
}

TEST(DeviceLink, RefusesCommandsOutsideOfAnything) {
  DeviceLink& link = *Started();
  const DeviceCommand commands[] = {{.op = DeviceOp::kCopyIn, .buffer = 0, .staging = kStagingBytes - 4, .bytes = 8},
                                    {.op = DeviceOp::kCopyIn, .buffer = 9, .bytes = 8},
                                    {.op = DeviceOp::kCopyOut, .buffer = 0, .offset = 12, .bytes = 8},
                                    {.op = DeviceOp::kCopyOut, .buffer = 0, .offset = ~uint64_t{3}, .bytes = 8},
                                    {.op = DeviceOp::kLaunch, .bytes = 8},
                                    {.op = static_cast<DeviceOp>(99)}};
  for (const DeviceCommand& command : commands) {
    ASSERT_TRUE(link.Take());
    (void)link.Post({.op = DeviceOp::kReserve, .buffer = 0, .bytes = 16});
    (void)link.Post(command);
    EXPECT_FALSE(link.Finish(In(5)));
    link.Release();
  }
  EXPECT_FALSE(link.is_lost());
}

TEST(DeviceLink, TellsThatMemoryIsShort) {
  DeviceLink& link = *Started();
  ASSERT_TRUE(link.Take());
  (void)link.Post({.op = DeviceOp::kReserve, .buffer = 1, .bytes = uint64_t{1} << 60});
  EXPECT_FALSE(link.Finish(In(5)));
  EXPECT_EQ(link.status(), DeviceStatus::kOutOfMemory);
  EXPECT_FALSE(link.is_lost());
}

TEST(DeviceLink, IsLostWithItsProcess) {
  DeviceLink& link = *Started();
  ASSERT_TRUE(link.Take());
  ASSERT_TRUE(link.Post({.op = DeviceOp::kReserve, .buffer = 0, .bytes = 4096}));
  ASSERT_TRUE(link.Finish(In(5)));
  kill(link.server_pid(), SIGKILL);
  EXPECT_TRUE(EndsWithin(link.server_pid(), 5));
  (void)link.Post({.op = DeviceOp::kCopyOut, .buffer = 0, .bytes = 4096});
  EXPECT_FALSE(link.Finish(In(30)));
  EXPECT_TRUE(link.is_lost());
  EXPECT_EQ(link.Why(), "its process ended");
  link.Release();
  EXPECT_FALSE(link.Take());
}

TEST(DeviceLink, IsLostWhenItDoesNotAnswer) {
  DeviceLink& link = *Started();
  ASSERT_TRUE(link.Take());
  kill(link.server_pid(), SIGSTOP);
  (void)link.Post({.op = DeviceOp::kReserve, .buffer = 0, .bytes = 4096});
  const double before = NowNs();
  EXPECT_FALSE(link.Finish(In(0.2)));
  EXPECT_LT(NowNs() - before, 3e9);
  EXPECT_EQ(link.Why(), "it did not answer in time");
  kill(link.server_pid(), SIGCONT);
  link.Abandon();
  EXPECT_TRUE(EndsWithin(link.server_pid(), 5)) << "nobody wants it any more";
}

TEST(DeviceLink, IsNoChildOfTheProgram) {
  bool told = false;
  static volatile sig_atomic_t signals = 0;
  struct sigaction action {}, before {};
  action.sa_handler = [](int) { signals = signals + 1; };
  sigaction(SIGCHLD, &action, &before);
  DeviceLink& link = *Started();
  told = waitpid(-1, nullptr, WNOHANG) >= 0;
  EXPECT_FALSE(told);
  EXPECT_EQ(errno, ECHILD);
  kill(link.server_pid(), SIGKILL);
  EXPECT_TRUE(EndsWithin(link.server_pid(), 5));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(signals, 0);
  sigaction(SIGCHLD, &before, nullptr);
}

TEST(DeviceLink, IsNotForAForkedChild) {
  DeviceLink& link = *Started();
  const pid_t child = fork();
  if (child == 0) _exit(link.Take() ? 1 : 0);
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(link.Take());
}

TEST(DeviceLink, EndsWithTheProgram) {
  int pids[2];
  ASSERT_EQ(pipe(pids), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto link = DeviceLink::Start(DEVICE_SERVER, "reference");
    const int pid = link ? (*link)->server_pid() : 0;
    (void)!write(pids[1], &pid, sizeof(pid));
    raise(SIGKILL);
  }
  int server = 0;
  ASSERT_EQ(read(pids[0], &server, sizeof(server)), static_cast<ssize_t>(sizeof(server)));
  waitpid(child, nullptr, 0);
  ASSERT_GT(server, 0);
  EXPECT_TRUE(EndsWithin(server, 5));
}

TEST(DeviceLink, SaysWhyThereIsNone) {
  const auto nowhere = DeviceLink::Start("/nonexistent/tracelift-device", "reference");
  ASSERT_FALSE(nowhere.has_value());
  EXPECT_NE(nowhere.error().find("/nonexistent/tracelift-device"), std::string::npos) << nowhere.error();
  const auto unknown = DeviceLink::Start(DEVICE_SERVER, "abacus");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_NE(unknown.error().find("no device is called abacus"), std::string::npos) << unknown.error();
  const auto not_one = DeviceLink::Start("/bin/true", "reference");
  ASSERT_FALSE(not_one.has_value());
  EXPECT_NE(not_one.error().find("ended as it started"), std::string::npos) << not_one.error();
}

}  // namespace
}  // namespace tracelift::offload
