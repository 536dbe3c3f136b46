#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>

#include "jit/footprint.h"
#include "jit/footprint_text.h"
#include "tests/jit/footprint/programs.h"

namespace tracelift::jit {
namespace {

std::string Outcome(const FootprintProgram& program, const MachineState& state, int64_t iterations) {
  auto footprint = std::make_unique<Footprint>();
  const auto done = Evaluate(program, state, iterations, footprint.get());
  if (!done) return std::string(Name(done.error().reason));
  return Print(*footprint);
}

std::string TripCount(std::string_view text, const MachineState& state) {
  const auto taken = EvaluateTripCount(Parsed(text), state);
  return taken ? std::to_string(*taken) : std::string(Name(taken.error().reason));
}

MachineState WithRdi(uint64_t value) {
  MachineState state{};
  state.gpr[kRdi] = value;
  return state;
}

TEST(TripCounts, AreExactUnsignedNumbersOfTheirWidth) {
  constexpr std::string_view kMinusOne32 = R"(
    %0 = i64 gpr rdi
    %1 = i32 trunc %0 from i64
    %2 = i32 const -1
    %3 = i32 add %1 %2
    loop 0 backedge %3)";
  EXPECT_EQ(TripCount(kMinusOne32, WithRdi(10)), "9");
  EXPECT_EQ(TripCount(kMinusOne32, WithRdi(0xffff'ffff'0000'000a)), "9") << "the upper half is not looked at";
  EXPECT_EQ(TripCount(kMinusOne32, WithRdi(0)), "4294967295") << "wraps as the program's own counter does";
  constexpr std::string_view kDistance = R"(
    %0 = i64 gpr rdi
    %1 = i64 const -4096
    %2 = i64 add %0 %1
    %3 = i64 const 8
    %4 = i64 udiv %2 %3
    loop 0 backedge %4)";
  EXPECT_EQ(TripCount(kDistance, WithRdi(4096 + 80)), "10");
  EXPECT_EQ(TripCount(kDistance, WithRdi(4096 - 8)), "2305843009213693951");
}

TEST(TripCounts, ThatAreNotComputableOrEndlessFail) {
  EXPECT_EQ(TripCount("loop 0 backedge unknown", {}), "UnknownTripCount");
  EXPECT_EQ(TripCount("%0 = i64 gpr rdi\nloop 0 backedge %0", WithRdi(UINT64_MAX)), "UnknownTripCount");
  EXPECT_EQ(TripCount("%0 = i64 iv 0\nloop 0 backedge %0", {}), "UnknownTripCount");
  EXPECT_EQ(TripCount("%0 = i64 const 5\n%1 = i64 const 0\n%2 = i64 udiv %0 %1\nloop 0 backedge %2", {}),
            "UnknownTripCount");
  EXPECT_EQ(TripCount("", {}), "LoopsTooDeep") << "a program without loops has none";
}

TEST(TripCounts, OfStepsThatMissTheirBoundFail) {
  const std::string steps = "%0 = i64 gpr rdi\n%1 = i64 const 16\n%2 = i64 exactdiv %0 %1\nloop 0 backedge %2";
  EXPECT_EQ(TripCount(steps, WithRdi(160)), "10");
  EXPECT_EQ(TripCount(steps, WithRdi(168)), "UnknownTripCount");
}

TEST(TripCounts, ReadSlotsAtTheirWidth) {
  MachineState state{};
  const uint64_t value = 0xffff'ffff'ffff'fff0;
  std::memcpy(state.slot[2].bytes.data(), &value, sizeof value);
  EXPECT_EQ(TripCount("%0 = i8 slot 2\nloop 0 backedge %0", state), "240");
  EXPECT_EQ(TripCount("%0 = i8 slot 2\n%1 = i64 sext %0 from i8\n%2 = i64 const 17\n%3 = i64 add %1 %2\n"
                      "loop 0 backedge %3",
                      state),
            "1");
}

TEST(Evaluation, FindsDataOfTheThreadAtItsOwnBase) {
  MachineState state = WithRdi(-32);
  constexpr std::string_view kProgram =
      "slot fs:[0x28] bytes 8 r\n"
      "slot fs:rdi+8 bytes 4 w\n"
      "%0 = i64 fs\n%1 = i64 gpr rdi\n%2 = i64 add %0 %1\n%3 = i64 iv 0\n%4 = i64 add %2 %3\n"
      "loop 0 backedge %1\n"
      "read 1 at %4 in loop 0\n";
  for (const uint64_t base : {0x7f0000001000, 0x7f0000002000}) {
    state.fs_base = base;
    EXPECT_EQ(Outcome(Parsed(kProgram), state, 4),
              fmt::format("trips 4\nread 1 at {0:#x} +1*i0 in [{0:#x},{1:#x})\nread 8 at {2:#x} in [{2:#x},{3:#x})\n"
                          "write 4 at {4:#x} in [{4:#x},{5:#x})\n",
                          base - 32, base - 28, base + 0x28, base + 0x30, base - 24, base - 20));
  }
}

TEST(Evaluation, GivesTheFormsOfAMatrixProduct) {
  MachineState state{};
  state.gpr[kRdi] = 0x10000;
  state.gpr[kRsi] = 0x20000;
  state.gpr[kRdx] = 0x30000;
  state.gpr[kRcx] = 16;
  EXPECT_EQ(Outcome(Parsed(kMatrixProduct), state, 4),
            "trips 4 16 16\n"
            "read 8 at 0x10000 +128*i0 +8*i1 in [0x10000,0x10200)\n"
            "write 8 at 0x10000 +128*i0 +8*i1 in [0x10000,0x10200)\n"
            "read 8 at 0x20000 +128*i0 +8*i2 in [0x20000,0x20200)\n"
            "read 8 at 0x30000 +8*i1 +128*i2 in [0x30000,0x30800)\n");
}

TEST(Evaluation, CountsDownWithA32BitIndex) {
  // for (int i = edi - 1; i >= 0; --i) a[i], the step held zero-extended in a register.
  MachineState state = WithRdi(100);
  state.gpr[kRsi] = 0x10000;
  state.gpr[kRdx] = 0xffffffff;
  EXPECT_EQ(Outcome(Parsed(R"(
    %0 = i64 gpr rdi
    %1 = i32 trunc %0 from i64
    %2 = i32 const -1
    %3 = i32 add %1 %2
    %4 = i64 gpr rdx
    %5 = i32 trunc %4 from i64
    %6 = i64 iv 0
    %7 = i32 mul %5 %6
    %8 = i32 add %3 %7
    %9 = i64 sext %8 from i32
    %10 = i64 const 4
    %11 = i64 mul %9 %10
    %12 = i64 gpr rsi
    %13 = i64 add %12 %11
    loop 0 backedge %3
    write 4 at %13 in loop 0)"),
                    state, 100),
            "trips 100\nwrite 4 at 0x1018c -4*i0 in [0x10000,0x10190)\n");
}

TEST(Evaluation, RefusesAnIndexThatWraps) {
  constexpr std::string_view kWrapping = R"(
    %0 = i64 gpr rdi
    %1 = i32 trunc %0 from i64
    %2 = i64 iv 0
    %3 = i32 add %1 %2
    %4 = i64 zext %3 from i32
    loop 0 backedge %0
    read 1 at %4 in loop 0)";
  EXPECT_EQ(Outcome(Parsed(kWrapping), WithRdi(0xfffffff0), 16),
            "trips 16\nread 1 at 0xfffffff0 +1*i0 in [0xfffffff0,0x100000000)\n");
  EXPECT_EQ(Outcome(Parsed(kWrapping), WithRdi(0xfffffff0), 17), "IndirectAddress");
}

// for i: for j = 1 + (i + colour) % 2; j < 9; j += 2: touch u[10 i + j], doubles; rdi: u, rsi: the colour.
constexpr std::string_view kColours = R"(
  %0 = i64 gpr rsi
  %1 = i64 iv 0
  %2 = i64 add %0 %1
  %3 = i1 trunc %2 from i64
  %4 = i64 zext %3 from i1
  %5 = i64 const -1
  %6 = i64 mul %5 %4
  %7 = i64 const 7
  %8 = i64 add %7 %6
  %9 = i64 const 2
  %10 = i64 udiv %8 %9         # of 1, 3, 5, 7 and of 2, 4, 6, 8, times round again
  %11 = i64 gpr rdi
  %12 = i64 const 80
  %13 = i64 mul %12 %1
  %14 = i64 add %11 %13
  %15 = i64 const 8
  %16 = i64 mul %15 %4
  %17 = i64 add %14 %16
  %18 = i64 const 16
  %19 = i64 iv 1
  %20 = i64 mul %18 %19
  %21 = i64 add %17 %20
  %22 = i64 const 3
  loop 0 backedge %22
  loop 1 in 0 backedge %10
  write 8 at %21 in loop 1
)";

TEST(Evaluation, RemaindersOfThePassAreExactInPhases) {
  MachineState state = WithRdi(0x10000);
  EXPECT_EQ(Print(*Evaluated(kColours, state)),
            "trips 4 4 in 2 phases\n"
            "phase 0: write 8 at 0x10000 +160*i0 +16*i1 in [0x10000,0x100d8)\n"
            "phase 1: write 8 at 0x10058 +160*i0 +16*i1 in [0x10058,0x10130)\n");
  state.gpr[kRsi] = 1;
  EXPECT_EQ(Print(*Evaluated(kColours, state)),
            "trips 4 4 in 2 phases\n"
            "phase 0: write 8 at 0x10008 +160*i0 +16*i1 in [0x10008,0x100e0)\n"
            "phase 1: write 8 at 0x10050 +160*i0 +16*i1 in [0x10050,0x10128)\n");
}

TEST(Evaluation, RemaindersOfInnerCountersAndUnknownBitsAreIntervals) {
  constexpr std::string_view kInner = R"(
    %0 = i64 iv 1
    %1 = i2 trunc %0 from i64
    %2 = i64 zext %1 from i2
    %3 = i1 any
    %4 = i64 zext %3 from i1
    %5 = i64 const 100
    %6 = i64 mul %4 %5
    %7 = i64 add %2 %6
    %8 = i64 gpr rdi
    %9 = i64 add %7 %8
    loop 0 backedge %5
    loop 1 in 0 backedge %5
    read 1 at %9 in loop 1)";
  EXPECT_EQ(Outcome(Parsed(kInner), WithRdi(0x10000), 5), "trips 5 101\nread 1 at 0x10000 +[0,103] in [0x10000,0x10068)\n");
}

