// Places to run: the program's own thread ("home"), all CPU cores, a GPU, a worker; and the links between them.
// Text form (Print, ParseResources):
//
//   resources v1
//   resource cpu kind=cpu units=2 speed=1.9 cost=1
//   resource home kind=home units=1 speed=1 cost=1 shares=cpu
//   link home cpu latency_ns=2000 bytes_per_s=20000000000
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace tracelift::partitioner {

enum class ResourceKind : uint8_t { kHome, kCpu, kGpu, kWorker };

struct Resource {
  std::string name;  // a plain word
  ResourceKind kind = ResourceKind::kCpu;
  uint32_t units = 1;  // how much can run at once, e.g. cores; 1 to 65536
  double speed = 1;    // relative to home: assumed time there = time at home / speed
  double cost = 1;     // per unit and second, for strategies that minimise it
  std::string shares;  // name of the resource whose units it uses (home uses one of the cpu's cores), or ""
};

/// A way for data between two resources, in both directions.
struct Link {
  std::string a, b;
  double latency_ns = 0;
  double bytes_per_s = 0;
};

struct ResourceSet {
  std::vector<Resource> resources;
  std::vector<Link> links;

  const Resource* Find(std::string_view name) const;
  /// The one resource of kind home; null only when the set is not valid.
  const Resource* Home() const;
  /// Time to bring `bytes` from one resource to the other: 0 within one, infinite without a link.
  double TransferNs(std::string_view from, std::string_view to, double bytes) const;
};

/// Rules: names unique and plain, exactly one home, units 1 to 65536, speeds and bandwidths positive and finite, cost
/// and latency not negative and finite, `shares` names a resource that shares with nobody, links join two different
/// known resources, at most one for each pair.
std::expected<void, std::string> Verify(const ResourceSet& resources);

std::string Print(const ResourceSet& resources);
/// Errors name the line and the token; the result has passed Verify.
std::expected<ResourceSet, std::string> ParseResources(std::string_view text);

}  // namespace tracelift::partitioner
