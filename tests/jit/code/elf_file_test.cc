// ElfFile on this test program, on libraries of the system, and on files damaged on purpose.
#include "jit/elf_file.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "tests/jit/code/loaded_library.h"
#include "tests/jit/code/test_functions.h"

TL_LABEL(nested);
TL_LABEL(nested_end);

namespace tracelift::jit {
namespace {

std::vector<uint8_t> BytesOf(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// Where this program was loaded.
uint64_t OwnBias() {
  uint64_t bias = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        *static_cast<uint64_t*>(data) = info->dlpi_addr;
        return 1;
      },
      &bias);
  return bias;
}

/// The path from which a library of this process was loaded.
std::string PathOf(const std::string& name) {
  std::string path = "/" + name;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto* wanted = static_cast<std::string*>(data);
        if (!std::string_view(info->dlpi_name).ends_with(*wanted)) return 0;
        *wanted = info->dlpi_name;
        return 1;
      },
      &path);
  return path;
}

template <typename Change>
std::string ProblemAfter(Change change) {
  std::vector<uint8_t> bytes = BytesOf("/bin/true");
  change(bytes, *reinterpret_cast<Elf64_Ehdr*>(bytes.data()));
  const auto file = ElfFile::FromBytes(std::move(bytes));
  if (!file) return file.error();
  const auto functions = file->Functions();
  return functions ? "" : functions.error();
}

Elf64_Phdr& SegmentOfType(std::vector<uint8_t>& bytes, uint32_t type) {
  const auto& header = *reinterpret_cast<Elf64_Ehdr*>(bytes.data());
  auto* segment = reinterpret_cast<Elf64_Phdr*>(bytes.data() + header.e_phoff);
  while (segment->p_type != type) ++segment;
  return *segment;
}

TEST(ElfFile, ShowsTheCodeAsItIsLoaded) {
  const auto file = ElfFile::Open("/proc/self/exe");
  ASSERT_TRUE(file.has_value()) << file.error();
  const size_t size = static_cast<size_t>(nested_end - nested);
  std::vector<uint8_t> bytes(size);
  ASSERT_TRUE(file->Read(Address(nested) - OwnBias(), bytes));
  EXPECT_EQ(std::memcmp(bytes.data(), nested, size), 0);
  EXPECT_TRUE(file->IsConstant(Address(nested) - OwnBias(), size));
  static int writable = 7;
  EXPECT_FALSE(file->IsConstant(reinterpret_cast<uint64_t>(&writable) - OwnBias(), sizeof(writable)));
}

TEST(ElfFile, ReadsNothingOutsideItsSegments) {
  const auto file = ElfFile::Open("/bin/true");
  ASSERT_TRUE(file.has_value()) << file.error();
  std::vector<uint8_t> bytes(16);
  EXPECT_FALSE(file->Read(~uint64_t{0} - 7, bytes));
  EXPECT_FALSE(file->Read(uint64_t{1} << 40, bytes));
  std::vector<uint8_t> too_many(1 << 24);
  EXPECT_FALSE(file->Read(0, too_many));
  EXPECT_FALSE(file->IsConstant(0, ~size_t{0}));
}

class ElfLibrary : public testing::TestWithParam<const char*> {};

TEST_P(ElfLibrary, HasTheFunctionsOfItsUnwindTable) {
  const auto loaded = LoadedLibrary::Open(GetParam());
  if (!loaded.has_value()) GTEST_SKIP() << GetParam() << " is not installed";
  const auto file = ElfFile::Open(PathOf(GetParam()));
  ASSERT_TRUE(file.has_value()) << file.error();
  const auto list = file->Functions();
  ASSERT_TRUE(list.has_value()) << list.error();
  std::vector<uint64_t> begins = loaded->TableBegins();
  // Both are sorted; the linkage tables are left out.
  EXPECT_LE(list->functions.size() + list->unusable, begins.size());
  EXPECT_GE(list->functions.size() + list->unusable + 4, begins.size());
  const uint64_t bias = begins.back() - list->functions.back().begin;
  for (size_t i = 0; i < list->functions.size(); ++i) {
    const AddressRange range = list->functions[i];
    ASSERT_TRUE(std::ranges::binary_search(begins, range.begin + bias)) << std::hex << range.begin;
    ASSERT_LE(i == 0 ? 0 : list->functions[i - 1].end, range.begin);
    std::array<uint8_t, 2> first{};
    ASSERT_TRUE(file->Read(range.begin, first));
    ASSERT_NE(first, (std::array<uint8_t, 2>{0xff, 0x35})) << "a linkage table at " << std::hex << range.begin;
    ASSERT_EQ(FindFunctionBounds(*loaded, loaded->eh_frame_hdr(), range.end - 1 + bias),
              (AddressRange{range.begin + bias, range.end + bias}));
  }
}

