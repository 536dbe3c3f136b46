# Runs a snippet of machine code on this CPU: all registers and flags in, all out. See native_run.h.
  .set arch_prctl, 158
  .set ARCH_SET_FS, 0x1002
  .macro SET_FS                    # to rsi; changes rax, rcx, rdi, r11
  mov $ARCH_SET_FS, %edi
  mov $arch_prctl, %eax
  syscall
  .endm
  .text
  .globl TlNativeRun
  .hidden TlNativeRun
  .type TlNativeRun, @function
TlNativeRun:                       # rdi: MachineState to start from, rsi: code, edx: bytes of vector registers
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, host_rsp(%rip)
  mov %rsi, target(%rip)
  .macro VECTORS instruction, prefix, store
  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
  .if \store
  \instruction %\prefix\n, 192+64*\n(%rdi)
  .else
  \instruction 192+64*\n(%rdi), %\prefix\n
  .endif
  .endr
  .endm
  .macro AVX512_REGISTERS store
  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
  .if \store
  vmovups %zmm\n, 192+64*\n(%rdi)
  .else
  vmovups 192+64*\n(%rdi), %zmm\n
  .endif
  .endr
  .irp n, 0, 1, 2, 3, 4, 5, 6, 7
  .if \store
  kmovq %k\n, 2240+8*\n(%rdi)
  .else
  kmovq 2240+8*\n(%rdi), %k\n
  .endif
  .endr
  .endm
  movq $0, host_fs(%rip)
  cmpq $0, 184(%rdi)               # fs is the C library's unless the snippet needs it
  je 1f
  mov %fs:0, %rax
  mov %rax, host_fs(%rip)
  mov %rdi, %rbx
  mov 184(%rdi), %rsi
  SET_FS
  mov %rbx, %rdi
1:
  mov %edx, vector_bytes(%rip)
  cmp $32, %edx
  je 2f
  ja 3f
  VECTORS movups, xmm, 0
  jmp 4f
2: VECTORS vmovups, ymm, 0
  jmp 4f
3: AVX512_REGISTERS 0
4:
  push 128(%rdi)
  popfq
  mov 0(%rdi), %rax
  mov 8(%rdi), %rcx
  mov 16(%rdi), %rdx
  mov 24(%rdi), %rbx
  mov 32(%rdi), %rsp
  mov 40(%rdi), %rbp
  mov 48(%rdi), %rsi
  mov 64(%rdi), %r8
  mov 72(%rdi), %r9
  mov 80(%rdi), %r10
  mov 88(%rdi), %r11
  mov 96(%rdi), %r12
  mov 104(%rdi), %r13
  mov 112(%rdi), %r14
  mov 120(%rdi), %r15
  mov 56(%rdi), %rdi
  jmp *target(%rip)

  .globl TlNativeExit
  .hidden TlNativeExit
TlNativeExit:                      # snippets end by jumping here
  mov %rax, 0+TlNativeState(%rip)
  mov %rcx, 8+TlNativeState(%rip)
  mov %rdx, 16+TlNativeState(%rip)
  mov %rbx, 24+TlNativeState(%rip)
  mov %rsp, 32+TlNativeState(%rip)
  mov %rbp, 40+TlNativeState(%rip)
  mov %rsi, 48+TlNativeState(%rip)
  mov %rdi, 56+TlNativeState(%rip)
  mov %r8, 64+TlNativeState(%rip)
  mov %r9, 72+TlNativeState(%rip)
  mov %r10, 80+TlNativeState(%rip)
  mov %r11, 88+TlNativeState(%rip)
  mov %r12, 96+TlNativeState(%rip)
  mov %r13, 104+TlNativeState(%rip)
  mov %r14, 112+TlNativeState(%rip)
  mov %r15, 120+TlNativeState(%rip)
  mov host_rsp(%rip), %rsp
  pushfq
  pop 128+TlNativeState(%rip)
  cld
  lea TlNativeState(%rip), %rdi
  cmpl $32, vector_bytes(%rip)
  je 2f
  ja 3f
  VECTORS movups, xmm, 1
  jmp 4f
2: VECTORS vmovups, ymm, 1
  vzeroupper
  jmp 4f
3: AVX512_REGISTERS 1
  vzeroupper
4:
  mov host_fs(%rip), %rsi
  test %rsi, %rsi
  jz 1f
  SET_FS
1:
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret
  .size TlNativeRun, . - TlNativeRun

  .local host_rsp
  .comm host_rsp, 8, 8
  .local host_fs
  .comm host_fs, 8, 8
  .local vector_bytes
  .comm vector_bytes, 4, 4
  .local target
  .comm target, 8, 8
  .globl TlNativeState
  .hidden TlNativeState
  .comm TlNativeState, 16384, 64
  .section .note.GNU-stack, "", @progbits