TEST(Evaluation, OnePassHasNoPhases) {
  EXPECT_EQ(Outcome(Parsed(kColours), WithRdi(0x10000), 1), "trips 1 4\nwrite 8 at 0x10000 +72*i0 +16*i1 in [0x10000,0x10038)\n");
}

TEST(Evaluation, RefusesAddressesThatAreNotTheProgramsOwn) {
  constexpr std::string_view kPlain = "%0 = i64 gpr rdi\nloop 0 backedge %0\nread 8 at %0 in loop 0";
  EXPECT_EQ(Outcome(Parsed(kPlain), WithRdi((uint64_t{1} << 47) - 8), 1),
            "trips 1\nread 8 at 0x7ffffffffff8 in [0x7ffffffffff8,0x800000000000)\n");
  EXPECT_EQ(Outcome(Parsed(kPlain), WithRdi((uint64_t{1} << 47) - 7), 1), "UnmappedMemory");
  EXPECT_EQ(Outcome(Parsed(kPlain), WithRdi(UINT64_MAX), 1), "UnmappedMemory");
}

TEST(Evaluation, TakesInnerTripCountsAtTheirLargest) {
  // for i < 10: for j <= i.
  constexpr std::string_view kTriangle = R"(
    %0 = i64 iv 0
    %1 = i64 iv 1
    %2 = i64 gpr rdi
    %3 = i64 add %2 %1
    %4 = i64 const 9
    loop 0 backedge %4
    loop 1 in 0 backedge %0
    write 1 at %3 in loop 1)";
  EXPECT_EQ(Outcome(Parsed(kTriangle), WithRdi(4096), 10), "trips 10 10\nwrite 1 at 0x1000 +1*i1 in [0x1000,0x100a)\n");
}

