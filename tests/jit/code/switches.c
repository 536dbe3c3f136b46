/* Switches that compilers make jump tables of. */
#include <stdint.h>

#define KERNEL __attribute__((noinline, noipa))

KERNEL void by_byte(double *a, const uint8_t *what, long n) {
  for (long i = 0; i < n; ++i) {
    switch (what[i]) {
      case 0: a[i] += 1; break;
      case 1: a[i] *= a[i]; break;
      case 2: a[i] = 1 / a[i]; break;
      case 3: a[i] = a[n - 1 - i]; break;
      case 5: a[i] = -a[i]; break;
      case 6: a[i] -= 3; break;
    }
  }
}

KERNEL void by_int(long *a, const int *what, long n) {
  for (long i = 0; i < n; ++i) {
    switch (what[i] - 10) {
      case 0: a[i] += n; break;
      case 1: a[i] ^= i; break;
      case 2: a[i] = a[i] * a[i] + i; break;
      case 3: a[i] >>= i & 15; break;
      case 4: a[i] /= i + 1; break;
      case 5: return;
      default: a[i] = 0; break;
    }
  }
}

KERNEL long by_argument(unsigned what, long a, long b) {
  switch (what) {
    case 0: return a * b + 1;
    case 1: return a / (b | 1);
    case 2: return (a << 3) ^ b;
    case 3: return a > b ? a * 3 : b * 5;
    case 4: return a % (b | 3);
    case 5: return a * a - b * b;
    default: return -1;
  }
}

KERNEL long by_mask(const unsigned *what, long n) {
  long a = 1;
  for (long i = 0; i < n; ++i) {
    switch (what[i] & 7) {
      case 0: a += i; break;
      case 1: a *= 3; break;
      case 2: a ^= a >> 7; break;
      case 3: a = a / 3 + i; break;
      case 4: a -= what[n - 1 - i]; break;
      case 5: a = -a; break;
      case 6: a = a * a + 1; break;
      case 7: a |= i; break;
    }
  }
  return a;
}

KERNEL long by_long(const long *what, long n) {
  long a = 0, b = 1;
  for (long i = 0; i < n; ++i) {
    switch (what[i]) {
      case -3: a += b; break;
      case -2: b += a; break;
      case -1: a = a * 5 + b; break;
      case 0: b = a ^ i; break;
      case 1: a = b * b; break;
      case 2: if (a > n) return b; break;
      case 3: b -= i; break;
    }
  }
  return a ^ b;
}

int main(void) { return 0; }
