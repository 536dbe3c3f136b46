// The program's signal dispositions and ours, side by side.
//
// Once the runtime is there, our handler stands for SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT. What the
// program sets for them is remembered, returned to it, and carried out by our handler: with the flags and the mask
// that the program gave, which the kernel applies to our handler in its place.
#pragma once

#include <signal.h>

#include "profiler/preload_api.h"

namespace tracelift::preload {

/// Looks up the functions that we stand in front of. Before it, our versions make the system calls themselves.
void ResolveForwards();

/// sigaction past our interposition.
int RealSigaction(int signo, const struct sigaction* action, struct sigaction* old);

/// From here on faults and traps go through the runtime first.
void InstallHandlers(const TlRuntime* runtime);

/// In a forked child: its dispositions and its memory are its own.
void KeepHandlersInChild();

/// 1: our SIGTRAP handler is in place and no thread of the program blocks it at present. Reads /proc.
int SigtrapUsable();

}  // namespace tracelift::preload
