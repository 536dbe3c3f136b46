// Whole libraries of the system: every function found, decoded, and checked.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/jit/code/function_invariants.h"
#include "tests/jit/code/loaded_library.h"

namespace tracelift::jit {
namespace {

class Library : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    library_ = LoadedLibrary::Open(GetParam());
    if (!library_.has_value()) GTEST_SKIP() << GetParam() << " is not installed";
  }
  std::optional<LoadedLibrary> library_;
};

TEST_P(Library, EveryFdeIsFoundFromItsFirstAndItsLastByte) {
  const std::vector<uint64_t> begins = library_->TableBegins();
  ASSERT_GT(begins.size(), 50u);
  for (uint64_t begin : begins) {
    const auto range = FindFunctionBounds(*library_, library_->eh_frame_hdr(), begin);
    ASSERT_TRUE(range.has_value()) << std::hex << begin;
    EXPECT_EQ(range->begin, begin);
    EXPECT_EQ(FindFunctionBounds(*library_, library_->eh_frame_hdr(), range->end - 1), range);
  }
}

TEST_P(Library, BoundsBeginAtTheFunctionSymbols) {
  const std::vector<uint64_t> symbols = library_->FunctionSymbols();
  ASSERT_GT(symbols.size(), 50u);
  size_t agree = 0;
  for (uint64_t symbol : symbols) {
    const auto range = FindFunctionBounds(*library_, library_->eh_frame_hdr(), symbol);
    agree += range.has_value() && range->begin == symbol;
  }
  // Hand-written functions of libc have several symbols, or no FDE.
  EXPECT_GE(agree, symbols.size() * 99 / 100) << "of " << symbols.size();
}

TEST_P(Library, EveryFunctionDecodesToAConsistentGraph) {
  size_t decoded = 0, rejected = 0, loops = 0, accepted = 0, slots = 0;
  std::set<std::string_view> reasons;
  for (uint64_t begin : library_->TableBegins()) {
    const auto range = FindFunctionBounds(*library_, library_->eh_frame_hdr(), begin);
    ASSERT_TRUE(range.has_value());
    const auto function = DecodeFunction(*library_, *range);
    if (!function.has_value()) {
      ++rejected;
      reasons.insert(Name(function.error().reason));
      continue;
    }
    ++decoded;
    ASSERT_EQ(BrokenInvariant((*function)->decoded()), "") << std::hex << begin;
    loops += (*function)->loops().size();
    for (size_t l = 0; l < (*function)->loops().size(); ++l) {
      const auto facts = AnalyseLoop((*function)->decoded(), static_cast<LoopId>(l));
      accepted += facts.has_value();
      if (facts.has_value()) slots += facts->slots.size();
      if (!facts.has_value()) reasons.insert(Name(facts.error().reason));
    }
  }
  EXPECT_LE(rejected, decoded / 50);
  EXPECT_GT(accepted, 10u);
  std::string all;
  for (std::string_view reason : reasons) all += " " + std::string(reason);
  GTEST_LOG_(INFO) << decoded << " functions, " << rejected << " rejected, " << loops << " loops, " << accepted
                   << " accepted, " << slots << " slots; reasons:" << all;
}

INSTANTIATE_TEST_SUITE_P(System, Library, testing::Values("libm.so.6", "libblas.so.3", "libc.so.6", "libstdc++.so.6"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           name.erase(std::remove_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }),
                                      name.end());
                           return name;
                         });

}  // namespace
}  // namespace tracelift::jit
