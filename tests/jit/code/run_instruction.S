# void RunInstruction(RegisterFile* state, const void* code, int vector_bytes)
# Loads every register but rsp from *state, jumps to `code`, which comes back to run_instruction_back, and stores them.
# vector_bytes: 64 (AVX-512), 32 (AVX) or 16.
.intel_syntax noprefix
.text
.globl RunInstruction
RunInstruction:
  push rbx
  push rbp
  push r12
  push r13
  push r14
  push r15
  mov [rip + saved_rsp], rsp
  mov [rip + state_pointer], rdi
  mov [rip + code_pointer], rsi
  mov [rip + vector_bytes], edx
  cmp edx, 64
  jne load_narrow
  .macro WIDE n
  vmovdqu64 zmm\n, [rdi + 192 + 64*\n]
  .endm
  .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  WIDE \n
  .endr
  .irp n, 1,2,3,4,5,6,7
  mov eax, 0x5a3c9700 + \n * 0x01010101
  kmovd k\n, eax
  .endr
  jmp load_general
load_narrow:
  cmp edx, 32
  jne load_narrowest
  .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  vmovups ymm\n, [rdi + 192 + 64*\n]
  .endr
  jmp load_general
load_narrowest:
  .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  movups xmm\n, [rdi + 192 + 64*\n]
  .endr
load_general:
  push qword ptr [rdi + 128]
  popfq
  mov rax, [rdi]
  mov rcx, [rdi + 8]
  mov rdx, [rdi + 16]
  mov rbx, [rdi + 24]
  mov rbp, [rdi + 40]
  mov rsi, [rdi + 48]
  mov r8, [rdi + 64]
  mov r9, [rdi + 72]
  mov r10, [rdi + 80]
  mov r11, [rdi + 88]
  mov r12, [rdi + 96]
  mov r13, [rdi + 104]
  mov r14, [rdi + 112]
  mov r15, [rdi + 120]
  mov rdi, [rdi + 56]
  jmp [rip + code_pointer]

.globl run_instruction_back
run_instruction_back:
  mov [rip + saved_rdi], rdi
  mov rdi, [rip + state_pointer]
  mov [rdi], rax
  mov rax, [rip + saved_rdi]
  mov [rdi + 56], rax
  mov [rdi + 8], rcx
  mov [rdi + 16], rdx
  mov [rdi + 24], rbx
  mov [rdi + 40], rbp
  mov [rdi + 48], rsi
  mov [rdi + 64], r8
  mov [rdi + 72], r9
  mov [rdi + 80], r10
  mov [rdi + 88], r11
  mov [rdi + 96], r12
  mov [rdi + 104], r13
  mov [rdi + 112], r14
  mov [rdi + 120], r15
  mov rsp, [rip + saved_rsp]
  pushfq
  pop qword ptr [rdi + 128]
  cld
  cmp dword ptr [rip + vector_bytes], 64
  jne store_narrow
  .macro STORE_WIDE n
  vmovdqu64 [rdi + 192 + 64*\n], zmm\n
  .endm
  .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  STORE_WIDE \n
  .endr
  vzeroupper
  jmp done
store_narrow:
  cmp dword ptr [rip + vector_bytes], 32
  jne store_narrowest
  .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  vmovups [rdi + 192 + 64*\n], ymm\n
  .endr
  vzeroupper
  jmp done
store_narrowest:
  .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  movups [rdi + 192 + 64*\n], xmm\n
  .endr
done:
  pop r15
  pop r14
  pop r13
  pop r12
  pop rbp
  pop rbx
  ret

.bss
.balign 8
saved_rsp: .skip 8
saved_rdi: .skip 8
state_pointer: .skip 8
code_pointer: .skip 8
vector_bytes: .skip 8
.section .note.GNU-stack,"",@progbits
