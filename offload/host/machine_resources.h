// The places to run that this machine has, by hwloc.
#pragma once

#include "partitioner/graph/resources.h"

namespace tracelift::offload {

/// "home" (the program's own thread) and "cpu" (`threads` cores), with the link between them.
partitioner::ResourceSet DiscoverResources(int threads);

}  // namespace tracelift::offload