INSTANTIATE_TEST_SUITE_P(System, ElfLibrary,
                         testing::Values("libm.so.6", "libblas.so.3", "libc.so.6", "libstdc++.so.6"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::erase_if(name, [](char c) { return !std::isalnum(c); });
                           return name;
                         });

TEST(ElfFile, NamesWhatIsWrongWithAFile) {
  using Bytes = std::vector<uint8_t>&;
  using Header = Elf64_Ehdr&;
  EXPECT_EQ(ProblemAfter([](Bytes, Header) {}), "");
  EXPECT_EQ(ProblemAfter([](Bytes bytes, Header) { bytes.clear(); }), "not an ELF file");
  EXPECT_EQ(ProblemAfter([](Bytes bytes, Header) { bytes[0] = '#'; }), "not an ELF file");
  EXPECT_EQ(ProblemAfter([](Bytes bytes, Header) { bytes.resize(20); }), "damaged: it ends within its ELF header");
  EXPECT_EQ(ProblemAfter([](Bytes, Header header) { header.e_machine = EM_AARCH64; }),
            "not x86-64 code (ELF class 2, machine 183); only that is lifted");
  EXPECT_EQ(ProblemAfter([](Bytes, Header header) { header.e_ident[EI_CLASS] = ELFCLASS32; }),
            "not x86-64 code (ELF class 1, machine 62); only that is lifted");
  EXPECT_EQ(ProblemAfter([](Bytes, Header header) { header.e_type = ET_REL; }),
            "an object file; link it into a program or shared library first");
  EXPECT_EQ(ProblemAfter([](Bytes, Header header) { header.e_type = ET_CORE; }),
            "a core dump; name the program or library instead");
  EXPECT_EQ(ProblemAfter([](Bytes, Header header) { header.e_phnum = 0; }), "damaged: it has no program headers");
  for (const uint64_t offset : {uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} - 56}) {
    EXPECT_EQ(ProblemAfter([=](Bytes, Header header) { header.e_phoff = offset; }),
              "damaged: its program headers lie beyond its end");
  }
  for (const uint64_t offset : {uint64_t{1} << 40, ~uint64_t{0}}) {
    EXPECT_TRUE(ProblemAfter([=](Bytes bytes, Header) {
                  SegmentOfType(bytes, PT_LOAD).p_offset = offset;
                }).ends_with("lies beyond its end"));
    EXPECT_TRUE(ProblemAfter([=](Bytes bytes, Header) {
                  SegmentOfType(bytes, PT_LOAD).p_filesz = offset;
                }).ends_with("lies beyond its end"));
  }
  EXPECT_TRUE(ProblemAfter([](Bytes bytes, Header) {
                SegmentOfType(bytes, PT_LOAD).p_vaddr = ~uint64_t{0} - 9;
              }).ends_with("has no sensible size"));
  EXPECT_EQ(ProblemAfter([](Bytes bytes, Header header) {
              for (int i = 0; i < header.e_phnum; ++i) {
                reinterpret_cast<Elf64_Phdr*>(bytes.data() + header.e_phoff)[i].p_flags &= ~PF_X;
              }
            }),
            "there is no code in it; a file of debug information only?");
  EXPECT_EQ(ProblemAfter([](Bytes bytes, Header) { SegmentOfType(bytes, PT_GNU_EH_FRAME).p_vaddr = 1ull << 50; }),
            "damaged: its unwind tables (.eh_frame) name no function");
}

TEST(ElfFile, TakesNothingForCodeThatIsNotExecutable) {
  std::vector<uint8_t> bytes = BytesOf("/bin/true");
  const auto& header = *reinterpret_cast<Elf64_Ehdr*>(bytes.data());
  for (int i = 0; i < header.e_phnum; ++i) {
    reinterpret_cast<Elf64_Phdr*>(bytes.data() + header.e_phoff)[i].p_flags ^= PF_X;
  }
  const auto list = ElfFile::FromBytes(bytes)->Functions();
  ASSERT_TRUE(list.has_value()) << list.error();
  EXPECT_TRUE(list->functions.empty());
}

