// The watcher's thread, in its two lives.
//
// First it is hidden: started by clone(2), unknown to the C library. With a second pthread in the process the C
// library gives up its single-threaded fast paths for ever (measured here: putc 2.8 -> 12.4 ns, an uncontended mutex
// or a shared_ptr copy 4 -> 13 ns), which no program may suffer that is then never accelerated. The hidden thread has
// thread-local storage of its own, made by the loader as for any thread, and keeps to raw system calls.
//
// Then, when something is worth it, it is promoted: it creates a real pthread, on which everything works, and ends.
//
// Where the C library's internals are not as expected, the watcher is a pthread from the start.
#pragma once

namespace tracelift::preload {

/// Starts `run` on the hidden thread, all signals blocked. Main thread only. False: no thread could be started.
bool StartHiddenThread(void (*run)());

/// Starts `run` on a real, detached pthread with the usual stack; call it on the hidden thread, which must then end.
/// Signals that a fault on the thread itself raises are not blocked there, nor are those of the C library.
bool StartRealThread(void (*run)());

/// Gives the calling thread a descriptor table of its own that is empty but for `keep` (or -1): what the tracer opens
/// never takes a number that the program expects to get, never keeps a pipe open, and survives closefrom().
void LeaveDescriptorTable(int keep);

/// For calls that the kernel allows only in single-threaded processes: waits until the hidden thread is gone.
/// `stopping` is set before it is woken, so that it can tell. False when there never was one.
bool StopHiddenThread(volatile bool* stopping);

/// Is `tid` the hidden thread, of which the C library does not know?
bool IsHiddenThread(int tid);

/// Takes `count` threads out of the C library's count of threads, or puts them back when negative. What is left; -1
/// when this C library does not show its count.
int ExcludeFromThreadCount(int count);

}  // namespace tracelift::preload
