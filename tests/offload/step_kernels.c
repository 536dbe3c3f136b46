/* Loops whose steps are arguments. */
#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)

void NAME(steps_below)(int *to, long first, long end, long step) {
  for (int i = (int)first; i < (int)end; i = (int)((unsigned)i + (unsigned)step)) *to++ = i ^ 3;
}

void NAME(steps_up_to)(int *to, long first, long end, long step) {
  for (long i = first; i <= end; i += step) *to++ = (int)(i ^ 5);
}

void NAME(steps_unsigned)(int *to, long first, long end, long step) {
  for (unsigned i = (unsigned)first; i < (unsigned)end; i += (unsigned)step) *to++ = (int)(i * i);
}

/* As a sieve does: the place follows from the counter. */
void NAME(steps_marking)(int *to, long first, long end, long step) {
  for (int i = (int)first; i <= (int)end - (int)step; i += (int)step) to[i] = 1;
}

/* As a Fourier transform does: blocks of the step's length. */
void NAME(steps_of_blocks)(int *to, long first, long end, long step) {
  for (int i = (int)first; i < (int)end; i += (int)step)
    for (int j = 0; j < (int)step / 2; j++) {
      int u = to[i + j], v = to[i + j + (int)step / 2];
      to[i + j] = u + 3 * v;
      to[i + j + (int)step / 2] = u - v;
    }
}

/* The inner loop steps. */
void NAME(steps_inside)(int *to, long first, long end, long step) {
  for (int i = 0; i < 1000; i++)
    for (int j = (int)first; j < (int)end; j += (int)step) to[i * 1000 + j] += i * j;
}
