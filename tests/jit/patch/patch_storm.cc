// patch_storm: regions are patched and put back, thousands of times, while threads run through them and signals hit the
// threads. Every register, the flags and the memory of every call are compared with what the loop does unpatched.
//
//   patch_storm --cycles N [--threads N] [--seed S] [--record FILE]
//
// A cycle is one Install and one Remove; N of them for each of the three kinds of patches. Threads run random loops with
// random inputs; a third of them blocks SIGTRAP and keeps to loops whose patch needs none. Each thread has a timer of its
// own, and one thread sends another signal to all. Handlers run patched loops themselves, on a signal stack. Dispatch
// functions decline, run the clone, or stop for a while, so that patches go away while threads are inside.

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "jit/patch/mappings.h"
#include "tests/jit/patch/patched_loop.h"
#include "tests/jit/run_record.h"

namespace tracelift::jit {
namespace {

constexpr int kCasesPerLoop = 12;
constexpr size_t kStormBufferQwords = 512;
constexpr uint64_t kStatusFlags = 0x8d5, kInterruptsEnabled = 0x202;
constexpr size_t kSignalStackBytes = 256 * 1024;
constexpr long kTimerPeriod_ns = 300'000;
constexpr PatchKind kKinds[] = {PatchKind::kAtomicJump, PatchKind::kTrappedJump, PatchKind::kTrap};
constexpr const char* kKindNames[] = {"aligned store", "int3 first", "int3 stays"};

struct Options {
  std::string command;
  int cycles = 10000;
  int threads = 8;
  uint64_t seed = 1;
  std::string record;
};

/// Layout known to tl_storm_call.
struct alignas(16) StormState {
  uint64_t gpr[16];
  uint64_t rflags;
  uint64_t spare;
  uint8_t xmm[16][16];
};
static_assert(offsetof(StormState, xmm) == 144);
extern "C" void tl_storm_call(StormState* state, const void* code);

using StormBuffer = std::array<uint64_t, kStormBufferQwords>;

/// One input of a loop, and what comes out of it when it is not patched. rdi is the buffer's address, whose it may be.
struct StormCase {
  StormState in, out;
  StormBuffer buffer_in, buffer_out;
};

struct StormLoop {
  TestLoop loop;
  std::vector<uint8_t> code;  // as it was
  std::unique_ptr<PatchedLoop> patched;
  std::vector<StormCase> cases;
  std::atomic<bool> clone_is_busy{false};

