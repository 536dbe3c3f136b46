// ElfProgram against the dynamic linker of the system: both must bind every entry of a linkage table to the same function.
#include "jit/elf_program.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>

namespace tracelift::jit {
namespace {

const std::string kLinked = TL_LINKED;  // folder of the two small libraries

struct Loaded {
  std::string path;
  uint64_t bias = 0;
  std::vector<AddressRange> segments;  // as loaded
};

/// All files of this process.
std::vector<Loaded> LoadedFiles() {
  std::vector<Loaded> files;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        Loaded file{std::filesystem::weakly_canonical(info->dlpi_name), info->dlpi_addr, {}};
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& segment = info->dlpi_phdr[i];
          const uint64_t begin = info->dlpi_addr + segment.p_vaddr;
          if (segment.p_type == PT_LOAD) file.segments.push_back({begin, begin + segment.p_memsz});
        }
        static_cast<std::vector<Loaded>*>(data)->push_back(std::move(file));
        return 0;
      },
      &files);
  return files;
}

/// As the loader did it: the process has the very same files.
std::optional<uint64_t> AskTheResolver(const std::string& path, uint64_t resolver) {
  for (const Loaded& file : LoadedFiles()) {
    if (file.path != std::filesystem::weakly_canonical(path)) continue;
    const uint64_t chosen = reinterpret_cast<uint64_t (*)()>(file.bias + resolver)();
    const auto holds = [&](const AddressRange& segment) { return segment.Contains(chosen); };
    if (std::ranges::none_of(file.segments, holds)) return std::nullopt;  // gettimeofday is the kernel's
    return chosen - file.bias;
  }
  return std::nullopt;
}

/// The entries of the file's linkage tables by what they ask for.
std::map<std::string, uint64_t> Entries(const ElfFile& file) {
  std::map<std::string, uint64_t> entries;
  const AddressRange extent = file.extent();
  for (uint64_t at = (extent.begin + 7) / 8 * 8; at < extent.end; at += 8) {
    const auto name = file.LinkageAt(at);
    if (!name) continue;
    entries[name->resolver == 0 ? name->name + "@" + name->version : "resolver " + std::to_string(name->resolver)] = at;
  }
  return entries;
}

/// The number that the function at `address` returns, or -1 when that is not all it does.
int64_t Returned(const CodeReader& reader, std::optional<uint64_t> address) {
  uint8_t code[6];  // mov eax, number; ret
  if (!address || !reader.Read(*address, code) || code[0] != 0xb8 || code[5] != 0xc3) return -1;
  int32_t number;
  std::memcpy(&number, code + 1, sizeof(number));
  return number;
}

class Linked : public testing::Test {
 protected:
  Linked() : program_(ElfProgram::Open(kLinked + "/libtl_outer.so", &AskTheResolver)) {
    if (program_) entries_ = Entries(program_->file());
  }
  std::optional<uint64_t> Bound(const std::string& name) const { return program_->LinkedFunction(entries_.at(name)); }

  std::expected<ElfProgram, std::string> program_;
  std::map<std::string, uint64_t> entries_;
};

TEST_F(Linked, BindsToTheLibraryThatIsNeeded) {
  ASSERT_TRUE(program_.has_value()) << program_.error();
  ASSERT_FALSE(program_->Libraries().empty());
  EXPECT_EQ(program_->Libraries()[0], kLinked + "/libtl_inner.so");
  EXPECT_EQ(Returned(*program_, Bound("inner@TL_1")), 0x11110001);
  const auto around = program_->FunctionAround(*Bound("inner@TL_1") + 1);
  ASSERT_TRUE(around.has_value());
  EXPECT_EQ(around->begin, *Bound("inner@TL_1"));
  EXPECT_TRUE(program_->IsConstant(around->begin, around->size()));
}

TEST_F(Linked, BindsToTheVersionLinkedAgainst) {
  ASSERT_TRUE(program_.has_value()) << program_.error();
  EXPECT_EQ(Returned(*program_, Bound("versioned@TL_2")), 0x11110003);
  const auto old = program_->file().ExportedFunction({"versioned", "TL_1", 0});
  EXPECT_FALSE(old.has_value()) << "the outer library exports none of it";
}

TEST_F(Linked, PrefersTheFirstOfTwoDefinitions) {
  ASSERT_TRUE(program_.has_value()) << program_.error();
  EXPECT_EQ(Returned(*program_, Bound("overridden@")), 0x22220001);
  // Seen from the inner library as well.
  const auto inner = ElfFile::Open(kLinked + "/libtl_inner.so");
  ASSERT_TRUE(inner.has_value()) << inner.error();
  const uint64_t bias = *Bound("inner@TL_1") - inner->ExportedFunction({"inner", "TL_1", 0})->address;
  const uint64_t entry = Entries(*inner).at("overridden@TL_1");
  EXPECT_EQ(Returned(*program_, program_->LinkedFunction(entry + bias)), 0x22220001);
  EXPECT_EQ(Returned(*inner, inner->LinkedFunction(entry)), 0x11110004) << "alone, it is bound to its own";
}

