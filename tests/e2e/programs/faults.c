/* A hot loop that runs off the end of its memory: faults WHAT HANDLING REPETITIONS.
 *   WHAT      unmapped | readonly | source (the memory read ends) | hole (unmapped meanwhile, further on mapped again)
 *   HANDLING  die | jump (siglongjmp out of the handler) | repair (the handler makes the page usable)
 * The memory written is a file, "written": what the loop had stored when it died can be compared. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support.h"

enum { kPages = 256, kPage = 4096, kCount = kPages * kPage / 8, kBadPage = 171 };

static sigjmp_buf escape;
static char* target;
static char* source;
static volatile int faults;
static const char* handling;
static char* bad_page;

__attribute__((noinline)) static void scale(double* out, const double* in, long n, double factor) {
  for (long i = 0; i < n; ++i) out[i] = in[i] * factor;
}

static void on_fault(int signal_number, siginfo_t* info, void* context) {
  (void)context;
  ++faults;
  char line[128];
  const char* region = (char*)info->si_addr >= source && (char*)info->si_addr < source + kPages * kPage ? source : target;
  const int n = snprintf(line, sizeof(line), "signal %d code %d at offset %ld\n", signal_number, info->si_code,
                         (long)((char*)info->si_addr - region));
  if (write(1, line, (size_t)n) < 0 || faults > 4) _exit(5);
  if (strcmp(handling, "jump") == 0) siglongjmp(escape, 1);
  const int fd = open("written", O_RDWR);
  char* page = mmap(bad_page, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, bad_page - target);
  if (region == source) page = mmap(bad_page, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (page == MAP_FAILED) _exit(6);
  close(fd);
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const char* what = argv[1];
  handling = argv[2];
  const int fd = open("written", O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || ftruncate(fd, kPages * kPage) != 0) return 99;
  target = mmap(0, kPages * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  source = mmap(0, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (target == MAP_FAILED || source == MAP_FAILED) return 99;
  for (long i = 0; i < kCount; ++i) ((double*)source)[i] = (double)(random_bits() >> 40);
  if (strcmp(handling, "die") != 0) {
    struct sigaction action = {0};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, 0);
    sigaction(SIGBUS, &action, 0);
  }
  for (long r = 0; r < atol(argv[3]); ++r) scale((double*)target, (double*)source, kCount, 1.0 + (double)(r % 9));
  printf("hot\n");
  fflush(stdout);

  bad_page = (strcmp(what, "source") == 0 ? source : target) + kBadPage * kPage;
  if (strcmp(what, "readonly") == 0) {
    if (mprotect(bad_page, kPage, PROT_READ) != 0) return 99;
  } else {
    const size_t rest = strcmp(what, "hole") == 0 ? kPage : (kPages - kBadPage) * kPage;
    if (strcmp(handling, "repair") == 0) {
      if (munmap(bad_page, kPage) != 0) return 99;
    } else if (munmap(bad_page, rest) != 0) {
      return 99;
    }
  }
  for (int round = 0; round < 3; ++round) {
    if (sigsetjmp(escape, 1) == 0) scale((double*)target, (double*)source, kCount, 77.0 + round);
    print_checksum("start", target, kBadPage * kPage);
    printf("faults %d\n", faults);
    fflush(stdout);
  }
  return 0;
}
