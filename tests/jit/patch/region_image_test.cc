#include "jit/region_image.h"

#include <cpuid.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "jit/code/decoded_function.h"
#include "jit/patch/entry_block.h"
#include "tests/jit/patch/patched_loop.h"

namespace tracelift::jit {
namespace {

const MovedLoop kMovedLoop(TL_TEST_LOOP(punned_loop), true);
const TestLoop kLoops[] = {
    TL_TEST_LOOP(red_zone_loop), TL_TEST_LOOP(carry_loop),
    TL_TEST_LOOP(flags_loop),    TL_TEST_LOOP(jrcxz_loop),
    TL_TEST_LOOP(search_loop),   TL_TEST_LOOP(loop_instruction_loop),
    TL_TEST_LOOP(nested_loop),   TL_TEST_LOOP(crossing_loop),
    TL_TEST_LOOP(short_loop),    TL_TEST_LOOP(conditional_loop),
    TL_TEST_LOOP(crowded_loop),  TL_TEST_LOOP(jump_site_loop),
    TL_TEST_LOOP(table_loop),    TL_TEST_LOOP(wide_table_loop),
    kMovedLoop.loop(),
};
const TestLoop kGuardedLoops[] = {TL_TEST_LOOP(guarded_loop), TL_TEST_LOOP(far_guarded_loop)};
constexpr uint64_t kPasses[] = {1, 2, 3, 7, 100};

void HandleTrapSignal(int, siginfo_t*, void* ucontext) {
  auto& registers = static_cast<ucontext_t*>(ucontext)->uc_mcontext.gregs;
  const uint64_t target = PatchedLoop::ThePatcher().HandleTrap(static_cast<uint64_t>(registers[REG_RIP]));
  if (target == 0) _exit(99);
  registers[REG_RIP] = static_cast<greg_t>(target);
}

class RegionImageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    struct sigaction action = {};
    action.sa_sigaction = &HandleTrapSignal;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, &before_);
  }
  void TearDown() override { sigaction(SIGTRAP, &before_, nullptr); }

  /// Runs each loop unpatched and patched, and compares every register and the memory.
  static void ExpectSameAsUnpatched(const char* how, const PatchedLoop::Visit& visit, PatchPlace place = PatchPlace::kInLoop) {
    const std::span<const TestLoop> guarded(kGuardedLoops), others(kLoops);
    for (const TestLoop& loop : place == PatchPlace::kAhead ? guarded : others) {
      PatchedLoop patched(loop, Address(loop.header), true, visit, place);
      for (uint64_t passes : kPasses) {
        for (uint64_t seed = 0; seed < 20; ++seed) {
          static RunResult expected, actual;
          RunLoop(loop, seed, passes, &expected);
          {
            const Installed installed(patched);
            RunLoop(loop, seed, passes, &actual);
          }
          ASSERT_EQ(Difference(expected, actual), "") << how << ", " << loop.name << ", " << passes << " passes";
        }
      }
      EXPECT_GT(patched.arrivals(), 0u) << loop.name;
    }
  }

  struct sigaction before_ = {};
};

/// What dispatch does first: from the site to the header. False when that leaves the loop.
bool ReachHeader(RegionImage& image, SavedContext* context, uint32_t* resume) {
  *resume = kHeader;
  if (image.site_is_header()) return true;
  const RegionImage::NativeRun run = image.RunFromSite(context);
  EXPECT_EQ(run.passes, run.left ? 0 : 1);
  if (run.left) *resume = kExit + run.exit;
  return !run.left;
}

TEST_F(RegionImageTest, TheHarnessSeesAChangedRegister) {
  static RunResult a, b;
  RunLoop(kLoops[0], 1, 5, &a);
  b = a;
  EXPECT_EQ(Difference(a, b), "");
  b.state.xsave[700] ^= 1;
  EXPECT_NE(Difference(a, b), "");
  b = a;
  b.state.rflags ^= 0x10;
  EXPECT_NE(Difference(a, b), "");
}

TEST_F(RegionImageTest, DecliningChangesNothing) {
  ExpectSameAsUnpatched("decline", [](RegionImage&, SavedContext*) { return kDecline; });
}

