// Data for kernels, the same in every run.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace tracelift::offload {

inline std::vector<double> RandomDoubles(size_t n) {
  std::mt19937_64 random(n);
  std::vector<double> values(n);
  for (double& v : values) v = std::uniform_real_distribution<double>(-1, 1)(random);
  return values;
}

inline std::vector<float> RandomFloats(size_t n) {
  const std::vector<double> values = RandomDoubles(n);
  return {values.begin(), values.end()};
}

/// Of any sign.
inline std::vector<int> RandomInts(size_t n) {
  std::mt19937 random(static_cast<unsigned>(n));
  std::vector<int> values(n);
  for (int& v : values) v = static_cast<int>(random());
  return values;
}

/// Never negative.
inline std::vector<int> RandomCounts(size_t n) {
  std::vector<int> values = RandomInts(n);
  for (int& v : values) v = static_cast<int>(static_cast<unsigned>(v) >> 1);
  return values;
}

inline std::vector<uint8_t> RandomBytes(size_t n) {
  std::mt19937 random(static_cast<unsigned>(n));
  std::vector<uint8_t> values(n);
  for (uint8_t& v : values) v = static_cast<uint8_t>(random() >> 7);
  return values;
}

}  // namespace tracelift::offload
