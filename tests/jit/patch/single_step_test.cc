// A thread that stands at any instruction of a loop, or of its region's stub, when the region is patched in or put back:
// the processor stops after each instruction, and the patch is changed there and then.
#include <gtest/gtest.h>
#include <signal.h>
#include <ucontext.h>

#include <cstring>
#include <vector>

#include "tests/jit/patch/patched_loop.h"

namespace tracelift::jit {
namespace {

constexpr uint64_t kPasses = 24;

/// What stands still between two instructions. For the signal handler.
struct Stepping {
  PatchedLoop* patched = nullptr;
  AddressRange code, stub;
  bool installed = false, failed = false;
  uint64_t steps_in_loop = 0, steps_in_stub = 0, changes = 0;
  std::vector<bool> seen;  // by offset in the stub
  uint64_t period = 1, until_change = 1;
};
Stepping stepping;

void Change() {
  Patcher& patcher = PatchedLoop::ThePatcher();
  RegionImage& image = stepping.patched->image();
  const auto done = stepping.installed ? patcher.Remove(image) : patcher.Install(image);
  if (!done) stepping.failed = true;
  stepping.installed = !stepping.installed;
  ++stepping.changes;
}

void OnStep(int, siginfo_t* info, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto rip = static_cast<uint64_t>(registers[REG_RIP]);
  // The code alone is not trusted: what it says of a step is up to the debug registers of a virtual machine.
  const bool is_breakpoint = info->si_code != TRAP_TRACE && *reinterpret_cast<const uint8_t*>(rip - 1) == 0xcc;
  if (is_breakpoint) {
    const uint64_t target = PatchedLoop::ThePatcher().HandleTrap(rip);
    if (target == 0) _exit(99);
    registers[REG_RIP] = static_cast<greg_t>(target);
    return;
  }
  const bool in_stub = stepping.stub.Contains(rip);
  if (!in_stub && !stepping.code.Contains(rip)) return;  // in the dispatch function: it may hold locks
  ++(in_stub ? stepping.steps_in_stub : stepping.steps_in_loop);
  if (in_stub) stepping.seen[rip - stepping.stub.begin] = true;
  if (--stepping.until_change > 0) return;
  stepping.until_change = stepping.period;
  Change();
}

/// rdx after the call, every instruction of which is followed by a trap.
uint64_t CallInSteps(const TestLoop& loop, uint64_t* buffer, uint64_t passes) {
  uint64_t sum = 0, rcx = 0, rsi = passes;
  uint64_t* rdi = buffer;
  asm volatile(
      "leaq -128(%%rsp), %%rsp\n pushfq\n orq $0x100, (%%rsp)\n popfq\n"
      "call *%[f]\n"
      "pushfq\n andq $~0x100, (%%rsp)\n popfq\n leaq 128(%%rsp), %%rsp"
      : "+d"(sum), "+c"(rcx), "+S"(rsi), "+D"(rdi)
      : [f] "r"(loop.begin)
      : "rax", "r8", "r9", "r10", "r11", "cc", "memory");
  return sum;
}

uint64_t Call(const TestLoop& loop, uint64_t* buffer, uint64_t passes) {
  uint64_t sum = 0, rcx = 0, rsi = passes;
  uint64_t* rdi = buffer;
  asm volatile("leaq -128(%%rsp), %%rsp\n call *%[f]\n leaq 128(%%rsp), %%rsp"
               : "+d"(sum), "+c"(rcx), "+S"(rsi), "+D"(rdi)
               : [f] "r"(loop.begin)
               : "rax", "r8", "r9", "r10", "r11", "cc", "memory");
  return sum;
}

Buffer MakeBuffer() {
  Buffer buffer;
  for (size_t i = 0; i < buffer.size(); ++i) buffer[i] = i * 0x9e3779b97f4a7c15;
  return buffer;
}

/// Steps through the loop, changing the patch after every `period` instructions in loop or stub.
void StepThrough(const TestLoop& loop, uint64_t period, bool skips) {
  SCOPED_TRACE(testing::Message() << loop.name << ", a change after " << period << " instructions");
  static Buffer buffer;  // red_zone_loop stores what depends on nothing, others nothing
  buffer = MakeBuffer();
  const uint64_t expected = Call(loop, buffer.data(), kPasses);
  const Buffer buffer_after = buffer;
  const std::vector<char> before(loop.begin, loop.end);
  PatchedLoop patched(loop, true, [skips](RegionImage& image, SavedContext*) {
    if (skips) image.SkipNext(2);
    return kDecline;
  });
  stepping = {};
  stepping.patched = &patched;
  stepping.code = {Address(loop.begin), Address(loop.end)};
  stepping.stub = patched.image().code();
  stepping.seen.resize(stepping.stub.size());
  stepping.period = stepping.until_change = period;

  struct sigaction action = {}, old;
  action.sa_sigaction = &OnStep;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, &old);
  buffer = MakeBuffer();
  const uint64_t sum = CallInSteps(loop, buffer.data(), kPasses);
  sigaction(SIGTRAP, &old, nullptr);

  if (stepping.installed) Change();
  EXPECT_FALSE(stepping.failed);
  EXPECT_EQ(sum, expected);
  EXPECT_EQ(buffer, buffer_after);
  EXPECT_EQ(std::memcmp(loop.begin, before.data(), before.size()), 0);
  EXPECT_GT(stepping.changes, 3u);
}

const TestLoop kSteppedLoops[] = {TL_TEST_LOOP(red_zone_loop),    TL_TEST_LOOP(nested_loop), TL_TEST_LOOP(crossing_loop),
                                  TL_TEST_LOOP(conditional_loop), TL_TEST_LOOP(short_loop),  TL_TEST_LOOP(search_loop)};

TEST(SingleStep, AChangeBetweenAnyTwoInstructionsIsSafe) {
  for (const TestLoop& loop : kSteppedLoops) {
    for (const uint64_t period : {1, 2, 5, 9, 14}) StepThrough(loop, period, period % 2 == 0);
  }
}

TEST(SingleStep, AChangeBetweenAnyTwoInstructionsIsSafeWhereTheJumpRunsIntoTheNextOne) {
  const MovedLoop moved(TL_TEST_LOOP(punned_loop), true);
  for (uint64_t period = 1; period < 20; ++period) StepThrough(moved.loop(), period, period % 2 == 0);
}

TEST(SingleStep, StandsAtEveryInstructionOfTheStub) {
  // A long period: whole ways through the stub are seen, entered and skipped.
  const TestLoop loop = TL_TEST_LOOP(red_zone_loop);
  StepThrough(loop, 29, true);
  size_t places = 0;
  for (const bool seen : stepping.seen) places += seen;
  EXPECT_GE(places, 18u);
  EXPECT_GT(stepping.steps_in_stub, 100u);
  EXPECT_GT(stepping.steps_in_loop, 100u);
}

}  // namespace
}  // namespace tracelift::jit