TEST_F(RegionImageTest, DecliningEveryOtherArrivalInTheFastPathChangesNothing) {
  ExpectSameAsUnpatched("skip", [](RegionImage& image, SavedContext*) {
    image.SkipNext(1);
    return kDecline;
  });
}

TEST_F(RegionImageTest, GoingOnAtTheHeaderChangesNothing) {
  ExpectSameAsUnpatched("header", [](RegionImage& image, SavedContext* context) {
    uint32_t resume = kHeader;
    ReachHeader(image, context, &resume);
    return resume;
  });
}

TEST_F(RegionImageTest, TheCloneComputesWhatTheOriginalDoes) {
  for (int64_t passes : {1, 2, 5, 1000}) {
    ExpectSameAsUnpatched("clone", [passes](RegionImage& image, SavedContext* context) -> uint32_t {
      uint32_t resume = kHeader;
      if (!ReachHeader(image, context, &resume)) return resume;
      const RegionImage::NativeRun run = image.RunFromHeader(context, passes);
      EXPECT_EQ(run.left ? run.passes < passes : run.passes == passes, true);
      return run.left ? kExit + run.exit : static_cast<uint32_t>(kHeader);
    });
  }
}

TEST_F(RegionImageTest, AheadOfTheLoopEachEntryArrivesOnceAndNothingChanges) {
  for (const TestLoop& loop : kGuardedLoops) {
    PatchedLoop patched(loop, Address(loop.header), true, [](RegionImage&, SavedContext*) { return kDecline; }, PatchPlace::kAhead);
    EXPECT_LT(patched.image().patch_site(), Address(loop.header));
    EXPECT_EQ(patched.image().patch_kind(), PatchKind::kAtomicJump);
    static RunResult result;
    const Installed installed(patched);
    for (uint64_t seed = 0; seed < 20; ++seed) RunLoop(loop, seed, 100, &result);
    EXPECT_GT(patched.arrivals(), 0u);
    EXPECT_LE(patched.arrivals(), 20u);
  }
  ExpectSameAsUnpatched("decline", [](RegionImage&, SavedContext*) { return kDecline; }, PatchPlace::kAhead);
  int left = 0, reached = 0;
  for (int64_t passes : {0, 1, 5, 1000}) {
    const auto run = [&](RegionImage& image, SavedContext* context) -> uint32_t {
      uint32_t resume = kHeader;
      if (!ReachHeader(image, context, &resume)) return ++left, resume;
      ++reached;
      if (passes == 0) return resume;
      const RegionImage::NativeRun done = image.RunFromHeader(context, passes);
      return done.left ? kExit + done.exit : static_cast<uint32_t>(kHeader);
    };
    ExpectSameAsUnpatched("clone", run, PatchPlace::kAhead);
  }
  EXPECT_GT(left, 100) << "the way past the loop";
  EXPECT_GT(reached, 100);
}

TEST_F(RegionImageTest, TheCloneRunsAgainAndAgainUntilTheLoopIsLeft) {
  ExpectSameAsUnpatched("clone", [](RegionImage& image, SavedContext* context) -> uint32_t {
    uint32_t resume = kHeader;
    if (!ReachHeader(image, context, &resume)) return resume;
    while (true) {
      const RegionImage::NativeRun run = image.RunFromHeader(context, 3);
      if (run.left) return kExit + run.exit;
    }
  });
}

