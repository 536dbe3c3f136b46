// Squared distances between all pairs of points, and each point's nearest neighbour. Usage: distances [points]
#include <cstdio>
#include <cstdlib>
#include <vector>

constexpr int kDimensions = 128;

static void Distances(const std::vector<float>& points, std::vector<float>& table, int n) {
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      float sum = 0.0f;
      for (int d = 0; d < kDimensions; ++d) {
        const float delta = points[i * kDimensions + d] - points[j * kDimensions + d];
        sum += delta * delta;
      }
      table[static_cast<std::size_t>(i) * n + j] = sum;
    }
  }
}

int main(int argc, char** argv) {
  const int n = argc > 1 ? std::atoi(argv[1]) : 9000;
  if (n < 2) {
    std::fprintf(stderr, "usage: distances [points]\n");
    return 1;
  }
  std::vector<float> points(static_cast<std::size_t>(n) * kDimensions);
  unsigned seed = 7;
  for (float& x : points) {
    seed = seed * 1664525u + 1013904223u;
    x = static_cast<float>(seed >> 16) / 65536.0f;
  }
  std::vector<float> table(static_cast<std::size_t>(n) * n);
  Distances(points, table, n);

  double sum = 0.0;
  unsigned hash = 2166136261u;
  for (int i = 0; i < n; ++i) {
    int nearest = i == 0 ? 1 : 0;
    for (int j = 0; j < n; ++j) {
      const float distance = table[static_cast<std::size_t>(i) * n + j];
      if (j != i && distance < table[static_cast<std::size_t>(i) * n + nearest]) nearest = j;
    }
    sum += table[static_cast<std::size_t>(i) * n + nearest];
    hash = (hash ^ static_cast<unsigned>(nearest)) * 16777619u;
  }
  std::printf("points = %d\n", n);
  std::printf("sum of nearest distances = %.12g, neighbour hash = %08x\n", sum, hash);
  for (int k = 0; k < 5; ++k) std::printf("d[0][%d] = %.9g\n", k * (n - 1) / 4, table[k * (n - 1) / 4]);
  return 0;
}
