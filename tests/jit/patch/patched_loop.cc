#include "tests/jit/patch/patched_loop.h"

#include <cpuid.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <array>
#include <cstring>

namespace tracelift::jit {
namespace {

constexpr uint64_t kStatusFlags = 0x8d5;
constexpr uint64_t kDirectionFlag = 0x400;

void FillComponent(std::mt19937_64& random, int component, CpuState* state) {
  uint32_t size = 0, offset = 0, ecx = 0, edx = 0;
  __cpuid_count(0xd, component, size, offset, ecx, edx);
  for (uint32_t i = 0; i < size; ++i) state->xsave[offset + i] = static_cast<uint8_t>(random());
}

// Where the kernel puts neither programs nor libraries, and sanitizers take memory for the program's.
constexpr uint64_t kLonelyAddress = 0x5660'0000'0000;
constexpr uint64_t kLonelyStep = uint64_t{8} << 30;

char* MapPages(bool lonely) {
  static int taken = 0;
  const uint64_t address = lonely ? kLonelyAddress + kLonelyStep * taken++ : 0;
  void* const pages = mmap(reinterpret_cast<void*>(address), MovedLoop::kBytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | (lonely ? MAP_FIXED_NOREPLACE : 0), -1, 0);
  EXPECT_NE(pages, MAP_FAILED);
  return static_cast<char*>(pages);
}

}  // namespace

MovedLoop::MovedLoop(const TestLoop& loop, bool lonely)
    : pages_(MapPages(lonely)),
      loop_{loop.name, pages_, pages_ + (loop.header - loop.begin), pages_ + (loop.end - loop.begin)} {
  std::memcpy(pages_, loop.begin, static_cast<size_t>(loop.end - loop.begin));
  mprotect(pages_, kBytes, PROT_READ | PROT_EXEC);
}

CpuState RandomState(std::mt19937_64& random, uint64_t* buffer, uint64_t passes) {
  CpuState state;
  std::memset(&state, 0, sizeof(state));
  for (uint64_t& gpr : state.gpr) gpr = random();
  state.gpr[kRdi] = reinterpret_cast<uint64_t>(buffer);
  state.gpr[kRsi] = passes;
  state.gpr[kRcx] = 0;
  state.rflags = 0x202 | (random() & (kStatusFlags | kDirectionFlag));

  const uint64_t mask = HostXsaveLayout().mask;
  const uint16_t control = 0x037f | (random() & 0xc00);  // x87: masked, random rounding
  const uint32_t mxcsr = 0x1f80 | (random() & 0xe03f);   // masked; random rounding, FTZ and sticky flags
  std::memcpy(state.xsave, &control, 2);
  state.xsave[4] = static_cast<uint8_t>(random());  // abridged tags
  std::memcpy(state.xsave + 24, &mxcsr, 4);
  for (int reg = 0; reg < 8; ++reg) {
    for (int i = 0; i < 10; ++i) state.xsave[32 + 16 * reg + i] = static_cast<uint8_t>(random());
  }
  for (int i = 160; i < 416; ++i) state.xsave[i] = static_cast<uint8_t>(random());
  for (int component : {2, 5, 6, 7}) {  // upper halves; masks; upper zmm halves; zmm16-31
    if (mask >> component & 1) FillComponent(random, component, &state);
  }
  const uint64_t present = mask & 0xe7;
  std::memcpy(state.xsave + 512, &present, 8);
  return state;
}

void RunLoop(const TestLoop& loop, uint64_t seed, uint64_t passes, RunResult* result) {
  std::mt19937_64 random(seed);
  static Buffer buffer;  // the same address each time: it is part of the state
  for (uint64_t& value : buffer) value = random();
  const CpuState in = RandomState(random, buffer.data(), passes);
  std::memset(&result->state, 0, sizeof(result->state));
  tl_test_call(&in, &result->state, loop.begin, HostXsaveLayout().mask);
  result->buffer = buffer;
}

std::string Difference(const RunResult& expected, const RunResult& actual) {
  std::string text;
  for (int i = 0; i < kGprCount; ++i) {
    if (expected.state.gpr[i] == actual.state.gpr[i]) continue;
    text += fmt::format("gpr[{}] {:#x} not {:#x}; ", i, actual.state.gpr[i], expected.state.gpr[i]);
  }
  if (expected.state.rflags != actual.state.rflags) {
    text += fmt::format("rflags {:#x} not {:#x}; ", actual.state.rflags, expected.state.rflags);
  }
  for (size_t i = 0; i < sizeof(expected.state.xsave); ++i) {
    if (expected.state.xsave[i] == actual.state.xsave[i]) continue;
    text += fmt::format("xsave[{}] {:#x} not {:#x}; ", i, actual.state.xsave[i], expected.state.xsave[i]);
    break;
  }
  for (size_t i = 0; i < expected.buffer.size(); ++i) {
    if (expected.buffer[i] == actual.buffer[i]) continue;
    text += fmt::format("buffer[{}] {:#x} not {:#x}; ", i, actual.buffer[i], expected.buffer[i]);
    break;
  }
  return text;
}

}  // namespace tracelift::jit
