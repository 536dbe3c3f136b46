#include "offload/runtime/own_libraries.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>

#include "jit/elf_file.h"

namespace tracelift::offload {
namespace {

const link_map* LoadedLibrary(const char* name) {
  return static_cast<const link_map*>(dlopen(name, RTLD_NOW | RTLD_LOCAL));
}

TEST(OwnLibraries, ChooseWhatTheLoaderChose) {
  const link_map* library = LoadedLibrary("libm.so.6");
  ASSERT_NE(library, nullptr);
  const auto file = jit::ElfFile::Open(library->l_name);
  ASSERT_TRUE(file.has_value()) << file.error();
  int indirect = 0;
  for (const char* name : {"sin", "cos", "tan", "atan", "floor", "ceil", "rint", "sinf", "floorf", "fma"}) {
    const auto function = file->ExportedFunction({name, "", 0});
    ASSERT_TRUE(function.has_value()) << name;
    if (!function->is_indirect) continue;
    ++indirect;
    const auto chosen = ChooseIndirectFunction(library->l_name, function->address);
    ASSERT_TRUE(chosen.has_value()) << name;
    EXPECT_EQ(*chosen + library->l_addr, reinterpret_cast<uint64_t>(dlsym(const_cast<link_map*>(library), name))) << name;
  }
  EXPECT_GT(indirect, 5);
}

TEST(OwnLibraries, KnowNothingOfFilesThatAreNotLoadedHere) {
  EXPECT_EQ(ChooseIndirectFunction("/bin/true", 0x1000), std::nullopt);
  EXPECT_EQ(ChooseIndirectFunction("/no/such/file", 0x1000), std::nullopt);
}

TEST(OwnLibraries, RunNothingThatIsNoCode) {
  const link_map* library = LoadedLibrary("libm.so.6");
  ASSERT_NE(library, nullptr);
  EXPECT_EQ(ChooseIndirectFunction(library->l_name, 0), std::nullopt) << "its header";
  EXPECT_EQ(ChooseIndirectFunction(library->l_name, uint64_t{1} << 40), std::nullopt);
}

}  // namespace
}  // namespace tracelift::offload
