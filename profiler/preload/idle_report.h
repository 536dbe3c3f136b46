// The report and the summary of a process in which nothing was hot: the runtime, which writes all others, was never
// opened. Same format as profiler/report writes (RunReport in profiler/run_report.h), without any library.
#pragma once

#include <cstdint>

#include "profiler/preload/config.h"

namespace tracelift::preload {

/// At start, when a summary is wanted: keeps standard error for it, which many programs close before they end.
void KeepStandardError();
/// In a forked child: it must not hold the other end of somebody's pipe open.
void DropStandardError();

/// At exit, on the program's thread. `started_ns` is CLOCK_MONOTONIC.
void WriteIdleReport(const Options& options, uint64_t started_ns);

}  // namespace tracelift::preload