TEST_F(RegionImageTest, DispatchMayUseEveryRegister) {
  ExpectSameAsUnpatched("clobber", [](RegionImage&, SavedContext*) {
    asm volatile(
        "xor %%eax, %%eax\n xor %%ecx, %%ecx\n xor %%edx, %%edx\n xor %%esi, %%esi\n xor %%edi, %%edi\n"
        "pxor %%xmm0, %%xmm0\n pxor %%xmm7, %%xmm7\n pxor %%xmm15, %%xmm15\n"
        "fninit\n fldpi\n fld1\n"
        :
        :
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm7", "xmm15", "cc", "memory");
    if (__builtin_cpu_supports("avx512f")) {
      asm volatile(
          "vpternlogd $0xff, %%zmm3, %%zmm3, %%zmm3\n vpternlogd $0xff, %%zmm31, %%zmm31, %%zmm31\n"
          "kxnorw %%k3, %%k3, %%k3" ::
              : "xmm3");
    }
    return kDecline;
  });
}

TEST_F(RegionImageTest, DispatchStartsWithTheDefaultFloatEnvironment) {
  uint32_t mxcsr = 0;
  uint64_t flags = ~uint64_t{0};
  uint32_t program_mxcsr = 0;
  PatchedLoop loop(kLoops[0], false, [&](RegionImage&, SavedContext* context) {
    asm volatile("stmxcsr %0" : "=m"(mxcsr));
    asm volatile("pushfq; popq %0" : "=r"(flags));
    program_mxcsr = ContextMxcsr(*context);
    return kDecline;
  });
  static RunResult result;
  const Installed installed(loop);
  for (uint64_t seed = 0; seed < 50; ++seed) {
    RunLoop(kLoops[0], seed, 1, &result);
    EXPECT_EQ(mxcsr, 0x1f80u);
    EXPECT_EQ(flags & 0x400, 0u);
    uint32_t after = 0;
    std::memcpy(&after, result.state.xsave + 24, 4);
    EXPECT_EQ(program_mxcsr, after);
  }
}

TEST_F(RegionImageTest, SkipNextDeclinesExactlySoManyArrivals) {
  for (int64_t skip : {0, 1, 5, 98}) {
    PatchedLoop loop(kLoops[0], false, [&](RegionImage& image, SavedContext*) {
      image.SkipNext(skip);
      return kDecline;
    });
    static RunResult result;
    const Installed installed(loop);
    RunLoop(kLoops[0], 0, 99, &result);
    EXPECT_EQ(loop.arrivals(), (99 + skip) / (skip + 1)) << skip;
  }
}

TEST_F(RegionImageTest, SkipNextZeroEndsASkipThatWasToLastForever) {
  PatchedLoop loop(kLoops[0], false, [&](RegionImage&, SavedContext*) { return kDecline; });
  static RunResult result;
  const Installed installed(loop);
  loop.image().SkipNext(INT64_MAX / 2);
  RunLoop(kLoops[0], 0, 50, &result);
  EXPECT_EQ(loop.arrivals(), 0u);
  loop.image().SkipNext(0);
  RunLoop(kLoops[0], 0, 50, &result);
  EXPECT_EQ(loop.arrivals(), 50u);
}

TEST_F(RegionImageTest, CountsPassesOfACloneRun) {
  RegionImage::NativeRun last;
  const TestLoop loop = TL_TEST_LOOP(red_zone_loop);
  PatchedLoop patched(loop, false, [&](RegionImage& image, SavedContext* context) -> uint32_t {
    EXPECT_TRUE(image.site_is_header());
    const RegionImage::NativeRun none = image.RunFromHeader(context, 0);
    EXPECT_FALSE(none.left);
    EXPECT_EQ(none.passes, 0);
    const RegionImage::NativeRun some = image.RunFromHeader(context, 4);
    EXPECT_FALSE(some.left);
    EXPECT_EQ(some.passes, 4);
    EXPECT_EQ(context->gpr[kRcx], 4u);
    last = image.RunFromHeader(context, 1000);
    return kExit + last.exit;
  });
  static RunResult result;
  const Installed installed(patched);
  RunLoop(loop, 0, 10, &result);  // the header is reached 9 times after the first arrival
  EXPECT_TRUE(last.left);
  EXPECT_EQ(last.passes, 5);
  EXPECT_EQ(patched.arrivals(), 1u);
}

TEST(TestLoops, HaveTheJumpTablesTheyAreFor) {
  for (const TestLoop& loop : {TL_TEST_LOOP(table_loop), TL_TEST_LOOP(wide_table_loop)}) {
    const auto function = Decode(loop);
    ASSERT_EQ(function->decoded().jump_tables.size(), 1u) << loop.name;
    EXPECT_EQ(function->decoded().jump_tables[0].targets.size(), 8u) << loop.name;
  }
}

TEST_F(RegionImageTest, TellsWhichExitWasTaken) {
  const TestLoop loop = TL_TEST_LOOP(search_loop);
  std::vector<uint32_t> seen;
  PatchedLoop patched(loop, false, [&](RegionImage& image, SavedContext* context) -> uint32_t {
    EXPECT_EQ(image.exits().size(), 2u);
    context->gpr[kRdx] = seen.empty() ? *reinterpret_cast<uint64_t*>(context->gpr[kRdi] + 0x100 + 3 * 8) : 0;
    const RegionImage::NativeRun run = image.RunFromHeader(context, 1000);
    EXPECT_TRUE(run.left);
    EXPECT_EQ(run.passes, seen.empty() ? 3 : 9);
    seen.push_back(run.exit);
    return kExit + run.exit;
  });
  static RunResult result;
  const Installed installed(patched);
  RunLoop(loop, 0, 10, &result);
  EXPECT_EQ(result.state.gpr[kRax], 2u);
  RunLoop(loop, 0, 10, &result);
  EXPECT_EQ(result.state.gpr[kRax], 1u);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_NE(seen[0], seen[1]);
}

/// Offset in an XSAVE area (0: not on this machine) and bytes of each part of registers 0 to 15.
std::array<std::pair<size_t, size_t>, 3> VectorParts() {
  const auto offset_of = [](uint32_t component) -> size_t {
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    const bool is_there = (HostXsaveLayout().mask >> component & 1) != 0;
    return is_there && __get_cpuid_count(0xd, component, &eax, &ebx, &ecx, &edx) ? ebx : 0;
  };
  return {{{160, 16}, {offset_of(2), 16}, {offset_of(6), 32}}};
}

TEST_F(RegionImageTest, ReadsAndWritesTheContext) {
  const TestLoop loop = TL_TEST_LOOP(red_zone_loop);
  static MachineState state;
  static RunResult expected, actual;
  PatchedLoop patched(loop, false, [&](RegionImage&, SavedContext* context) {
    ReadContext(*context, &state);
    MachineState changed = state;
    for (auto& gpr : changed.gpr) gpr += 0x5555;
    for (auto& vector : changed.vector) vector.bytes.fill(0xab);
    changed.rflags ^= 0x8d5 | 0x400;
    RegisterSet which;
    which.AddGpr(kR10);
    which.AddVector(3);
    which.AddVector(15);
    WriteContext(changed, which, context);
    return kDecline;
  });
  RunLoop(loop, 7, 1, &expected);
  {
    const Installed installed(patched);
    RunLoop(loop, 7, 1, &actual);
  }
  EXPECT_EQ(state.gpr[kR10], expected.state.gpr[kR10]);
  EXPECT_EQ(state.gpr[kRsi], 1u);
  EXPECT_EQ(state.gpr[kRsp] + 8, expected.state.gpr[kRsp]);  // the return address is gone
  expected.state.gpr[kR10] += 0x5555;
  size_t at = 0;  // in each register
  for (const auto& [offset, bytes] : VectorParts()) {
    for (int i = 0; offset != 0 && i < 16; ++i) {
      uint8_t* const part = expected.state.xsave + offset + bytes * static_cast<size_t>(i);
      EXPECT_EQ(std::memcmp(state.vector[i].bytes.data() + at, part, bytes), 0) << i;
      if (i == 3 || i == 15) std::memset(part, 0xab, bytes);
    }
    at += bytes;
  }
  EXPECT_EQ(Difference(expected, actual), "");
}

TEST(SavedContext, VectorsInTheirInitialStateAreZeroUntilWritten) {
  alignas(64) uint8_t area[1024];
  std::memset(area, 0x77, sizeof(area));
  std::memset(area + 512, 0, 64);
  SavedContext context = {};
  context.xsave = area;
  static MachineState state;
  state.vector[2].bytes.fill(1);
  ReadContext(context, &state);
  EXPECT_EQ(state.vector[2].bytes[5], 0);

  std::fill_n(state.vector[2].bytes.begin(), 16, uint8_t{9});
  RegisterSet which;
  which.AddVector(2);
  which.AddFlags();
  context.rflags = 0x202;
  state.rflags = 0x8d5 | 0x400;
  WriteContext(state, which, &context);
  EXPECT_EQ(area[512], 2);
  EXPECT_EQ(area[160 + 32], 9);
  EXPECT_EQ(area[160 + 48], 0) << "its neighbours become zero, as they were";
  EXPECT_EQ(context.rflags, 0x202u | 0x8d5) << "only the arithmetic flags";
}

TEST(SavedContext, UpperHalvesAreInUseOnlyWhileOneIsNotZero) {
  const size_t upper = VectorParts()[1].first;
  if (upper == 0) GTEST_SKIP() << "no AVX";
  alignas(64) static uint8_t area[4096];
  std::memset(area, 0x77, sizeof(area));
  std::memset(area + 512, 0, 64);
  SavedContext context = {};
  context.xsave = area;
  static MachineState state;
  ReadContext(context, &state);
  state.vector[5].bytes[20] = 1;
  RegisterSet which;
  which.AddVector(5);
  WriteContext(state, which, &context);
  EXPECT_EQ(area[512], 4);
  EXPECT_EQ(area[upper + 16 * 5 + 4], 1);
  EXPECT_EQ(area[upper + 16 * 6], 0) << "its neighbours become zero, as they were";
  state.vector[5].bytes[20] = 0;
  WriteContext(state, which, &context);
  EXPECT_EQ(area[512], 0) << "as after vzeroupper";
}

TEST(SavedContext, RaisesMxcsrFlags) {
  alignas(64) uint8_t area[1024] = {};
  SavedContext context = {};
  context.xsave = area;
  const uint32_t before = 0x1f81;
  std::memcpy(area + 24, &before, 4);
  RaiseMxcsrFlags(0xffffffe0, &context);
  EXPECT_EQ(ContextMxcsr(context), 0x1fa1u);
}

// A page of the source appears only when it is touched; the handler uses much stack, as it may.
uint8_t* missing_page = nullptr;

// Not checked: it runs where the dispatch function's frames were, which AddressSanitizer still has marked.
[[gnu::no_sanitize_address]] void HandleMissingPage(int, siginfo_t* info, void*) {
  volatile uint8_t stack[32768];
  for (size_t i = 0; i < sizeof(stack); ++i) stack[i] = 0xee;
  const auto fault = reinterpret_cast<uint64_t>(info->si_addr);
  if (fault - reinterpret_cast<uint64_t>(missing_page) >= 4096) _exit(98);
  mprotect(missing_page, 4096, PROT_READ | PROT_WRITE);
}

TEST_F(RegionImageTest, AFaultInTheCloneMayBeHandledAndRetried) {
  struct sigaction action = {}, before;
  action.sa_sigaction = &HandleMissingPage;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &before);
  missing_page = static_cast<uint8_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (int i = 0; i < 4096; ++i) missing_page[i] = static_cast<uint8_t>(i * 7);

  const TestLoop loop = TL_TEST_LOOP(copy_loop);
  uint64_t canary_sum = 0;
  PatchedLoop patched(loop, false, [&](RegionImage& image, SavedContext* context) -> uint32_t {
    volatile uint64_t canary[64];
    for (uint64_t i = 0; i < 64; ++i) canary[i] = i;
    const RegionImage::NativeRun run = image.RunFromHeader(context, 1000);
    for (uint64_t i = 0; i < 64; ++i) canary_sum += canary[i];
    return kExit + run.exit;
  });
  static RunResult results[2];
  for (RunResult& result : results) {
    mprotect(missing_page, 4096, PROT_NONE);
    std::mt19937_64 random(3);
    static Buffer buffer;
    buffer.fill(0);
    CpuState in = RandomState(random, buffer.data(), 200);
    in.gpr[kRdx] = reinterpret_cast<uint64_t>(missing_page);
    std::memset(&result, 0, sizeof(result));
    if (&result == results) {
      tl_test_call(&in, &result.state, loop.begin, HostXsaveLayout().mask);
    } else {
      const Installed installed(patched);
      tl_test_call(&in, &result.state, loop.begin, HostXsaveLayout().mask);
    }
    result.buffer = buffer;
  }
  sigaction(SIGSEGV, &before, nullptr);
  EXPECT_EQ(Difference(results[0], results[1]), "");
  EXPECT_EQ(patched.arrivals(), 1u);
  EXPECT_EQ(canary_sum, 63u * 64 / 2);
}