TEST(Evaluation, AnInnerLoopOfUnknownLengthOnlyMattersToWhatMovesInIt) {
  constexpr std::string_view kStays = R"(
    %0 = i64 iv 0
    %1 = i64 iv 1
    %2 = i64 gpr rdi
    %3 = i64 add %2 %0
    %4 = i64 add %2 %1
    loop 0 backedge %2
    loop 1 in 0 backedge unknown
    write 1 at %3 in loop 1)";
  EXPECT_EQ(Outcome(Parsed(kStays), WithRdi(4096), 10),
            "trips 10 9223372036854775807\nwrite 1 at 0x1000 +1*i0 in [0x1000,0x100a)\n");
  EXPECT_EQ(Outcome(Parsed(std::string(kStays) + "\nread 1 at %4 in loop 1"), WithRdi(4096), 10), "UnknownTripCount");
}

TEST(Evaluation, AnUnknownAddressNamesItsInstruction) {
  const FootprintProgram program =
      Parsed("%0 = i64 const 3\nloop 0 backedge %0\nwrite 8 at unknown in loop 0 instruction 0x401000");
  static Footprint footprint;
  const auto done = Evaluate(program, {}, 4, &footprint);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().reason, RejectionReason::kIndirectAddress);
  EXPECT_EQ(done.error().instruction, 0x401000u);
}

