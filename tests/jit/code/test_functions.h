// The functions of test_functions.S, by name.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "jit/code/decoded_function.h"
#include "tests/jit/buffer_reader.h"

namespace tracelift::jit {

/// TL_LABEL(name) makes the address of a label of test_functions.S available to Address().
#define TL_LABEL(name) extern "C" const char name[]

inline uint64_t Address(const char* label) { return reinterpret_cast<uint64_t>(label); }

inline std::shared_ptr<const FunctionCode> DecodeOrDie(const char* begin, const char* end) {
  const BufferReader reader = BufferReader::OfMemory(begin, end);
  auto function = DecodeFunction(reader, reader.range());
  if (!function.has_value()) {
    ADD_FAILURE() << Describe(function.error());
    std::abort();
  }
  return *function;
}
#define TL_DECODE(name) DecodeOrDie(name, name##_end)

/// The loop whose header is at `label`, or kNone.
inline LoopId LoopWithHeader(const FunctionCode& function, const char* label) {
  for (size_t i = 0; i < function.loops().size(); ++i) {
    if (function.loops()[i].header == Address(label)) return static_cast<LoopId>(i);
  }
  return LoopId::kNone;
}

/// "RejectionReason 'disassembly'" or "accepted".
inline std::string Verdict(const FunctionCode& function, const char* header) {
  const LoopId loop = LoopWithHeader(function, header);
  if (loop == LoopId::kNone) return "no such loop";
  const auto facts = AnalyseLoop(function.decoded(), loop);
  if (facts.has_value()) return "accepted";
  return std::string(Name(facts.error().reason)) + " '" + facts.error().detail + "'";
}

}  // namespace tracelift::jit