struct SiteCase {
  TestLoop loop;
  bool allow_trap;
  const char* site;  // null: the header
  PatchKind kind;
};

extern "C" const char flags_loop_site[], nested_loop_after[], crossing_loop_site[], conditional_loop_site[],
    jump_site_loop_site[];

TEST(PatchSite, IsWhereItDisturbsLeast) {
  const SiteCase cases[] = {
      {TL_TEST_LOOP(red_zone_loop), true, nullptr, PatchKind::kAtomicJump},
      {TL_TEST_LOOP(flags_loop), true, flags_loop_site, PatchKind::kAtomicJump},
      {kMovedLoop.loop(), false, nullptr, PatchKind::kAtomicJump},
      {TL_TEST_LOOP(nested_loop), true, nested_loop_after, PatchKind::kAtomicJump},
      {TL_TEST_LOOP(crossing_loop), true, crossing_loop_site, PatchKind::kTrappedJump},
      {TL_TEST_LOOP(conditional_loop), true, conditional_loop_site, PatchKind::kAtomicJump},
      {TL_TEST_LOOP(conditional_loop), false, conditional_loop_site, PatchKind::kAtomicJump},
      {TL_TEST_LOOP(jump_site_loop), true, jump_site_loop_site, PatchKind::kAtomicJump},
      {TL_TEST_LOOP(short_loop), true, nullptr, PatchKind::kTrap},
  };
  for (const SiteCase& c : cases) {
    PatchedLoop patched(c.loop, c.allow_trap, [](RegionImage&, SavedContext*) { return kDecline; });
    EXPECT_EQ(patched.image().patch_site(), Address(c.site != nullptr ? c.site : c.loop.header)) << c.loop.name;
    EXPECT_EQ(patched.image().patch_kind(), c.kind) << c.loop.name;
    EXPECT_EQ(patched.image().site_is_header(), c.site == nullptr) << c.loop.name;
    EXPECT_EQ(patched.image().header(), Address(c.loop.header)) << c.loop.name;
  }
}

