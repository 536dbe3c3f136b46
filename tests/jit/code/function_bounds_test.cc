#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "jit/function_code.h"
#include "tests/jit/buffer_reader.h"

namespace tracelift::jit {
namespace {

constexpr uint64_t kBase = 0x10000;

/// Assembles .eh_frame_hdr and .eh_frame at kBase.
class Tables {
 public:
  size_t size() const { return bytes_.size(); }
  uint64_t here() const { return kBase + bytes_.size(); }
  Tables& U8(uint8_t v) { return Raw(&v, 1); }
  Tables& U16(uint16_t v) { return Raw(&v, 2); }
  Tables& U32(uint32_t v) { return Raw(&v, 4); }
  Tables& U64(uint64_t v) { return Raw(&v, 8); }
  Tables& Text(const char* text) { return Raw(text, std::strlen(text) + 1); }
  void Patch32(size_t at, uint32_t v) { std::memcpy(&bytes_[at], &v, 4); }
  BufferReader Reader() const { return BufferReader(kBase, bytes_); }
  std::vector<uint8_t>& bytes() { return bytes_; }

 private:
  Tables& Raw(const void* data, size_t size) {
    const auto* p = static_cast<const uint8_t*>(data);
    bytes_.insert(bytes_.end(), p, p + size);
    return *this;
  }
  std::vector<uint8_t> bytes_;
};

/// One function [0x20000, 0x20100) and one [0x20200, 0x20210), FDE addresses encoded as `encoding`.
Tables TwoFunctions(uint8_t encoding, const char* augmentation = "zR") {
  Tables t;
  t.U8(1).U8(0x1b).U8(0x03).U8(0x3b).U32(0).U32(2);
  t.U32(0x20000 - kBase);
  const size_t fde0 = t.size();
  t.U32(0).U32(0x20200 - kBase);
  const size_t fde1 = t.size();
  t.U32(0);
  const size_t cie = t.size();
  t.U32(0).U32(0).U8(1).Text(augmentation).U8(1).U8(0x78).U8(16);
  if (augmentation[0] == 'z') {
    t.U8(8);
    for (const char* a = augmentation + 1; *a != 0; ++a) {
      if (*a == 'R') t.U8(encoding);
      if (*a == 'P') t.U8(0x1b).U32(0x1234);
      if (*a == 'L') t.U8(0x1b);
    }
  }
  t.Patch32(cie, static_cast<uint32_t>(t.size() - cie - 4));
  const auto fde = [&](size_t table, uint64_t begin, uint64_t size) {
    t.Patch32(table, static_cast<uint32_t>(t.size()));
    const size_t start = t.size();
    t.U32(0).U32(static_cast<uint32_t>(start + 4 - cie));
    uint64_t value = begin;
    if ((encoding & 0x70) == 0x10) value -= t.here();
    if ((encoding & 0x70) == 0x30) value -= kBase;
    switch (encoding & 0x0f) {
      case 0x0:
      case 0x4:
      case 0xc:
        t.U64(value).U64(size);
        break;
      case 0x2:
      case 0xa:
        t.U16(static_cast<uint16_t>(value)).U16(static_cast<uint16_t>(size));
        break;
      case 0x1:
        for (uint64_t v : {value, size}) {
          for (; v >= 0x80; v >>= 7) t.U8(static_cast<uint8_t>(v | 0x80));
          t.U8(static_cast<uint8_t>(v));
        }
        break;
      default:
        t.U32(static_cast<uint32_t>(value)).U32(static_cast<uint32_t>(size));
        break;
    }
    t.Patch32(start, static_cast<uint32_t>(t.size() - start - 4));
  };
  fde(fde0, 0x20000, 0x100);
  fde(fde1, 0x20200, 0x10);
  return t;
}

TEST(FunctionBounds, FindsTheFunctionAroundAnAddress) {
  const BufferReader reader = TwoFunctions(0x1b).Reader();
  const AddressRange first{0x20000, 0x20100}, second{0x20200, 0x20210};
  EXPECT_EQ(FindFunctionBounds(reader, kBase, 0x20000), first);
  EXPECT_EQ(FindFunctionBounds(reader, kBase, 0x200ff), first);
  EXPECT_EQ(FindFunctionBounds(reader, kBase, 0x20200), second);
  EXPECT_EQ(FindFunctionBounds(reader, kBase, 0x2020f), second);
}

TEST(FunctionBounds, HasNoAnswerBetweenFunctionsOrWithoutATable) {
  const BufferReader reader = TwoFunctions(0x1b).Reader();
  for (uint64_t pc : {uint64_t{0}, uint64_t{0x1ffff}, uint64_t{0x20100}, uint64_t{0x20210}, ~uint64_t{0}}) {
    EXPECT_EQ(FindFunctionBounds(reader, kBase, pc), std::nullopt) << pc;
  }
  EXPECT_EQ(FindFunctionBounds(reader, 0, 0x20000), std::nullopt);
  EXPECT_EQ(FindFunctionBounds(reader, 0x999, 0x20000), std::nullopt);
}

TEST(FunctionBounds, UnderstandsEveryUsualPointerEncoding) {
  for (uint8_t encoding : {0x00, 0x01, 0x03, 0x04, 0x0b, 0x0c, 0x10, 0x1a, 0x1b, 0x1c, 0x31, 0x33, 0x3b, 0x3c}) {
    // 16-bit distances reach the first function only when signed and relative; 0x1a spans 64 KiB at most.
    Tables tables = TwoFunctions(encoding);
    const bool too_far = encoding == 0x1a;
    EXPECT_EQ(FindFunctionBounds(tables.Reader(), kBase, 0x20080).has_value(), !too_far) << int{encoding};
  }
}

TEST(FunctionBounds, SkipsPersonalityAndLsdaToFindTheEncoding) {
  EXPECT_TRUE(FindFunctionBounds(TwoFunctions(0x1b, "zPLR").Reader(), kBase, 0x20080).has_value());
  EXPECT_TRUE(FindFunctionBounds(TwoFunctions(0x1b, "zRS").Reader(), kBase, 0x20080).has_value());
  EXPECT_TRUE(FindFunctionBounds(TwoFunctions(0x00, "").Reader(), kBase, 0x20080).has_value());
  EXPECT_FALSE(FindFunctionBounds(TwoFunctions(0x1b, "zQR").Reader(), kBase, 0x20080).has_value());
}

TEST(FunctionBounds, RefusesTruncatedTables) {
  const std::vector<uint8_t> whole = TwoFunctions(0x1b).bytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    const BufferReader reader(kBase, {whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)});
    EXPECT_EQ(FindFunctionBounds(reader, kBase, 0x20208), std::nullopt) << size;
  }
}

TEST(FunctionBounds, AnswersOfDamagedTablesStillCoverTheAddress) {
  std::mt19937 random(1);
  int answers = 0;
  for (int round = 0; round < 200000; ++round) {
    Tables tables = TwoFunctions(0x1b);
    for (int hits = 1 + static_cast<int>(random() % 3); hits > 0; --hits) {
      tables.bytes()[random() % tables.size()] = static_cast<uint8_t>(random());
    }
    const auto range = FindFunctionBounds(tables.Reader(), kBase, 0x20080);
    if (!range.has_value()) continue;
    ++answers;
    ASSERT_TRUE(range->Contains(0x20080));
  }
  EXPECT_GT(answers, 1000);
}

}  // namespace
}  // namespace tracelift::jit
