#include "partitioner/graph/plan.h"

#include <fmt/format.h>

#include <cmath>

#include "partitioner/graph/record_text.h"

namespace tracelift::partitioner {
namespace {

std::expected<void, std::string> ReadPlacement(const Record& record, Plan* plan) {
  RecordReader reader(record);
  Placement placement;
  uint32_t node = 0;
  reader.Word(1, &node);
  reader.Word(2, &placement.resource);
  reader.Attribute("order", &placement.order);
  reader.Attribute("assumed", &placement.assumed);
  reader.Attribute("reason", &placement.reason);
  if (node != plan->placements.size()) {
    reader.Fail(fmt::format("{}", node), fmt::format("nodes count up from 0; expected {}", plan->placements.size()));
  }
  if (auto done = reader.Finish(3); !done) return done;
  placement.node = NodeId{node};
  plan->placements.push_back(std::move(placement));
  return {};
}

std::expected<void, std::string> ReadStrategy(const Record& record, Plan* plan) {
  RecordReader reader(record);
  if (!plan->strategy.empty()) reader.Fail("strategy", "given twice");
  reader.Word(1, &plan->strategy);
  reader.Attribute("makespan_ns", &plan->makespan_ns);
  reader.Attribute("reason", &plan->reason);
  return reader.Finish(2);
}

}  // namespace

std::string_view Plan::ResourceOf(NodeId node) const {
  return Index(node) < placements.size() ? std::string_view(placements[Index(node)].resource) : std::string_view();
}

std::expected<void, std::string> Verify(const Plan& plan) {
  if (!IsPlainName(plan.strategy)) {
    return std::unexpected(fmt::format("strategy {}: its name must be a plain word", Quote(plan.strategy)));
  }
  if (!std::isfinite(plan.makespan_ns) || plan.makespan_ns < 0) {
    return std::unexpected(fmt::format("makespan_ns={}: it must be finite and not negative", plan.makespan_ns));
  }
  for (size_t i = 0; i < plan.placements.size(); ++i) {
    const Placement& placement = plan.placements[i];
    if (Index(placement.node) != i) {
      return std::unexpected(fmt::format("placement {} is for node {}", i, Index(placement.node)));
    }
    if (!IsPlainName(placement.resource)) {
      return std::unexpected(fmt::format("place {}: {} is no resource name", i, Quote(placement.resource)));
    }
  }
  return {};
}

std::string Print(const Plan& plan) {
  std::string text = fmt::format("plan v1\nstrategy {} makespan_ns={} reason={}\n", Quote(plan.strategy),
                                 plan.makespan_ns, Quote(plan.reason));
  for (const Placement& placement : plan.placements) {
    text += fmt::format("place {} {} order={} assumed={} reason={}\n", Index(placement.node), Quote(placement.resource),
                        placement.order, placement.assumed ? "yes" : "no", Quote(placement.reason));
  }
  return text;
}

std::expected<Plan, std::string> ParsePlan(std::string_view text) {
  auto records = ReadRecords(text);
  if (!records) return std::unexpected(records.error());
  if (records->empty() || records->front().words != std::vector<std::string>{"plan", "v1"} ||
      !records->front().attributes.empty()) {
    return std::unexpected("line 1: expected \"plan v1\"");
  }
  Plan plan;
  for (size_t i = 1; i < records->size(); ++i) {
    const Record& record = (*records)[i];
    std::string_view word = record.words.empty() ? std::string_view() : std::string_view(record.words[0]);
    std::expected<void, std::string> read;
    if (word == "strategy") {
      read = ReadStrategy(record, &plan);
    } else if (word == "place") {
      read = ReadPlacement(record, &plan);
    } else {
      RecordReader reader(record);
      reader.Fail(word, "expected strategy or place");
      read = reader.Finish(0);
    }
    if (!read) return std::unexpected(read.error());
  }
  if (auto fine = Verify(plan); !fine) return std::unexpected(fine.error());
  return plan;
}

std::string Explain(const Plan& plan, const ExecutionGraph& graph) {
  std::string text = plan.reason + "\n";
  for (const Placement& placement : plan.placements) {
    std::string name = Index(placement.node) < graph.nodes.size() ? graph.nodes[Index(placement.node)].name
                                                                  : fmt::format("node {}", Index(placement.node));
    text += fmt::format("{} -> {}: {}\n", name, placement.resource, placement.reason);
  }
  return text;
}

std::string DurationText(double ns) {
  if (!std::isfinite(ns)) return "no time";
  if (ns < 999.5) return fmt::format("{:.3g} ns", ns);
  if (ns < 999.5e3) return fmt::format("{:.3g} us", ns / 1e3);
  if (ns < 999.5e6) return fmt::format("{:.3g} ms", ns / 1e6);
  return fmt::format("{:.3g} s", ns / 1e9);
}

}  // namespace tracelift::partitioner
