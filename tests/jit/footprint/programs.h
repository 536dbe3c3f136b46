// Footprint programs of everyday loops, as text, for the tests of jit/footprint.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string_view>

#include "jit/footprint.h"
#include "jit/footprint_text.h"

namespace tracelift::jit {

inline FootprintProgram Parsed(std::string_view text) {
  auto program = ParseFootprintProgram(text);
  EXPECT_TRUE(program.has_value()) << (program ? "" : program.error());
  return program ? *program : FootprintProgram{};
}

/// The footprint of all passes that EvaluateTripCount promises.
inline std::unique_ptr<Footprint> Evaluated(std::string_view text, const MachineState& state) {
  const FootprintProgram program = Parsed(text);
  auto footprint = std::make_unique<Footprint>();
  const auto taken = EvaluateTripCount(program, state);
  EXPECT_TRUE(taken.has_value()) << text;
  if (!taken) return footprint;
  const auto done = Evaluate(program, state, *taken + 1, footprint.get());
  EXPECT_TRUE(done.has_value()) << text << "\n" << (done ? "" : Name(done.error().reason));
  return footprint;
}

// rdi: c, rsi: a, rdx: b, rcx: n. for i < n: for j < n: for k < n: c[i][j] += a[i][k] * b[k][j], doubles.
inline constexpr std::string_view kMatrixProduct = R"(
  %0 = i64 gpr rcx
  %1 = i64 const -1
  %2 = i64 add %0 %1
  %3 = i64 const 8
  %4 = i64 mul %0 %3           # bytes of a row
  %5 = i64 iv 0
  %6 = i64 iv 1
  %7 = i64 iv 2
  %8 = i64 mul %4 %5
  %9 = i64 mul %3 %6
  %10 = i64 mul %3 %7
  %11 = i64 mul %4 %7
  %12 = i64 gpr rdi
  %13 = i64 add %12 %8
  %14 = i64 add %13 %9         # c + row i + 8 j
  %15 = i64 gpr rsi
  %16 = i64 add %15 %8
  %17 = i64 add %16 %10        # a + row i + 8 k
  %18 = i64 gpr rdx
  %19 = i64 add %18 %11
  %20 = i64 add %19 %9         # b + row k + 8 j
  loop 0 backedge %2
  loop 1 in 0 backedge %2
  loop 2 in 1 backedge %2
  read 8 at %14 in loop 2
  write 8 at %14 in loop 2 instruction 0x401140
  read 8 at %17 in loop 2
  read 8 at %20 in loop 2
)";

// rdi: to, rsi: from, rcx: n, bytes of both elements 8. for i < n: to[i] = f(from[i]).
inline constexpr std::string_view kMap = R"(
  %0 = i64 gpr rcx
  %1 = i64 const -1
  %2 = i64 add %0 %1
  %3 = i64 const 8
  %4 = i64 iv 0
  %5 = i64 mul %3 %4
  %6 = i64 gpr rdi
  %7 = i64 add %6 %5
  %8 = i64 gpr rsi
  %9 = i64 add %8 %5
  loop 0 backedge %2
  read 8 at %9 in loop 0 instruction 0x401130
  write 8 at %7 in loop 0 instruction 0x401134
)";

}  // namespace tracelift::jit
