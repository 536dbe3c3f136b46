// k-means clustering of random points: assigns points to the nearest centre, moves centres, repeats.
// Usage: kmeans_assign [points] [clusters] [rounds]
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

constexpr int kDimensions = 8;

static void Assign(const std::vector<float>& points, const std::vector<float>& centres, std::vector<int>& nearest) {
  const int clusters = static_cast<int>(centres.size() / kDimensions);
  for (std::size_t p = 0; p < nearest.size(); ++p) {
    float best = 1e30f;
    int best_cluster = 0;
    for (int c = 0; c < clusters; ++c) {
      float distance = 0.0f;
      for (int d = 0; d < kDimensions; ++d) {
        const float delta = points[p * kDimensions + d] - centres[c * kDimensions + d];
        distance += delta * delta;
      }
      if (distance < best) {
        best = distance;
        best_cluster = c;
      }
    }
    nearest[p] = best_cluster;
  }
}

static void Move(const std::vector<float>& points, const std::vector<int>& nearest, std::vector<float>& centres) {
  std::vector<double> sums(centres.size());
  std::vector<int> counts(centres.size() / kDimensions);
  for (std::size_t p = 0; p < nearest.size(); ++p) {
    ++counts[nearest[p]];
    for (int d = 0; d < kDimensions; ++d) sums[nearest[p] * kDimensions + d] += points[p * kDimensions + d];
  }
  for (std::size_t c = 0; c < counts.size(); ++c) {
    if (counts[c] == 0) continue;
    for (int d = 0; d < kDimensions; ++d) {
      centres[c * kDimensions + d] = static_cast<float>(sums[c * kDimensions + d] / counts[c]);
    }
  }
}

int main(int argc, char** argv) {
  const long count = argc > 1 ? std::atol(argv[1]) : 200000;
  const long clusters = argc > 2 ? std::atol(argv[2]) : 128;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 75;
  if (clusters < 1 || count < clusters) {
    std::fprintf(stderr, "usage: kmeans_assign [points] [clusters] [rounds]\n");
    return 1;
  }
  std::mt19937 random(1);
  std::vector<float> points(static_cast<std::size_t>(count) * kDimensions);
  for (float& x : points) x = static_cast<float>(random() >> 8) / (1 << 24);
  std::vector<float> centres(points.begin(), points.begin() + clusters * kDimensions);
  std::vector<int> nearest(static_cast<std::size_t>(count));
  for (int round = 0; round < rounds; ++round) {
    Assign(points, centres, nearest);
    Move(points, nearest, centres);
  }

  unsigned hash = 2166136261u;
  for (int cluster : nearest) hash = (hash ^ static_cast<unsigned>(cluster)) * 16777619u;
  std::printf("points = %ld, clusters = %ld, rounds = %d\n", count, clusters, rounds);
  std::printf("assignment hash = %08x\n", hash);
  for (long c = 0; c < 4 && c < clusters; ++c) {
    std::printf("centre %ld:", c);
    for (int d = 0; d < kDimensions; ++d) std::printf(" %.7f", centres[c * kDimensions + d]);
    std::printf("\n");
  }
  return 0;
}
