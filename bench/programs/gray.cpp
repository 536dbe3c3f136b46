// Colour pictures to gray and to sepia, pixel structs in std::vector. Usage: gray [pixels] [pictures]
#include <algorithm>
#include <vector>

#include "program.h"

namespace {

struct Pixel {
  uint8_t red, green, blue;
};

void ToGray(const std::vector<Pixel>& in, std::vector<uint8_t>& out) {
#pragma omp parallel for
  for (size_t i = 0; i < in.size(); i++)
    out[i] = static_cast<uint8_t>((77 * in[i].red + 150 * in[i].green + 29 * in[i].blue + 128) >> 8);
}

void ToSepia(const std::vector<Pixel>& in, std::vector<Pixel>& out) {
#pragma omp parallel for
  for (size_t i = 0; i < in.size(); i++) {
    int red = in[i].red, green = in[i].green, blue = in[i].blue;
    out[i].red = static_cast<uint8_t>(std::min(255, (101 * red + 197 * green + 48 * blue) >> 8));
    out[i].green = static_cast<uint8_t>(std::min(255, (89 * red + 176 * green + 43 * blue) >> 8));
    out[i].blue = static_cast<uint8_t>(std::min(255, (70 * red + 137 * green + 34 * blue) >> 8));
  }
}

}  // namespace

int main(int argc, char** argv) {
  size_t pixels = size_argument(argc, argv, 1, 4000000);
  int pictures = size_argument(argc, argv, 2, 100);
  std::vector<Pixel> picture(pixels), sepia(pixels);
  std::vector<uint8_t> gray(pixels);
  uint64_t gray_hash = 0, sepia_hash = 0;
  fill_random_bytes(&picture[0].red, pixels * 3, 1);
  for (int p = 0; p < pictures; p++) {
    ToGray(picture, gray);
    ToSepia(picture, sepia);
    for (size_t i = p % 7; i < pixels; i += 7) picture[i] = {sepia[i].blue, gray[i], picture[i].red};
  }
  gray_hash = checksum(gray.data(), pixels);
  sepia_hash = checksum(sepia.data(), pixels * 3);
  printf("gray %016llx sepia %016llx\n", (unsigned long long)gray_hash, (unsigned long long)sepia_hash);
}
