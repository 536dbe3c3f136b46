// Against what really happens: every byte that every iteration of every pass touches.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "jit/footprint.h"

namespace tracelift::jit {
namespace {

struct TestAccess {
  bool write = false;
  uint8_t place = kWithinInner;
  int64_t base = 0, by_pass = 0, by_iteration = 0, by_inner = 0;  // the last within a loop in each iteration
  uint32_t bytes = 1;
};

struct Nest {
  int64_t passes = 1, length = 1, inner = 1;  // the loop makes `length` iterations in the first pass, then one more in each,
  bool grows = false;                         // the loop in it `inner`, or one more from iteration to iteration
  std::vector<TestAccess> accesses;

  int64_t InnerIn(int64_t iteration) const { return inner + (grows ? iteration : 0); }
};

class Builder {
 public:
  explicit Builder(FootprintProgram& program) : program_(program) {}
  ExprId Constant(int64_t value) { return Push({.op = ExprOp::kConst, .imm = value}); }
  ExprId Counter(int64_t loop) { return Push({.op = ExprOp::kIv, .imm = loop}); }
  ExprId Sum(ExprId a, ExprId b) { return Push({.op = ExprOp::kAdd, .a = a, .b = b}); }
  ExprId Times(ExprId a, int64_t by) { return Push({.op = ExprOp::kMul, .a = a, .b = Constant(by)}); }