TEST(Evaluation, AProductOfTwoCountersBecomesAnInterval) {
  // a[i * j]: no stride, but a known range.
  EXPECT_EQ(Outcome(Parsed(R"(
    %0 = i64 iv 0
    %1 = i64 iv 1
    %2 = i64 mul %0 %1
    %3 = i64 gpr rdi
    %4 = i64 add %3 %2
    %5 = i64 const 4
    loop 0 backedge %5
    loop 1 in 0 backedge %5
    read 1 at %4 in loop 1)"),
                    WithRdi(4096), 5),
            "trips 5 5\nread 1 at 0x1000 +[0,16] in [0x1000,0x1011)\n");
}

TEST(Evaluation, AppendsTheSlots) {
  MachineState state{};
  state.gpr[kRsp] = 0x7fff0000;
  const std::string text = Outcome(Parsed("slot rsp-8 bytes 4 rw\nslot [0x404040] bytes 8 r\n"
                                          "%0 = i64 const 3\nloop 0 backedge %0"),
                                   state, 4);
  EXPECT_EQ(text,
            "trips 4\nwrite 4 at 0x7ffefff8 in [0x7ffefff8,0x7ffefffc)\nread 8 at 0x404040 in [0x404040,0x404048)\n");
}

// What the CPU computes: every node as an unsigned number of its width.
class Machine {
 public:
  Machine(const FootprintProgram& program, const MachineState& state) : program_(program), state_(state) {}

  uint64_t Value(ExprId id, const int64_t* iv) const {
    const ExprNode& node = program_.nodes[static_cast<size_t>(id)];
    const auto mask = [](uint64_t value, int width) {
      return width == 64 ? value : value & ((uint64_t{1} << width) - 1);
    };
    const auto sign = [](uint64_t value, int width) {
      return static_cast<int64_t>(value << (64 - width)) >> (64 - width);
    };
    const int w = node.width;
    const uint64_t a = node.a < 0 ? 0 : Value(node.a, iv);
    const uint64_t b = node.b < 0 ? 0 : Value(node.b, iv);
    switch (node.op) {
      case ExprOp::kConst:
        return mask(static_cast<uint64_t>(node.imm), w);
      case ExprOp::kGpr:
        return mask(state_.gpr[static_cast<size_t>(node.imm)], w);
      case ExprOp::kFsBase:
        return mask(state_.fs_base, w);
      case ExprOp::kSlot:
        return 0;
      case ExprOp::kIv:
        return mask(static_cast<uint64_t>(iv[node.imm]), w);
      case ExprOp::kAny: {
        uint64_t number = static_cast<uint64_t>(id);
        for (int k = 0; k < kMaxLoops; ++k) number = (number ^ static_cast<uint64_t>(iv[k])) * 0x9e3779b97f4a7c15;
        return number >> (64 - w);
      }
      case ExprOp::kModule:
        return mask(state_.module_base[static_cast<size_t>(node.imm)], w);
      case ExprOp::kAdd:
        return mask(a + b, w);
      case ExprOp::kMul:
        return mask(a * b, w);
      case ExprOp::kSMax:
        return sign(a, w) > sign(b, w) ? a : b;
      case ExprOp::kSMin:
        return sign(a, w) < sign(b, w) ? a : b;
      case ExprOp::kUMax:
        return std::max(a, b);
      case ExprOp::kUMin:
        return std::min(a, b);
      case ExprOp::kUDiv:
      case ExprOp::kExactDiv:
        return b == 0 ? 0 : a / b;
      case ExprOp::kURem:
        return b == 0 ? 0 : a % b;
      case ExprOp::kSRem:
        return sign(b, w) < 1 ? 0 : mask(static_cast<uint64_t>(sign(a, w) % sign(b, w)), w);
      case ExprOp::kZext:
        return a;
      case ExprOp::kSext:
        return mask(static_cast<uint64_t>(sign(a, node.from)), w);
      case ExprOp::kTrunc:
        return mask(a, w);
    }
    return 0;
  }

