#include "jit/code/never_returns.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/jit/buffer_reader.h"

namespace tracelift::jit {
namespace {

constexpr uint64_t kBase = 0x1000;
constexpr uint64_t kAbort = 0x2000;  // `call kAbort` from offset n: e8, kAbort - (kBase + n + 5)

/// HasNoWayOut of this code at kBase, where calls of kAbort do not return; and how many others it asked about.
std::pair<bool, size_t> Examine(const std::vector<uint8_t>& code) {
  const BufferReader reader(kBase, code);
  std::set<uint64_t> asked;
  const bool never = HasNoWayOut(reader, {kBase, kBase + code.size()}, [&](uint64_t callee) {
    asked.insert(callee);
    return callee == kAbort;
  });
  return {never, asked.size()};
}

TEST(NeverReturns, NamesOfTheStandardLibraries) {
  for (const char* name : {"abort", "exit", "__stack_chk_fail", "__cxa_throw", "longjmp", "_Unwind_Resume", "siglongjmp",
                           "_ZSt20__throw_length_errorPKc", "_ZSt9terminatev", "_gfortran_stop_string", "_Exit"}) {
    EXPECT_TRUE(IsKnownNotToReturn(name)) << name;
  }
  for (const char* name : {"", "printf", "aborted", "_ZSt4moveIRdEv", "_ZSt3absd", "exi", "xerbla_"}) {
    EXPECT_FALSE(IsKnownNotToReturn(name)) << name;
  }
}

TEST(NeverReturns, AReturnIsAWayOut) {
  EXPECT_EQ(Examine({0xc3}), std::pair(false, size_t{0}));
  // xor eax, eax; je +1; ud2... ; ret
  EXPECT_EQ(Examine({0x31, 0xc0, 0x74, 0x02, 0x0f, 0x0b, 0xc3}).first, false);
  EXPECT_EQ(Examine({0x0f, 0x0b}).first, true);
  EXPECT_EQ(Examine({0xeb, 0xfe}).first, true) << "jmp to itself";
}

TEST(NeverReturns, WhatFollowsACallThatReturnsIsReached) {
  // call kBase + 0x800; ret
  EXPECT_EQ(Examine({0xe8, 0xfb, 0x07, 0, 0, 0xc3}), std::pair(false, size_t{1}));
  // call kAbort; ret
  EXPECT_EQ(Examine({0xe8, 0xfb, 0x0f, 0, 0, 0xc3}), std::pair(true, size_t{1}));
  // call kBase + 0x800; call kAbort, the last bytes
  EXPECT_EQ(Examine({0xe8, 0xfb, 0x07, 0, 0, 0xe8, 0xf6, 0x0f, 0, 0}), std::pair(true, size_t{2}));
}

TEST(NeverReturns, CallsAreAskedAboutOnlyWhenNothingElseIsReached) {
  // je +5; call kAbort; ret
  EXPECT_EQ(Examine({0x74, 0x05, 0xe8, 0xf9, 0x0f, 0, 0, 0xc3}), std::pair(false, size_t{0}));
}

TEST(NeverReturns, AJumpElsewhereDoesWhatIsDoneThere) {
  EXPECT_EQ(Examine({0xe9, 0xfb, 0x0f, 0, 0}), std::pair(true, size_t{1}));
  EXPECT_EQ(Examine({0xe9, 0xfb, 0x07, 0, 0}), std::pair(false, size_t{1}));
  EXPECT_EQ(Examine({0xff, 0xe0}).first, false) << "jmp rax";
  EXPECT_EQ(Examine({0x0f, 0x84, 0xfa, 0x0f, 0, 0, 0x0f, 0x0b}).first, false) << "je, into the middle for all we know";
}

TEST(NeverReturns, WhatCannotBeReadMayReturn) {
  EXPECT_EQ(Examine({0x06}).first, false);
  const BufferReader reader(kBase, {0x0f, 0x0b});
  EXPECT_FALSE(HasNoWayOut(reader, {kBase, kBase + 3}, [](uint64_t) { return true; }));
  EXPECT_FALSE(HasNoWayOut(reader, {kBase, kBase}, [](uint64_t) { return true; }));
}

}  // namespace
}  // namespace tracelift::jit
