// A decoded function of the program and its natural loops: where regions come from.
//
// FunctionCode is immutable after DecodeFunction and may be shared between threads. Its instructions are an
// implementation detail of jit/ (jit/code/decoded_function.h); other modules use the queries below.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jit/code_reader.h"
#include "jit/machine_state.h"
#include "jit/rejection.h"

namespace tracelift::jit {

enum class LoopId : int32_t { kNone = -1 };

struct DecodedFunction;  // jit/code/decoded_function.h

/// One natural loop.
struct LoopInfo {
  uint64_t header = 0;               // address of the first instruction of the header block
  LoopId parent = LoopId::kNone;     // innermost loop around it
  int depth = 1;                     // 1 for an outermost loop
  std::vector<AddressRange> blocks;  // its basic blocks, those of inner loops included, ascending
  int instruction_count = 0;
};

class FunctionCode {
 public:
  FunctionCode(std::unique_ptr<const DecodedFunction> decoded);
  ~FunctionCode();
  FunctionCode(const FunctionCode&) = delete;
  FunctionCode& operator=(const FunctionCode&) = delete;

  AddressRange bounds() const;
  /// Loops in no particular order; LoopId is the index.
  const std::vector<LoopInfo>& loops() const;
  /// The innermost loop whose blocks contain `pc`, or kNone.
  LoopId InnermostLoopAt(uint64_t pc) const;
  /// Inner to outer: the loop itself first.
  std::vector<LoopId> LoopAndParents(LoopId loop) const;
  /// Hash (XXH3) of the function's bytes.
  uint64_t code_hash() const;

  const DecodedFunction& decoded() const { return *decoded_; }

 private:
  std::unique_ptr<const DecodedFunction> decoded_;
};

/// Bounds of the function around `pc` from the module's .eh_frame_hdr at `eh_frame_hdr` (0: none). Works on stripped
/// binaries. nullopt when no FDE covers pc or the table is damaged.
std::optional<AddressRange> FindFunctionBounds(const CodeReader& reader, uint64_t eh_frame_hdr, uint64_t pc);

/// All functions that unwind tables name.
struct FunctionList {
  std::vector<AddressRange> functions;  // ascending, none overlaps another
  uint64_t unusable = 0;                // entries that cannot be read, or that overlap a function in the list
};
/// Of the module with this .eh_frame_hdr.
FunctionList FindAllFunctions(const CodeReader& reader, uint64_t eh_frame_hdr);
/// The same from .eh_frame itself, for modules without an index of it: statically linked programs.
FunctionList FindAllFunctions(const CodeReader& reader, AddressRange eh_frame);

/// Decodes [bounds), builds the CFG, dominators and natural loops. Rejects what cannot be read or is too large; a
/// function with instructions that are not decodable or branches that cannot be followed still succeeds as long as
/// the loops concerned are marked (their use is rejected later, with the address).
std::expected<std::shared_ptr<const FunctionCode>, Rejection> DecodeFunction(const CodeReader& reader,
                                                                             AddressRange bounds);

}  // namespace tracelift::jit
