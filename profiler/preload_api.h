// The one table of C functions and the plain structs between libtracelift.so (the preload, libc only) and
// libtracelift_runtime.so (everything else). Version it: the two files may come from different installations.
#pragma once

#include <stdint.h>

#define TL_PRELOAD_API_VERSION 5
/* Name (PR_SET_NAME) of our own threads; what they start inherits it. That is how they are told from the program's. */
#define TL_OWN_THREAD_NAME "tracelift:watch"

#ifdef __cplusplus
extern "C" {
#endif

/* Options as read from TRACELIFT_* at start (the program may change its environment later). */
struct TlConfig {
  char report[4096];     /* TRACELIFT_REPORT: file, "" for none; "%p" becomes the process id */
  char cache[4096];      /* TRACELIFT_CACHE: directory (default: tracelift in the user's cache directory), "off", or ""
                            when there is no such place */
  char devices[256];     /* TRACELIFT_DEVICES: comma list, "" for the default ("cpu") */
  char kernels[4096];    /* TRACELIFT_KERNELS: directory for the PTX of what runs on a device, "" for none */
  int threads;           /* TRACELIFT_THREADS: 0 = all cores of the affinity mask */
  int cache_mib;         /* TRACELIFT_CACHE_SIZE: of all entries, default 256 */
  int relaxed_math;      /* TRACELIFT_MATH=relaxed */
  int verify;            /* TRACELIFT_VERIFY: 0 off, 1 first, 2 always */
  int profile_only;      /* TRACELIFT_PROFILE_ONLY=1 */
  int summary;           /* TRACELIFT_SUMMARY=1 */
  int follow_children;   /* TRACELIFT_CHILDREN: 1 follow (default), 0 leave */
  int sample_hz;         /* TRACELIFT_SAMPLE_HZ, default 1000 */
  int hot_ms;            /* TRACELIFT_HOT_MS, CPU time before anything is loaded, default 30 */
  int log;               /* TRACELIFT_LOG: 0 silent (default), 1 notes on stderr, 2 debug */
  int root_pid;          /* TRACELIFT_ROOT_PID: the process `tracelift run` became; 0 when unknown */
};

struct TlSample {
  uint64_t ip;
  uint64_t time_ns; /* CLOCK_MONOTONIC */
  uint32_t tid;
  uint32_t user;    /* 1: user mode */
};

enum { kTlStackBytes = 8192 };
struct TlStackSample {
  uint64_t ip, sp, bp;
  uint64_t gpr[16];        /* hardware encoding order */
  uint32_t tid;
  uint32_t stack_bytes;    /* valid bytes of `stack`, which starts at sp */
  uint8_t stack[kTlStackBytes];
};

struct TlSamplingStats {
  uint64_t samples, lost;
  uint64_t cost_ns;        /* CPU time of the watcher thread plus an estimate of the kernel's share */
  uint32_t period_ns;      /* CPU time one sample stands for */
  char source[32];         /* "perf cpu-clock", "timer", "none" */
};

/* Given by the preload library to the runtime; valid for the life of the process. */
struct TlHost {
  uint32_t version;
  const struct TlConfig* config;
  int (*drain)(struct TlSample* out, int max);            /* oldest first; 0 when none */
  int (*drain_stacks)(struct TlStackSample* out, int max);
  void (*stats)(struct TlSamplingStats* out);
  int (*sigtrap_usable)(void);  /* 1: our SIGTRAP handler is in place and no thread blocks it at present */
  int (*is_child)(void);        /* 1 in a forked child: the runtime must stay inert */
  int (*real_sigaction)(int signo, const void* act, void* old); /* struct sigaction*, past our interposition */
  uint64_t load_ns;             /* what opening the runtime library took */
};

/* Given by the runtime to the preload library (symbol tracelift_runtime_table, a const struct TlRuntime). */
struct TlRuntime {
  uint32_t version;
  /* On the watcher thread; returns only when it gave up. The watcher and all threads it starts have a descriptor
     table of their own, so that nothing of ours takes the program's numbers or falls to its closefrom(): a
     descriptor opened on one side means nothing on the other. Keep none for use on the program's threads; standard
     error is open here only while TRACELIFT_LOG is at least 1. Threads are told from the program's by their name,
     which begins with "tracelift:" and is inherited by the threads they start. */
  void (*run)(const struct TlHost* host);
  void (*at_exit)(void);                           /* exit(): write the report and the summary; quick, never blocks */
  void (*in_child)(void);                          /* after fork in the child: restore code, go inert */
  uint64_t (*handle_trap)(uint64_t rip_after_int3); /* where to continue, or 0: not ours. Async-signal-safe */
  uint64_t (*place_of)(uint64_t rip);              /* of an instruction that is executed elsewhere, its own address, or 0: as
                                                      it says. For handlers of faults. Async-signal-safe */
  int (*owns_thread)(void);                        /* is the calling thread ours? Async-signal-safe */
  void (*release_pages)(uint64_t begin, uint64_t bytes); /* on a thread of the program: lets go of what we keep account of
                                                      there, so that it is as the program mapped it */
  void (*on_own_fault)(int signo, uint64_t rip);   /* a fault on our thread: turn off and park; does not return */
};

#ifdef __cplusplus
}
#endif