TEST(PatchSite, IsWhereNothingFaultsOnTheWayToTheHeaderIfTheProgramHandlesFaults) {
  const TestLoop loop = TL_TEST_LOOP(crossing_loop);
  const auto function = Decode(loop);
  const auto kind_by = [&](PatchRules rules) {
    const auto image = RegionImage::Build(
        *function, LoopAt(*function, Address(loop.header)), PatchedLoop::Memory(), rules,
        [](void*, SavedContext*) -> uint32_t { return kDecline; }, nullptr);
    EXPECT_TRUE(image) << Describe(image.error());
    return (*image)->patch_kind();
  };
  EXPECT_EQ(kind_by({.allow_trap = true}), PatchKind::kTrappedJump) << "in the place of a read";
  EXPECT_EQ(kind_by({.allow_trap = true, .avoid_faults = true}), PatchKind::kTrap) << "at the header";
}

std::string WhyNot(const TestLoop& loop) {
  const auto function = Decode(loop);
  auto image = RegionImage::Build(
      *function, LoopAt(*function, Address(loop.header)), PatchedLoop::Memory(), {},
      [](void*, SavedContext*) -> uint32_t { return kDecline; }, nullptr);
  return image ? "built" : std::string(Name(image.error().reason));
}

TEST(PatchSite, ALoopWithoutOneIsRejectedWithTheReason) {
  EXPECT_EQ(WhyNot(TL_TEST_LOOP(short_loop)), "NoPatchSite");
  EXPECT_EQ(WhyNot(TL_TEST_LOOP(crossing_loop)), "NoPatchSite");
  EXPECT_EQ(WhyNot(TL_TEST_LOOP(calling_loop)), "CallInLoop");
  EXPECT_EQ(WhyNot(TL_TEST_LOOP(red_zone_loop)), "built");
}

}  // namespace
}  // namespace tracelift::jit
