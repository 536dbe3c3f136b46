#include <math.h>
double work(int n) { double s = 0; for (int i = 1; i < n; ++i) s += sin(i) / i; return s; }
