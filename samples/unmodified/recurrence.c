/* A recursive low-pass filter over a signal: each value needs the one before. Usage: recurrence [samples] [passes] */
#include <stdio.h>
#include <stdlib.h>

static void filter(const float* in, float* out, long n, float alpha) {
  float y = in[0];
  for (long i = 0; i < n; i++) {
    y = y + alpha * (in[i] - y);
    out[i] = y;
  }
}

int main(int argc, char** argv) {
  long n = argc > 1 ? atol(argv[1]) : 1000000;
  int passes = argc > 2 ? atoi(argv[2]) : 500;
  if (n < 1) {
    fprintf(stderr, "usage: recurrence [samples] [passes]\n");
    return 1;
  }
  float* signal = malloc(n * sizeof(float));
  float* filtered = malloc(n * sizeof(float));
  if (!signal || !filtered) {
    fprintf(stderr, "out of memory\n");
    return 1;
  }
  unsigned seed = 3;
  for (long i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    signal[i] = (float)(i % 5000) / 2500.0f - 1.0f + (float)(seed >> 16) / 65536.0f;
  }
  for (int p = 0; p < passes; p++) {
    filter(signal, filtered, n, 0.25f);
    float* swap = signal;
    signal = filtered;
    filtered = swap;
  }

  double sum = 0.0;
  for (long i = 0; i < n; i++) sum += signal[i];
  printf("samples = %ld, passes = %d\n", n, passes);
  printf("mean = %.12f\n", sum / n);
  for (int k = 0; k < 6; k++) printf("signal[%ld] = %.9g\n", k * (n - 1) / 5, signal[k * (n - 1) / 5]);
  free(signal);
  free(filtered);
  return 0;
}
