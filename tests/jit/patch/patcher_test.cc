#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstring>
#include <thread>
#include <vector>

#include "jit/patch/mappings.h"
#include "tests/jit/patch/patched_loop.h"

namespace tracelift::jit {
namespace {

extern "C" const char adjacent_loop_inner[];

/// rdx after the call: the sum for red_zone_loop, crossing_loop and short_loop.
uint64_t CallLoop(const TestLoop& loop, uint64_t* buffer, uint64_t passes) {
  uint64_t sum = 0, rcx = 0, rsi = passes;
  uint64_t* rdi = buffer;
  asm volatile("leaq -128(%%rsp), %%rsp\n call *%[f]\n leaq 128(%%rsp), %%rsp"
               : "+d"(sum), "+c"(rcx), "+S"(rsi), "+D"(rdi)
               : [f] "r"(loop.begin)
               : "rax", "r8", "r9", "r10", "r11", "cc", "memory");
  return sum;
}

std::vector<uint8_t> BytesOf(const TestLoop& loop) {
  return {reinterpret_cast<const uint8_t*>(loop.begin), reinterpret_cast<const uint8_t*>(loop.end)};
}

std::atomic<uint64_t> traps_handled{0};

void HandleTrapSignal(int, siginfo_t*, void* ucontext) {
  auto& registers = static_cast<ucontext_t*>(ucontext)->uc_mcontext.gregs;
  const uint64_t target = PatchedLoop::ThePatcher().HandleTrap(static_cast<uint64_t>(registers[REG_RIP]));
  if (target == 0) _exit(99);
  traps_handled.fetch_add(1, std::memory_order_relaxed);
  registers[REG_RIP] = static_cast<greg_t>(target);
}

void HandleAlarm(int, siginfo_t*, void*) {
  volatile uint8_t stack[4096];  // runs over everything below the program's red zone
  for (size_t i = 0; i < sizeof(stack); ++i) stack[i] = 0xee;
}

void SetHandler(int signo, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(signo, &action, nullptr);
}

TEST(Patcher, PutsTheOriginalBytesBack) {
  for (const TestLoop& loop : {TL_TEST_LOOP(red_zone_loop), TL_TEST_LOOP(crossing_loop), TL_TEST_LOOP(short_loop)}) {
    PatchedLoop patched(loop, true, [](RegionImage&, SavedContext*) { return kDecline; });
    const std::vector<uint8_t> before = BytesOf(loop);
    const auto protection = ProtectionAt(ReadMappings(), Address(loop.begin));
    for (int i = 0; i < 3; ++i) {
      {
        const Installed installed(patched);
        EXPECT_NE(BytesOf(loop), before);
        EXPECT_EQ(ProtectionAt(ReadMappings(), Address(loop.begin)), protection);
      }
      EXPECT_EQ(BytesOf(loop), before);
      EXPECT_EQ(ProtectionAt(ReadMappings(), Address(loop.begin)), protection);
    }
  }
}

TEST(Patcher, DoesNothingTwice) {
  PatchedLoop patched(TL_TEST_LOOP(red_zone_loop), false, [](RegionImage&, SavedContext*) { return kDecline; });
  Patcher& patcher = PatchedLoop::ThePatcher();
  const auto before = BytesOf(TL_TEST_LOOP(red_zone_loop));
  EXPECT_TRUE(patcher.Remove(patched.image()).has_value());
  EXPECT_TRUE(patcher.Install(patched.image()).has_value());
  EXPECT_TRUE(patcher.Install(patched.image()).has_value());
  EXPECT_TRUE(patcher.Remove(patched.image()).has_value());
  EXPECT_TRUE(patcher.Remove(patched.image()).has_value());
  EXPECT_EQ(BytesOf(TL_TEST_LOOP(red_zone_loop)), before);
}

TEST(Patcher, TellsWhereADisplacedInstructionBelongs) {
  const Patcher& patcher = PatchedLoop::ThePatcher();
  for (const TestLoop& loop : {TL_TEST_LOOP(red_zone_loop), TL_TEST_LOOP(crossing_loop), TL_TEST_LOOP(nested_loop)}) {
    PatchedLoop patched(loop, true, [](RegionImage&, SavedContext*) { return kDecline; });
    const AddressRange displaced = patched.image().displaced();
    EXPECT_EQ(patcher.PlaceOf(displaced.begin), 0u) << "not installed yet";
    const Installed installed(patched);
    EXPECT_EQ(patcher.PlaceOf(displaced.begin), patched.image().patch_site());
    EXPECT_EQ(patcher.PlaceOf(displaced.end - 1), patched.image().patch_site());
    for (const uint64_t other : {displaced.begin - 1, displaced.end, patched.image().stub(), patched.image().patch_site(), uint64_t{0}}) {
      EXPECT_EQ(patcher.PlaceOf(other), 0u);
    }
  }
}

TEST(Patcher, RefusesASiteThatAnotherRegionHas) {
  const TestLoop loop = TL_TEST_LOOP(red_zone_loop);
  PatchedLoop first(loop, false, [](RegionImage&, SavedContext*) { return kDecline; });
  PatchedLoop second(loop, false, [](RegionImage&, SavedContext*) { return kDecline; });
  const Installed installed(first);
  const auto result = PatchedLoop::ThePatcher().Install(second.image());
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().reason, RejectionReason::kCodeNotPatchable);
  EXPECT_TRUE(PatchedLoop::ThePatcher().Remove(second.image()).has_value()) << "it is not installed";
  Buffer buffer = {};
  CallLoop(loop, buffer.data(), 5);
  EXPECT_EQ(first.arrivals(), 5u);
}

TEST(Patcher, RefusesCodeThatHasChangedOrGone) {
  MovedLoop moved(TL_TEST_LOOP(red_zone_loop));
  PatchedLoop patched(moved.loop(), false, [](RegionImage&, SavedContext*) { return kDecline; });
  Patcher& patcher = PatchedLoop::ThePatcher();
  const auto site = reinterpret_cast<uint8_t*>(patched.image().patch_site());
  const auto poke = [&](int at, uint8_t change) {
    mprotect(moved.pages(), MovedLoop::kBytes, PROT_READ | PROT_WRITE);
    site[at] ^= change;
    mprotect(moved.pages(), MovedLoop::kBytes, PROT_READ | PROT_EXEC);
  };
  const auto reason = [](const std::expected<void, Rejection>& result) {
    return result ? std::string("done") : std::string(Name(result.error().reason)) + ": " + result.error().detail;
  };
  poke(7, 0xff);  // the last byte of the instruction, which the jump would not even overwrite
  EXPECT_EQ(reason(patcher.Install(patched.image())), "CodeNotPatchable: it has changed since it was read");
  EXPECT_EQ(ProtectionAt(ReadMappings(), Address(moved.pages())), PROT_READ | PROT_EXEC);
  poke(7, 0xff);
  EXPECT_EQ(reason(patcher.Install(patched.image())), "done");
  poke(2, 0xff);
  EXPECT_EQ(reason(patcher.Remove(patched.image())), "CodeNotPatchable: someone else has changed it meanwhile");
  poke(2, 0xff);
  EXPECT_EQ(reason(patcher.Remove(patched.image())), "done");
  EXPECT_EQ(reason(patcher.Install(patched.image())), "done");
  munmap(moved.pages(), MovedLoop::kBytes);
  EXPECT_EQ(reason(patcher.Remove(patched.image())), "CodeNotPatchable: it is not mapped executable any more");
  EXPECT_EQ(reason(patcher.Install(patched.image())), "CodeNotPatchable: it is not mapped executable");
}

TEST(Patcher, RefusesASiteWhoseBytesAnotherJumpReliesOn) {
  const TestLoop original = TL_TEST_LOOP(adjacent_loop);
  const MovedLoop moved(original, true);
  const auto decline = [](RegionImage&, SavedContext*) { return kDecline; };
  PatchedLoop outer(moved.loop(), false, decline);
  PatchedLoop inner(moved.loop(), Address(moved.pages() + (adjacent_loop_inner - original.begin)), false, decline);
  ASSERT_EQ(outer.image().patch_site() + 4, inner.image().patch_site());
  Patcher& patcher = PatchedLoop::ThePatcher();
  for (int i = 0; i < 2; ++i) {
    PatchedLoop& first = i == 0 ? outer : inner;
    PatchedLoop& second = i == 0 ? inner : outer;
    const Installed installed(first);
    const auto result = patcher.Install(second.image());
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().detail, "a region beside it relies on its bytes");
    Buffer buffer = {};
    const uint64_t first_before = first.arrivals(), second_before = second.arrivals();
    CallLoop(moved.loop(), buffer.data(), 5);
    EXPECT_GT(first.arrivals(), first_before);
    EXPECT_EQ(second.arrivals(), second_before);
  }
}

