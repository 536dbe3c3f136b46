#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "jit/footprint.h"
#include "jit/footprint_text.h"
#include "tests/jit/footprint/programs.h"

namespace tracelift::jit {
namespace {

struct Form {
  bool write = false;
  int64_t base = 0;
  uint32_t bytes = 8;
  std::vector<int64_t> stride;
  uint64_t slack = 0;
  bool slot = false;
};

std::unique_ptr<Footprint> Make(const std::vector<int64_t>& trips, const std::vector<Form>& forms) {
  auto footprint = std::make_unique<Footprint>();
  footprint->loop_count = static_cast<int>(trips.size());
  for (size_t k = 0; k < static_cast<size_t>(kMaxLoops); ++k) footprint->trip[k] = k < trips.size() ? trips[k] : 1;
  for (const Form& form : forms) {
    const auto index = static_cast<uint16_t>(footprint->form_count);
    AccessForm& out = footprint->forms[footprint->form_count++];
    out.base = static_cast<uint64_t>(0x10000000 + form.base);
    out.bytes = form.bytes;
    out.write = form.write;
    out.slack = form.slack;
    out.access = form.slot ? kSlotBase + index : index;
    out.low = out.base;
    out.high = out.base + form.slack + form.bytes;
    for (size_t k = 0; k < form.stride.size(); ++k) {
      out.stride[k] = form.stride[k];
      const int64_t reach = form.stride[k] * (trips[k] - 1);
      (reach < 0 ? out.low : out.high) += static_cast<uint64_t>(reach);
    }
  }
  return footprint;
}

Independence Verdict(const std::vector<int64_t>& trips, const std::vector<Form>& forms) {
  return CheckIndependent(*Make(trips, forms)).verdict;
}

constexpr int64_t kN = 1000;

TEST(Conflicts, RowsOfAMatrixProductAreIndependent) {
  MachineState state{};
  state.gpr[kRdi] = 0x10000000;
  state.gpr[kRsi] = 0x20000000;
  state.gpr[kRdx] = 0x30000000;
  state.gpr[kRcx] = kN;
  EXPECT_EQ(CheckIndependent(*Evaluated(kMatrixProduct, state)).verdict, Independence::kIndependent);
}

TEST(Conflicts, AMatrixProductIntoItsOwnOperandIsDependent) {
  MachineState state{};
  state.gpr[kRdi] = 0x10000000;
  state.gpr[kRsi] = 0x20000000;
  state.gpr[kRdx] = 0x10000000;
  state.gpr[kRcx] = kN;
  EXPECT_EQ(CheckIndependent(*Evaluated(kMatrixProduct, state)).verdict, Independence::kDependent);
}

TEST(Conflicts, AMapIntoAnOverlappingRangeDependsOnTheDistance) {
  MachineState state{};
  state.gpr[kRcx] = kN;
  state.gpr[kRsi] = 0x10000000;
  for (const int64_t distance : {-8 * kN - 8, -8 * kN, 8 * kN, 8 * kN + 4}) {
    state.gpr[kRdi] = static_cast<uint64_t>(0x10000000 + distance);
    EXPECT_EQ(CheckIndependent(*Evaluated(kMap, state)).verdict, Independence::kIndependent) << distance;
  }
  for (const int64_t distance :
       {-8 * kN + 8, -8 * kN + 1, int64_t{-8}, int64_t{-1}, int64_t{1}, int64_t{8}, 8 * kN - 1}) {
    state.gpr[kRdi] = static_cast<uint64_t>(0x10000000 + distance);
    EXPECT_EQ(CheckIndependent(*Evaluated(kMap, state)).verdict, Independence::kDependent) << distance;
  }
  state.gpr[kRdi] = 0x10000000;
  EXPECT_EQ(CheckIndependent(*Evaluated(kMap, state)).verdict, Independence::kIndependent) << "in place";
}

TEST(Conflicts, ColumnsOfARowMajorArrayAreIndependent) {
  EXPECT_EQ(Verdict({kN, kN}, {{.write = true, .stride = {8, 8 * kN}}, {.stride = {8, 8 * kN}}}),
            Independence::kIndependent);
}

TEST(Conflicts, OneColumnTooManyIsDependent) {
  EXPECT_EQ(Verdict({kN + 1, kN}, {{.write = true, .stride = {8, 8 * kN}}}), Independence::kDependent);
}

TEST(Conflicts, RealAndImaginaryPartsDoNotMeet) {
  // Writes the real parts of element i, reads the imaginary parts of all elements.
  EXPECT_EQ(Verdict({kN, kN}, {{.write = true, .stride = {16}}, {.base = 8, .stride = {0, 16}}}),
            Independence::kIndependent);
  EXPECT_EQ(Verdict({kN, kN}, {{.write = true, .stride = {16}}, {.base = 7, .stride = {0, 16}}}),
            Independence::kDependent);
}

TEST(Conflicts, LoopsThatRunBackwardsAreTheSame) {
  EXPECT_EQ(Verdict({kN, kN}, {{.write = true, .stride = {-8 * kN, -8}}, {.stride = {-8 * kN, 0}}}),
            Independence::kIndependent);
  EXPECT_EQ(Verdict({kN}, {{.write = true, .stride = {-8}}, {.base = -8, .stride = {-8}}}), Independence::kDependent);
}

TEST(Conflicts, ReversingAnArrayInPlaceIsDependentOnlyBeyondTheMiddle) {
  // a[i] <-> a[n-1-i] for the first `passes` i.
  const auto reverse = [](int64_t passes) {
    return Verdict({passes}, {{.write = true, .stride = {8}}, {.write = true, .base = 8 * (kN - 1), .stride = {-8}}});
  };
  EXPECT_EQ(reverse(kN / 2), Independence::kIndependent);
  EXPECT_EQ(reverse(kN / 2 + 1), Independence::kDependent);
}

TEST(Conflicts, BlocksOfABlockedArrayAreIndependent) {
  // Loop 0 over blocks of 64 columns; inside: rows, and the 64 columns.
  EXPECT_EQ(Verdict({16, kN, 64}, {{.write = true, .stride = {512, 16 * 512, 8}}, {.stride = {512, 16 * 512, 8}}}),
            Independence::kIndependent);
}

TEST(Conflicts, GaussSeidelIsDependent) {
  EXPECT_EQ(Verdict({kN, kN}, {{.write = true, .stride = {8 * kN, 8}}, {.base = -8 * kN, .stride = {8 * kN, 8}}}),
            Independence::kDependent);
}

TEST(Conflicts, RowElimationReadsThePivotRowAndWritesTheOthers) {
  EXPECT_EQ(Verdict({kN, kN}, {{.write = true, .base = 8 * kN, .stride = {8 * kN, 8}}, {.stride = {0, 8}}}),
            Independence::kIndependent);
  EXPECT_EQ(Verdict({kN, kN}, {{.write = true, .base = 8 * kN - 8, .stride = {8 * kN, 8}}, {.stride = {0, 8}}}),
            Independence::kDependent);
}

TEST(Conflicts, TheDiagonalIsItsRowsOwn) {
  // a[i][i] = f(a[i][0..n]), also for a matrix too large for a plain search.
  constexpr int64_t kLarge = 100000;
  EXPECT_EQ(Verdict({kLarge, kLarge}, {{.write = true, .stride = {8 * kLarge + 8}}, {.stride = {8 * kLarge, 8}}}),
            Independence::kIndependent);
}

TEST(Conflicts, WritingOnePlaceInEachPassIsDependent) {
  EXPECT_EQ(Verdict({2}, {{.write = true, .stride = {0}}}), Independence::kDependent);
  EXPECT_EQ(Verdict({1}, {{.write = true, .stride = {0}}}), Independence::kIndependent);
}

TEST(Conflicts, UnknownPlacesInATableAreNotCalledIndependent) {
  // A histogram as an interval: one of 256 counters.
  EXPECT_EQ(Verdict({kN}, {{.write = true, .bytes = 4, .stride = {0}, .slack = 1020}}), Independence::kUnknown);
}

TEST(Conflicts, AWrittenSlotConflictsWithOthersButNotWithItself) {
  const Form counter{.write = true, .base = 4096, .stride = {0}, .slot = true};
  EXPECT_EQ(Verdict({kN}, {counter, {.write = true, .base = 0, .bytes = 4, .stride = {4}}}),
            Independence::kIndependent);
  EXPECT_EQ(Verdict({kN}, {counter, {.base = 4096, .stride = {0}}}), Independence::kDependent);
  EXPECT_EQ(Verdict({1}, {counter, {.base = 4103, .stride = {0}}}), Independence::kDependent) << "within one pass too";
  EXPECT_EQ(Verdict({kN}, {counter, {.base = 4104, .stride = {0}, .slot = true}}), Independence::kIndependent);
  EXPECT_EQ(Verdict({kN}, {counter, {.base = 4100, .stride = {0}, .slot = true}}), Independence::kDependent);
  EXPECT_EQ(Verdict({kN}, {counter, {.base = 104, .stride = {8}}}), Independence::kDependent);
}

TEST(Conflicts, AReadSlotConflictsWithAWriteToItsBytes) {
  const Form bound{.base = 4096, .stride = {0}, .slot = true};
  EXPECT_EQ(Verdict({kN}, {bound, {.write = true, .base = 0, .stride = {8}}}), Independence::kDependent);
  EXPECT_EQ(Verdict({kN}, {bound, {.base = 0, .stride = {8}}}), Independence::kIndependent);
  EXPECT_EQ(Verdict({kN}, {bound, {.write = true, .base = 8, .stride = {16}}}), Independence::kIndependent);
}

TEST(Conflicts, NamesThePairThatConflicts) {
  const auto footprint =
      Make({kN}, {{.base = 1 << 20, .stride = {8}}, {.stride = {8}}, {.write = true, .base = 8, .stride = {8}}});
  const IndependenceResult result = CheckIndependent(*footprint);
  EXPECT_EQ(result.verdict, Independence::kDependent);
  EXPECT_EQ(result.first, 2);
  EXPECT_EQ(result.second, 1);
}

TEST(Conflicts, AStencilReadsAroundButWritesElsewhere) {
  std::vector<Form> forms{{.write = true, .base = 1 << 28, .stride = {8 * kN, 8}}};
  for (const int64_t offset : {-8 * kN, int64_t{-8}, int64_t{0}, int64_t{8}, 8 * kN}) {
    forms.push_back({.base = offset, .stride = {8 * kN, 8}});
  }
  EXPECT_EQ(Verdict({kN, kN}, forms), Independence::kIndependent);
  EXPECT_FALSE(ReadsWhatItWrites(*Make({kN, kN}, forms)));
  forms[0].base = 0;
  EXPECT_EQ(Verdict({kN, kN}, forms), Independence::kDependent);
  EXPECT_TRUE(ReadsWhatItWrites(*Make({kN, kN}, forms)));
}

// Every byte of every iteration: the obvious way.
struct Bytes {
  // iteration of loop 0 -> addresses
  std::map<int64_t, std::set<int64_t>> read, written;
};

template <typename Visit>
void ForAllCounters(const Footprint& footprint, const AccessForm& form, Visit visit) {
  int64_t i[kMaxLoops] = {};
  while (true) {
    visit(i);
    int k = footprint.loop_count - 1;
    while (k >= 0 && ++i[k] == footprint.TripOf(form, k)) i[k--] = 0;
    if (k < 0) return;
  }
}

bool Touches(const AccessForm& form, const int64_t* i, std::set<int64_t>* out) {
  auto address = static_cast<int64_t>(form.base);
  for (size_t k = 0; k < static_cast<size_t>(kMaxLoops); ++k) address += form.stride[k] * i[k];
  for (int64_t b = 0; b < static_cast<int64_t>(form.bytes + form.slack); ++b) out->insert(address + b);
  return true;
}

bool Meet(const std::set<int64_t>& a, const std::set<int64_t>& b) {
  for (const int64_t x : a) {
    if (b.contains(x)) return true;
  }
  return false;
}

struct Truth {
  bool dependent = false;
  bool reads_writes = false;
};

Truth BruteForce(const Footprint& footprint) {
  const auto forms = footprint.all();
  std::vector<std::map<int64_t, std::set<int64_t>>> touched(forms.size());
  std::vector<std::set<int64_t>> all(forms.size());
  for (size_t f = 0; f < forms.size(); ++f) {
    ForAllCounters(footprint, forms[f], [&](const int64_t* i) {
      Touches(forms[f], i, &touched[f][i[0] * footprint.phases + forms[f].phase]);
      Touches(forms[f], i, &all[f]);
    });
  }
  Truth truth;
  for (size_t w = 0; w < forms.size(); ++w) {
    if (!forms[w].write) continue;
    for (size_t a = 0; a < forms.size(); ++a) {
      const bool slot = forms[w].access >= kSlotBase || forms[a].access >= kSlotBase;
      if (slot && a == w) continue;
      if (slot) {
        truth.dependent |= Meet(all[w], all[a]);
      } else {
        for (const auto& [p, written] : touched[w]) {
          for (const auto& [q, other] : touched[a]) truth.dependent |= p != q && Meet(written, other);
        }
      }
      if (a != w && (!forms[a].write || forms[a].access >= kSlotBase)) truth.reads_writes |= Meet(all[w], all[a]);
    }
  }
  return truth;
}

// Deals the forms out to phases, each with inner loops of its own lengths.
template <typename Pick>
void InPhases(Footprint& footprint, int phases, Pick pick) {
  footprint.phases = phases;
  for (int phase = 0; phase < phases; ++phase) {
    footprint.phase_trip[phase][0] = (footprint.trip[0] - phase + phases - 1) / phases;
    for (int k = 1; k < footprint.loop_count; ++k) footprint.phase_trip[phase][k] = pick(1, footprint.trip[k]);
  }
  for (int f = 0; f < footprint.form_count; ++f) {
    if (footprint.forms[f].access < kSlotBase) footprint.forms[f].phase = static_cast<uint8_t>(pick(0, phases - 1));
  }
}

TEST(Conflicts, RedPointsOnlyReadBlackOnes) {
  for (const int64_t n : {100, 101}) {
    auto footprint = std::make_unique<Footprint>();
    footprint->loop_count = 2;
    footprint->phases = 2;
    footprint->trip[0] = n - 2;
    const auto add = [&](int phase, bool write, int64_t row, int64_t column) {
      AccessForm& form = footprint->forms[footprint->form_count];
      form.access = static_cast<uint16_t>(footprint->form_count++);
      form.base = static_cast<uint64_t>(0x10000000 + 8 * ((1 + phase + row) * n + 1 + phase + column));
      form.stride = {16 * n, 16};
      form.bytes = 8;
      form.write = write;
      form.phase = static_cast<uint8_t>(phase);
      form.low = 0;
      form.high = UINT64_MAX;
    };
    for (int phase = 0; phase < 2; ++phase) {
      footprint->phase_trip[phase][0] = (n - 2 - phase + 1) / 2;
      footprint->phase_trip[phase][1] = footprint->trip[1] = (n - 2 - phase + 1) / 2;
      add(phase, true, 0, 0);
      for (const int side : {-1, 0, 1}) add(phase, false, 0, side);
      for (const int side : {-1, 1}) add(phase, false, side, 0);
    }
    EXPECT_EQ(CheckIndependent(*footprint).verdict, Independence::kIndependent) << n;
    add(1, false, -1, 1);  // beside a point of the other colour lies one of the same
    EXPECT_EQ(CheckIndependent(*footprint).verdict, Independence::kDependent) << n;
  }
}

TEST(Conflicts, TheBruteForceKnowsADependenceWhenItSeesOne) {
  EXPECT_TRUE(BruteForce(*Make({4}, {{.write = true, .stride = {8}}, {.base = 8, .stride = {8}}})).dependent);
  EXPECT_FALSE(BruteForce(*Make({4}, {{.write = true, .stride = {8}}, {.stride = {8}}})).dependent);
}

TEST(Conflicts, AgreeWithEnumeratingAllBytes) {
  std::mt19937_64 random(20240607);
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  std::map<std::pair<bool, Independence>, int> seen;
  int reads_writes = 0;
  for (int round = 0; round < 60000; ++round) {
    std::vector<int64_t> trips(static_cast<size_t>(pick(1, 3)));
    for (int64_t& trip : trips) trip = pick(1, 5);
    // Half of the programs look like arrays: strides that divide each other, accesses that share them.
    const bool array = pick(0, 1) == 0;
    std::vector<int64_t> common(trips.size());
    int64_t unit = pick(1, 4);
    for (size_t k = trips.size(); k-- > 0;) {
      common[k] = unit * (pick(0, 3) == 0 ? -1 : 1);
      unit *= trips[k] + pick(-1, 2);
      if (unit == 0) unit = 1;
    }
    if (pick(0, 1) == 0 && common.size() > 1) std::swap(common.front(), common.back());
    const bool slack = pick(0, 9) == 0;
    std::vector<Form> forms(static_cast<size_t>(pick(1, 3)));
    for (Form& form : forms) {
      form.write = pick(0, 1) == 0;
      form.base = array ? pick(0, 2) * pick(0, 12) : pick(0, 60);
      form.bytes = static_cast<uint32_t>(pick(1, 4));
      form.slot = pick(0, 9) == 0;
      form.stride.assign(trips.size(), 0);
      if (slack && pick(0, 1) == 0) form.slack = static_cast<uint64_t>(pick(1, 6));
      for (size_t k = 0; k < trips.size() && !form.slot; ++k) {
        form.stride[k] = array ? (pick(0, 5) == 0 ? 0 : common[k]) : pick(-20, 20);
      }
    }
    const auto footprint = Make(trips, forms);
    if (pick(0, 2) == 0 && trips[0] > 1) InPhases(*footprint, static_cast<int>(pick(2, std::min<int64_t>(trips[0], 4))), pick);
    const Truth truth = BruteForce(*footprint);
    const IndependenceResult result = CheckIndependent(*footprint);
    ++seen[{truth.dependent, result.verdict}];
    if (truth.dependent) {
      ASSERT_NE(result.verdict, Independence::kIndependent) << Print(*footprint);
    } else {
      // The sets of bytes include the slack, so this is exact, too.
      ASSERT_EQ(result.verdict, Independence::kIndependent) << Print(*footprint);
    }
    if (!slack && truth.dependent) {
      ASSERT_EQ(result.verdict, Independence::kDependent) << Print(*footprint);
    }
    ASSERT_EQ(ReadsWhatItWrites(*footprint), truth.reads_writes) << Print(*footprint);
    reads_writes += truth.reads_writes;
  }
  std::printf("independent %d, dependent %d, unknown (slack) %d, reads what it writes %d\n",
              seen[{false, Independence::kIndependent}], seen[{true, Independence::kDependent}],
              seen[{true, Independence::kUnknown}], reads_writes);
  EXPECT_GT((seen[{false, Independence::kIndependent}]), 5000);
  EXPECT_GT((seen[{true, Independence::kDependent}]), 5000);
}

// By each pass of its own, and by each iteration of an access apart.
bool WritesTwice(const Footprint& footprint) {
  const auto forms = footprint.all();
  for (int64_t pass = 0; pass < footprint.trip[0]; ++pass) {
    std::set<int64_t> written;
    bool twice = false;
    for (const AccessForm& form : forms) {
      if (!form.write || form.access >= kSlotBase) continue;
      ForAllCounters(footprint, form, [&](const int64_t* i) {
        if (i[0] * footprint.phases + form.phase != pass) return;
        std::set<int64_t> bytes;
        Touches(form, i, &bytes);
        for (const int64_t at : bytes) twice |= !written.insert(at).second;
      });
    }
    if (twice) return true;
  }
  return false;
}

TEST(Conflicts, WritesOnceAgreesWithEnumeratingAllBytes) {
  std::mt19937_64 random(20261129);
  const auto pick = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
  int once = 0, twice = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<int64_t> trips(static_cast<size_t>(pick(1, 4)));
    for (int64_t& trip : trips) trip = pick(1, 4);
    std::vector<int64_t> common(trips.size());
    int64_t unit = pick(1, 4);
    for (size_t k = trips.size(); k-- > 0;) {
      common[k] = unit * (pick(0, 3) == 0 ? -1 : 1);
      unit *= trips[k] + pick(0, 2);
    }
    std::vector<Form> forms(static_cast<size_t>(pick(1, 3)));
    FootprintProgram program;
    for (size_t k = 0; k < trips.size(); ++k) program.loops.push_back({.parent = static_cast<int>(k) - 1});
    std::vector<uint16_t> writes;
    for (Form& form : forms) {
      form.write = pick(0, 3) > 0;
      form.base = pick(0, 2) * pick(0, 40);
      form.bytes = static_cast<uint32_t>(pick(1, 3));
      form.stride.assign(trips.size(), 0);
      for (size_t k = 0; k < trips.size(); ++k) form.stride[k] = pick(0, 9) == 0 ? pick(-9, 9) : common[k];
      if (form.write) writes.push_back(static_cast<uint16_t>(program.accesses.size()));
      program.accesses.push_back({.bytes = form.bytes, .write = form.write, .innermost_loop = static_cast<int>(trips.size()) - 1});
    }
    const auto footprint = Make(trips, forms);
    if (pick(0, 2) == 0 && trips[0] > 1) InPhases(*footprint, static_cast<int>(pick(2, trips[0])), pick);
    const bool expected = !WritesTwice(*footprint);
    ASSERT_EQ(WritesOnce(program, *footprint, writes), expected) << Print(*footprint);
    (expected ? once : twice) += 1;
  }
  EXPECT_GT(once, 2000);
  EXPECT_GT(twice, 2000);
}

TEST(Conflicts, HardEquationsEndInUnknownNotInAGuess) {
  // Strides without common structure over large ranges, and a single place of millions to find, or not.
  const std::vector<int64_t> trips{2, 200, 200, 200};
  int unknown = 0;
  for (int64_t base = 20'000'000; base < 20'000'200; ++base) {
    const Form write{.write = true, .bytes = 1, .stride = {int64_t{1} << 40, 100003, 100019, 0}};
    const Form read{.base = base, .bytes = 1, .stride = {0, 0, 0, -99991}};
    std::set<int64_t> read_places;
    for (int64_t k = 0; k < 200; ++k) read_places.insert(base - 99991 * k);
    bool meet = false;
    for (int64_t i = 0; i < 200; ++i) {
      for (int64_t j = 0; j < 200; ++j) meet |= read_places.contains(100003 * i + 100019 * j);
    }
    const Independence verdict = Verdict(trips, {write, read});
    unknown += verdict == Independence::kUnknown;
    if (verdict != Independence::kUnknown) {
      ASSERT_EQ(verdict, meet ? Independence::kDependent : Independence::kIndependent) << base;
    }
  }
  std::printf("undecided: %d of 200\n", unknown);
  EXPECT_GT(unknown, 0) << "else this test does not reach the limit";
}

}  // namespace
}  // namespace tracelift::jit
