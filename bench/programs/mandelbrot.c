/* Iterations until points leave the Mandelbrot set's circle. Usage: mandelbrot [size] [most iterations] */
#include "program.h"

static void draw(int size, int most, int* counts) {
#pragma omp parallel for schedule(dynamic, 4)
  for (int row = 0; row < size; row++) {
    for (int column = 0; column < size; column++) {
      double cx = -2.0 + 3.0 * column / size, cy = -1.5 + 3.0 * row / size;
      double x = 0.0, y = 0.0;
      int count = 0;
      while (count < most && x * x + y * y < 4.0) {
        double next = x * x - y * y + cx;
        y = 2.0 * x * y + cy;
        x = next;
        count++;
      }
      counts[(size_t)row * size + column] = count;
    }
  }
}

int main(int argc, char** argv) {
  int size = size_argument(argc, argv, 1, 1600);
  int most = size_argument(argc, argv, 2, 2000);
  int* counts = allocate((size_t)size * size, sizeof *counts);
  draw(size, most, counts);
  print_checksum("counts", counts, (size_t)size * size * sizeof *counts);
}
