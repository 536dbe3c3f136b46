// Exceptions through the frames of functions whose loops are taken over: exceptions WHAT REPETITIONS.
//   through     thrown below a frame with a hot loop, caught above it; destructors on the way
//   after       thrown by the function of the hot loop itself, right after the loop
//   between     thrown between two runs of the inner loop, out of the outer one
//   rethrown    by exception_ptr on another thread
//   uncaught    ends the program
//   signalled   thrown by a signal handler out of the loop (-fnon-call-exceptions)
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support.h"

namespace {

constexpr long kCount = 1 << 15;
long destroyed = 0;

struct Guard {
  explicit Guard(int id) : id(id) {}
  ~Guard() { destroyed += id; }
  int id;
};

[[gnu::noinline]] void Fail(long number) { throw std::runtime_error("failed at " + std::to_string(number)); }

[[gnu::noinline]] void Work(double* out, const double* in, long n, double factor) {
  for (long i = 0; i < n; ++i) out[i] = blend(in[i], factor);
}

// The loop and what throws share one frame.
[[gnu::noinline]] void WorkThenFail(double* out, const double* in, long n, double factor, long fail_at) {
  const Guard guard(1);
  for (long i = 0; i < n; ++i) out[i] = blend(in[i], factor + 1.0);
  if (fail_at % 5 == 0) throw fail_at;
}

[[gnu::noinline]] void WorkAndCall(double* out, const double* in, long n, double factor, long round) {
  const Guard guard(2);
  for (long i = 0; i < n; ++i) out[i] = blend(in[i], factor + 2.0);
  if (round % 3 == 0) Fail(round);
  for (long i = 0; i < n; ++i) out[i] += in[i];
}

[[gnu::noinline]] void Rows(double* out, const double* in, long rows, long columns, long fail_at) {
  const Guard guard(3);
  for (long r = 0; r < rows; ++r) {
    for (long c = 0; c < columns; ++c) out[r * columns + c] = blend(in[r * columns + c], 1.25);
    if (r == fail_at) Fail(r);
  }
}

volatile std::sig_atomic_t armed = 0;
void OnFault(int) {
  if (armed) {
    armed = 0;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    throw std::runtime_error("fault");
  }
  _Exit(7);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string what = argv[1];
  const long repetitions = std::atol(argv[2]);
  std::vector<double> in(kCount), out(kCount);
  for (double& x : in) x = static_cast<double>(random_bits() >> 40);
  long caught = 0;
  uint64_t text = 0;
  const auto attempt = [&](auto&& body) {
    try {
      body();
    } catch (const std::exception& e) {
      ++caught;
      text = text * 31 + checksum(e.what(), std::strlen(e.what()));
    } catch (long number) {
      ++caught;
      text = text * 31 + static_cast<uint64_t>(number);
    }
  };
  if (what == "through") {
    for (long r = 0; r < repetitions; ++r) attempt([&] { WorkAndCall(out.data(), in.data(), kCount, 1.0 + r % 5, r); });
  } else if (what == "after") {
    for (long r = 0; r < repetitions; ++r) attempt([&] { WorkThenFail(out.data(), in.data(), kCount, 1.0 + r % 5, r); });
  } else if (what == "between") {
    for (long r = 0; r < repetitions; ++r) attempt([&] { Rows(out.data(), in.data(), 32, kCount / 32, r % 40); });
  } else if (what == "rethrown") {
    for (long r = 0; r < repetitions; r += 500) {
      std::exception_ptr kept;
      std::thread([&] {
        try {
          for (long k = 0; k < 500; ++k) Work(out.data(), in.data(), kCount, 1.0 + static_cast<double>(k % 7));
          Fail(r);
        } catch (...) {
          kept = std::current_exception();
        }
      }).join();
      attempt([&] { std::rethrow_exception(kept); });
    }
  } else if (what == "uncaught") {
    for (long r = 0; r < repetitions; ++r) Work(out.data(), in.data(), kCount, 1.0 + r % 5);
    print_checksum("out", out.data(), kCount * 8);
    std::fflush(stdout);
    WorkAndCall(out.data(), in.data(), kCount, 2.0, 0);
  } else if (what == "signalled") {
    std::signal(SIGSEGV, OnFault);
    for (long r = 0; r < repetitions; ++r) {
      Work(out.data(), in.data(), kCount, 1.0 + r % 5);
      if (r % 16 != 0) continue;
      attempt([&] {
        const Guard guard(4);
        armed = 1;
        Work(reinterpret_cast<double*>(16), in.data(), kCount, 2.0);
      });
    }
  } else {
    return 2;
  }
  std::printf("caught %ld, destroyed %ld, %016llx\n", caught, destroyed, static_cast<unsigned long long>(text));
  print_checksum("out", out.data(), kCount * 8);
}
