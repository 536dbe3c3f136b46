#include "offload/cli/coverage_summary.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tracelift::offload {
namespace {

constexpr const char* kNothing[] = {nullptr};
constexpr const char* kCpuid[] = {"cpuid", nullptr};
constexpr const char* kCpuidAndLock[] = {"cpuid", "lock add", nullptr};

TlCoveredLoop Loop(uint32_t float_use, uint32_t instructions, const char* reason = nullptr,
                   const char* const* unlifted = kNothing, uint32_t uses_x87 = 0) {
  return {.function = 0x1000,
          .header = 0x1010,
          .depth = 1,
          .is_innermost = 1,
          .instructions = instructions,
          .float_use = float_use,
          .uses_x87 = uses_x87,
          .reason = reason,
          .what = reason == nullptr ? "" : "in words",
          .detail = reason == nullptr ? "" : "cpuid",
          .at = 0x1014,
          .unlifted = unlifted};
}

Coverage Example() {
  Coverage coverage;
  coverage.AddLoop(Loop(kTlFloatVector, 10));
  coverage.AddLoop(Loop(kTlFloatVector, 30, "UnsupportedInstruction", kCpuid));
  coverage.AddLoop(Loop(kTlFloatScalar, 7, "UnsupportedInstruction", kCpuidAndLock, 1));
  coverage.AddLoop(Loop(kTlFloatNone, 5));
  coverage.AddLoop(Loop(kTlFloatNone, 5, "CallInLoop"));
  const TlUndecodedFunction undecoded{0x2000, 99, "FunctionTooLarge", "too large"};
  coverage.AddUndecoded(undecoded);
  coverage.AddTotals({.functions = 4, .function_bytes = 1000, .unusable_entries = 2});
  return coverage;
}

TEST(Coverage, WeighsByLoopsAndByInstructions) {
  const Coverage coverage = Example();
  const LoopCount vector = coverage.by_float_use[kTlFloatVector];
  EXPECT_EQ(vector.loops, 2u);
  EXPECT_EQ(vector.liftable_loops, 1u);
  EXPECT_EQ(vector.instructions, 40u);
  EXPECT_EQ(vector.liftable_instructions, 10u);
  EXPECT_EQ(coverage.All().loops, 5u);
  EXPECT_EQ(coverage.All().liftable_loops, 2u);
  EXPECT_EQ(coverage.All().instructions, 57u);
}

TEST(Coverage, CountsAFormAloneWhereNothingElseIsMissing) {
  const Coverage coverage = Example();
  EXPECT_EQ(coverage.forms.at("cpuid").loops, 2u);
  EXPECT_EQ(coverage.forms.at("cpuid").alone, 1u);
  EXPECT_EQ(coverage.forms.at("lock add").loops, 1u);
  EXPECT_EQ(coverage.forms.at("lock add").alone, 0u);
}

TEST(Coverage, RendersATable) {
  EXPECT_EQ(RenderCoverageTable("libx.so", Example(), {}),
            "libx.so: 4 functions, 5 innermost loops, 40.0% can be lifted\n"
            "                    loops  liftable           instructions  liftable        \n"
            "  vector float          2         1   50.0%             40        10   25.0%\n"
            "  scalar float          1         0    0.0%              7         0    0.0%\n"
            "  integer only          2         1   50.0%             10         5   50.0%\n"
            "  all                   5         2   40.0%             57        15   26.3%\n"
            "  of these x87          1         0    0.0%              7         0    0.0%\n"
            "  reasons against             loops  instructions\n"
            "  UnsupportedInstruction          2            37   in words\n"
            "  CallInLoop                      1             5   in words\n"
            "  not lifted               in loops      alone in\n"
            "  cpuid                           2             1\n"
            "  lock add                        1             0\n"
            "  1 functions (99 of 1000 bytes) were not decoded, their loops are not counted: FunctionTooLarge\n"
            "  2 entries of the unwind tables are unusable, loops of those functions are not counted\n");
}

TEST(Coverage, SaysNothingOfRatesOfNothing) {
  const std::string table = RenderCoverageTable("x", Coverage{}, {.innermost_only = false, .floats_only = true});
  EXPECT_TRUE(table.starts_with("x: 0 functions, 0 loops with floats, - can be lifted\n")) << table;
  EXPECT_EQ(table.find("integer only"), std::string::npos);
}

TEST(Coverage, JsonHasFilesProblemsAndTheirSum) {
  const std::vector<CoveredFile> files = {{"a", "", Example()}, {"b\xff", "not an ELF file", {}}, {"c", "", Example()}};
  const auto json = nlohmann::json::parse(RenderCoverageJson(files, {}));
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["loops"], "innermost");
  EXPECT_EQ(json["files"][0]["classes"]["vector_float"]["loops"], 2);
  EXPECT_EQ(json["files"][0]["rejected"].size(), 3u);
  EXPECT_EQ(json["files"][0]["rejected"][0]["header"], 0x1010);
  EXPECT_EQ(json["files"][1]["problem"], "not an ELF file");
  EXPECT_FALSE(json["files"][1].contains("classes"));
  EXPECT_EQ(json["total"]["classes"]["all"]["loops"], 10);
  EXPECT_EQ(json["total"]["classes"]["x87"]["loops"], 2);
  EXPECT_EQ(json["total"]["reasons"][0]["reason"], "UnsupportedInstruction");
  EXPECT_EQ(json["total"]["reasons"][0]["loops"], 4);
  EXPECT_EQ(json["total"]["not_lifted"][0]["alone"], 2);
  EXPECT_EQ(json["total"]["undecoded"][0]["bytes"], 198);
}

}  // namespace
}  // namespace tracelift::offload
