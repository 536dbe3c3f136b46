// The watcher: sleeps until the process has used some CPU time, samples it, and opens the runtime when something is
// hot. See hidden_thread.h for the two lives of its thread.
#pragma once

#include "profiler/preload/config.h"

namespace tracelift::preload {

/// Main thread, once.
void StartWatcher(const Options& options);
/// The runtime's table once it is open, or null. From here on its at_exit and in_child are to be called.
const TlRuntime* OpenedRuntime();
/// What was sampled so far; for the report of an idle process.
void WatcherStats(TlSamplingStats* out);
/// Why this process is left alone although it is hot, or null; for the report, too.
const char* WhyLeftAlone();

/// Around calls that need a single-threaded process. Pause returns whether Resume is due.
bool PauseWatcher();
void ResumeWatcher();

/// In a forked child: there is no watcher.
void ForgetWatcher();
bool IsForgotten();

}  // namespace tracelift::preload