  bool needs_traps() const { return patched->image().patch_kind() != PatchKind::kAtomicJump; }
};

struct Counts {
  std::atomic<uint64_t> calls{0}, calls_in_handlers{0}, traps{0}, signals{0}, clone_runs{0}, stops{0}, wrong{0};
};

// For signal handlers and dispatch functions.
Counts counts;
std::vector<std::unique_ptr<StormLoop>> loops;
std::atomic<bool> stop{false};

/// Good enough for choices, and safe in signal handlers: no lock, no allocation.
struct Choice {
  uint64_t state;
  uint64_t Below(uint64_t limit) {
    state = state * 6364136223846793005 + 1442695040888963407;
    return (state >> 33) % limit;
  }
};
struct ThreadState {
  Choice choice{1};
  Choice handler_choice{1};
  bool blocks_traps = false;
};
thread_local ThreadState this_thread;

void RunCase(const StormLoop& loop, const StormCase& one, StormState* state, StormBuffer* buffer) {
  *buffer = one.buffer_in;
  *state = one.in;
  state->gpr[kRdi] = reinterpret_cast<uint64_t>(buffer->data());
  tl_storm_call(state, loop.loop.begin);
  state->gpr[kRdi] -= reinterpret_cast<uint64_t>(buffer->data());
  state->rflags &= kStatusFlags;
}

/// Async-signal-safe.
void RunAndCheck(Choice* choice) {
  const StormLoop* loop;
  do {
    loop = loops[choice->Below(loops.size())].get();
  } while (this_thread.blocks_traps && loop->needs_traps());
  const StormCase& one = loop->cases[choice->Below(loop->cases.size())];
  StormState state;
  StormBuffer buffer;
  RunCase(*loop, one, &state, &buffer);
  if (std::memcmp(&state, &one.out, sizeof(state)) != 0 || buffer != one.buffer_out) {
    counts.wrong.fetch_add(1, std::memory_order_relaxed);
  }
}

void OnTrap(int, siginfo_t*, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const uint64_t target = PatchedLoop::ThePatcher().HandleTrap(static_cast<uint64_t>(registers[REG_RIP]));
  if (target == 0) {
    constexpr char kMessage[] = "a trap that is nobody's\n";
    if (write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1) < 0) _exit(98);
    _exit(99);
  }
  counts.traps.fetch_add(1, std::memory_order_relaxed);
  registers[REG_RIP] = static_cast<greg_t>(target);
}

void OnStorm(int, siginfo_t*, void*) {
  const int saved_errno = errno;
  counts.signals.fetch_add(1, std::memory_order_relaxed);
  if (this_thread.handler_choice.Below(4) == 0) {
    RunAndCheck(&this_thread.handler_choice);
    counts.calls_in_handlers.fetch_add(1, std::memory_order_relaxed);
  }
  errno = saved_errno;
}

void Handle(int signo, void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_RESTART | flags;
  if (signo == SIGTRAP) sigfillset(&action.sa_mask);  // a handler could meet a trap while SIGTRAP is blocked
  if (sigaction(signo, &action, nullptr) != 0) std::abort();
}

/// What the dispatch function of a region does with one arrival.
uint32_t Visit(StormLoop& loop, RegionImage& image, SavedContext* context) {
  Choice& choice = this_thread.choice;
  if (choice.Below(256) == 0) {
    counts.stops.fetch_add(1, std::memory_order_relaxed);
    usleep(static_cast<useconds_t>(choice.Below(500)));  // signals arrive here, too, and the patch may go
  }
  if (choice.Below(2) == 0 || loop.clone_is_busy.exchange(true, std::memory_order_acquire)) return kDecline;
  sigset_t all, before;
  sigfillset(&all);
  sigdelset(&all, SIGTRAP);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  uint32_t resume = kHeader;
  RegionImage::NativeRun run;
  if (!image.site_is_header()) run = image.RunFromSite(context);
  if (!run.left) run = image.RunFromHeader(context, static_cast<int64_t>(choice.Below(10)));
  if (run.left) resume = kExit + run.exit;
  image.SkipNext(static_cast<int64_t>(choice.Below(6)));
  loop.clone_is_busy.store(false, std::memory_order_release);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  counts.clone_runs.fetch_add(1, std::memory_order_relaxed);
  return resume;
}

StormCase MakeCase(const StormLoop& loop, std::mt19937_64& random) {
  StormCase one;
  std::memset(&one, 0, sizeof(one));
  for (uint64_t& gpr : one.in.gpr) gpr = random();
  one.in.gpr[kRsi] = 1 + random() % 40;
  one.in.gpr[kRcx] = 0;
  one.in.gpr[kRsp] = 0;
  one.in.rflags = kInterruptsEnabled | (random() & kStatusFlags);
  for (auto& vector : one.in.xmm) {
    for (uint8_t& byte : vector) byte = static_cast<uint8_t>(random());
  }
  for (uint64_t& value : one.buffer_in) value = random();
  RunCase(loop, one, &one.out, &one.buffer_out);
  return one;
}

void PrepareLoops(uint64_t seed) {
  static const MovedLoop punned(TL_TEST_LOOP(punned_loop), true);
  const TestLoop tried[] = {
      TL_TEST_LOOP(red_zone_loop), TL_TEST_LOOP(carry_loop),    TL_TEST_LOOP(flags_loop),
      TL_TEST_LOOP(jrcxz_loop),    TL_TEST_LOOP(search_loop),   TL_TEST_LOOP(loop_instruction_loop),
      TL_TEST_LOOP(nested_loop),   TL_TEST_LOOP(crossing_loop), TL_TEST_LOOP(short_loop),
      TL_TEST_LOOP(crowded_loop),  TL_TEST_LOOP(table_loop),    TL_TEST_LOOP(conditional_loop),
      TL_TEST_LOOP(jump_site_loop), punned.loop(),
  };
  std::mt19937_64 random(seed);
  for (const TestLoop& loop : tried) {
    StormLoop& added = *loops.emplace_back(std::make_unique<StormLoop>());
    added.loop = loop;
    added.code.assign(loop.begin, loop.end);
    for (int i = 0; i < kCasesPerLoop; ++i) added.cases.push_back(MakeCase(added, random));
    added.patched = std::make_unique<PatchedLoop>(
        loop, true, [&added](RegionImage& image, SavedContext* context) { return Visit(added, image, context); });
  }
}

timer_t StartTimer() {
  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGALRM;
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) std::abort();
  const itimerspec period = {{0, kTimerPeriod_ns}, {0, kTimerPeriod_ns}};
  if (timer_settime(timer, 0, &period, nullptr) != 0) std::abort();
  return timer;
}

