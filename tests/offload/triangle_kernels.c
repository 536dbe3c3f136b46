/* Rows times rows, also of triangles: an inner loop longer or shorter by one from pass to pass. Each kernel: a matrix of
   rows x rows at out, one of rows x n at in (some way in, so that what is taken for larger than it is does not reach into it),
   and behind it one of n x rows. */
#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)
#define KERNEL(name) void NAME(name)(double *out, const double *in, int rows, int n)
#define C(i, j) out[(long)(i) * rows + (j)]
#define A(i, k) in[(long)(i) * n + (k) + 2 * rows]
#define B(k, j) (in + (long)rows * n + 2 * rows)[(long)(k) * rows + (j)]

KERNEL(triangle_square) {
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < rows; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += A(i, k) * A(j, k);
      C(i, j) = sum;
    }
  }
}

KERNEL(triangle_square_transposed) {
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < rows; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += A(i, k) * A(j, k);
      C(j, i) = sum + C(j, i);
    }
  }
}

KERNEL(triangle_lower) {
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j <= i; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += A(i, k) * A(j, k);
      C(i, j) = 0.5 * C(i, j) + 1.5 * sum;
    }
  }
}

/* Its last row is the first. */
KERNEL(triangle_lower_backwards) {
  for (int i = rows - 1; i >= 0; i--) {
    for (int j = 0; j <= i; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += A(i, k) * A(j, k);
      C(i, j) = sum;
    }
  }
}

KERNEL(triangle_lower_strict) {
  for (int i = 1; i < rows; i++) {
    for (int j = 0; j < i; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += A(i, k) * B(k, j);
      C(i, j) = sum;
    }
  }
}

KERNEL(triangle_lower_added) {
  for (int i = 0; i < rows; i++) {
    for (int k = 0; k < n; k++)
      for (int j = 0; j <= i; j++) C(i, j) += A(i, k) * B(k, j);
  }
}

KERNEL(triangle_upper) {
  for (int i = 0; i < rows; i++) {
    for (int j = i; j < rows; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += A(i, k) * A(j, k);
      C(i, j) = sum;
    }
  }
}

KERNEL(triangle_upper_added) {
  for (int i = 0; i < rows; i++) {
    for (int k = 0; k < n; k++)
      for (int j = i; j < rows; j++) C(i, j) -= A(i, k) * B(k, j);
  }
}

KERNEL(triangle_mirrored) {
  for (int i = 0; i < rows; i++) {
    for (int j = i; j < rows; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += A(i, k) * A(j, k);
      C(i, j) = sum / 3;
      C(j, i) = C(i, j);
    }
  }
}

/* What it writes below the diagonal others read. */
KERNEL(triangle_feeds_itself) {
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j <= i; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += A(i, k) * C(j, k);
      C(i, j) = C(i, j) - 0.01 * sum;
    }
  }
}

KERNEL(triangle_floats) {
  const float *a = (const float *)in;
  float *c = (float *)out;
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j <= i; j++) {
      float sum = 0;
      for (int k = 0; k < n; k++) sum += a[(long)i * n + k] * a[(long)j * n + k];
      c[(long)i * rows + j] = sum;
    }
  }
}
