#include <algorithm>
#include <iostream>
#include <map>
#include <vector>
int main() {
  std::vector<int> v; unsigned s = 1;
  for (int i = 0; i < 1000000; ++i) v.push_back(s = s * 1664525 + 1013904223);
  std::sort(v.begin(), v.end());
  std::map<int, int> m; for (int x : v) ++m[x & 15];
  for (auto& [k, n] : m) std::cout << k << ' ' << n << '\n';
  std::cout << v[500000] << std::endl;
}