void Work(uint64_t seed, bool blocks_traps) {
  this_thread = {{seed * 2 + 1}, {seed * 2 + 2}, blocks_traps};
  std::vector<uint8_t> stack(kSignalStackBytes);
  const stack_t alternate = {stack.data(), 0, stack.size()};
  if (sigaltstack(&alternate, nullptr) != 0) std::abort();
  if (blocks_traps) {
    sigset_t traps;
    sigemptyset(&traps);
    sigaddset(&traps, SIGTRAP);
    pthread_sigmask(SIG_BLOCK, &traps, nullptr);
  }
  timer_t timer = StartTimer();
  while (!stop.load(std::memory_order_relaxed)) {
    RunAndCheck(&this_thread.choice);
    counts.calls.fetch_add(1, std::memory_order_relaxed);
  }
  timer_delete(timer);
  sigset_t all;  // the stack goes
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  const stack_t none = {nullptr, SS_DISABLE, 0};
  sigaltstack(&none, nullptr);
}

/// The first problem in words; "" when there is none. Regions come and go in random order, several at a time.
std::string PatchAndPutBack(const Options& options, std::array<uint64_t, 3>* cycles) {
  Choice choice{options.seed};
  Patcher& patcher = PatchedLoop::ThePatcher();
  std::vector<bool> installed(loops.size(), false);
  const auto change = [&](size_t i) -> std::string {
    RegionImage& image = loops[i]->patched->image();
    const auto done = installed[i] ? patcher.Remove(image) : patcher.Install(image);
    if (!done) return fmt::format("{}: {}", loops[i]->loop.name, Describe(done.error()));
    if (installed[i]) ++(*cycles)[static_cast<size_t>(image.patch_kind())];
    installed[i] = !installed[i];
    const size_t bytes = loops[i]->code.size();
    const bool as_it_was = std::memcmp(loops[i]->loop.begin, loops[i]->code.data(), bytes) == 0;
    if (as_it_was == installed[i]) return fmt::format("{}: wrong bytes after a change", loops[i]->loop.name);
    return "";
  };
  while (counts.wrong.load(std::memory_order_relaxed) == 0) {
    std::vector<size_t> open;  // of the kinds that have not had enough yet
    for (size_t i = 0; i < loops.size(); ++i) {
      const auto kind = static_cast<size_t>(loops[i]->patched->image().patch_kind());
      if ((*cycles)[kind] < static_cast<uint64_t>(options.cycles)) open.push_back(i);
    }
    if (open.empty()) break;
    if (std::string problem = change(open[choice.Below(open.size())]); !problem.empty()) return problem;
    if (choice.Below(8) == 0) usleep(static_cast<useconds_t>(choice.Below(200)));
  }
  for (size_t i = 0; i < loops.size(); ++i) {
    if (!installed[i]) continue;
    if (std::string problem = change(i); !problem.empty()) return problem;
  }
  return "";
}

