// Which bytes of a function are instructions: recursive descent from its entry.
//
// Jump tables are followed where they are known. In a function with another indirect jump, code that only this reaches is
// guessed: what
// follows an unconditional jump, a return or a trap, after its padding, and is not known yet, is taken as code too
// (`guessed`). A linear sweep would find the same places, but would also decode data that lies between them.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <vector>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

inline constexpr uint64_t kMaxFunctionBytes = 64 * 1024;
inline constexpr int kMaxInstructions = 20000;

enum class ByteKind : uint8_t {
  kUnknown,      // not reached
  kStart,        // first byte of an instruction
  kInside,       // a later byte of one
  kUndecodable,  // reached, but no instruction, or one that would run into another; stands alone
};

/// All offsets are from the begin of the function.
struct ReachableCode {
  std::vector<ByteKind> bytes;
  std::vector<bool> leader;              // a basic block begins here (only at kStart and kUndecodable)
  std::vector<uint32_t> guessed;         // block begins that only an indirect jump can reach
  std::vector<uint32_t> entered_inside;  // branch targets that lie inside another instruction
  int instruction_count = 0;
  bool has_undecodable = false;  // at a place reached by direct control flow
};

/// `code` holds the function's bytes, `tables` the jump tables known so far. `reader` knows which calls return; without it
/// all do. Rejects (kFunctionTooLarge) more than kMaxInstructions.
std::expected<ReachableCode, Rejection> FindReachableCode(std::span<const uint8_t> code, uint64_t begin,
                                                          std::span<const JumpTable> tables,
                                                          const CodeReader* reader = nullptr);

/// `info` calls, directly or through a linkage table, a function that never returns; `next` is what follows it.
bool CallNeverReturns(const CodeReader& reader, const ZydisDecodedInstruction& info, uint64_t next);

/// How control leaves `info`; kFallThrough for everything that is not a branch.
BlockEnd ControlFlowOf(const ZydisDecodedInstruction& info);

/// Encodings that Zydis 4.0 takes for another instruction than the CPU does; they count as undecodable. Found by
/// running all encodings (register_use_test.cc): f3 with REX.B 90 is `xchg r8, rax`, not `pause`.
bool IsMisread(const ZydisDecodedInstruction& info);

/// A decoder for 64-bit code.
ZydisDecoder MakeDecoder();

}  // namespace tracelift::jit
