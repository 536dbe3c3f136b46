#include "offload/host/machine_resources.h"

#include <hwloc.h>

#include <algorithm>

namespace tracelift::offload {
namespace {

// Handing a slice to helpers and gathering it again, measured on an idle machine.
constexpr double kHandoverNs = 5'000;
// Cores share memory: nothing is copied, so the link only has to be fast enough never to matter.
constexpr double kSharedBytesPerSecond = 1e12;

uint32_t PhysicalCores() {
  hwloc_topology_t topology;
  if (hwloc_topology_init(&topology) != 0) return 1;
  uint32_t cores = 1;
  if (hwloc_topology_load(topology) == 0) {
    cores = static_cast<uint32_t>(std::max(1, hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE)));
  }
  hwloc_topology_destroy(topology);
  return cores;
}

}  // namespace

partitioner::ResourceSet DiscoverResources(int threads) {
  const uint32_t cores = std::min(PhysicalCores(), static_cast<uint32_t>(std::max(1, threads)));
  partitioner::ResourceSet set;
  set.resources.push_back({.name = "cpu",
                           .kind = partitioner::ResourceKind::kCpu,
                           .units = cores,
                           .speed = static_cast<double>(cores),
                           .cost = 1,
                           .shares = ""});
  set.resources.push_back({.name = "home",
                           .kind = partitioner::ResourceKind::kHome,
                           .units = 1,
                           .speed = 1,
                           .cost = 1,
                           .shares = "cpu"});
  set.links.push_back({"home", "cpu", kHandoverNs, kSharedBytesPerSecond});
  return set;
}

}  // namespace tracelift::offload
