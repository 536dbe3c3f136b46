/* (A B) (C D) in floats, rows added up in the order that suits the cache. Usage: three_products [n] */
#include "program.h"

static void multiply(int n, const float* a, const float* b, float* c) {
#pragma omp parallel for
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < n; j++) c[(size_t)i * n + j] = 0.0f;
    for (int k = 0; k < n; k++) {
      float factor = a[(size_t)i * n + k];
      for (int j = 0; j < n; j++) c[(size_t)i * n + j] += factor * b[(size_t)k * n + j];
    }
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 1250);
  size_t elements = (size_t)n * n;
  float* m[7];
  for (int i = 0; i < 7; i++) m[i] = allocate(elements, sizeof(float));
  for (int i = 0; i < 4; i++) fill_random_float(m[i], elements, -1, 1, i + 1);
  multiply(n, m[0], m[1], m[4]);
  multiply(n, m[2], m[3], m[5]);
  multiply(n, m[4], m[5], m[6]);
  print_checksum("product", m[6], elements * sizeof(float));
  printf("corner %a\n", m[6][0]);
}
