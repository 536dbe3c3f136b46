// The options of this process, read once from its TRACELIFT_* variables.
#pragma once

#include "profiler/preload_api.h"

namespace tracelift::preload {

struct Options {
  TlConfig config = {};
  bool off = false;          // TRACELIFT_OFF=1, or under valgrind
  bool timer_sampler = false;  // TRACELIFT_SAMPLER=timer: as if perf events were refused
  bool root = false;         // the process that the user started, not one of its children
};

/// Neither allocates nor locks. Relative file names become absolute: the program may change its directory.
void ReadOptions(char** environment, Options* options);

/// TRACELIFT_CHILDREN=leave: takes our own entry, `library` being its file name without folders, out of LD_PRELOAD in
/// the given environment, in place. Entries of others stay.
void RemoveFromPreload(char** environment, const char* library);

}  // namespace tracelift::preload