std::string Storm(const Options& options, std::array<uint64_t, 3>* cycles) {
  const std::vector<Mapping> mappings = ReadMappings();
  Handle(SIGTRAP, &OnTrap, SA_ONSTACK);
  Handle(SIGALRM, &OnStorm, SA_ONSTACK);
  Handle(SIGUSR1, &OnStorm, SA_ONSTACK);
  std::vector<std::thread> threads;
  for (int t = 0; t < options.threads; ++t) {
    threads.emplace_back(&Work, options.seed * 1000 + static_cast<uint64_t>(t), t % 3 == 2);
  }
  std::thread sender([&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    while (!stop.load(std::memory_order_relaxed)) {
      for (std::thread& thread : threads) pthread_kill(thread.native_handle(), SIGUSR1);
      usleep(500);
    }
  });
  while (counts.calls.load() < static_cast<uint64_t>(options.threads)) sched_yield();
  std::string problem = PatchAndPutBack(options, cycles);
  stop.store(true);
  sender.join();
  for (std::thread& thread : threads) thread.join();

  if (counts.wrong.load() != 0) problem += fmt::format("{} calls with a wrong result; ", counts.wrong.load());
  for (const auto& loop : loops) {
    const uint64_t begin = Address(loop->loop.begin);
    if (std::memcmp(loop->loop.begin, loop->code.data(), loop->code.size()) != 0) {
      problem += fmt::format("{}: its code has changed; ", loop->loop.name);
    }
    if (ProtectionAt(ReadMappings(), begin) != ProtectionAt(mappings, begin)) {
      problem += fmt::format("{}: its pages have another protection; ", loop->loop.name);
    }
    if (loop->patched->arrivals() == 0) problem += fmt::format("{}: no thread ever arrived; ", loop->loop.name);
  }
  for (const auto* count : {&counts.traps, &counts.signals, &counts.calls_in_handlers, &counts.clone_runs}) {
    if (count->load() == 0) problem += "something never happened: the run shows nothing; ";
  }
  return problem;
}

RunRecord Record(const Options& options, const std::array<uint64_t, 3>& cycles, const std::string& problem,
                 double seconds) {
  RunRecord record = NewRecord(options.command, options.seed);
  record["threads"] = options.threads;
  record["seconds"] = std::round(seconds);
  for (const PatchKind kind : kKinds) {
    const auto k = static_cast<size_t>(kind);
    record["cycles"][kKindNames[k]] = cycles[k];
  }
  record["loops"] = loops.size();
  record["calls"] = counts.calls.load();
  record["calls_in_handlers"] = counts.calls_in_handlers.load();
  record["signals"] = counts.signals.load();
  record["traps"] = counts.traps.load();
  uint64_t arrivals = 0;
  for (const auto& loop : loops) arrivals += loop->patched->arrivals();
  record["arrivals"] = arrivals;
  record["clone_runs"] = counts.clone_runs.load();
  record["stops_in_dispatch"] = counts.stops.load();
  record["wrong"] = counts.wrong.load();
  record["problem"] = problem;
  return record;
}

int Main(int argc, char** argv) {
  Options options;
  options.command = CommandLine(argc, argv);
  CLI::App app("Patches and puts back loops that threads run through, in a storm of signals.", "patch_storm");
  app.add_option("--cycles", options.cycles, "For each kind of patch")->capture_default_str();
  app.add_option("--threads", options.threads)->capture_default_str()->check(CLI::Range(3, 256));
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_option("--record", options.record, "Write what was run as JSON");
  CLI11_PARSE(app, argc, argv);

  PrepareLoops(options.seed);
  std::array<uint64_t, 3> cycles{};
  const auto start = std::chrono::steady_clock::now();
  const std::string problem = Storm(options, &cycles);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const RunRecord record = Record(options, cycles, problem, seconds);
  fmt::print("{}\n", record.dump());
  if (!WriteRecord(record, options.record)) return 2;
  return problem.empty() ? 0 : 1;
}

}  // namespace
}  // namespace tracelift::jit

int main(int argc, char** argv) { return tracelift::jit::Main(argc, argv); }
