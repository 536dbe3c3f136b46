// Test cases as text: short pieces of Intel-syntax assembly, one per line, with templates.
//
//   add eax, ecx                       one snippet; several instructions are separated by ';'
//   {add|sub} @a, {@b|@m|@i}           alternatives; @a @b @c are registers of each width (al ax eax rax; cl ..; dl ..),
//                                      @m memory of that width, @i an immediate
//   16+: shld @a, @b, 3                the widths to expand: 8+ (all), 16+, 32+, or exactly one (64:)
//   jz @L; inc eax; @L:                @L is a label of the snippet's own
//   vaddpd zmm1<k1><z>, zmm2, zmm3     the braces of AVX-512 syntax
//   # comment
//
// Memory operands may use as base rdi, rsp, rbp, r12 or r13 (they then point into the test buffer, 16-byte aligned), and
// as index rsi or r14 (a small number).
#pragma once

#include <string>
#include <vector>

namespace tracelift::jit {

/// One template expanded; order is stable.
std::vector<std::string> ExpandTemplate(const std::string& line);

/// All snippets of a case file; aborts with the path when it cannot be read.
std::vector<std::string> ReadCases(const std::string& path);

}  // namespace tracelift::jit