TEST(Patcher, AnswersOnlyItsOwnTraps) {
  const TestLoop loop = TL_TEST_LOOP(short_loop);
  PatchedLoop patched(loop, true, [](RegionImage&, SavedContext*) { return kDecline; });
  Patcher& patcher = PatchedLoop::ThePatcher();
  const uint64_t site = patched.image().patch_site();
  {
    const Installed installed(patched);
    EXPECT_EQ(patcher.HandleTrap(site + 1), patched.image().stub());
    EXPECT_EQ(patcher.HandleTrap(site), 0u);
    EXPECT_EQ(patcher.HandleTrap(site + 2), 0u);
    EXPECT_EQ(patcher.HandleTrap(1), 0u);
  }
  EXPECT_EQ(patcher.HandleTrap(site + 1), patched.image().stub()) << "the signal may come after the site is removed";
}

TEST(Patcher, ATrapThatStaysEntersTheRegion) {
  SetHandler(SIGTRAP, &HandleTrapSignal);
  const TestLoop loop = TL_TEST_LOOP(short_loop);
  PatchedLoop patched(loop, true, [](RegionImage&, SavedContext*) { return kDecline; });
  Buffer buffer = {};
  const Installed installed(patched);
  EXPECT_EQ(CallLoop(loop, buffer.data(), 10), 45u);
  EXPECT_EQ(patched.arrivals(), 10u);
}

