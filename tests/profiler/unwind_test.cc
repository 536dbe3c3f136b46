#include "profiler/unwind.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>

#include "profiler/symbols.h"

// Stores the caller's registers as they are right after the call, in hardware order, and the return address.
extern "C" void CaptureRegisters(uint64_t gpr[16], uint64_t* ip);
asm(R"(
.text
.globl CaptureRegisters
.hidden CaptureRegisters
.type CaptureRegisters, @function
CaptureRegisters:
  .cfi_startproc
  mov %rax, 0(%rdi)
  mov %rcx, 8(%rdi)
  mov %rdx, 16(%rdi)
  mov %rbx, 24(%rdi)
  lea 8(%rsp), %rax
  mov %rax, 32(%rdi)
  mov %rbp, 40(%rdi)
  mov %rsi, 48(%rdi)
  mov %rdi, 56(%rdi)
  mov %r8, 64(%rdi)
  mov %r9, 72(%rdi)
  mov %r10, 80(%rdi)
  mov %r11, 88(%rdi)
  mov %r12, 96(%rdi)
  mov %r13, 104(%rdi)
  mov %r14, 112(%rdi)
  mov %r15, 120(%rdi)
  mov (%rsp), %rax
  mov %rax, (%rsi)
  ret
  .cfi_endproc
.size CaptureRegisters, .-CaptureRegisters
)");

namespace tracelift::profiler {
namespace {

uint64_t StackTop() {
  pthread_attr_t attributes;
  void* base = nullptr;
  size_t size = 0;
  EXPECT_EQ(pthread_getattr_np(pthread_self(), &attributes), 0);
  pthread_attr_getstack(&attributes, &base, &size);
  pthread_attr_destroy(&attributes);
  return reinterpret_cast<uint64_t>(base) + size;
}

TlStackSample captured;
uint64_t stack_top;

// A plain loop: memcpy would be checked, and between the variables of a sanitized stack lie forbidden bytes.
__attribute__((noinline, no_sanitize("address", "undefined"))) void CopyStack(uint64_t from, uint32_t bytes) {
  for (uint32_t i = 0; i + 8 <= bytes; i += 8) {
    uint64_t word = *reinterpret_cast<const volatile uint64_t*>(from + i);
    *reinterpret_cast<volatile uint64_t*>(captured.stack + i) = word;
  }
}

__attribute__((noinline)) void TakeSample() {
  CaptureRegisters(captured.gpr, &captured.ip);
  captured.sp = captured.gpr[4];
  captured.bp = captured.gpr[5];
  captured.stack_bytes = static_cast<uint32_t>(std::min<uint64_t>(kTlStackBytes, stack_top - captured.sp));
  CopyStack(captured.sp, captured.stack_bytes);
}

// Samples are large; one on the stack would push the callers out of the copied part.
template <typename Function>
const TlStackSample& SampleIn(Function function) {
  stack_top = StackTop();
  std::memset(&captured, 0, sizeof captured);
  function();
  return captured;
}

std::vector<std::string> Names(const std::vector<uint64_t>& addresses, const ModuleList& modules) {
  Symbolizer symbolizer;
  std::vector<std::string> names;
  for (uint64_t address : addresses) {
    const Module* module = modules.Find(address - 1);
    names.push_back(module == nullptr ? "?" : symbolizer.FunctionName(module->path, module->ToElfAddress(address - 1)));
  }
  return names;
}

volatile int keep;
__attribute__((noinline)) void Innermost() {
  TakeSample();
  keep = 1;
}
__attribute__((noinline)) void Middle(int depth) {
  volatile char room[300];
  room[depth] = 1;
  if (depth > 0) {
    Middle(depth - 1);
  } else {
    Innermost();
  }
  keep = room[depth];
}
__attribute__((noinline)) void Outermost() {
  Middle(2);
  keep = 2;
}

std::string Joined(const std::vector<std::string>& names, size_t most = 99) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < most; ++i) text += (i == 0 ? "" : " < ") + names[i];
  return text;
}

TEST(Unwind, NamesTheCallersOfANestedCall) {
  const TlStackSample& sample = SampleIn(Outermost);
  ModuleList modules = ModuleList::Snapshot();
  std::vector<uint64_t> addresses = Unwind(sample, modules);
  std::vector<std::string> names = Names(addresses, modules);
  for (std::string& name : names) {
    size_t scope = name.rfind("::");
    if (scope != std::string::npos) name = name.substr(scope + 2);
  }
  EXPECT_EQ(Joined(names, 5), "Innermost() < Middle(int) < Middle(int) < Middle(int) < Outermost()") << Joined(names);
  EXPECT_GT(names.size(), 10u) << "GoogleTest's frames and main are missing: " << Joined(names);
  EXPECT_TRUE(std::ranges::find(names, "main") != names.end()) << Joined(names);
}

