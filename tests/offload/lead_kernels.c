/* Rows that need the rows above from their own diagonal on. `t` is n by n, `in` as well, behind it. */
#include <math.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)
#define KERNEL(name) void NAME(name)(double *t, const double *in, int n)

KERNEL(lead_cholesky) {
  double(*a)[n] = (void *)t;
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < i; j++) {
      for (int k = 0; k < j; k++) a[i][j] -= a[i][k] * a[j][k];
      a[i][j] /= a[j][j];
    }
    for (int k = 0; k < i; k++) a[i][i] -= a[i][k] * a[i][k];
    a[i][i] = sqrt(a[i][i]);
  }
}

/* The sum in a register, the diagonal beside the table. */
KERNEL(lead_ldlt) {
  double(*a)[n] = (void *)t;
  double *d = (double *)in;
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < i; j++) {
      double sum = a[i][j];
      for (int k = 0; k < j; k++) sum -= a[i][k] * a[j][k] * d[k];
      a[i][j] = sum / d[j];
    }
    double sum = a[i][i];
    for (int k = 0; k < i; k++) sum -= a[i][k] * a[i][k] * d[k];
    d[i] = sum;
  }
}

/* Only a third of the work is in the lead. */
KERNEL(lead_lu) {
  double(*a)[n] = (void *)t;
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < i; j++) {
      for (int k = 0; k < j; k++) a[i][j] -= a[i][k] * a[k][j];
      a[i][j] /= a[j][j];
    }
    for (int j = i; j < n; j++)
      for (int k = 0; k < i; k++) a[i][j] -= a[i][k] * a[k][j];
  }
}

/* The inverse of a triangle, row by row. */
KERNEL(lead_inverse) {
  double(*l)[n] = (void *)t;
  const double(*b)[n] = (const void *)in;
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < i; j++) {
      double sum = 0;
      for (int k = j; k < i; k++) sum += b[i][k] * l[k][j];
      l[i][j] = -sum / b[i][i];
    }
    l[i][i] = 1 / b[i][i];
  }
}

/* Row j and the two below it. */
KERNEL(lead_shorter) {
  double(*a)[n] = (void *)t;
  for (int i = 3; i < n; i++) {
    for (int j = 0; j < i - 2; j++)
      for (int k = 0; k < 40; k++) a[i][j] = a[i][j] * 0.5 + a[j + 2][k] * a[j + 1][k];
  }
}

/* What is read ahead of the loop is needed in it. */
KERNEL(lead_scaled) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < n; i++) {
    double scale = in[i];
    for (int j = 0; j < i; j++)
      for (int k = 0; k < 40; k++) a[i][j] = a[i][j] * 0.5 + a[j][k] * scale;
  }
}

/* ... and was written by the pass before. */
KERNEL(lead_scaled_by_row_above) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < n; i++) {
    double scale = a[i - 1][i / 2];
    for (int j = 0; j < i; j++)
      for (int k = 0; k < 40; k++) a[i][j] = a[i][j] * 0.5 + a[j][k] * scale;
  }
}

/* ... and is written in the loop. */
KERNEL(lead_scaled_by_first) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < n; i++) {
    double scale = a[i][0];
    for (int j = 0; j < i; j++)
      for (int k = 0; k < 40; k++) a[i][j] = a[i][j] * 0.5 + a[j][k] * scale;
  }
}

/* What the row above left in its first element. */
KERNEL(lead_chain) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < n; i++)
    for (int j = 0; j < i; j++)
      for (int k = 0; k < 40; k++) a[i][j] = a[i][j] * 0.5 + a[i - 1][0] * in[k];
}

/* Rows that data leave out. */
KERNEL(lead_sometimes) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < n; i++) {
    if (in[i] > 0.8) continue;
    for (int j = 0; j < i; j++)
      for (int k = 0; k < 40; k++) a[i][j] = a[i][j] * 0.5 + a[j][k] * 0.25;
  }
}

/* Every row shares what it counts. */
KERNEL(lead_counted) {
  double(*a)[n] = (void *)t;
  double *count = (double *)in;
  for (int i = 1; i < n; i++) {
    count[0] += 1;
    for (int j = 0; j < i; j++)
      for (int k = 0; k < 40; k++) a[i][j] = a[i][j] * 0.5 + a[j][k] * 0.25;
    count[1] += count[0];
  }
}
