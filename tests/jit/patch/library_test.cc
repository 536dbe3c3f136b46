// Every loop of libraries of the system: given an image, patched, and put back.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "jit/code/decoded_function.h"
#include "tests/jit/code/loaded_library.h"
#include "tests/jit/patch/patched_loop.h"

namespace tracelift::jit {
namespace {

uint32_t Decline(void*, SavedContext*) { return kDecline; }

class PatchedLibrary : public testing::TestWithParam<const char*> {};

TEST_P(PatchedLibrary, EveryLoopIsPatchedAndPutBackOrRejectedWithAReason) {
  const auto library = LoadedLibrary::Open(GetParam());
  if (!library.has_value()) GTEST_SKIP() << GetParam() << " is not installed";
  NearMemory memory;
  const auto created = Patcher::Create();
  ASSERT_TRUE(created.has_value());
  Patcher& patcher = **created;
  std::map<std::string, int> seen;
  int loops = 0, built = 0;
  for (uint64_t begin : library->TableBegins()) {
    if (built >= 2000) break;  // each takes tens of kilobytes
    const auto range = FindFunctionBounds(*library, library->eh_frame_hdr(), begin);
    if (!range.has_value()) continue;
    const auto function = DecodeFunction(*library, *range);
    if (!function.has_value()) continue;
    for (size_t l = 0; l < (*function)->loops().size(); ++l) {
      if (!AnalyseLoop((*function)->decoded(), static_cast<LoopId>(l)).has_value()) continue;
      ++loops;
      for (const PatchPlace place : {PatchPlace::kInLoop, PatchPlace::kAhead}) {
        const auto image = RegionImage::Build(**function, static_cast<LoopId>(l), memory, {}, &Decline, nullptr, place);
        if (!image.has_value()) {
          ++seen[std::string(Name(image.error().reason))];
          EXPECT_TRUE(image.error().reason == RejectionReason::kNoPatchSite ||
                      image.error().reason == RejectionReason::kUnsupportedInstruction)
              << Describe(image.error());
          continue;
        }
        ++built;
        const uint64_t site = (*image)->patch_site();
        ++seen[place == PatchPlace::kAhead ? "ahead" : (*image)->site_is_header() ? "at header" : "elsewhere"];
        EXPECT_EQ((*image)->patch_kind(), PatchKind::kAtomicJump);
        const size_t written = (*image)->patch_bytes().size();
        EXPECT_LE(site % 8 + written, 8u);
        seen["with a landing pad"] += written < 5;
        std::vector<uint8_t> before(range->size()), patched(range->size()), after(range->size());
        ASSERT_TRUE(library->Read(range->begin, before));
        const auto installed = patcher.Install(**image);
        ASSERT_TRUE(installed.has_value()) << Describe(installed.error());
        ASSERT_TRUE(library->Read(range->begin, patched));
        ASSERT_TRUE(patcher.Remove(**image).has_value());
        ASSERT_TRUE(library->Read(range->begin, after));
        EXPECT_EQ(before, after);
        int32_t distance = 0;
        std::memcpy(&distance, patched.data() + (site - range->begin) + 1, 4);
        EXPECT_EQ(patched[site - range->begin], 0xe9);
        uint64_t target = site + 5 + static_cast<uint64_t>(int64_t{distance});
        if (written < 5) std::memcpy(&target, reinterpret_cast<const void*>(target + 6), 8);
        EXPECT_EQ(target, (*image)->stub());
      }
    }
  }
  EXPECT_GT(built, 10);
  std::string all;
  for (const auto& [what, count] : seen) all += fmt::format(" {} {};", count, what);
  GTEST_LOG_(INFO) << loops << " loops:" << all;
}

// Libraries whose code no other thread and no part of this test runs meanwhile.
INSTANTIATE_TEST_SUITE_P(System, PatchedLibrary, testing::Values("libm.so.6", "libblas.so.3"),
                         [](const auto& instance) {
                           const std::string name = instance.param;
                           return name.substr(0, name.find('.'));
                         });

}  // namespace
}  // namespace tracelift::jit
