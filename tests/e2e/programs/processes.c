/* Processes made in the middle of hot work: processes WHAT REPETITIONS.
 *   fork       the child goes on with the loop and the parent, too; both must come to the same
 *   forks      a new child every few calls, many times
 *   thread     fork while another thread is inside the loop
 *   vfork, spawn, system   a child program is started, then the loop goes on
 *   exec       the process becomes itself again, and is hot again
 *   exec-thread  the same, from another thread than the one in the loop */
#define _GNU_SOURCE
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

enum { kCount = 1 << 17 };

extern char** environ;
static double *in, *out;
static volatile int stop;
static char** arguments;

__attribute__((noinline)) static void work(double* o, const double* a, long n, double factor) {
  for (long i = 0; i < n; ++i) o[i] = blend(a[i], factor);
}

static uint64_t hot(long repetitions) {
  for (long r = 0; r < repetitions; ++r) work(out, in, kCount, 1.0 + (double)(r % 11));
  return checksum(out, kCount * 8);
}

/* The child does the same work; its checksum comes back through a pipe. */
static int fork_once(long repetitions) {
  int ends[2];
  if (pipe(ends) != 0) return 99;
  fflush(stdout);
  const pid_t child = fork();
  if (child < 0) return 99;
  if (child == 0) {
    const uint64_t sum = hot(repetitions);
    if (write(ends[1], &sum, sizeof(sum)) != sizeof(sum)) _exit(4);
    exit(23); /* runs the exit handlers of the child */
  }
  close(ends[1]);
  const uint64_t own = hot(repetitions);
  uint64_t theirs = 0;
  if (read(ends[0], &theirs, sizeof(theirs)) != sizeof(theirs)) puts("the child died");
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  printf("%016llx %s, child exited: %d, status %d\n", (unsigned long long)own, own == theirs ? "same" : "different",
         WIFEXITED(status), WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
  return 0;
}

static void* keep_working(void* argument) {
  (void)argument;
  while (!stop) work(out + kCount, in, kCount, 3.0);
  return 0;
}

static void* exec_again(void* argument) {
  (void)argument;
  execv("/proc/self/exe", arguments);
  _exit(98);
}

static void wait_for(pid_t child, const char* name) {
  int status = 0;
  waitpid(child, &status, 0);
  printf("%s: status %d\n", name, WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const char* what = argv[1];
  const long repetitions = atol(argv[2]);
  in = allocate(kCount * 8);
  out = allocate(2 * kCount * 8);
  for (long i = 0; i < kCount; ++i) in[i] = (double)(random_bits() >> 40);
  char* child_arguments[] = {"sh", "-c", "echo child; exit 7", 0};
  if (strcmp(what, "done") == 0) {
    printf("again %016llx\n", (unsigned long long)hot(repetitions));
    return 11;
  }
  printf("hot %016llx\n", (unsigned long long)hot(repetitions));
  fflush(stdout);
  if (strcmp(what, "fork") == 0) {
    fork_once(repetitions / 4);
  } else if (strcmp(what, "forks") == 0) {
    for (int i = 0; i < 20; ++i) {
      fork_once(repetitions / 50 + 1);
      hot(repetitions / 50 + 1);
    }
  } else if (strcmp(what, "thread") == 0) {
    pthread_t thread;
    if (pthread_create(&thread, 0, keep_working, 0) != 0) return 99;
    for (int i = 0; i < 20; ++i) fork_once(repetitions / 50 + 1);
    stop = 1;
    pthread_join(thread, 0);
    print_checksum("thread", out + kCount, kCount * 8);
  } else if (strcmp(what, "vfork") == 0) {
    for (int i = 0; i < 10; ++i) {
      const pid_t child = vfork();
      if (child == 0) {
        execv("/bin/sh", child_arguments);
        _exit(98);
      }
      wait_for(child, "vfork");
      hot(repetitions / 20 + 1);
    }
  } else if (strcmp(what, "spawn") == 0) {
    for (int i = 0; i < 10; ++i) {
      pid_t child = 0;
      if (posix_spawn(&child, "/bin/sh", 0, 0, child_arguments, environ) != 0) return 99;
      wait_for(child, "spawn");
      hot(repetitions / 20 + 1);
    }
  } else if (strcmp(what, "system") == 0) {
    for (int i = 0; i < 10; ++i) {
      printf("system: %d\n", system("echo child; exit 7"));
      fflush(stdout);
      hot(repetitions / 20 + 1);
    }
  } else if (strcmp(what, "exec") == 0 || strcmp(what, "exec-thread") == 0) {
    char* again[] = {argv[0], "done", argv[2], 0};
    arguments = again;
    if (strcmp(what, "exec") == 0) exec_again(0);
    pthread_t thread;
    if (pthread_create(&thread, 0, exec_again, 0) != 0) return 99;
    keep_working(0);
  } else {
    return 2;
  }
  printf("end %016llx\n", (unsigned long long)hot(repetitions / 4));
  return 0;
}