 private:
  const FootprintProgram& program_;
  const MachineState& state_;
};

// Random programs: a value of 8, 16, 32 or 64 bits from counters, registers and constants, extended to an address.
class RandomProgram {
 public:
  explicit RandomProgram(std::mt19937_64& random) : random_(random) {
    static constexpr int kWidths[] = {8, 8, 16, 32, 64};
    loops_ = 1 + Below(3);
    program.loops.resize(static_cast<size_t>(loops_));
    for (int k = 1; k < loops_; ++k) {
      program.loops[static_cast<size_t>(k)].parent = k - 1;
      visible_ = k;  // a count only depends on the counters around it
      if (Below(3) != 0) {
        program.loops[static_cast<size_t>(k)].backedge_taken =
            Below(2) == 0 ? Const(8, Below(6)) : Tree(kWidths[Below(5)], 1 + Below(2));
      }
    }
    visible_ = loops_;
    for (int n = 1 + Below(2); n > 0; --n) {
      const int width = kWidths[Below(5)];
      ExprId value = Tree(width, 1 + Below(4));
      if (width < 64) value = Cast(Below(2) == 0 ? ExprOp::kZext : ExprOp::kSext, 64, width, value);
      const ExprId base = Const(64, 1 << 20);
      Access access;
      access.address = Push({.op = ExprOp::kAdd, .a = base, .b = value});
      access.bytes = static_cast<uint32_t>(1 + Below(8));
      access.innermost_loop = loops_ - 1;
      program.accesses.push_back(access);
    }
    state.fs_base = Below(2) == 0 ? static_cast<uint64_t>(Below(20) - 10) : random_();
    for (auto& gpr : state.gpr) gpr = Below(2) == 0 ? static_cast<uint64_t>(Below(20) - 10) : random_();
  }

  FootprintProgram program;
  MachineState state{};

 private:
  int Below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  ExprId Push(ExprNode node) {
    program.nodes.push_back(node);
    return static_cast<ExprId>(program.nodes.size() - 1);
  }
  ExprId Const(int width, int64_t value) {
    return Push({.op = ExprOp::kConst, .width = static_cast<uint8_t>(width), .imm = value});
  }
  ExprId Cast(ExprOp op, int width, int from, ExprId a) {
    return Push({.op = op, .width = static_cast<uint8_t>(width), .from = static_cast<uint8_t>(from), .a = a});
  }
  ExprId Leaf(int width) {
    switch (Below(4)) {
      case 0: {
        const int gpr = Below(kGprCount + 1);
        const ExprId whole = gpr < kGprCount ? Push({.op = ExprOp::kGpr, .imm = gpr}) : Push({.op = ExprOp::kFsBase});
        return width == 64 ? whole : Cast(ExprOp::kTrunc, width, 64, whole);
      }
      case 1:
        return Const(width, Below(4) == 0 ? static_cast<int64_t>(random_()) : Below(40) - 20);
      default:
        return Push({.op = ExprOp::kIv, .width = static_cast<uint8_t>(width), .imm = Below(visible_)});
    }
  }
  ExprId Tree(int width, int depth) {
    if (depth == 0) return Leaf(width);
    const uint8_t w = static_cast<uint8_t>(width);
    switch (Below(13)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const ExprId a = Tree(width, depth - 1);
        return Push({.op = ExprOp::kAdd, .width = w, .a = a, .b = Tree(width, depth - 1)});
      }
      case 4:
      case 5: {
        const ExprId a = Below(4) == 0 ? Tree(width, depth - 1) : Const(width, Below(30) - 15);
        return Push({.op = ExprOp::kMul, .width = w, .a = a, .b = Tree(width, depth - 1)});
      }
      case 6: {
        static constexpr ExprOp kExtrema[] = {ExprOp::kSMax, ExprOp::kSMin, ExprOp::kUMax, ExprOp::kUMin};
        const ExprId a = Tree(width, depth - 1);
        return Push({.op = kExtrema[Below(4)], .width = w, .a = a, .b = Tree(width, depth - 1)});
      }
      case 7: {
        const ExprId a = Tree(width, depth - 1);
        const ExprId b = Below(4) == 0 ? Tree(width, depth - 1) : Const(width, 1 + Below(6));
        return Push({.op = Below(2) == 0 ? ExprOp::kUDiv : ExprOp::kExactDiv, .width = w, .a = a, .b = b});
      }
      case 8: {  // what is left modulo a small power of two
        const int bits = 1 + Below(3);
        const ExprId rest = Below(6) == 0 ? Push({.op = ExprOp::kAny, .width = static_cast<uint8_t>(bits)})
                                          : Cast(ExprOp::kTrunc, bits, width, Tree(width, depth - 1));
        return Cast(Below(4) == 0 ? ExprOp::kSext : ExprOp::kZext, width, bits, rest);
      }
      case 9: {
        if (width == 64) return Cast(Below(2) == 0 ? ExprOp::kZext : ExprOp::kSext, 64, 32, Tree(32, depth - 1));
        if (width > 8) return Cast(Below(2) == 0 ? ExprOp::kZext : ExprOp::kSext, width, 8, Tree(8, depth - 1));
        return Cast(ExprOp::kTrunc, 8, 32, Tree(32, depth - 1));
      }
      case 10: {
        const ExprId a = Tree(width, depth - 1);
        const ExprId b = Below(4) == 0 ? Tree(width, depth - 1) : Const(width, 1 + Below(6));
        return Push({.op = Below(2) == 0 ? ExprOp::kURem : ExprOp::kSRem, .width = w, .a = a, .b = b});
      }
      case 11:
        if (width < 64) return Cast(ExprOp::kTrunc, width, 64, Tree(64, depth - 1));
        [[fallthrough]];
      default:
        return Leaf(width);
    }
  }

  std::mt19937_64& random_;
  int loops_ = 1;
  int visible_ = 1;
};

