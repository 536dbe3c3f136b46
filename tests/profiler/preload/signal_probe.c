// One behaviour of signals per mode, printed. Natively and under the preload library the output and the way the
// process ends must be the same. Each mode first spends enough CPU time for a runtime to be opened.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static void Say(const char* text) { write(1, text, strlen(text)); }

static volatile double sink = 1;
static void SpinMs(double ms) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  const double end = now.tv_sec * 1e3 + now.tv_nsec / 1e6 + ms;
  do {
    for (int i = 0; i < 100000; ++i) sink = sink * 0.999 + 1;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  } while (now.tv_sec * 1e3 + now.tv_nsec / 1e6 < end);
}

static char* volatile bad = (char*)0x10;
static sigjmp_buf jump;
static volatile int count;

static void PrintMask(const sigset_t* set) {
  char text[80];
  int at = 0;
  for (int s = 1; s <= 64; ++s) {
    if (s != 32 && s != 33 && sigismember(set, s) == 1) at += sprintf(text + at, "%d ", s);
  }
  text[at++] = '\n';
  write(1, text, at);
}

static void OnFault(int signo, siginfo_t* info, void* context) {
  char text[160];
  (void)context;
  sprintf(text, "handler %d code %d address %p\n", signo, info->si_code, signo == SIGTRAP ? NULL : info->si_addr);
  Say(text);
  sigset_t mask;
  sigprocmask(SIG_BLOCK, NULL, &mask);
  PrintMask(&mask);
  siglongjmp(jump, 1);
}

static void OnPlain(int signo) {
  char text[64];
  sprintf(text, "plain %d count %d\n", signo, ++count);
  Say(text);
  if (count == 3) _exit(7);
}

