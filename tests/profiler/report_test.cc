#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <sstream>

#include "profiler/run_report.h"

namespace tracelift::profiler {
namespace {

RunReport Example() {
  RunReport report;
  report.tracelift_version = "0.1.0";
  report.command = {"./matmul", "2000"};
  report.pid = 4242;
  report.machine = "AMD EPYC 9B45, 2 cores";
  report.target_cpu = "znver4";
  report.state = "active";
  report.wall_ms = 3200;
  report.cpu_ms = 6100;
  report.samples = 3020;
  report.lost_samples = 2;
  report.sampling_source = "perf cpu-clock";
  report.sampling_cost_ms = 3.5;
  report.compile_ms = 84;
  report.load_ms = 30;
  report.time_saved_ms = 2900;
  report.cache = "/home/u/.cache/tracelift: 1 found, 1 compiled, 1 kept";
  report.graph = "graph v1\n";
  report.plan = "metis: 12.3 ms against 20.1 ms at home";
  report.notes = {"GPU: none"};

  RegionReport stays;
  stays.module = "/usr/lib/libprefix.so.1";
  stays.offset = 0x55d0;
  stays.sample_share = 0.021;
  stays.state = "rejected";
  stays.reason = "CarriedValue";
  stays.reason_text =
      "an iteration needs a value computed by the one before it at 0x55d0; would need: an algorithm with "
      "independent iterations";
  report.regions.push_back(stays);

  RegionReport moves;
  moves.module = "/home/u/matmul";
  moves.offset = 0x11f0;
  moves.symbol = "multiply+0x40";
  moves.source = "matmul.c:14";
  moves.callers = {"main", "__libc_start_call_main"};
  moves.sample_share = 0.973;
  moves.samples = 2938;
  moves.state = "accelerated";
  moves.place = "cpu x2";
  moves.executions = 1;
  moves.declines = 3;
  moves.decline_reasons = {{"TooLittleWork", 2}, {"NotANumber", 1}};
  moves.passes = 1999;
  moves.native = {8, 2.4e6, 2.3e6, 2.6e6};
  moves.variant = {90, 1.0e6, 0.99e6, 1.03e6};
  moves.time_saved_ns = 2.8e9;
  moves.verified = 4;
  moves.lift_ms = 3;
  moves.analyse_ms = 5;
  moves.optimise_ms = 50;
  moves.emit_ms = 26;
  moves.from_cache = 1;
  moves.transformation = "4 passes together";
  moves.variants = {{"4 passes together", "runs", {90, 1.0e6, 0.99e6, 1.03e6}}, {"8 passes side by side in vectors", "slower", {9, 1.5e6, 1.4e6, 1.6e6}}};
  moves.fetch_ms = 0.5;
  moves.heat_to_run_ms = 62.5;
  report.regions.push_back(moves);
  return report;
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string ErrorOf(const std::string& text) {
  auto report = FromJson(text);
  return report ? "no error" : report.error();
}

TEST(RunReport, SurvivesARoundTrip) {
  RunReport report = Example();
  std::string text = ToJson(report);
  auto read = FromJson(text);
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(ToJson(*read), text);
  EXPECT_EQ(read->regions[1].decline_reasons, report.regions[1].decline_reasons);
  EXPECT_EQ(read->regions[1].from_cache, report.regions[1].from_cache);
  EXPECT_EQ(read->regions[1].transformation, report.regions[1].transformation);
  ASSERT_EQ(read->regions[1].variants.size(), 2u);
  EXPECT_EQ(read->regions[1].variants[1].state, "slower");
  EXPECT_EQ(read->regions[1].variants[1].pass.median_ns, 1.5e6);
  EXPECT_EQ(read->regions[1].heat_to_run_ms, report.regions[1].heat_to_run_ms);
  EXPECT_EQ(read->cache, report.cache);
  EXPECT_EQ(read->regions[1].native.median_ns, 2.4e6);
  EXPECT_EQ(read->pid, 4242);
}

TEST(RunReport, KeepsTheExtremesOfEveryNumber) {
  RunReport report = Example();
  report.samples = std::numeric_limits<uint64_t>::max();
  report.pid = std::numeric_limits<int64_t>::min();
  report.regions[0].native.median_ns = std::numeric_limits<double>::quiet_NaN();
  report.regions[0].time_saved_ns = -5e-324;
  auto read = FromJson(ToJson(report));
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(read->samples, report.samples);
  EXPECT_EQ(read->pid, report.pid);
  EXPECT_TRUE(std::isnan(read->regions[0].native.median_ns));
  EXPECT_EQ(read->regions[0].time_saved_ns, -5e-324);
}

TEST(RunReport, ReplacesBytesThatAreNotUtf8) {
  RunReport report = Example();
  report.command = {"./a\xff\xfe", std::string("nul\0in", 6)};
  auto read = FromJson(ToJson(report));
  ASSERT_TRUE(read) << read.error();
  EXPECT_NE(read->command[0].find("./a"), std::string::npos);
  EXPECT_EQ(read->command[1], report.command[1]);
}

TEST(RunReport, NamesForeignFiles) {
  EXPECT_NE(ErrorOf("").find("empty"), std::string::npos);
  EXPECT_NE(ErrorOf("\n \n").find("empty"), std::string::npos);
  EXPECT_NE(ErrorOf("\x7f"
                    "ELF")
                .find("not a tracelift report"),
            std::string::npos);
  EXPECT_NE(ErrorOf("[1, 2]").find("not a tracelift report"), std::string::npos);
  EXPECT_NE(ErrorOf("{\"format\": \"other\"}").find("not a tracelift report"), std::string::npos);
  EXPECT_NE(ErrorOf(std::string(100000, '[')).find("not a tracelift report"), std::string::npos);
}

TEST(RunReport, NamesDamageAndWhereItIs) {
  std::string text = ToJson(Example());
  EXPECT_NE(ErrorOf(text.substr(0, text.size() / 2)).find("cut off at byte"), std::string::npos)
      << ErrorOf(text.substr(0, text.size() / 2));
  EXPECT_NE(ErrorOf(Replaced(text, "\"pid\": 4242", "\"pid\": 42 42")).find("damaged at byte"), std::string::npos);
  EXPECT_EQ(ErrorOf(Replaced(text, "\"pid\": 4242", "\"pid\": \"x\"")),
            "the report is damaged: field 'pid' should be a whole number, found string");
  EXPECT_EQ(ErrorOf(Replaced(text, "\"symbol\": \"multiply+0x40\",", "")),
            "the report is damaged: field 'regions[1].symbol' is missing");
  EXPECT_EQ(ErrorOf(Replaced(text, "\"samples\": 2938", "\"samples\": -1")),
            "the report is damaged: field 'regions[1].samples' should be a whole number of at least 0, found -1");
}

TEST(RunReport, RefusesAnotherVersionAndNamesTheWriter) {
  std::string text = Replaced(ToJson(Example()), "\"version\": 4", "\"version\": 7");
  EXPECT_NE(ErrorOf(text).find("version 7, this tracelift reads 4; use the tracelift that wrote it (\"0.1.0\")"),
            std::string::npos)
      << ErrorOf(text);
}

TEST(RunReport, AnswersEveryDamagedByteWithAValueOrAnError) {
  std::string text = ToJson(Example());
  std::mt19937 random(1);
  int errors = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string damaged = text;
    for (int flips = 1 + random() % 4; flips > 0; --flips) damaged[random() % damaged.size()] = random() & 255;
    if (random() % 3 == 0) damaged.resize(random() % damaged.size());
    auto read = FromJson(damaged);
    errors += !read;
    if (read) {
      EXPECT_FALSE(RenderTable(*read).empty());
    }
  }
  EXPECT_GT(errors, 2000);
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(ReportTable, ShowsTheRegionsByShareWithTheirTimes) {
  std::string table = RenderTable(Example());
  size_t fast = table.find("multiply+0x40"), slow = table.find("libprefix.so.1+0x55d0");
  ASSERT_NE(fast, std::string::npos) << table;
  ASSERT_NE(slow, std::string::npos) << table;
  EXPECT_LT(fast, slow);
  EXPECT_NE(table.find("2.40 ms +-8%"), std::string::npos) << table;
  EXPECT_NE(table.find("1.00 ms +-3%"), std::string::npos) << table;
  EXPECT_NE(table.find("2.40x"), std::string::npos) << table;
  EXPECT_NE(table.find("cpu x2"), std::string::npos) << table;
  EXPECT_NE(table.find("matmul.c:14, matmul+0x11f0, called from main < __libc_start_call_main"), std::string::npos)
      << table;
  EXPECT_NE(table.find("4 slices verified equal"), std::string::npos) << table;
  EXPECT_NE(table.find("3 of 4 entries left to the original code: TooLittleWork x2, NotANumber x1"), std::string::npos)
      << table;
}

TEST(ReportTable, ShowsWhyARegionStayedOnTheNextLine) {
  std::vector<std::string> lines = Lines(RenderTable(Example()));
  for (size_t i = 0; i + 1 < lines.size(); ++i) {
    if (!lines[i].starts_with("libprefix.so.1+0x55d0")) continue;
    EXPECT_TRUE(lines[i + 1].starts_with("  rejected: CarriedValue: an iteration needs")) << lines[i + 1];
    EXPECT_TRUE(lines[i].ends_with("home")) << lines[i];
    return;
  }
  FAIL() << "the region is not in the table";
}

TEST(ReportTable, ShowsTheTotalsAndThePlan) {
  std::string table = RenderTable(Example());
  EXPECT_NE(table.find("sampling: 3020 samples (2 lost) from perf cpu-clock, cost 3.50 ms (0.06% of CPU time)"),
            std::string::npos)
      << table;
  EXPECT_NE(table.find("compiling: 84.0 ms (lift 3.00 ms, analyse 5.00 ms, optimise 50.0 ms, emit 26.0 ms)"),
            std::string::npos)
      << table;
  EXPECT_NE(table.find("cache: /home/u/.cache/tracelift: 1 found, 1 compiled, 1 kept; looked up in 500 us"), std::string::npos)
      << table;
  EXPECT_NE(table.find("4 slices verified equal, 4 passes together, first"), std::string::npos) << table;
  EXPECT_NE(table.find("62.5 ms after it was hot, from cache"), std::string::npos) << table;
  EXPECT_NE(table.find("time saved: 2.90 s"), std::string::npos) << table;
  EXPECT_NE(table.find("plan:\n  metis: 12.3 ms against 20.1 ms at home"), std::string::npos) << table;
  EXPECT_NE(table.find("note: GPU: none"), std::string::npos) << table;
  EXPECT_NE(table.find("other code: 0.6% of the samples"), std::string::npos) << table;
}

TEST(ReportTable, StaysWithinItsWidthWhateverTheNames) {
  RunReport report = Example();
  report.regions[0].symbol = "std::vector<" + std::string(400, 'x') + ">::push_back+0x1c";
  report.regions[0].callers = {std::string(300, 'y'), "z"};
  report.regions[0].place = std::string(50, 'p');
  report.regions[1].reason_text = std::string(500, 'r') + " " + std::string(90, 's');
  report.machine = std::string(999, 'm');
  report.command = {std::string(9999, 'c')};
  report.regions[1].native.median_ns = 1e300;
  for (const std::string& line : Lines(RenderTable(report))) {
    EXPECT_LE(line.size(), 110u) << line;
  }
  EXPECT_NE(RenderTable(report).find("push_back+0x1c"), std::string::npos);
}

TEST(ReportTable, ShowsNoControlCharacters) {
  RunReport report = Example();
  report.regions[0].symbol = "evil\x1b[2Jname\n";
  report.notes = {"a\x1b]0;title\x07"};
  std::string table = RenderTable(report);
  EXPECT_EQ(table.find('\x1b'), std::string::npos);
  EXPECT_NE(table.find("evil?[2Jname?"), std::string::npos);
}

TEST(ReportTable, SaysSoWhenNothingWasHot) {
  RunReport report;
  report.state = "idle";
  std::string table = RenderTable(report);
  EXPECT_NE(table.find("no hot loops were found"), std::string::npos) << table;
  EXPECT_EQ(table.find("nan"), std::string::npos) << table;
}

TEST(ReportTable, ShowsADashForWhatWasNotMeasured) {
  RunReport report = Example();
  report.regions[1].native = {};
  report.regions[1].variant = {3, std::nan(""), std::nan(""), std::nan("")};
  std::string table = RenderTable(report);
  EXPECT_EQ(table.find("nan"), std::string::npos) << table;
  EXPECT_EQ(table.find("inf"), std::string::npos) << table;
}

}  // namespace
}  // namespace tracelift::profiler