TEST(Patcher, AForkedChildGetsItsCodeBack) {
  std::vector<std::unique_ptr<PatchedLoop>> loops;
  const TestLoop tried[] = {TL_TEST_LOOP(red_zone_loop), TL_TEST_LOOP(crossing_loop), TL_TEST_LOOP(short_loop)};
  std::vector<std::vector<uint8_t>> before;
  for (const TestLoop& loop : tried) {
    before.push_back(BytesOf(loop));
    loops.push_back(std::make_unique<PatchedLoop>(loop, true, [](RegionImage&, SavedContext*) { return kDecline; }));
  }
  std::vector<std::unique_ptr<Installed>> installed;
  for (auto& loop : loops) installed.push_back(std::make_unique<Installed>(*loop));
  const pid_t child = fork();
  if (child == 0) {
    errno = 77;
    PatchedLoop::ThePatcher().RestoreAll();
    int bad = errno == 77 ? 0 : 1;
    Buffer buffer = {};
    for (size_t i = 0; i < loops.size(); ++i) {
      if (BytesOf(tried[i]) != before[i]) bad |= 2;
      CallLoop(tried[i], buffer.data(), 10);
      if (loops[i]->arrivals() != 0) bad |= 4;
      if (ProtectionAt(ReadMappings(), Address(tried[i].begin)) != (PROT_READ | PROT_EXEC)) bad |= 8;
    }
    _exit(bad);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  Buffer buffer = {};
  CallLoop(tried[0], buffer.data(), 10);
  EXPECT_EQ(loops[0]->arrivals(), 10u) << "the parent keeps its patches";
}

TEST(Patcher, AForkInTheMiddleOfAChangeLeavesTheChildWithTheOriginal) {
  const TestLoop tried[] = {TL_TEST_LOOP(red_zone_loop), TL_TEST_LOOP(crossing_loop)};
  std::vector<std::vector<uint8_t>> before;
  std::vector<std::unique_ptr<PatchedLoop>> loops;
  for (const TestLoop& loop : tried) {
    before.push_back(BytesOf(loop));
    loops.push_back(std::make_unique<PatchedLoop>(loop, true, [](RegionImage&, SavedContext*) { return kDecline; }));
  }
  PatchedLoop::ThePatcher();  // made before the fork: a child could wait forever for the other thread to make it
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    while (!stop.load()) {
      for (auto& loop : loops) const Installed installed(*loop);
    }
  });
  const int zeros = open("/dev/zero", O_RDONLY);
  const auto same = [&](size_t k) { return std::memcmp(tried[k].begin, before[k].data(), before[k].size()) == 0; };
  int changed = 0, bad = 0;
  for (int i = 0; i < 300; ++i) {
    const pid_t child = fork();
    if (child == 0) {  // no allocation: the lock may be held by the other thread
      const bool differs = !same(0) || !same(1);
      PatchedLoop::ThePatcher().RestoreAll();
      int status = differs ? 1 : 0;
      for (size_t k = 0; k < 2; ++k) {
        if (!same(k)) status = 2;
        // The kernel writes only where the program may.
        if (read(zeros, const_cast<char*>(tried[k].begin), 1) != -1 || errno != EFAULT) status = 3;
      }
      _exit(status);
    }
    int status = -1;
    waitpid(child, &status, 0);
    changed += status == W_EXITCODE(1, 0);
    bad += status != W_EXITCODE(1, 0) && status != 0;
  }
  stop.store(true);
  changer.join();
  close(zeros);
  EXPECT_EQ(bad, 0);
  EXPECT_GT(changed, 0) << "no child began with changed code: the test shows nothing";
}