static void OnTrap(int signo, siginfo_t* info, void* context) {
  (void)signo;
  char text[64];
  sprintf(text, "trap code %d after %02x\n", info->si_code,
          ((unsigned char*)((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP])[-1]);
  Say(text);
}

static void OnAlternate(int signo) {
  (void)signo;
  Say("on the alternate stack\n");
  _exit(9);
}

static __attribute__((noinline)) int Overflow(int depth) {
  volatile char frame[4096];
  frame[0] = (char)depth;
  return Overflow(depth + 1) + frame[0];
}

static void Install(int signo, void (*handler)(int, siginfo_t*, void*), int flags, int also) {
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigemptyset(&action.sa_mask);
  if (also) sigaddset(&action.sa_mask, also);
  sigaction(signo, &action, NULL);
}

static void* OtherThread(void* unused) {
  (void)unused;
  *bad = 1;
  return NULL;
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "";
  const int early = argc > 2;  // dispositions set before the runtime is there
  if (!early) SpinMs(250);
#define MODE(name) if (strcmp(mode, name) == 0)
  MODE("segv-default") { if (early) SpinMs(250); *bad = 1; }
  MODE("segv-thread") { pthread_t t; if (early) SpinMs(250); pthread_create(&t, NULL, OtherThread, NULL); pthread_join(t, NULL); }
  MODE("segv-ignored") { signal(SIGSEGV, SIG_IGN); if (early) SpinMs(250); raise(SIGSEGV); Say("still here\n"); *bad = 1; }
  MODE("segv-handler") {
    Install(SIGSEGV, OnFault, 0, SIGUSR1);
    if (early) SpinMs(250);
    for (int i = 0; i < 3; ++i) {
      if (sigsetjmp(jump, 1) == 0) *bad = 1;
    }
    Say("done\n");
  }
  MODE("segv-nodefer") {
    Install(SIGSEGV, OnFault, SA_NODEFER, 0);
    if (early) SpinMs(250);
    if (sigsetjmp(jump, 1) == 0) *bad = 1;
  }
  MODE("segv-once") {
    Install(SIGSEGV, OnFault, (int)SA_RESETHAND, 0);
    if (early) SpinMs(250);
    if (sigsetjmp(jump, 1) == 0) *bad = 1;
    *bad = 2;
  }
  MODE("bus") {
    FILE* file = tmpfile();
    char* page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(file), 0);
    if (early) SpinMs(250);
    return page[0];
  }
  MODE("fpe") { volatile int zero = 0; if (early) SpinMs(250); return 1 / zero; }
  MODE("ill") { if (early) SpinMs(250); __asm__ volatile("ud2"); }
  MODE("abort") { if (early) SpinMs(250); abort(); }
  MODE("abort-handled") { signal(SIGABRT, OnPlain); if (early) SpinMs(250); abort(); }
  MODE("trap-default") { if (early) SpinMs(250); __asm__ volatile("int3"); Say("not reached\n"); }
  MODE("trap-ignored") { signal(SIGTRAP, SIG_IGN); if (early) SpinMs(250); raise(SIGTRAP); Say("ignored\n"); __asm__ volatile("int3"); Say("not reached\n"); }
  MODE("trap-handler") { Install(SIGTRAP, OnTrap, 0, 0); if (early) SpinMs(250); __asm__ volatile("int3"); raise(SIGTRAP); Say("done\n"); }
  MODE("kill-segv") { if (early) SpinMs(250); kill(getpid(), SIGSEGV); Say("not reached\n"); }
  MODE("bsd") { signal(SIGFPE, OnPlain); if (early) SpinMs(250); for (int i = 0; i < 4; ++i) raise(SIGFPE); }
  MODE("sysv") { sysv_signal(SIGFPE, OnPlain); if (early) SpinMs(250); raise(SIGFPE); raise(SIGFPE); }
  MODE("alternate") {
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_handler = OnAlternate, .sa_flags = SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    if (early) SpinMs(250);
    return Overflow(0);
  }
  MODE("overflow") { if (early) SpinMs(250); return Overflow(0); }
  MODE("readback") {
    const int signals[] = {SIGSEGV, SIGTRAP, SIGUSR1};
    for (int i = 0; i < 3; ++i) {
      struct sigaction action;
      sigaction(signals[i], NULL, &action);
      printf("%d: %d flags %x\n", signals[i], action.sa_handler == SIG_DFL, action.sa_flags);
      Install(signals[i], OnFault, SA_RESTART | SA_NODEFER, SIGTRAP);
      if (early) SpinMs(120);
      sigaction(signals[i], NULL, &action);
      printf("%d: %d flags %x masks trap %d\n", signals[i], action.sa_sigaction == OnFault, action.sa_flags,
             sigismember(&action.sa_mask, SIGTRAP));
      printf("%d\n", signal(signals[i], OnPlain) == (sighandler_t)OnFault);
      printf("%d\n", signal(signals[i], SIG_DFL) == OnPlain);
    }
    printf("%d %d\n", sigaction(SIGKILL, &(struct sigaction){.sa_handler = OnPlain}, NULL), errno);
  }
  MODE("exec-ignored") {
    signal(SIGFPE, SIG_IGN);
    if (early) SpinMs(250);
    execl("/bin/sh", "sh", "-c", "kill -FPE $$; echo survived", NULL);
  }
  MODE("vfork") {
    signal(SIGFPE, OnPlain);
    if (early) SpinMs(250);
    int status = 0;
    const pid_t child = vfork();
    if (child == 0) {
      struct sigaction before;
      sigaction(SIGFPE, NULL, &before);
      if (before.sa_handler != OnPlain) _exit(1);
      signal(SIGFPE, SIG_IGN);
      raise(SIGFPE);
      sigaction(SIGFPE, NULL, &before);
      _exit(before.sa_handler == SIG_IGN ? 2 : 3);
    }
    waitpid(child, &status, 0);
    printf("child %d\n", status);
    fflush(stdout);
    raise(SIGFPE);
  }
  MODE("fork") {
    Install(SIGSEGV, OnFault, 0, 0);
    if (early) SpinMs(250);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      if (sigsetjmp(jump, 1) == 0) *bad = 1;
      signal(SIGSEGV, SIG_DFL);
      *bad = 1;
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("child %d\n", WTERMSIG(status));
  }
  return 0;
}
