// The text form of footprint programs: what `explain` shows and what tests are written in.
//
//   slot rsp+24 bytes 8 rw instruction 0x401136
//   %0 = i64 gpr rdi
//   %1 = i64 iv 0
//   %2 = i64 const 8
//   %3 = i64 mul %2 %1
//   %4 = i64 add %0 %3
//   %5 = i32 slot 0
//   %6 = i64 zext %5 from i32
//   loop 0 backedge %6
//   loop 1 in 0 backedge unknown
//   write 8 at %4 in loop 0 instruction 0x401140
//
// Order and line ends count, spaces within a line do not. Text after '#' is a comment.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "jit/footprint.h"

namespace tracelift::jit {

/// The program, or what is wrong with which line.
std::expected<FootprintProgram, std::string> ParseFootprintProgram(std::string_view text);

/// One line per form, addresses in hex; for tests and messages.
std::string Print(const Footprint& footprint);

}  // namespace tracelift::jit
