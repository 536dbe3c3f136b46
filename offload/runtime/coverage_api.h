// The C table through which the command `tracelift coverage` asks libtracelift_runtime.so (which has the lifter) about
// an ELF file. The command itself links no LLVM, and opens the library only for this.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TL_COVERAGE_API_VERSION 2

#ifdef __cplusplus
extern "C" {
#endif

enum TlFloatUse { kTlFloatNone, kTlFloatScalar, kTlFloatVector, kTlFloatUses };

/* One loop. Strings are valid during the call only. */
struct TlCoveredLoop {
  uint64_t function, header; /* addresses as linked */
  uint32_t depth;            /* 1 for an outermost loop */
  uint32_t is_innermost;
  uint32_t instructions;
  uint32_t float_use;          /* enum TlFloatUse */
  uint32_t uses_x87;
  const char* reason;          /* name of the rejection, null when it can be lifted */
  const char* what;            /* the same in words */
  const char* detail;          /* what stopped it, disassembled; may be "" */
  uint64_t at;                 /* its address */
  const char* const* unlifted; /* forms of instruction that are not lifted, each once; ends with null */
};

/* A function that was not decoded, so that its loops are unknown. */
struct TlUndecodedFunction {
  uint64_t begin, bytes;
  const char* reason;
  const char* what;
};

struct TlCoverageTotals {
  uint64_t functions, function_bytes;
  uint64_t unusable_entries; /* of the unwind tables */
};

/* Called in ascending order of functions, all from the thread that asks. */
struct TlCoverageSink {
  void* context;
  void (*on_loop)(void* context, const struct TlCoveredLoop* loop);
  void (*on_undecoded)(void* context, const struct TlUndecodedFunction* function);
};

/* Symbol tracelift_coverage_table. */
struct TlCoverageTable {
  uint32_t version;
  /* 1, or 0 with the reason, without the file's name, in `problem`. */
  int (*examine)(const char* file, int innermost_only, const struct TlCoverageSink* sink,
                 struct TlCoverageTotals* totals, char* problem, size_t problem_bytes);
};

#ifdef __cplusplus
}
#endif
