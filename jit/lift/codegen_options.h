// Settings of LLVM's code generator without which it makes wrong code of what the lifter makes. Private to jit/.
#pragma once

namespace tracelift::jit {

/// Turns off passes that are known to miscompile. Before any code is generated, once per process; false when LLVM does
/// not know a pass by the name it had, or the code generator is not linked.
///
/// x86-fixup-bw-insts (LLVM 19.1): `mov al, [rax]` becomes `movzx eax, byte ptr [rax]` although the rest of rax is used
/// afterwards, because only implicit operands are asked whether they read it. The case is in integer_bits.cases.
bool DisableUnsoundPasses();

/// Turns off what takes long and brings nothing; likewise.
///
/// Loop strength reduction took up to two thirds of the time of code generation (48 of 72 ms for a blur of 5 x 5 pixels), and no program of
/// bench/programs came out slower without it: x86 adds a base, an index and a distance in each access anyway.
bool DisableSlowPasses();

}  // namespace tracelift::jit