// Runs the nest as the CPU would; false when it is too long to run.
template <typename Visit>
bool RunNest(const FootprintProgram& program, const Machine& machine, int64_t iterations, size_t k, int64_t* iv,
             int64_t* budget, Visit visit) {
  if (k == program.loops.size()) {
    visit();
    return --*budget > 0;
  }
  const ExprId taken = program.loops[k].backedge_taken;
  // Of a loop with unknown count, some passes stand for all.
  uint64_t last = k == 0 ? static_cast<uint64_t>(iterations - 1) : taken == kNoExpr ? 3 : machine.Value(taken, iv);
  for (uint64_t i = 0; i <= last; ++i) {
    iv[k] = static_cast<int64_t>(i);
    if (!RunNest(program, machine, iterations, k + 1, iv, budget, visit)) return false;
  }
  return true;
}

TEST(Evaluation, CoversEveryAddressThatTheMachineComputes) {
  std::mt19937_64 random(4711);
  std::map<std::string, int> outcomes;
  int64_t addresses = 0, with_slack = 0, with_stride = 0, with_phases = 0;
  auto footprint = std::make_unique<Footprint>();
  for (int round = 0; round < 200000; ++round) {
    const RandomProgram candidate(random);
    const int64_t iterations = 1 + static_cast<int64_t>(random() % 12);
    const auto done = Evaluate(candidate.program, candidate.state, iterations, footprint.get());
    if (!done) {
      ++outcomes[std::string(Name(done.error().reason))];
      continue;
    }
    ++outcomes["ok"];
    const Machine machine(candidate.program, candidate.state);
    int64_t iv[kMaxLoops] = {};
    int64_t budget = 3000;
    with_phases += footprint->phases > 1;
    for (const AccessForm& form : footprint->all()) {
      with_slack += form.slack != 0;
      for (const int64_t stride : form.stride) with_stride += stride != 0;
    }
    RunNest(candidate.program, machine, iterations, 0, iv, &budget, [&] {
      for (int k = 0; k < footprint->loop_count; ++k) ASSERT_LT(iv[k], footprint->trip[k]) << Print(candidate.program);
      AccessForm of_phase;
      of_phase.phase = static_cast<uint8_t>(iv[0] % footprint->phases);
      for (int k = 1; k < footprint->loop_count; ++k) ASSERT_LT(iv[k], footprint->TripOf(of_phase, k)) << Print(candidate.program);
      ASSERT_LT(iv[0] / footprint->phases, footprint->TripOf(of_phase, 0));
      for (const AccessForm& form : footprint->all()) {
        if (form.phase != iv[0] % footprint->phases) continue;
        const uint64_t address = machine.Value(candidate.program.accesses[form.access].address, iv);
        uint64_t expected = form.base;
        for (size_t k = 0; k < static_cast<size_t>(kMaxLoops); ++k) {
          const int64_t i = k == 0 ? iv[0] / footprint->phases : iv[k];
          expected += static_cast<uint64_t>(form.stride[k]) * static_cast<uint64_t>(i);
        }
        ASSERT_LE(address - expected, form.slack) << Print(candidate.program) << Print(*footprint);
        ASSERT_GE(address, form.low);
        ASSERT_LE(address + form.bytes, form.high);
        ++addresses;
      }
    });
    if (HasFatalFailure()) return;
  }
  for (const auto& [name, count] : outcomes) std::printf("%s: %d\n", name.c_str(), count);
  std::printf("addresses compared: %lld, forms with slack: %lld, strides: %lld, footprints with phases: %lld\n", static_cast<long long>(addresses),
              static_cast<long long>(with_slack), static_cast<long long>(with_stride), static_cast<long long>(with_phases));
  EXPECT_GT(with_phases, 1000);
  EXPECT_GT(outcomes["ok"], 50000);
  EXPECT_GT(with_slack, 1000);
  EXPECT_GT(with_stride, 10000);
}

