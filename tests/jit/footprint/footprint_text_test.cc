#include "jit/footprint_text.h"

#include <gtest/gtest.h>

#include "tests/jit/footprint/programs.h"

namespace tracelift::jit {
namespace {

constexpr std::string_view kEverything =
    "slot rsp+24 bytes 8 rw instruction 0x401136\n"
    "slot rbp-16 bytes 4 r\n"
    "slot [0xffffffff80404040] bytes 16 w\n"
    "slot rbp-64 bytes 12 rw stored 0xf0\n"
    "slot *1+16 bytes 8 r\n"
    "slot rax+0 bytes 1 -\n"
    "slot fs:[0xfffffffffffffff8] bytes 8 w\n"
    "slot fs:rbx+8 bytes 8 rw\n"
    "slot fs:*2-4 bytes 4 r\n"
    "%0 = i64 const -9223372036854775808\n"
    "%1 = i64 gpr r15\n"
    "%2 = i32 slot 1+4\n"
    "%3 = i64 iv 1\n"
    "%4 = i64 add %0 %1\n"
    "%5 = i64 mul %4 %3\n"
    "%6 = i64 smax %4 %5\n"
    "%7 = i64 smin %4 %5\n"
    "%8 = i64 umax %4 %5\n"
    "%9 = i64 umin %4 %5\n"
    "%10 = i64 udiv %4 %5\n"
    "%11 = i64 zext %2 from i32\n"
    "%12 = i64 sext %2 from i32\n"
    "%13 = i1 trunc %12 from i64\n"
    "%14 = i64 fs\n"
    "%15 = i64 urem %4 %5\n"
    "%16 = i64 srem %4 %5\n"
    "loop 0 backedge %11\n"
    "loop 1 in 0 backedge unknown\n"
    "loop 2 in 1 backedge %10 must-divide\n"
    "loop 3 in 1 backedge %10 or %4 body\n"
    "read 16 at %5 in loop 1 safe instruction 0x401140\n"
    "write 1 at unknown in loop 0\n"
    "window 8 around %1 instruction 0x401148\n"
    "window 16 around %4\n";

TEST(FootprintText, ParsesWhatItPrints) {
  const FootprintProgram program = Parsed(kEverything);
  EXPECT_EQ(Print(program), kEverything);
  EXPECT_EQ(program.slots[1].displacement, -16);
  EXPECT_EQ(program.slots[2].base, -1);
  EXPECT_EQ(program.nodes[0].imm, INT64_MIN);
  EXPECT_EQ(program.nodes[1].imm, kR15);
  EXPECT_EQ(program.nodes[13].from, 64);
  EXPECT_EQ(program.loops[1].parent, 0);
  EXPECT_EQ(program.loops[1].backedge_taken, kNoExpr);
  EXPECT_TRUE(program.accesses[0].always_safe);
  EXPECT_EQ(program.accesses[0].instruction, 0x401140u);
  EXPECT_EQ(program.accesses[1].address, kNoExpr);
  EXPECT_EQ(program.windows[1].base, 4);
  EXPECT_EQ(program.windows[1].bytes, 16u);
}

TEST(FootprintText, IgnoresCommentsAndSpaces) {
  EXPECT_EQ(Print(Parsed("\n  # nothing\n   %0 =  i64   gpr rdi # base\n\n")), "%0 = i64 gpr rdi\n");
}

TEST(FootprintText, NamesTheLineAndTheProblem) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"%0 = i64 gpr rdi\n%2 = i64 iv 0\n", "line 2: nodes must be numbered in order"},
      {"%0 = i64 add %0 %0", "line 1: expected an earlier node"},
      {"%0 = i65 const 1", "line 1: expected a width"},
      {"%0 = i64 const 1 2", "line 1: too much on the line"},
      {"%0 = i64 const 1x", "line 1: expected a number"},
      {"%0 = i64 gpr eax", "line 1: expected a number or register"},
      {"%0 = i64 frob 1", "line 1: unknown operation"},
      {"loop 1 backedge unknown", "line 1: loops must be numbered in order"},
      {"loop 0 in 0 backedge unknown", "line 1: no such loop"},
      {"loop 0 backedge unknown or unknown", "line 1: expected the node of all iterations"},
      {"%0 = i64 fs 0", "line 1: too much on the line"},
      {"slot fs: bytes 8 r", "line 1: expected a slot"},
      {"slot rsp bytes 8 r", "line 1: expected a slot"},
      {"slot *0+8 bytes 8 r", "line 1: expected an earlier slot"},
      {"slot rsp+8 bytes 65 r", "line 1: a slot has 1 to 64 bytes"},
      {"loop 0 backedge %0", "a loop's count is not a node"},
      {"loop 0 backedge unknown\nread 8 at %3 in loop 0", "an access's address is not a node"},
      {"%0 = i64 const 0\nread 8 at %0 in loop 0", "an access is in no loop"},
      {"reed 8", "line 1: expected a node, slot, loop, read, write or window"},
  };
  for (const auto& [text, problem] : cases) {
    const auto program = ParseFootprintProgram(text);
    ASSERT_FALSE(program.has_value()) << text;
    EXPECT_TRUE(program.error().starts_with(problem)) << text << "\n" << program.error();
  }
}

}  // namespace
}  // namespace tracelift::jit
