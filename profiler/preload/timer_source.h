// The fallback where perf events are refused: a POSIX timer on each thread's CPU clock, whose signal handler does
// nothing but copy the interrupted address into a ring. Ticks at the kernel's HZ (4 ms here), not faster.
#pragma once

#include <cstdint>

#include "profiler/preload/sample_queue.h"

namespace tracelift::preload {

/// Takes a real-time signal that the program does not use and installs the handler; 0 when there is none.
int ClaimTimerSignal();
/// The claimed signal, or 0.
int TimerSignal();
/// The program wants the signal for itself: no timer fires any more. Async-signal-safe.
void ReleaseTimerSignal();

/// A timer for the thread, or a negative error number. `*timer` is what StopThreadTimer takes.
int StartThreadTimer(int tid, int hz, int* timer);
void StopThreadTimer(int timer);

/// Moves what the handlers wrote to the queue. Watcher only.
void DrainTimerRing(SampleQueue* queue, uint64_t* lost);

}  // namespace tracelift::preload
