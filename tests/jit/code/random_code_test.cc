#include <gtest/gtest.h>

#include <random>

#include "tests/jit/buffer_reader.h"
#include "tests/jit/code/function_invariants.h"

namespace tracelift::jit {
namespace {

TEST(RandomCode, DecodesToAConsistentGraphOrARejection) {
  std::mt19937 random(7);
  int decoded = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<uint8_t> bytes(1 + random() % 200);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    const BufferReader reader(0x400000, bytes);
    const auto function = DecodeFunction(reader, reader.range());
    if (!function.has_value()) continue;
    ++decoded;
    ASSERT_EQ(BrokenInvariant((*function)->decoded()), "") << "round " << round;
  }
  EXPECT_GT(decoded, 1000);
}

/// Short jumps, both ways, between few kinds of instructions: graphs much wilder than a compiler's.
TEST(RandomCode, WildJumpsGiveConsistentLoops) {
  std::mt19937 random(11);
  int with_loops = 0, irreducible = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<uint8_t> bytes;
    const size_t size = 8 + random() % 80;
    while (bytes.size() < size) {
      switch (random() % 8) {
        case 0:
          bytes.insert(bytes.end(), {0xff, 0x24, 0xc7});
          break;  // jmp [rdi+rax*8]
        case 1:
          bytes.push_back(0xc3);
          break;
        case 2:
          bytes.insert(bytes.end(), {0xeb, static_cast<uint8_t>(random() % 64 - 32)});
          break;
        case 3:
          bytes.insert(bytes.end(), {0x48, 0x01, 0xc8});
          break;  // add rax, rcx
        default:
          bytes.insert(bytes.end(), {0x74, static_cast<uint8_t>(random() % 64 - 32)});
          break;
      }
    }
    const BufferReader reader(0x400000, bytes);
    const auto function = DecodeFunction(reader, reader.range());
    if (!function.has_value()) continue;
    ASSERT_EQ(BrokenInvariant((*function)->decoded()), "") << "round " << round;
    with_loops += !(*function)->loops().empty();
    for (bool mark : (*function)->decoded().loop_irreducible) irreducible += mark;
  }
  EXPECT_GT(with_loops, 2000);
  EXPECT_GT(irreducible, 500);
}

}  // namespace
}  // namespace tracelift::jit
