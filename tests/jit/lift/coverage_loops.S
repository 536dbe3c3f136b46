# Loops for loop_coverage_test.cc. They are never run.
.intel_syntax noprefix
.text
.macro FUNCTION name
.globl \name
\name:
.endm

# A nest: float arithmetic in the inner loop, cpuid in the outer one.
FUNCTION coverage_nest
1:
  xor edx, edx
2:
  movsd xmm0, [rsi+rdx*8]
  mulsd xmm0, xmm1
  movsd [rdi+rdx*8], xmm0
  add rdx, 1
  cmp rdx, r8
  jne 2b
  cpuid
  lock add qword ptr [rdi], 1
  lock add qword ptr [rsi], 1
  add r9, 1
  cmp r9, r10
  jne 1b
  ret
.globl coverage_nest_end
coverage_nest_end:

FUNCTION coverage_packed
1:
  movups xmm0, [rsi+rdx*8]
  addpd xmm0, xmm1
  movups [rdi+rdx*8], xmm0
  add rdx, 2
  cmp rdx, r8
  jne 1b
  ret
.globl coverage_packed_end
coverage_packed_end:

FUNCTION coverage_call
1:
  call rax
  add rbx, 1
  cmp rbx, r12
  jne 1b
  ret
.globl coverage_call_end
coverage_call_end:

FUNCTION coverage_straight
  mov eax, 1
  ret
.globl coverage_straight_end
coverage_straight_end:

.section .note.GNU-stack,"",@progbits
