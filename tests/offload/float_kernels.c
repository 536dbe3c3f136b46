/* One loop for each kind of float instruction. Compiled as SSE2 and, with another LEVEL, as AVX2 and FMA. */
#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)

/* Read-only memory that the compiler reads anew in each pass, so that tracelift folds it into the loop. */
__asm__(".section .rodata\n.balign 8\n"
        "float_one: .double 1.0\n"
        "float_minus_zero: .quad 0x8000000000000000\n"
        "float_third: .quad 0x3fd5555555555555\n"
        "float_tiny: .quad 0x0000000000004000\n"  /* denormal */
        "float_small: .quad 0x1a70000000000000\n"  /* 2^-600 */
        ".text\n");
#define CONSTANT(n) extern const volatile double n __attribute__((visibility("hidden")))
CONSTANT(float_one);
CONSTANT(float_minus_zero);
CONSTANT(float_third);
CONSTANT(float_tiny);
CONSTANT(float_small);

void NAME(arithmetic)(double *out, const double *a, const double *b, const double *c, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = (a[i] * b[i] + c[i]) / (b[i] + 1.0);
}

void NAME(arithmetic_float)(float *out, const float *a, const float *b, const float *c, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = (a[i] * b[i] - c[i]) / (b[i] + 1.0f) + c[i] / b[i];
}

void NAME(constants)(double *out, const double *a, const double *b, const double *c, size_t n) {
  (void)c;
  for (size_t i = 0; i < n; i++) {
    const double x = a[i] * float_one, y = b[i] + float_minus_zero, z = x * float_third - y * float_small;
    out[i] = z + float_tiny * float_one + (float_small * float_small - float_tiny * float_third);
  }
}

void NAME(roots)(double *out, const double *a, const double *b, const double *c, size_t n) {
  (void)c;
  for (size_t i = 0; i < n; i++) {
    const __m128d x = _mm_set_sd(a[i]);
    out[i] = _mm_cvtsd_f64(_mm_sqrt_sd(x, _mm_set_sd(b[i] * b[i]))) - a[i];
  }
}

/* minsd, maxsd, and the same with a comparison and a choice, which does not change what it chooses. */
void NAME(extremes)(double *out, const double *a, const double *b, const double *c, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const __m128d x = _mm_set_sd(a[i]), y = _mm_set_sd(b[i]), z = _mm_set_sd(c[i]);
    out[i] = _mm_cvtsd_f64(_mm_max_sd(_mm_min_sd(x, y), z));
  }
}

void NAME(choices)(double *out, const double *a, const double *b, const double *c, size_t n) {
  (void)c;
  for (size_t i = 0; i < n; i++) {
    const __m128d x = _mm_set_sd(a[i]), y = _mm_set_sd(b[i]);
    const __m128d less = _mm_cmplt_sd(x, y);
    out[i] = _mm_cvtsd_f64(_mm_or_pd(_mm_and_pd(less, x), _mm_andnot_pd(less, y)));
  }
}

void NAME(narrowings)(float *out, const double *a, const float *b, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = (float)(a[i] * (double)b[i]);
}

void NAME(integers)(int32_t *out, const double *a, const float *b, const int32_t *c, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const __m128d x = _mm_set_sd(a[i]);
    const float scaled = (float)c[i] * b[i];
    out[i] = _mm_cvtsd_si32(x) + _mm_cvttsd_si32(x) + (int32_t)scaled + _mm_cvtss_si32(_mm_set_ss(b[i]));
  }
}

void NAME(longs)(double *out, const double *a, const int64_t *b, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = (double)b[i] * a[i] + (double)_mm_cvtsd_si64(_mm_set_sd(a[i]));
}

/* Packed, as a vectorising compiler writes it. */
void NAME(packed)(float *out, const float *a, const float *b, const float *c, size_t n) {
  for (size_t i = 0; i < n; i += 4) {
    const __m128 x = _mm_loadu_ps(a + i), y = _mm_loadu_ps(b + i), z = _mm_loadu_ps(c + i);
    const __m128 choice = _mm_cmple_ps(x, _mm_min_ps(y, z));
    const __m128 sum = _mm_add_ps(_mm_and_ps(choice, x), _mm_mul_ps(y, z));
    _mm_storeu_ps(out + i, _mm_add_ps(sum, _mm_cvtepi32_ps(_mm_cvtps_epi32(z))));
  }
}

/* Not floats: moves and integers only. */
void NAME(no_floats)(int32_t *out, const int32_t *a, const int32_t *b, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = a[i] * 3 + b[i];
}

#ifdef __FMA__
void NAME(fused)(double *out, const double *a, const double *b, const double *c, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = __builtin_fma(a[i], b[i], -__builtin_fma(-b[i], c[i], a[i]));
}

void NAME(rounded)(double *out, const double *a, const double *b, const double *c, size_t n) {
  (void)c;
  for (size_t i = 0; i < n; i++) {
    const __m128d x = _mm_set_sd(a[i]), y = _mm_set_sd(b[i]);
    const __m128d nearby = _mm_round_sd(x, x, _MM_FROUND_CUR_DIRECTION), up = _mm_ceil_sd(y, y), down = _mm_floor_sd(x, y);
    out[i] = _mm_cvtsd_f64(_mm_add_sd(nearby, _mm_sub_sd(up, down)));
  }
}

void NAME(halves)(uint16_t *out, const float *a, const uint16_t *b, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const float x = _cvtsh_ss(b[i]) + a[i];
    out[i] = _cvtss_sh(x, _MM_FROUND_CUR_DIRECTION);
  }
}
#endif