// u[8 * ((i + rsi) % 10)] for i < rcx, as ints.
TEST(Evaluation, RemaindersAreExactUntilTheyBeginAgain) {
  const auto touched = [](std::string_view op, uint64_t first, uint64_t passes) {
    MachineState state = WithRdi(0x10000);
    state.gpr[kRsi] = first;
    state.gpr[kRcx] = passes - 1;
    return Print(*Evaluated("%0 = i64 gpr rsi\n%1 = i32 trunc %0 from i64\n%2 = i32 iv 0\n%3 = i32 add %1 %2\n%4 = i32 const 10\n%5 = i32 " +
                                std::string(op) + " %3 %4\n%6 = i64 sext %5 from i32\n%7 = i64 const 8\n%8 = i64 mul %7 %6\n" +
                                "%9 = i64 gpr rdi\n%10 = i64 add %9 %8\n%11 = i64 gpr rcx\nloop 0 backedge %11\nread 8 at %10 in loop 0\n",
                            state));
  };
  EXPECT_EQ(touched("urem", 23, 7), touched("urem", 3, 7)) << "33 would begin again";
  EXPECT_NE(touched("urem", 3, 7), touched("urem", 3, 8));
  EXPECT_EQ(touched("urem", 3, 8), touched("srem", 3, 8));
  EXPECT_EQ(touched("urem", 3, 8), touched("urem", 6, 8)) << "from then on they may be any";
  EXPECT_NE(touched("urem", 3, 8), touched("srem", static_cast<uint64_t>(-1), 8)) << "below zero leaves less than zero";
}

TEST(Evaluation, CostOfAMatrixProduct) {
  MachineState state{};
  state.gpr[kRdi] = 0x10000000;
  state.gpr[kRsi] = 0x20000000;
  state.gpr[kRdx] = 0x30000000;
  state.gpr[kRcx] = 1000;
  const FootprintProgram program = Parsed(kMatrixProduct);
  auto footprint = std::make_unique<Footprint>();
  constexpr int kRounds = 20000;
  const auto time = [](auto&& body) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kRounds; ++i) body();
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count() / kRounds;
  };
  int64_t sum = 0;
  ByteRange ranges[16];
  const double trip = time([&] { sum += *EvaluateTripCount(program, state); });
  const double evaluate = time([&] { sum += Evaluate(program, state, 1000, footprint.get()).has_value(); });
  const double check = time([&] { sum += CheckIndependent(*footprint).verdict == Independence::kIndependent; });
  const double collect = time([&] { sum += static_cast<int64_t>(CollectRanges(*footprint, ranges)); });
  std::printf("trip count %.0f ns, evaluate %.0f ns, check %.0f ns, ranges %.0f ns\n", trip, evaluate, check, collect);
  EXPECT_EQ(sum, kRounds * (999 + 1 + 1 + 3)) << "each round did its work";
}

