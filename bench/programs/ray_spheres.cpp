// Casts rays at spheres: the nearest hit, Lambert's shading, a shadow ray. Usage: ray_spheres [size] [spheres]
#include <cmath>
#include <vector>

#include "program.h"

namespace {

struct Vec {
  float x, y, z;
};

Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
Vec operator*(float s, Vec a) { return {s * a.x, s * a.y, s * a.z}; }
float Dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
Vec Unit(Vec a) { return 1.0f / std::sqrt(Dot(a, a)) * a; }

struct Sphere {
  Vec centre;
  float radius, brightness;
};

// The distance along a ray of unit direction, or a negative number.
float Hit(const Sphere& sphere, Vec origin, Vec direction) {
  Vec to = sphere.centre - origin;
  float along = Dot(to, direction);
  float root = along * along - Dot(to, to) + sphere.radius * sphere.radius;
  return root < 0 ? -1 : along - std::sqrt(root);
}

float Shade(const std::vector<Sphere>& spheres, Vec direction) {
  const Vec light = Unit({1, 1, -1});
  const Sphere* nearest = nullptr;
  float distance = 1e30f;
  for (const Sphere& sphere : spheres) {
    float at = Hit(sphere, {0, 0, 0}, direction);
    if (at > 1e-3f && at < distance) {
      distance = at;
      nearest = &sphere;
    }
  }
  if (!nearest) return 0;
  Vec point = distance * direction;
  Vec normal = Unit(point - nearest->centre);
  for (const Sphere& sphere : spheres)
    if (Hit(sphere, point + 1e-2f * normal, light) > 0) return 0.1f * nearest->brightness;
  return nearest->brightness * (0.1f + std::fmax(0.0f, Dot(normal, light)));
}

}  // namespace

int main(int argc, char** argv) {
  int size = size_argument(argc, argv, 1, 1400);
  int count = size_argument(argc, argv, 2, 300);
  std::vector<Sphere> spheres(count);
  std::vector<float> image(static_cast<size_t>(size) * size);
  uint64_t seed = 1;
  for (Sphere& s : spheres) {
    s.centre.x = static_cast<float>(random_between(&seed, -5, 5));
    s.centre.y = static_cast<float>(random_between(&seed, -5, 5));
    s.centre.z = static_cast<float>(random_between(&seed, 5, 15));
    s.radius = static_cast<float>(random_between(&seed, 0.1, 0.6));
    s.brightness = static_cast<float>(random_between(&seed, 0.3, 1));
  }
#pragma omp parallel for schedule(dynamic, 4)
  for (int y = 0; y < size; y++)
    for (int x = 0; x < size; x++)
      image[static_cast<size_t>(y) * size + x] =
          Shade(spheres, Unit({(x - size / 2) / (float)size, (y - size / 2) / (float)size, 1}));
  print_checksum("image", image.data(), image.size() * sizeof(float));
}
