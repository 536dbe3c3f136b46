// Explicit time steps of a wave on a string, on std::vector<double>. Usage: vector_ops [points] [steps]
#include <cstdio>
#include <cstdlib>
#include <vector>

using Vector = std::vector<double>;

class String {
 public:
  explicit String(std::size_t points) : now_(points), before_(points), next_(points), stiffness_(points) {
    for (std::size_t i = 0; i < points; ++i) {
      const double x = static_cast<double>(i) / static_cast<double>(points);
      now_[i] = x < 0.3 ? x / 0.3 : (1.0 - x) / 0.7;
      before_[i] = now_[i];
      stiffness_[i] = 0.2 + 0.5 * x * (1.0 - x);
    }
    now_.front() = before_.front() = 0.0;
    now_.back() = before_.back() = 0.0;
  }

  void Step() {
    for (std::size_t i = 1; i + 1 < now_.size(); ++i) {
      const double curvature = now_[i - 1] - 2.0 * now_[i] + now_[i + 1];
      next_[i] = 2.0 * now_[i] - before_[i] + stiffness_[i] * curvature;
    }
    before_.swap(now_);
    now_.swap(next_);
  }

  void Damp(double factor) {
    for (std::size_t i = 0; i < now_.size(); ++i) {
      now_[i] *= factor;
      before_[i] *= factor;
    }
  }

  const Vector& now() const { return now_; }

 private:
  Vector now_, before_, next_, stiffness_;
};

static double Sum(const Vector& values) {
  double sum = 0.0;
  for (double value : values) sum += value;
  return sum;
}

int main(int argc, char** argv) {
  const long points = argc > 1 ? std::atol(argv[1]) : 200000;
  const long steps = argc > 2 ? std::atol(argv[2]) : 20000;
  if (points < 8) {
    std::fprintf(stderr, "usage: vector_ops [points] [steps]\n");
    return 1;
  }
  String string(static_cast<std::size_t>(points));
  for (long t = 0; t < steps; ++t) {
    string.Step();
    if (t % 4 == 3) string.Damp(0.99999);
  }
  const Vector& shape = string.now();
  std::printf("points = %ld, steps = %ld\n", points, steps);
  std::printf("sum = %.15g\n", Sum(shape));
  for (std::size_t k = 0; k <= 8; ++k) std::printf("u[%zu/8] = %.15g\n", k, shape[k * (shape.size() - 1) / 8]);
  return 0;
}
