// Ends in one of many ways at any moment: endings HOW MILLISECONDS. HOW: return, exit, _exit, quick, thread (exit from
// another thread than the hot one), pthread (main ends, the hot thread goes on), abort, throw.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct SpeaksAtExit {
  ~SpeaksAtExit() { std::puts("destroyed"); }
} speaks;

double NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

__attribute__((noinline)) void Work(std::vector<double>& out, const std::vector<double>& in, double factor) {
  for (size_t i = 0; i < in.size(); ++i) out[i] = in[i] * factor + 0.5;
}

// Through the C library's loops, too: what is hot is in more than one place.
void WorkFor(double ms) {
  std::vector<double> in(100000, 1.25), out(in.size());
  const double end = NowMs() + ms;
  while (NowMs() < end) Work(out, in, 3.0);
  std::printf("worked %a\n", out[999]);
}

double thread_ms = 0;
std::string how;

void* WorkAndExit(void*) {
  WorkFor(thread_ms);
  std::exit(5);
}

void* WorkMore(void*) {
  WorkFor(thread_ms);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  how = argv[1];
  const double ms = atof(argv[2]);
  atexit([] { std::puts("at exit"); });
  at_quick_exit([] { std::puts("at quick exit"); std::fflush(stdout); });
  if (how == "thread") {
    thread_ms = ms;
    pthread_t thread;
    pthread_create(&thread, nullptr, WorkAndExit, nullptr);
    for (;;) pause();
  }
  if (how == "pthread") {
    thread_ms = ms;
    pthread_t thread;
    pthread_create(&thread, nullptr, WorkMore, nullptr);
    pthread_exit(nullptr);
  }
  WorkFor(ms);
  std::fflush(stdout);
  if (how == "return") return 4;
  if (how == "exit") std::exit(6);
  if (how == "_exit") _exit(7);
  if (how == "quick") std::quick_exit(8);
  if (how == "abort") std::abort();
  if (how == "throw") throw std::runtime_error("on purpose");
  return 2;
}
