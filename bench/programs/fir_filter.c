/* Sound: 16-bit samples through a float filter with 64 taps and a resonance, back to 16 bits.
   Usage: fir_filter [samples] [passes] */
#include <math.h>

#include "program.h"

enum { kTaps = 64 };

static void convolve(int n, const int16_t* in, const float* taps, float* out) {
#pragma omp parallel for
  for (int i = kTaps; i < n; i++) {
    float sum = 0.0f;
    for (int k = 0; k < kTaps; k++) sum += taps[k] * (float)in[i - k];
    out[i] = sum;
  }
}

/* Each value needs the two before it. */
static void resonate(int n, float* signal) {
  for (int i = kTaps + 2; i < n; i++) signal[i] += 0.5f * signal[i - 1] - 0.3f * signal[i - 2];
}

static void round_to_samples(int n, const float* in, int16_t* out) {
#pragma omp parallel for
  for (int i = 0; i < n; i++) {
    float limited = in[i] > 32767.0f ? 32767.0f : in[i] < -32768.0f ? -32768.0f : in[i];
    out[i] = (int16_t)lrintf(limited);
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 3000000);
  int passes = size_argument(argc, argv, 2, 16);
  int16_t* samples = allocate(n, sizeof *samples);
  float* signal = allocate(n, sizeof *signal);
  float taps[kTaps];
  uint64_t seed = 1;
  for (int i = 0; i < n; i++) samples[i] = (int16_t)((int)(random_bits(&seed) >> 16) - 32768);
  for (int k = 0; k < kTaps; k++) taps[k] = (float)random_between(&seed, -0.2, 0.2);
  memset(signal, 0, n * sizeof *signal);
  for (int p = 0; p < passes; p++) {
    convolve(n, samples, taps, signal);
    resonate(n, signal);
    round_to_samples(n, signal, samples);
  }
  print_checksum("samples", samples, n * sizeof *samples);
}