 private:
  ExprId Push(ExprNode node) {
    program_.nodes.push_back(node);
    return static_cast<ExprId>(program_.nodes.size()) - 1;
  }
  FootprintProgram& program_;
};

// `skipped` passes come before those of the nest, all with fewer iterations.
int64_t SaidLead(const Nest& nest, int64_t skipped = 0) {
  FootprintProgram program;
  Builder build(program);
  Lead lead{.loop = 1, .places = {}};
  program.loops = {{.backedge_taken = build.Constant(1000)},
                   {.parent = 0, .backedge_taken = build.Sum(build.Counter(0), build.Constant(nest.length - 1 - skipped))},
                   {.parent = 1, .backedge_taken = build.Sum(build.Constant(nest.inner - 1), build.Times(build.Counter(1), nest.grows ? 1 : 0))}};
  for (const TestAccess& access : nest.accesses) {
    const bool within = access.place == kWithinInner;
    ExprId address = build.Sum(build.Constant(1'000'000 + access.base - access.by_pass * skipped), build.Times(build.Counter(0), access.by_pass));
    if (within) address = build.Sum(address, build.Times(build.Counter(1), access.by_iteration));
    if (within) address = build.Sum(address, build.Times(build.Counter(2), access.by_inner));
    lead.places.push_back(access.place);
    program.accesses.push_back({.address = address, .bytes = access.bytes, .write = access.write, .innermost_loop = within ? 2 : 0});
  }
  const auto footprint = std::make_unique<Footprint>();
  const auto state = std::make_unique<MachineState>();
  if (!Evaluate(program, *state, skipped + nest.passes, footprint.get())) return -1;
  return LeadOf(program, *state, *footprint, nest.passes, lead, nest.length);
}

// The longest lead of which no other order of what is in it and what is in earlier passes can be told.
int64_t RealLead(const Nest& nest) {
  struct Touch {
    int64_t pass, iteration;
    bool write;
    uint8_t place;
  };
  std::map<int64_t, std::vector<Touch>> touched;
  int64_t least = nest.length - 1;
  for (const TestAccess& access : nest.accesses) {
    for (int64_t pass = 0; pass < nest.passes; ++pass) {
      const bool within = access.place == kWithinInner;
      const auto touch = [&](int64_t iteration, int64_t inner) {
        const int64_t at = access.base + access.by_pass * pass +
                           (within ? access.by_iteration * iteration + access.by_inner * inner : 0);
        for (int64_t byte = at; byte < at + access.bytes; ++byte) touched[byte].push_back({pass, iteration, access.write, access.place});
      };
      if (!within) touch(0, 0);
      for (int64_t iteration = 0; within && iteration < nest.length + pass; ++iteration) {
        for (int64_t inner = 0; inner < nest.InnerIn(iteration); ++inner) touch(iteration, inner);
      }
    }
  }
  for (const auto& [byte, touches] : touched) {
    for (const Touch& a : touches) {
      for (const Touch& b : touches) {
        const bool leads = b.place == kWithinInner || ((b.place & kNeededWithin) != 0 && !b.write);
        const bool later = a.pass < b.pass && leads;
        const bool overtaken = a.pass == b.pass && (a.place & kAheadOfInner) != 0 && b.place == kWithinInner;
        if ((later || overtaken) && (a.write || b.write)) least = std::min(least, b.iteration);
      }
    }
  }
  return std::max<int64_t>(least, 0);
}

TEST(Lead, RowsNeedTheRowsAboveWholeFromTheirColumnOn) {
  // Rows 50 to 57 of a[100][100]: a[i][j] -= a[i][k] * a[j][k] for j <= i.
  Nest nest{8, 51, 1, true, {{true, kWithinInner, 800, 100, 1, 0, 1},
                        {false, kWithinInner, 800, 100, 0, 1, 1},
                        {false, kWithinInner, -4200, 0, 100, 1, 1}}};
  EXPECT_EQ(SaidLead(nest), 50);
  EXPECT_EQ(RealLead(nest), 50);
  nest.accesses.push_back({false, kAheadOfInner, 800 + 7, 100, 0, 0, 1});  // a[i][7] is read behind the lead now
  EXPECT_EQ(SaidLead(nest), 7);
  nest.accesses.back().place = kBehindInner;
  EXPECT_EQ(SaidLead(nest), 50);
  nest.accesses.back() = {true, kAheadOfInner, 700, 100, 0, 0, 1};  // of the row above
  EXPECT_EQ(SaidLead(nest), 49);
  nest.accesses.push_back({false, kAheadOfInner, 700, 100, 0, 0, 1});
  EXPECT_EQ(SaidLead(nest), 49);
  nest.accesses.back().place |= kNeededWithin;
  EXPECT_EQ(SaidLead(nest), 0);
}

TEST(Lead, IsTheLongestOneThatNobodyCouldTell) {
  std::mt19937 random(11);
  const auto any = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
  std::vector<uint8_t> places(9, kWithinInner);
  for (const int other : {int{kAheadOfInner}, int{kBehindInner}, kAheadOfInner | kNeededWithin}) places.push_back(static_cast<uint8_t>(other));
  int none = 0, some = 0, all = 0;
  for (int round = 0; round < 100'000; ++round) {
    Nest nest{any(1, 6), any(1, 8), any(1, 4), any(0, 1) == 0, {}};
    const int64_t row = any(-40, 40), step = any(-3, 3);
    for (int64_t count = any(1, 4); count > 0; --count) {
      const bool alike = any(0, 2) > 0;
      nest.accesses.push_back({.write = any(0, 1) == 0,
                               .place = places[static_cast<size_t>(any(0, 11))],
                               .base = any(-40, 40),
                               .by_pass = alike ? row : any(-40, 40) * any(0, 1),
                               .by_iteration = alike ? step : any(-14, 14),
                               .by_inner = any(-2, 2),
                               .bytes = static_cast<uint32_t>(any(1, 3))});
    }
    const int64_t right = RealLead(nest);
    const int64_t said = SaidLead(nest, any(0, nest.length - 1));
    ASSERT_LE(said, right) << "round " << round;
    if (!nest.grows) {  // else the inner loop is taken to be equally long in all iterations
      ASSERT_EQ(said, right) << "round " << round;
    }
    ++(said == 0 ? none : said == nest.length - 1 ? all : some);
  }
  EXPECT_GT(none, 10'000);
  EXPECT_GT(some, 3'000);
  EXPECT_GT(all, 10'000);
}

}  // namespace
}  // namespace tracelift::jit
