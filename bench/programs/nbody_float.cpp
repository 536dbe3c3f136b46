// Electric charges in a plane, floats in one std::vector each. Usage: nbody_float [charges] [steps]
#include <cmath>
#include <vector>

#include "program.h"

namespace {

struct Charges {
  std::vector<float> x, y, charge, vx, vy;
};

void Step(Charges& all, float dt) {
  size_t n = all.x.size();
#pragma omp parallel for
  for (size_t i = 0; i < n; i++) {
    float ax = 0, ay = 0;
    for (size_t j = 0; j < n; j++) {
      float dx = all.x[i] - all.x[j], dy = all.y[i] - all.y[j];
      float square = dx * dx + dy * dy + 0.01f;
      float push = all.charge[j] / (square * std::sqrt(square));
      ax += push * dx;
      ay += push * dy;
    }
    all.vx[i] += dt * all.charge[i] * ax;
    all.vy[i] += dt * all.charge[i] * ay;
  }
  for (size_t i = 0; i < n; i++) {
    all.x[i] += dt * all.vx[i];
    all.y[i] += dt * all.vy[i];
  }
}

}  // namespace

int main(int argc, char** argv) {
  size_t n = size_argument(argc, argv, 1, 3000);
  int steps = size_argument(argc, argv, 2, 125);
  Charges all;
  for (std::vector<float>* values : {&all.x, &all.y, &all.charge, &all.vx, &all.vy}) values->resize(n);
  fill_random_float(all.x.data(), n, -10, 10, 1);
  fill_random_float(all.y.data(), n, -10, 10, 2);
  fill_random_float(all.charge.data(), n, -1, 1, 3);
  for (int s = 0; s < steps; s++) Step(all, 0.001f);
  print_checksum("x", all.x.data(), n * sizeof(float));
  print_checksum("y", all.y.data(), n * sizeof(float));
}
