// Which indirect jumps are recognised as switches, and which must not be.
#include <gtest/gtest.h>

#include <filesystem>

#include "jit/elf_file.h"
#include "tests/jit/code/function_invariants.h"
#include "tests/jit/code/test_functions.h"

#define TABLE_LABELS(name) \
  TL_LABEL(name);          \
  TL_LABEL(name##_end);    \
  TL_LABEL(name##_table);  \
  TL_LABEL(name##_table_end)
#define CASE_LABELS(name) \
  TABLE_LABELS(name);     \
  TL_LABEL(name##_case0); \
  TL_LABEL(name##_case1); \
  TL_LABEL(name##_case2); \
  TL_LABEL(name##_case3)
CASE_LABELS(table_gcc);
CASE_LABELS(table_clang);
CASE_LABELS(table_memory);
CASE_LABELS(table_mask);
CASE_LABELS(table_two_ways);
TL_LABEL(table_clang_loop);
TABLE_LABELS(table_stored);
TABLE_LABELS(table_one_way);
TABLE_LABELS(table_reentered);
TABLE_LABELS(table_signed);
TABLE_LABELS(table_upper);
TABLE_LABELS(table_changed);
TABLE_LABELS(table_flags);
TABLE_LABELS(table_base);
TABLE_LABELS(table_call);
TABLE_LABELS(table_outside);
TABLE_LABELS(table_inside);

namespace tracelift::jit {
namespace {

struct Decoded {
  std::shared_ptr<const FunctionCode> function;
  const DecodedFunction& code() const { return function->decoded(); }
};

/// The function [begin, end), with its table behind it in memory that is constant or not.
Decoded Decode(const char* begin, const char* end, const char* table_end, bool constant = true) {
  const BufferReader memory = BufferReader::OfMemory(begin, table_end);
  std::vector<uint8_t> bytes(memory.range().size());
  EXPECT_TRUE(memory.Read(memory.base(), bytes));
  const BufferReader reader(memory.base(), bytes, constant);
  auto function = DecodeFunction(reader, {Address(begin), Address(end)});
  if (!function.has_value()) {
    ADD_FAILURE() << Describe(function.error());
    std::abort();
  }
  EXPECT_EQ(BrokenInvariant((*function)->decoded()), "");
  return {*function};
}
#define DECODE(name, ...) Decode(name, name##_end, name##_table_end __VA_OPT__(, ) __VA_ARGS__)

#define EXPECT_FOUR_CASES(name)                                                                           \
  do {                                                                                                    \
    const Decoded decoded = DECODE(name);                                                                 \
    ASSERT_EQ(decoded.code().jump_tables.size(), 1u);                                                     \
    EXPECT_EQ(decoded.code().jump_tables[0].targets,                                                      \
              (std::vector<uint64_t>{Address(name##_case0), Address(name##_case1), Address(name##_case2), \
                                     Address(name##_case3)}));                                            \
  } while (false)

TEST(JumpTable, IsRecognisedInTheFormsOfCompilers) {
  EXPECT_FOUR_CASES(table_gcc);
  EXPECT_FOUR_CASES(table_clang);
  EXPECT_FOUR_CASES(table_memory);
  EXPECT_FOUR_CASES(table_mask);
}

TEST(JumpTable, HasTheLargestBoundOfAllWays) { EXPECT_FOUR_CASES(table_two_ways); }

TEST(JumpTable, GivesItsBlockSuccessorsAndItsLoopNoReasonAgainst) {
  const Decoded decoded = DECODE(table_clang);
  const JumpTable& table = decoded.code().jump_tables.at(0);
  const Instruction* jump = decoded.code().InstructionAt(table.jump);
  EXPECT_TRUE(jump->jumps_by_table);
  const Instruction* read = decoded.code().InstructionAt(table.read_at);
  EXPECT_EQ(read->info.mnemonic, ZYDIS_MNEMONIC_MOVSXD);
  EXPECT_EQ(Verdict(*decoded.function, table_clang_loop), "accepted");
}

TEST(JumpTable, IsNoneInMemoryThatMayChange) {
  EXPECT_TRUE(DECODE(table_gcc, false).code().jump_tables.empty());
  EXPECT_EQ(Verdict(*DECODE(table_clang, false).function, table_clang_loop).substr(0, 14), "IndirectBranch");
}

TEST(JumpTable, IsNoneWithoutProof) {
  const struct {
    const char* name;
    Decoded decoded;
  } cases[] = {
      {"a store after the comparison in memory", DECODE(table_stored)},
      {"one way without a comparison", DECODE(table_one_way)},
      {"a case that comes back with another index", DECODE(table_reentered)},
      {"a signed comparison", DECODE(table_signed)},
      {"an unknown upper half", DECODE(table_upper)},
      {"an index that changes", DECODE(table_changed)},
      {"flags of something else", DECODE(table_flags)},
      {"two addresses of the table", DECODE(table_base)},
      {"a call after loading the address", DECODE(table_call)},
      {"an entry outside of the function", DECODE(table_outside)},
      {"an entry within an instruction", DECODE(table_inside)},
  };
  for (const auto& c : cases) {
    EXPECT_TRUE(c.decoded.code().jump_tables.empty()) << c.name;
    EXPECT_TRUE(std::ranges::any_of(c.decoded.code().blocks, [](const BasicBlock& block) {
      return block.end_kind == BlockEnd::kIndirect;
    })) << c.name;
  }
}

TEST(JumpTable, IsNoneWhenTheTableIsCutShort) {
  const BufferReader memory = BufferReader::OfMemory(table_gcc, table_gcc_table_end);
  std::vector<uint8_t> bytes(memory.range().size() - 1);
  ASSERT_TRUE(memory.Read(memory.base(), bytes));
  const auto function =
      DecodeFunction(BufferReader(memory.base(), bytes, true), {Address(table_gcc), Address(table_gcc_end)});
  ASSERT_TRUE(function.has_value());
  EXPECT_TRUE((*function)->decoded().jump_tables.empty());
}

/// switches.c, compiled in all ways that this machine offers (CMakeLists.txt).
TEST(JumpTable, IsRecognisedInAllThatCompilersWrite) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TL_SWITCHES)) {
    if (!entry.path().filename().string().starts_with("switches_")) continue;
    ++files;
    const auto file = ElfFile::Open(entry.path());
    ASSERT_TRUE(file.has_value()) << file.error();
    const auto list = file->Functions();
    ASSERT_TRUE(list.has_value()) << list.error();
    size_t tables = 0;
    std::string unknown;
    for (const AddressRange& range : list->functions) {
      const auto function = DecodeFunction(*file, range);
      ASSERT_TRUE(function.has_value());
      const DecodedFunction& code = (*function)->decoded();
      ASSERT_EQ(BrokenInvariant(code), "") << entry.path();
      tables += code.jump_tables.size();
      for (const BasicBlock& block : code.blocks) {
        if (block.end_kind == BlockEnd::kIndirect) {
          unknown += " " + Disassemble(code.LastOf(block));
        }
      }
    }
    // Five switches, some of them compiled twice; start files and linkage stubs jump elsewhere.
    EXPECT_GE(tables, 5u) << entry.path() << unknown;
  }
  EXPECT_GE(files, 6);
}

}  // namespace
}  // namespace tracelift::jit
