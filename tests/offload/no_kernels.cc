#include "tests/offload/same_results.h"

namespace tracelift::offload {

const std::vector<std::string_view> kNoKernels = {
    "LastValueOfSomePasses",  // which pass was the last to set it, no thread knows
    "SearchThatStopsEarly",
};

}  // namespace tracelift::offload
