// Exceptions thrown through frames with destructors, from loops, between threads, and one that nobody catches.
#include <cmath>
#include <cstdio>
#include <exception>
#include <future>
#include <memory>
#include <stdexcept>
#include <vector>

struct Guard {
  explicit Guard(long* count) : count(count) {}
  ~Guard() { ++*count; }
  long* count;
};

double work(std::vector<double>& v, int round, long* unwound) {
  const Guard guard(unwound);
  for (double& x : v) x = std::sqrt(x * x + round) * 0.75;
  if (round % 3 == 0) throw std::runtime_error("third " + std::to_string(round % 7));
  if (round % 5 == 0) throw round;
  return v[round % v.size()];
}

int main() {
  std::vector<double> v(60000, 1.5);
  double sum = 0;
  long unwound = 0, texts = 0, numbers = 0;
  for (int round = 0; round < 1500; ++round) {
    try {
      sum += work(v, round, &unwound);
    } catch (const std::runtime_error& e) {
      texts += e.what()[6];
    } catch (int n) {
      numbers += n;
    }
  }
  std::printf("%.17g %ld %ld %ld\n", sum, unwound, texts, numbers);
  auto future = std::async(std::launch::async, [] {
    std::vector<double> w(9);
    long n = 0;
    return work(w, 3, &n);
  });
  try {
    future.get();
  } catch (const std::exception& e) {
    std::printf("from the thread: %s\n", e.what());
  }
  std::set_terminate([] {
    std::printf("terminated\n");
    std::fflush(stdout);
    _Exit(7);
  });
  throw std::logic_error("nobody catches");
}
