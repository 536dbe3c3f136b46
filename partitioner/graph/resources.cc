#include "partitioner/graph/resources.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "partitioner/graph/record_text.h"

namespace tracelift::partitioner {
namespace {

constexpr std::array<std::string_view, 4> kKindNames = {"home", "cpu", "gpu", "worker"};
constexpr uint32_t kMostUnits = 65536;

bool Positive(double value) { return std::isfinite(value) && value > 0; }
bool NotNegative(double value) { return std::isfinite(value) && value >= 0; }

std::expected<void, std::string> ReadResource(const Record& record, ResourceSet* set) {
  RecordReader reader(record);
  Resource resource;
  reader.Word(1, &resource.name);
  std::string kind(kKindNames[1]);
  reader.Attribute("kind", &kind);
  auto known = std::ranges::find(kKindNames, kind);
  if (known == kKindNames.end()) {
    reader.Fail("kind=" + kind, "expected home, cpu, gpu or worker");
  } else {
    resource.kind = static_cast<ResourceKind>(known - kKindNames.begin());
  }
  reader.Attribute("units", &resource.units);
  reader.Attribute("speed", &resource.speed);
  reader.Attribute("cost", &resource.cost);
  reader.Attribute("shares", &resource.shares);
  if (auto done = reader.Finish(2); !done) return done;
  set->resources.push_back(std::move(resource));
  return {};
}

std::expected<void, std::string> ReadLink(const Record& record, ResourceSet* set) {
  RecordReader reader(record);
  Link link;
  reader.Word(1, &link.a);
  reader.Word(2, &link.b);
  reader.Attribute("latency_ns", &link.latency_ns);
  reader.Attribute("bytes_per_s", &link.bytes_per_s);
  if (auto done = reader.Finish(3); !done) return done;
  set->links.push_back(std::move(link));
  return {};
}

std::expected<void, std::string> VerifyLinks(const ResourceSet& set) {
  for (size_t i = 0; i < set.links.size(); ++i) {
    const Link& link = set.links[i];
    auto fail = [&](std::string_view problem) {
      return std::unexpected(fmt::format("link {} {}: {}", Quote(link.a), Quote(link.b), problem));
    };
    if (set.Find(link.a) == nullptr || set.Find(link.b) == nullptr) return fail("it joins an unknown resource");
    if (link.a == link.b) return fail("it joins a resource with itself");
    if (!NotNegative(link.latency_ns)) return fail("its latency_ns must be finite and not negative");
    if (!Positive(link.bytes_per_s)) return fail("its bytes_per_s must be finite and positive");
    for (size_t j = 0; j < i; ++j) {
      const Link& other = set.links[j];
      if ((other.a == link.a && other.b == link.b) || (other.a == link.b && other.b == link.a)) {
        return fail("this pair has a link already");
      }
    }
  }
  return {};
}

}  // namespace

const Resource* ResourceSet::Find(std::string_view name) const {
  auto found = std::ranges::find(resources, name, &Resource::name);
  return found == resources.end() ? nullptr : &*found;
}

const Resource* ResourceSet::Home() const {
  auto found = std::ranges::find(resources, ResourceKind::kHome, &Resource::kind);
  return found == resources.end() ? nullptr : &*found;
}

double ResourceSet::TransferNs(std::string_view from, std::string_view to, double bytes) const {
  if (from == to) return 0;
  for (const Link& link : links) {
    if ((link.a == from && link.b == to) || (link.a == to && link.b == from)) {
      return link.latency_ns + bytes / link.bytes_per_s * 1e9;
    }
  }
  return std::numeric_limits<double>::infinity();
}

std::expected<void, std::string> Verify(const ResourceSet& set) {
  int homes = 0;
  for (size_t i = 0; i < set.resources.size(); ++i) {
    const Resource& resource = set.resources[i];
    auto fail = [&](std::string_view problem) {
      return std::unexpected(fmt::format("resource {}: {}", Quote(resource.name), problem));
    };
    if (!IsPlainName(resource.name)) return fail("its name must be a plain word");
    if (set.Find(resource.name) != &resource) return fail("this name is taken already");
    if (static_cast<size_t>(resource.kind) >= kKindNames.size()) return fail("unknown kind");
    homes += resource.kind == ResourceKind::kHome;
    if (resource.units < 1 || resource.units > kMostUnits) return fail("its units must be 1 to 65536");
    if (!Positive(resource.speed)) return fail("its speed must be finite and positive");
    if (!NotNegative(resource.cost)) return fail("its cost must be finite and not negative");
    if (!resource.shares.empty()) {
      const Resource* owner = set.Find(resource.shares);
      if (owner == nullptr || owner == &resource) return fail("it shares the units of an unknown resource");
      if (!owner->shares.empty()) return fail("it shares with a resource that itself shares");
    }
  }
  if (homes != 1) return std::unexpected(fmt::format("there are {} resources of kind home, expected 1", homes));
  return VerifyLinks(set);
}

std::string Print(const ResourceSet& set) {
  std::string text = "resources v1\n";
  for (const Resource& resource : set.resources) {
    text += fmt::format("resource {} kind={} units={} speed={} cost={}", Quote(resource.name),
                        kKindNames[static_cast<size_t>(resource.kind)], resource.units, resource.speed, resource.cost);
    if (!resource.shares.empty()) text += fmt::format(" shares={}", Quote(resource.shares));
    text += '\n';
  }
  for (const Link& link : set.links) {
    text += fmt::format("link {} {} latency_ns={} bytes_per_s={}\n", Quote(link.a), Quote(link.b), link.latency_ns,
                        link.bytes_per_s);
  }
  return text;
}

std::expected<ResourceSet, std::string> ParseResources(std::string_view text) {
  auto records = ReadRecords(text);
  if (!records) return std::unexpected(records.error());
  if (records->empty() || records->front().words != std::vector<std::string>{"resources", "v1"} ||
      !records->front().attributes.empty()) {
    return std::unexpected("line 1: expected \"resources v1\"");
  }
  ResourceSet set;
  for (size_t i = 1; i < records->size(); ++i) {
    const Record& record = (*records)[i];
    std::string_view word = record.words.empty() ? std::string_view() : std::string_view(record.words[0]);
    std::expected<void, std::string> read;
    if (word == "resource") {
      read = ReadResource(record, &set);
    } else if (word == "link") {
      read = ReadLink(record, &set);
    } else {
      RecordReader reader(record);
      reader.Fail(word, "expected resource or link");
      read = reader.Finish(0);
    }
    if (!read) return std::unexpected(read.error());
  }
  if (auto fine = Verify(set); !fine) return std::unexpected(fine.error());
  return set;
}

}  // namespace tracelift::partitioner