TEST(IterationsPerPass, AreThoseOfAllLoopsOfTheNest) {
  MachineState state{};
  state.gpr[kRcx] = 10;
  EXPECT_EQ(IterationsPerPass(Parsed(kMatrixProduct), state, 10), 1 + 10 + 100);
  state.gpr[kRcx] = 3;
  EXPECT_EQ(IterationsPerPass(Parsed(kMatrixProduct), state, 3), 1 + 3 + 9);
  EXPECT_EQ(IterationsPerPass(Parsed(kMap), state, 3), 1);
}

TEST(IterationsPerPass, CountLoopsOfWhichNothingIsKnownOnce) {
  const MachineState state = WithRdi(7);
  EXPECT_EQ(IterationsPerPass(Parsed("%0 = i64 gpr rdi\nloop 0 backedge %0\nloop 1 in 0 backedge unknown\nloop 2 in 1 backedge %0"), state, 7),
            1 + 1 + 8);
  EXPECT_EQ(IterationsPerPass(Parsed("loop 0 backedge unknown"), state, 0), 1);
}

TEST(Evaluate, WindowsHaveBasesThatDoNotChange) {
  MachineState state{};
  state.gpr[kRdi] = 0x10000;
  state.gpr[kRcx] = 9;
  const auto footprint = Evaluated(R"(
  %0 = i64 gpr rdi
  %1 = i64 const 24
  %2 = i64 add %0 %1
  %3 = i64 gpr rcx
  loop 0 backedge %3
  window 8 around %2
  window 4 around %0
)", state);
  ASSERT_EQ(footprint->window_count, 2);
  EXPECT_EQ(footprint->window_base[0], 0x10018u);
  EXPECT_EQ(footprint->window_base[1], 0x10000u);
}

TEST(Evaluate, WindowsOfWhichTheBaseChangesFail) {
  MachineState state{};
  Footprint footprint;
  const FootprintProgram program = Parsed("%0 = i64 iv 0\nloop 0 backedge %0\nwindow 8 around %0 instruction 0x401000\n");
  const auto done = Evaluate(program, state, 10, &footprint);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason, RejectionReason::kIndirectAddress);
  EXPECT_EQ(done.error().instruction, 0x401000u);
}

// for i < 5: for j < i: for k < j, which some iterations pass by.
constexpr std::string_view kTriangle = R"(
  %0 = i64 const -1
  %1 = i64 iv 0
  %2 = i64 iv 1
  %3 = i64 iv 2
  %4 = i64 const 4
  %5 = i64 add %1 %0
  %6 = i64 add %2 %0
  %7 = i64 const 65536
  %8 = i64 add %7 %3
  loop 0 backedge %4
  loop 1 in 0 backedge %5 or %1
  loop 2 in 1 backedge %6 or %2
  read 1 at %8 in loop 2
)";

TEST(Evaluate, LoopsThatAreSometimesPassedByHaveTheLengthOfOthers) {
  const auto footprint = Evaluated(kTriangle, {});
  EXPECT_EQ(footprint->trip[1], 4);
  EXPECT_EQ(footprint->trip[2], 3);
  ASSERT_EQ(footprint->form_count, 1);
  EXPECT_EQ(footprint->forms[0].high, 65536u + 3);
  MachineState state{};
  Footprint none;
  FootprintProgram without = Parsed(kTriangle);
  without.loops[2].trips = kNoExpr;
  EXPECT_FALSE(Evaluate(without, state, 5, &none));
}

TEST(Evaluate, TripsInOnePass) {
  const FootprintProgram program = Parsed(kTriangle);
  MachineState state{};
  int64_t trips[kMaxLoops];
  for (int64_t pass = 2; pass < 5; ++pass) {
    ASSERT_TRUE(TripsIn(pass, program, state, /*capped=*/-1, 0, trips));
    EXPECT_EQ(trips[0], 1);
    EXPECT_EQ(trips[1], pass);
    EXPECT_EQ(trips[2], pass - 1);
  }
  ASSERT_TRUE(TripsIn(4, program, state, /*capped=*/1, 2, trips));
  EXPECT_EQ(trips[1], 2);
  EXPECT_EQ(trips[2], 1);
  FootprintProgram endless = program;
  endless.loops[1] = {.parent = 0};
  EXPECT_FALSE(TripsIn(4, endless, state, -1, 0, trips));
}

}  // namespace
}  // namespace tracelift::jit
