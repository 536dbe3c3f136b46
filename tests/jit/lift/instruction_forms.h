// Every encoding that the allow-list takes, found by trying all opcodes with all prefixes: what no hand-written list of
// cases can promise to cover (redundant prefixes, unusual operand sizes, register numbers above seven).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tracelift::jit {

/// Snippets (snippet.h) of one instruction each, as bytes with the disassembly behind them: for each form (mnemonic,
/// encoding, prefixes, kinds and sizes of the operands) `per_form` of those tried, drawn by `seed`. Memory operands are
/// at rdi + 64. Left out: branches, strings, bit strings in memory.
std::vector<std::string> EncodedForms(uint64_t seed, size_t per_form);

}  // namespace tracelift::jit
