/* The Mandelbrot set as an image of iteration counts. Usage: mandelbrot [width] [limit] [file.pgm] */
#include <stdio.h>
#include <stdlib.h>

static void render(int width, int height, int limit, unsigned short* image) {
  for (int row = 0; row < height; row++) {
    for (int column = 0; column < width; column++) {
      double cr = -2.2 + 3.2 * column / width;
      double ci = -1.2 + 2.4 * row / height;
      double zr = 0.0, zi = 0.0;
      int count = 0;
      while (count < limit && zr * zr + zi * zi < 4.0) {
        double next = zr * zr - zi * zi + cr;
        zi = 2.0 * zr * zi + ci;
        zr = next;
        count++;
      }
      image[row * width + column] = count;
    }
  }
}

static int save(const char* name, int width, int height, int limit, const unsigned short* image) {
  FILE* file = fopen(name, "wb");
  if (!file) {
    perror(name);
    return 1;
  }
  fprintf(file, "P5\n%d %d\n255\n", width, height);
  for (int i = 0; i < width * height; i++) putc(image[i] == limit ? 0 : 255 - image[i] % 256, file);
  return fclose(file);
}

int main(int argc, char** argv) {
  int width = argc > 1 ? atoi(argv[1]) : 1600;
  int limit = argc > 2 ? atoi(argv[2]) : 4000;
  int height = width * 3 / 4;
  if (width < 2 || limit < 1 || limit > 65535) {
    fprintf(stderr, "usage: mandelbrot [width] [limit] [file.pgm]\n");
    return 1;
  }
  unsigned short* image = malloc(sizeof *image * width * height);
  if (!image) return 1;
  render(width, height, limit, image);

  unsigned long sum = 0, inside = 0;
  unsigned hash = 2166136261u;
  for (int i = 0; i < width * height; i++) {
    sum += image[i];
    inside += image[i] == limit;
    hash = (hash ^ image[i]) * 16777619u;
  }
  printf("%d x %d, limit %d\n", width, height, limit);
  printf("iterations = %lu, inside = %lu, hash = %08x\n", sum, inside, hash);
  for (int row = height / 12; row < height; row += height / 6) {
    for (int column = 0; column < 64; column++)
      putchar(" .:-=+*#%@"[image[row * width + column * width / 64] * 9 / limit]);
    putchar('\n');
  }
  int status = argc > 3 ? save(argv[3], width, height, limit, image) : 0;
  free(image);
  return status;
}
