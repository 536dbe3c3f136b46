// Loops that hand the addresses of their locals to functions, which are spliced in: what the function does at such an
// address and what the loop does with the local is one variable of the pass. By each compiler there is, at all levels.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

#define KERNELS(X) \
  X(structure) X(results) X(neighbours) X(sometimes) X(carried) X(twice) X(array) X(handed_on) X(mixed_sizes) \
  X(pointers_inside) X(either) X(known_elsewhere) X(moved_pointer)
#define DECLARE_O0(name) void reference_##name##_O0(double*, const double*, size_t);
#define DECLARE_O1(name) void reference_##name##_O1(double*, const double*, size_t);
#define DECLARE_O2(name) void reference_##name##_O2(double*, const double*, size_t);
#define DECLARE_O3(name) void reference_##name##_O3(double*, const double*, size_t);
#define DECLARE_14(name) void reference_##name##_clang14_O0(double*, const double*, size_t); \
  void reference_##name##_clang14_O2(double*, const double*, size_t);
#define DECLARE_19(name) void reference_##name##_clang19_O0(double*, const double*, size_t); \
  void reference_##name##_clang19_O2(double*, const double*, size_t);
extern "C" {
KERNELS(DECLARE_O0)
KERNELS(DECLARE_O1)
KERNELS(DECLARE_O2)
KERNELS(DECLARE_O3)
#ifdef TL_CLANG_14
KERNELS(DECLARE_14)
#endif
#ifdef TL_CLANG_19
KERNELS(DECLARE_19)
#endif
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(double*, const double*, size_t);

struct Built {
  const char* by;
  Kernel kernel;
};

#ifdef TL_CLANG_14
#define BY_CLANG_14(name) {"clang14_O0", &reference_##name##_clang14_O0}, {"clang14_O2", &reference_##name##_clang14_O2},
#else
#define BY_CLANG_14(name)
#endif
#ifdef TL_CLANG_19
#define BY_CLANG_19(name) {"clang19_O0", &reference_##name##_clang19_O0}, {"clang19_O2", &reference_##name##_clang19_O2},
#else
#define BY_CLANG_19(name)
#endif
#define BUILT(name)                                                                                               \
  std::vector<Built>{{"gcc_O0", &reference_##name##_O0}, {"gcc_O1", &reference_##name##_O1}, {"gcc_O2", &reference_##name##_O2}, \
                     {"gcc_O3", &reference_##name##_O3}, BY_CLANG_14(name) BY_CLANG_19(name)}

void Expect(const std::vector<Built>& builds, Becomes becomes) {
  constexpr size_t n = 60'000;
  const std::vector<double> data = RandomDoubles(2 * n);
  for (const auto& [by, kernel] : builds) {
    SCOPED_TRACE(by);
    const auto run = kernel;
    ExpectSame<double>(reinterpret_cast<const void*>(run), data, [run](std::vector<double>& v) { run(v.data(), v.data() + n, n); }, becomes);
  }
}

TEST(ReferencesTakeover, StructureThatTwoCallsAddTo) { Expect(BUILT(structure), Becomes::kAccelerated); }
TEST(ReferencesTakeover, ResultsByReference) { Expect(BUILT(results), Becomes::kAccelerated); }
TEST(ReferencesTakeover, LocalsSideBySide) { Expect(BUILT(neighbours), Becomes::kAccelerated); }
TEST(ReferencesTakeover, WrittenOnlySometimes) { Expect(BUILT(sometimes), Becomes::kAccelerated); }
TEST(ReferencesTakeover, NotWrittenByEachPass) { Expect(BUILT(carried), Becomes::kLeftAlone); }
TEST(ReferencesTakeover, OneFunctionForSeveralLocals) { Expect(BUILT(twice), Becomes::kAccelerated); }
TEST(ReferencesTakeover, SmallArray) { Expect(BUILT(array), Becomes::kAccelerated); }
TEST(ReferencesTakeover, HandedOnToOtherFunctions) { Expect(BUILT(handed_on), Becomes::kAccelerated); }
TEST(ReferencesTakeover, MembersOfManySizes) { Expect(BUILT(mixed_sizes), Becomes::kAccelerated); }
TEST(ReferencesTakeover, PointersInAStructure) { Expect(BUILT(pointers_inside), Becomes::kPerhaps); }
TEST(ReferencesTakeover, LocalOrNot) { Expect(BUILT(either), Becomes::kPerhaps); }
TEST(ReferencesTakeover, LocalsThatOthersKnow) { Expect(BUILT(known_elsewhere), Becomes::kLeftAlone); }
TEST(ReferencesTakeover, PointersThatAreMoved) { Expect(BUILT(moved_pointer), Becomes::kPerhaps); }

}  // namespace
}  // namespace tracelift::offload