TEST_F(Linked, LeavesUnknownWhatNobodyDefinesAndWhatIsNoFunction) {
  ASSERT_TRUE(program_.has_value()) << program_.error();
  EXPECT_EQ(Bound("nowhere@"), std::nullopt);
  EXPECT_EQ(Bound("data_not_code@TL_1"), std::nullopt);
  EXPECT_EQ(program_->LinkedFunction(entries_.at("inner@TL_1") + 1), std::nullopt);
  EXPECT_EQ(program_->LinkedFunction(0), std::nullopt);
}

TEST_F(Linked, BindsIndirectFunctionsAsTheResolverSays) {
  ASSERT_TRUE(program_.has_value()) << program_.error();
  const auto before = ElfProgram::Open(kLinked + "/libtl_outer.so", &AskTheResolver);
  EXPECT_EQ(before->LinkedFunction(entries_.at("indirect@TL_1")), std::nullopt) << "the library is not loaded";
  void* handle = dlopen((kLinked + "/libtl_inner.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(handle, nullptr) << dlerror();
  EXPECT_EQ(Returned(*program_, Bound("indirect@TL_1")), 0x11110005);
  dlclose(handle);
  const auto unasked = ElfProgram::Open(kLinked + "/libtl_outer.so", {});
  EXPECT_EQ(unasked->LinkedFunction(entries_.at("indirect@TL_1")), std::nullopt);
}

TEST_F(Linked, SaysWhatItDidNotFind) {
  const std::filesystem::path copy = kLinked + "/alone/libtl_outer.so";
  std::filesystem::create_directory(copy.parent_path());
  std::filesystem::copy_file(kLinked + "/libtl_outer.so", copy, std::filesystem::copy_options::overwrite_existing);
  const auto alone = ElfProgram::Open(copy, {});
  ASSERT_TRUE(alone.has_value()) << alone.error();
  EXPECT_EQ(alone->missing(), (std::vector<std::string>{"libtl_inner.so"}));
  EXPECT_EQ(alone->LinkedFunction(entries_.at("inner@TL_1")), std::nullopt);
}

class SystemLibrary : public testing::TestWithParam<const char*> {};

TEST_P(SystemLibrary, IsBoundAsTheLoaderBindsIt) {
  void* handle = dlopen(GetParam(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) GTEST_SKIP() << GetParam() << " is not installed";
  const link_map* map = static_cast<const link_map*>(handle);
  const auto program = ElfProgram::Open(map->l_name, &AskTheResolver);
  ASSERT_TRUE(program.has_value()) << program.error();
  const std::vector<Loaded> files = LoadedFiles();
  const auto file_at = [&](uint64_t address) -> const Loaded* {
    for (const Loaded& file : files) {
      for (const AddressRange& segment : file.segments) {
        if (segment.Contains(address)) return &file;
      }
    }
    return nullptr;
  };
  size_t compared = 0, unbound = 0;
  for (const auto& [name, entry] : Entries(program->file())) {
    uint64_t real = 0;
    std::memcpy(&real, reinterpret_cast<const void*>(map->l_addr + entry), sizeof(real));
    const Loaded* owner = file_at(real);
    // This program comes first in the search, with whatever it defines; and weak names may be nobody's.
    if (owner == nullptr || owner == &files.front()) continue;
    const bool is_stub = owner->bias == map->l_addr && !program->FunctionAround(real - owner->bias);
    if (is_stub) continue;  // loaded before us, and bound when it is called first
    const std::optional<uint64_t> bound = program->LinkedFunction(entry);
    if (!bound) {
      ++unbound;  // data
      continue;
    }
    const auto place = program->PlaceOf(*bound);
    EXPECT_EQ(std::filesystem::weakly_canonical(place.path), owner->path) << name;
    EXPECT_EQ(place.address, real - owner->bias) << name;
    ++compared;
  }
  EXPECT_GT(compared, 20u);
  EXPECT_LT(unbound, compared);
}

INSTANTIATE_TEST_SUITE_P(System, SystemLibrary,
                         testing::Values("libm.so.6", "libblas.so.3", "libstdc++.so.6", "libzmq.so.5", "libtbb.so.12"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::erase_if(name, [](char c) { return !std::isalnum(c); });
                           return name;
                         });

TEST(ElfProgram, KeepsAProgramFarFromItsLibraries) {
  const auto program = ElfProgram::Open("/bin/true", {});
  ASSERT_TRUE(program.has_value()) << program.error();
  EXPECT_TRUE(program->file().needs().is_program);
  EXPECT_TRUE(program->missing().empty());
  for (const auto& [name, entry] : Entries(program->file())) {
    const auto bound = program->LinkedFunction(entry);
    if (!bound || program->PlaceOf(*bound).path == "/bin/true") continue;
    EXPECT_GT(*bound, uint64_t{1} << 40) << name;
  }
}

}  // namespace
}  // namespace tracelift::jit
