// Threads that allocate and free all the time beside a hot loop, for programs with an allocator of their own:
// allocations REPETITIONS.
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "support.h"

namespace {

constexpr long kCount = 1 << 14;

[[gnu::noinline]] void Work(double* out, const double* in, long n, double factor) {
  for (long i = 0; i < n; ++i) out[i] = blend(in[i], factor);
}

uint64_t Run(uint64_t seed, long repetitions) {
  uint64_t sum = seed;
  std::unordered_map<uint64_t, std::string> kept;
  for (long r = 0; r < repetitions; ++r) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    kept[seed >> 54] = std::string(seed >> 56, static_cast<char>('a' + r % 26));
    if (r % 3 == 0) kept.erase(seed >> 55);
    std::vector<double> in(kCount, static_cast<double>(r % 100));
    std::vector<double> out(kCount + (seed >> 60));
    for (int k = 0; k < 4; ++k) Work(out.data(), in.data(), kCount, 1.0 + k);
    sum = sum * 31 + checksum(out.data(), 4096);
    void* grown = std::malloc(100);
    if (r % 50 == 0) grown = std::realloc(grown, 1 << 20);
    std::free(grown);
  }
  return sum + kept.size();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const long repetitions = std::atol(argv[1]);
  uint64_t sums[3];
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) threads.emplace_back([&, t] { sums[t] = Run(t + 1, repetitions); });
  for (std::thread& thread : threads) thread.join();
  for (uint64_t sum : sums) std::printf("%016llx\n", static_cast<unsigned long long>(sum));
}
