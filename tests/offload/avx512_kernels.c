/* Loops that compilers turn into AVX-512: whole registers of 512 bits, masks for conditions, conversions it alone has. */
#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

void avx512_triad(double *restrict a, const double *restrict b, const double *restrict c, double s, size_t n) {
  for (size_t i = 0; i < n; i++) a[i] = b[i] + s * c[i];
}

void avx512_choose(float *restrict a, const float *restrict b, const float *restrict c, size_t n) {
  for (size_t i = 0; i < n; i++) a[i] = b[i] > c[i] ? b[i] * 3.0f : c[i] - b[i];
}

/* Stores under a mask, and loads that only some elements want, as people write them who know the machine. (gcc's own leap
   over them when no element is chosen, and then have two ends.) */
void avx512_some(float *restrict a, const float *restrict b, const float *restrict c, size_t n) {
  for (size_t i = 0; i < n; i += 16) {
    const __m512 value = _mm512_loadu_ps(b + i);
    const __mmask16 chosen = _mm512_cmp_ps_mask(value, _mm512_set1_ps(0.25f), _CMP_GT_OQ);
    const __m512 sum = _mm512_add_ps(_mm512_sqrt_ps(value), _mm512_maskz_loadu_ps(chosen, c + i));
    _mm512_mask_storeu_ps(a + i, chosen, sum);
  }
}

void avx512_some_bytes(uint8_t *restrict a, const uint8_t *restrict b, size_t n) {
  for (size_t i = 0; i < n; i += 64) {
    const __m512i value = _mm512_loadu_si512(b + i);
    const __mmask64 chosen = _mm512_cmpgt_epu8_mask(value, _mm512_set1_epi8(100));
    _mm512_mask_storeu_epi8(a + i, chosen, _mm512_add_epi8(value, _mm512_maskz_loadu_epi8(chosen, a + i)));
  }
}

void avx512_bytes(uint8_t *restrict a, const uint8_t *restrict b, const uint8_t *restrict c, size_t n) {
  for (size_t i = 0; i < n; i++) a[i] = (uint8_t)((b[i] + c[i] + 1) >> 1);
}

void avx512_longs(int64_t *restrict a, const int64_t *restrict b, const int64_t *restrict c, size_t n) {
  for (size_t i = 0; i < n; i++) {
    int64_t product = b[i] * c[i];
    a[i] = product < c[i] ? product >> 7 : (b[i] < 0 ? -b[i] : b[i]);
  }
}

void avx512_unsigned(double *restrict a, const uint64_t *restrict b, const uint32_t *restrict c, size_t n) {
  for (size_t i = 0; i < n; i++) a[i] = (double)b[i] * (double)c[i];
}

void avx512_narrow(uint8_t *restrict a, const uint32_t *restrict b, size_t n) {
  for (size_t i = 0; i < n; i++) a[i] = (uint8_t)((b[i] << 9 | b[i] >> 23) ^ (b[i] >> 3));
}

void avx512_curvature(float *restrict out, const float *restrict in, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = fabsf(0.5f * (in[i] + in[i + 2]) - in[i + 1]);
}

/* Columns of three: permutations from two tables. */
void avx512_planes(float *restrict a, const float *restrict b, size_t n) {
  for (size_t i = 0; i < n; i++) a[i] = b[3 * i] * 0.25f + b[3 * i + 1] * 0.5f + b[3 * i + 2];
}
