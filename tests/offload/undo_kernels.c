// Loops that overwrite what they read. Built several times; LEVEL is part of the names.

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define NAME(name) JOIN(JOIN(undo_##name, _), LEVEL)

// The rows of data are n long; `other` lies behind them.

void NAME(scale)(double* data, double* other, int rows, int n) {
  for (int i = 0; i < rows * n; i++) data[i] = data[i] * 1.0625 + other[i];
}

void NAME(rows)(double* data, double* other, int rows, int n) {
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < n; j++) data[i * n + j] -= 0.75 * (other[i * n + j] - data[i * n + j]);
}

void NAME(colours)(double* data, double* other, int rows, int n) {
  for (int i = 1; i < rows - 1; i++)
    for (int j = 1 + i % 2; j < n - 1; j += 2) {
      double average = 0.25 * (data[(i - 1) * n + j] + data[(i + 1) * n + j] + data[i * n + j - 1] + data[i * n + j + 1]);
      data[i * n + j] += 1.5 * (average - data[i * n + j] + other[i * n + j]);
    }
}

void NAME(triangle)(double* data, double* other, int rows, int n) {
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < 40 + i % 8 * 8; j++) data[i * n + j] = data[i * n + j] * 0.5 + other[i * n + j];
}

// Two arrays in place, one of them backwards and in steps, and one that is only written.
void NAME(several)(double* data, double* other, int rows, int n) {
  double* result = other + rows * n;
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < n; j++) {
      double a = data[i * n + j], b = other[i * n + j];
      data[i * n + j] = a * 0.5 - b;
      result[i * n + j] = a - b;
    }
    for (int j = n - 1; j >= 0; j -= 3) other[i * n + j] = other[i * n + j] * 3.0;
  }
}

// Each number twice: what was there before the first time is the one to come back.
void NAME(twice)(double* data, double* other, int rows, int n) {
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < n; j++) data[i * n + j] = data[i * n + j] * 0.5 + other[i * n + j];
    for (int j = 0; j < n; j++) data[i * n + j] = data[i * n + j] * data[i * n + j] - 1.0;
  }
}

void NAME(deep)(double* data, double* other, int rows, int n) {
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < n / 8; j++)
      for (int k = 0; k < 7; k++) data[i * n + j * 8 + k] = data[i * n + j * 8 + k] * 0.25 + other[i * n + j * 8 + k];
}

void NAME(floats)(double* data, double* other, int rows, int n) {
  float *to = (float*)data, *from = (float*)other;
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < 2 * n; j++) to[2 * i * n + j] = to[2 * i * n + j] * 0.5f + from[2 * i * n + j];
}

// The way through it depends on data.
void NAME(chosen)(double* data, double* other, int rows, int n) {
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < n; j++)
      if (other[i * n + j] > 0) data[i * n + j] = data[i * n + j] * 0.5 + other[i * n + j];
}
