// Elements of memory that are masked off are not touched: here they would lie in a page that is not mapped.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <string>

#include "tests/jit/lift/loop_lifting.h"

namespace tracelift::jit {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kMappedBytes = 12;  // three elements of 32 bits

/// The last bytes before a page that is not mapped.
uint8_t* EndOfMemory() {
  static uint8_t* const end = [] {
    void* pages = mmap(nullptr, 2 * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    auto* const second = static_cast<uint8_t*>(pages) + kPageBytes;
    return mprotect(second, kPageBytes, PROT_NONE) == 0 ? second : nullptr;
  }();
  return end;
}

/// Runs `instruction` once, lifted, with k1 = `mask` and rdi before the last mapped bytes.
MachineState RunOnce(const std::string& instruction, uint64_t mask) {
  const auto rdi = reinterpret_cast<uint64_t>(EndOfMemory() - kMappedBytes);
  return RunLoop({.text = "kmovq k1, rax; " + instruction + "; dec rcx; jnz @L", .gpr = {{kRax, mask}, {kRcx, 9}, {kRdi, rdi}}}).state;
}

class MaskedMemory : public testing::Test {
 protected:
  void SetUp() override {
    if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) GTEST_SKIP() << "no AVX-512";
    ASSERT_NE(EndOfMemory(), nullptr);
    for (size_t i = 0; i < kMappedBytes; ++i) EndOfMemory()[i - kMappedBytes] = static_cast<uint8_t>(i + 1);
  }
};

TEST_F(MaskedMemory, IsNotRead) {
  for (const char* instruction :
       {"vmovups zmm1{k1}{z}, [rdi]", "vmovdqu32 ymm1{k1}{z}, [rdi]", "vpaddd zmm1{k1}, zmm1, [rdi]",
        "vpord zmm1{k1}{z}, zmm2, [rdi]", "vpexpandd zmm1{k1}{z}, [rdi]", "vpblendmd zmm1{k1}, zmm2, [rdi]"}) {
    const MachineState state = RunOnce(instruction, 7);
    EXPECT_EQ(std::memcmp(state.vector[1].bytes.data(), EndOfMemory() - kMappedBytes, kMappedBytes), 0) << instruction;
    EXPECT_EQ(state.vector[1].bytes[kMappedBytes], 0) << instruction;
  }
  EXPECT_EQ(RunOnce("vmovdqu8 zmm1{k1}{z}, [rdi]", 0xfff).vector[1].bytes[11], 12);
  EXPECT_EQ(RunOnce("vpmovzxbd zmm1{k1}{z}, [rdi]", 0xfff).vector[1].bytes[44], 12);
  EXPECT_EQ(RunOnce("vptestmd k2{k1}, zmm1, [rdi]", 7).mask[2], 0u);
}

TEST_F(MaskedMemory, IsNotReadAtAllWithoutABit) {
  for (const char* instruction :
       {"vpaddd zmm1{k1}, zmm1, dword ptr [rdi+64]{1to16}", "vmovss xmm1{k1}, [rdi+64]", "vmovsd xmm1{k1}{z}, [rdi+64]",
        "vaddss xmm1{k1}, xmm1, [rdi+64]", "vpgatherdd zmm1{k1}, [rdi+zmm2*4+64]", "vmovups zmm1{k1}, [rdi+64]"}) {
    EXPECT_EQ(RunOnce(instruction, 0).vector[1].bytes[0], 0) << instruction;
  }
}

TEST_F(MaskedMemory, IsNotWritten) {
  for (const char* instruction : {"vmovups [rdi]{k1}, zmm1", "vpcompressd [rdi]{k1}, zmm1", "vmovdqu32 [rdi]{k1}, ymm1"}) {
    SetUp();
    RunOnce(instruction, 7);
    EXPECT_EQ(EndOfMemory()[-1], 0) << instruction;
  }
  SetUp();
  RunOnce("vpmovdb [rdi]{k1}, zmm1", 0xffe);
  EXPECT_EQ(EndOfMemory()[-static_cast<int>(kMappedBytes)], 1);
  EXPECT_EQ(EndOfMemory()[-1], 0);
  for (const char* instruction : {"vmovss [rdi+64]{k1}, xmm1", "vpscatterdd [rdi+zmm2*4+64]{k1}, zmm1", "vmovups [rdi+64]{k1}, zmm1"}) {
    RunOnce(instruction, 0);
  }
}

TEST_F(MaskedMemory, ReadsTheElementsBeforeIt) { EXPECT_EQ(RunOnce("vmovupd zmm1{k1}{z}, [rdi]", 1).vector[1].bytes[7], 8); }

}  // namespace
}  // namespace tracelift::jit
