// k-means clustering of points with many coordinates, a fixed number of rounds.
// Usage: kmeans [points] [clusters] [rounds]
#include <vector>

#include "program.h"

namespace {

constexpr int kDimensions = 16;

struct Point {
  float at[kDimensions];
};

float SquaredDistance(const Point& a, const Point& b) {
  float sum = 0;
  for (int d = 0; d < kDimensions; d++) sum += (a.at[d] - b.at[d]) * (a.at[d] - b.at[d]);
  return sum;
}

void Assign(const std::vector<Point>& points, const std::vector<Point>& centres, std::vector<int>& cluster) {
#pragma omp parallel for
  for (size_t i = 0; i < points.size(); i++) {
    float least = SquaredDistance(points[i], centres[0]);
    int nearest = 0;
    for (size_t c = 1; c < centres.size(); c++) {
      float distance = SquaredDistance(points[i], centres[c]);
      if (distance < least) {
        least = distance;
        nearest = static_cast<int>(c);
      }
    }
    cluster[i] = nearest;
  }
}

void Move(const std::vector<Point>& points, const std::vector<int>& cluster, std::vector<Point>& centres) {
  std::vector<Point> sums(centres.size(), Point{});
  std::vector<int> members(centres.size(), 0);
  for (size_t i = 0; i < points.size(); i++) {
    members[cluster[i]]++;
    for (int d = 0; d < kDimensions; d++) sums[cluster[i]].at[d] += points[i].at[d];
  }
  for (size_t c = 0; c < centres.size(); c++)
    for (int d = 0; d < kDimensions; d++)
      if (members[c] > 0) centres[c].at[d] = sums[c].at[d] / static_cast<float>(members[c]);
}

}  // namespace

int main(int argc, char** argv) {
  size_t n = size_argument(argc, argv, 1, 100000);
  size_t clusters = size_argument(argc, argv, 2, 64);
  int rounds = size_argument(argc, argv, 3, 70);
  std::vector<Point> points(n), centres(clusters);
  std::vector<int> cluster(n);
  fill_random_float(points[0].at, n * kDimensions, 0, 1, 1);
  for (size_t c = 0; c < clusters; c++) centres[c] = points[c * n / clusters];
  for (int r = 0; r < rounds; r++) {
    Assign(points, centres, cluster);
    Move(points, cluster, centres);
  }
  print_checksum("clusters", cluster.data(), n * sizeof(int));
  print_checksum("centres", centres.data(), clusters * sizeof(Point));
}
