/* a[i + k] = f(a[i]), with the distances k from the command line, in turn: overlap REPETITIONS K... */
#include "support.h"

enum { kCount = 1 << 17, kMargin = 1 << 18 };

__attribute__((noinline)) static void shift(uint32_t* a, long k, long n) {
  for (long i = 0; i < n; ++i) a[i + k] = a[i] * 3 + 1;
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const size_t bytes = (kCount + 2 * kMargin) * 4;
  uint32_t* memory = allocate(bytes);
  for (long i = 0; i < kCount + 2 * kMargin; ++i) memory[i] = (uint32_t)random_bits();
  for (long r = 0; r < atol(argv[1]); ++r) {
    for (int k = 2; k < argc; ++k) shift(memory + kMargin, atol(argv[k]), kCount);
  }
  print_checksum("memory", memory, bytes);
  return 0;
}