/// Threads run the loop all the time and check its result while it is patched and put back; signals hit them at
/// 1 kHz. Region entries do what real ones do: one thread at a time runs the clone, all others decline.
void Hammer(const TestLoop& loop, int cycles) {
  SetHandler(SIGTRAP, &HandleTrapSignal);
  SetHandler(SIGUSR1, &HandleAlarm);
  std::atomic<bool> busy{false};
  PatchedLoop patched(loop, true, [&](RegionImage& image, SavedContext* context) -> uint32_t {
    if (busy.exchange(true, std::memory_order_acquire)) return kDecline;
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGTRAP);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    uint32_t resume = kHeader;
    RegionImage::NativeRun run;
    if (!image.site_is_header()) run = image.RunFromSite(context);
    if (!run.left) run = image.RunFromHeader(context, 7);
    if (run.left) resume = kExit + run.exit;
    image.SkipNext(3);
    busy.store(false, std::memory_order_release);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return resume;
  });
  const std::vector<uint8_t> original = BytesOf(loop);

  constexpr int kThreads = 4;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> calls{0}, wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Buffer buffer;
      for (size_t i = 0; i < buffer.size(); ++i) buffer[i] = i * (t + 1);
      const uint64_t expected = [&] {
        uint64_t sum = 0;
        const std::string_view name = loop.name;
        const size_t offset = name == "punned_loop" ? 0 : 32;
        for (uint64_t i = 0; i < 200; ++i) {
          if (name == "crossing_loop" || name == "short_loop") sum += i;
          if (name != "short_loop") sum += buffer[offset + i];
        }
        return sum;
      }();
      while (!stop.load(std::memory_order_relaxed)) {
        for (size_t i = 0; i < 17; ++i) buffer[i] = i * (t + 1);  // red_zone_loop stores its locals there
        if (CallLoop(loop, buffer.data(), 200) != expected) wrong.fetch_add(1);
        calls.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  std::thread storm([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      for (std::thread& thread : threads) pthread_kill(thread.native_handle(), SIGUSR1);
      usleep(1000);
    }
  });
  while (calls.load() < kThreads) std::this_thread::yield();
  for (int i = 0; i < cycles; ++i) {
    ASSERT_TRUE(PatchedLoop::ThePatcher().Install(patched.image()).has_value());
    ASSERT_TRUE(PatchedLoop::ThePatcher().Remove(patched.image()).has_value());
  }
  stop.store(true);
  storm.join();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0u) << "of " << calls.load();
  EXPECT_GT(patched.arrivals(), 0u);
  EXPECT_EQ(BytesOf(loop), original);
  ::testing::Test::RecordProperty("calls", std::to_string(calls.load()));
  ::testing::Test::RecordProperty("arrivals", std::to_string(patched.arrivals()));
}

TEST(Patcher, ThreadsNeverSeeHalfAJumpWrittenAtOnce) { Hammer(TL_TEST_LOOP(red_zone_loop), 10000); }

TEST(Patcher, ThreadsNeverSeeHalfAJumpThatRunsIntoTheNextInstruction) {
  const MovedLoop moved(TL_TEST_LOOP(punned_loop), true);
  Hammer(moved.loop(), 10000);
}

TEST(Patcher, ThreadsNeverSeeHalfAJumpWrittenBehindATrap) {
  traps_handled.store(0);
  Hammer(TL_TEST_LOOP(crossing_loop), 10000);
  EXPECT_GT(traps_handled.load(), 0u) << "no thread met the trap: the test shows nothing";
}

TEST(Patcher, ThreadsMayMeetATrapThatComesAndGoes) { Hammer(TL_TEST_LOOP(short_loop), 3000); }

}  // namespace
}  // namespace tracelift::jit
