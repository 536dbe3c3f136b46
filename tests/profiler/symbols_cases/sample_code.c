/* Compiled in several ways by the symbol and unwind tests: with and without symbols, by gcc and by clang. */
__attribute__((noinline, visibility("default"))) int sample_add(int a, int b) {
  return a + b; /* line 3 */
}

__attribute__((noinline)) static int hidden_twice(int a) {
  return sample_add(a, a) + 1; /* line 7 */
}

/* Calls `callback` from two functions deep, so that an unwinder has something to walk. */
__attribute__((noinline)) static int inner(void (*callback)(void), int depth) {
  volatile char room[200];
  room[depth & 127] = 1;
  if (depth > 0) return inner(callback, depth - 1) + room[depth & 127];
  callback();
  return hidden_twice(depth) + room[0];
}

__attribute__((noinline, visibility("default"))) int sample_call(void (*callback)(void), int depth) {
  return inner(callback, depth) + 1;
}