TEST(Unwind, WalksThroughStrippedCodeByItsUnwindTables) {
  void* library = dlopen(SAMPLE_STRIPPED, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  auto call = reinterpret_cast<int (*)(void (*)(), int)>(dlsym(library, "sample_call"));
  ASSERT_NE(call, nullptr);
  const TlStackSample& sample = SampleIn([&] { call(Innermost, 3); });
  ModuleList modules = ModuleList::Snapshot();
  std::vector<uint64_t> addresses = Unwind(sample, modules);
  ASSERT_GE(addresses.size(), 7u) << Joined(Names(addresses, modules));
  int inside = 0;
  size_t outside_after = 0;
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (modules.Find(addresses[i])->path != SAMPLE_STRIPPED) continue;
    ++inside;
    outside_after = i + 1;
  }
  EXPECT_EQ(inside, 5) << "four times inner, then sample_call: " << Joined(Names(addresses, modules));
  EXPECT_EQ(Names(addresses, modules)[outside_after - 1], "sample_call");
  EXPECT_LT(outside_after, addresses.size()) << "the walk ended inside the stripped library";
  dlclose(library);
}

int CompareAndSample(const void* a, const void* b) {
  if (captured.ip == 0) TakeSample();
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}

TEST(Unwind, WalksThroughTheCLibrary) {
  const TlStackSample& sample = SampleIn([] {
    int numbers[] = {5, 3, 9, 1, 4};
    std::qsort(numbers, 5, sizeof(int), CompareAndSample);
    keep = numbers[0];
  });
  ModuleList modules = ModuleList::Snapshot();
  std::vector<std::string> names = Names(Unwind(sample, modules), modules);
  EXPECT_TRUE(std::ranges::any_of(names, [](const auto& name) { return name.find("qsort") != std::string::npos; }))
      << Joined(names);
  EXPECT_TRUE(std::ranges::find(names, "main") != names.end()) << Joined(names);
}

TEST(Unwind, StopsAtItsDepthInADeepRecursion) {
  struct Recursion {
    __attribute__((noinline)) static void Down(int depth) {
      if (depth == 0) {
        TakeSample();
      } else {
        Down(depth - 1);
      }
      keep = depth;
    }
  };
  const TlStackSample& sample = SampleIn([] { Recursion::Down(200); });
  EXPECT_EQ(Unwind(sample, ModuleList::Snapshot()).size(), static_cast<size_t>(kMaxUnwindDepth));
}

TEST(Unwind, EndsWhereTheCopiedStackEnds) {
  const TlStackSample& sample = SampleIn(Outermost);
  ModuleList modules = ModuleList::Snapshot();
  size_t whole = Unwind(sample, modules).size(), previous = 0;
  for (uint32_t bytes = 0; bytes <= sample.stack_bytes; bytes += 8) {
    static TlStackSample cut;
    cut = sample;
    cut.stack_bytes = bytes;
    size_t depth = Unwind(cut, modules).size();
    EXPECT_GE(depth, previous) << bytes;
    previous = depth;
  }
  EXPECT_EQ(previous, whole);
  static TlStackSample lying = sample;
  lying.stack_bytes = 0xffffffff;  // more than the buffer holds
  Unwind(lying, modules);
}

TEST(Unwind, SurvivesGarbageStacksAndRegisters) {
  const TlStackSample& good = SampleIn(Outermost);
  ModuleList modules = ModuleList::Snapshot();
  std::mt19937_64 random(3);
  std::vector<MemoryRange> ranges;
  for (const Module& module : modules.modules()) {
    ranges.push_back(module.extent);
    ranges.insert(ranges.end(), module.text.begin(), module.text.end());
  }
  size_t frames = 0;
  for (int i = 0; i < 20000; ++i) {
    static TlStackSample bad;
    bad = good;
    auto address = [&]() -> uint64_t {
      const MemoryRange& range = ranges[random() % ranges.size()];
      switch (random() % 4) {
        case 0:
          return random();
        case 1:
          return bad.sp + random() % kTlStackBytes;
        default:
          return range.begin + random() % (range.end - range.begin);
      }
    };
    if (random() % 2) bad.ip = address();
    if (random() % 4 == 0) bad.sp = random() % 2 ? address() : ~uint64_t{0} - random() % 64;
    if (random() % 2) bad.bp = address();
    if (random() % 8 == 0) bad.stack_bytes = static_cast<uint32_t>(random());
    for (int words = static_cast<int>(random() % 200); words > 0; --words) {
      uint64_t word = address();
      std::memcpy(bad.stack + (random() % (kTlStackBytes / 8)) * 8, &word, 8);
    }
    std::vector<uint64_t> addresses = Unwind(bad, modules);
    ASSERT_LE(addresses.size(), static_cast<size_t>(kMaxUnwindDepth));
    frames += addresses.size();
  }
  EXPECT_GT(frames, 1000u) << "the garbage was too bad to test anything";
}

TEST(Unwind, SurvivesAModuleThatIsGone) {
  void* library = dlopen(SAMPLE_STRIPPED, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr);
  auto call = reinterpret_cast<int (*)(void (*)(), int)>(dlsym(library, "sample_call"));
  const TlStackSample& sample = SampleIn([&] { call(Innermost, 3); });
  ModuleList stale = ModuleList::Snapshot();
  dlclose(library);
  EXPECT_GE(Unwind(sample, stale).size(), 1u);
  EXPECT_LE(Unwind(sample, stale).size(), 3u);
  EXPECT_LE(Unwind(sample, ModuleList()).size(), 0u);
}

}  // namespace
}  // namespace tracelift::profiler