TEST(ElfFile, KnowsCallsOfMemsetAndMemcpyThroughTheLinkageTable) {
  const auto loaded = LoadedLibrary::Open("libstdc++.so.6");
  if (!loaded.has_value()) GTEST_SKIP() << "libstdc++.so.6 is not installed";
  const auto file = ElfFile::Open(PathOf("libstdc++.so.6"));
  const auto list = file->Functions();
  ASSERT_TRUE(list.has_value()) << list.error();
  size_t calls = 0, sets = 0, moves = 0;
  for (const AddressRange& range : list->functions) {
    const auto function = DecodeFunction(*file, range);
    if (!function.has_value()) continue;
    for (const Instruction& instruction : (*function)->decoded().instructions) {
      calls += instruction.valid && instruction.info.meta.category == ZYDIS_CATEGORY_CALL;
      sets += instruction.callee == KnownCallee::kMemset;
      moves += instruction.callee == KnownCallee::kMemmove;
    }
  }
  EXPECT_GT(sets, 5u);
  EXPECT_GT(moves, 50u);
  EXPECT_LT(sets + moves, calls / 10);
}

TEST(ElfFile, FindsFunctionsWithoutAnIndexOfThem) {
  std::vector<uint8_t> bytes = BytesOf("/bin/true");
  const auto indexed = ElfFile::FromBytes(bytes)->Functions();
  SegmentOfType(bytes, PT_GNU_EH_FRAME).p_type = PT_NULL;
  const auto walked = ElfFile::FromBytes(bytes)->Functions();
  ASSERT_TRUE(walked.has_value()) << walked.error();
  EXPECT_EQ(walked->functions, indexed->functions);
  auto& header = *reinterpret_cast<Elf64_Ehdr*>(bytes.data());
  header.e_shnum = 0;
  EXPECT_EQ(ElfFile::FromBytes(bytes)->Functions().error(),
            "it has no unwind tables (.eh_frame), so its functions cannot be found");
}

/// Everything a damaged file may be asked for.
size_t UseAll(std::vector<uint8_t> bytes) {
  const auto file = ElfFile::FromBytes(std::move(bytes));
  if (!file) return 0;
  const auto list = file->Functions();
  if (!list) return 0;
  size_t loops = 0;
  for (const AddressRange& range : list->functions) {
    if (const auto function = DecodeFunction(*file, range)) loops += (*function)->loops().size();
  }
  return loops;
}

TEST(ElfFile, EndsWellOnFilesCutAnywhere) {
  const std::vector<uint8_t> good = BytesOf("/bin/true");
  ASSERT_GT(UseAll(good), 0u);
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint8_t> cut = good;
    cut.resize(round < 100 ? static_cast<size_t>(round) * 8 : random() % good.size());
    UseAll(std::move(cut));
  }
}

TEST(ElfFile, EndsWellOnFilesWithWildBytes) {
  const std::vector<uint8_t> good = BytesOf("/bin/true");
  std::vector<uint8_t> copy = good;
  const Elf64_Phdr frames = SegmentOfType(copy, PT_GNU_EH_FRAME), dynamic = SegmentOfType(copy, PT_DYNAMIC);
  std::mt19937 random(5);
  size_t survivors = 0;
  for (int round = 0; round < 600; ++round) {
    std::vector<uint8_t> wild = good;
    // Where it hurts: headers, unwind tables (.eh_frame lies behind its index), dynamic section, relocations and
    // symbols.
    const struct {
      uint64_t begin, bytes;
    } places[] = {
        {0, 1024}, {frames.p_offset, frames.p_filesz * 5}, {dynamic.p_offset, dynamic.p_filesz}, {0, good.size()}};
    const auto& place = places[round % 4];
    for (int i = 0; i < 1 + round % 8; ++i) {
      const size_t at = (place.begin + random() % place.bytes) % wild.size();
      constexpr uint8_t kEdges[] = {0x00, 0xff, 0x7f, 0x80};
      wild[at] = random() % 2 == 0 ? static_cast<uint8_t>(random()) : kEdges[random() % 4];
    }
    survivors += UseAll(std::move(wild)) > 0;
  }
  EXPECT_GT(survivors, 100u);  // most damage is small: what can be read is read
}

}  // namespace
}  // namespace tracelift::jit
