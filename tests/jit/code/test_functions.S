# Functions that the tests decode. They are never run. Every label is global, so that tests can name addresses.
.intel_syntax noprefix
.text
.macro AT name
.globl \name
\name:
.endm

AT straight
  mov eax, edi
  add eax, 1
  ret
AT straight_end

# for (rcx = 0; rcx < rdi; ++rcx) for (rdx = 0; rdx < rsi; ++rdx) rax += [r8 + rdx*8]
AT nested
  xor eax, eax
  xor ecx, ecx
AT nested_outer
  xor edx, edx
AT nested_inner
  add rax, [r8 + rdx*8]
  add rdx, 1
  cmp rdx, rsi
  jne nested_inner
AT nested_latch
  add rcx, 1
  cmp rcx, rdi
  jne nested_outer
AT nested_out
  ret
AT nested_end

# Two back edges to one header (continue), and an exit in the middle (break).
AT shared_header
  xor ecx, ecx
AT shared_header_top
  add rcx, 1
  cmp rcx, rdi
  jae shared_header_out
AT shared_header_middle
  test qword ptr [rsi + rcx*8], 1
  je shared_header_top
AT shared_header_tail
  add qword ptr [rdx + rcx*8], 1
  jmp shared_header_top
AT shared_header_out
  ret
AT shared_header_end

# A cycle of two blocks that is entered at either of them; around it, a proper loop; inside, another proper loop.
AT irreducible
  xor ecx, ecx
AT irreducible_outer
  test edi, edi
  je irreducible_b
AT irreducible_a
  add rcx, 1
AT irreducible_own
  sub rdx, 1
  jne irreducible_own
AT irreducible_b
  add rcx, 2
  cmp rcx, rsi
  jb irreducible_a
AT irreducible_latch
  sub r8, 1
  jne irreducible_outer
  ret
AT irreducible_end

# The switch inside the loop is only reachable through the table; one case holds a loop of its own.
AT jump_table
  xor ecx, ecx
AT jump_table_top
  movzx eax, byte ptr [rdi + rcx]
  jmp [r8 + rax*8]
  nop
  nop word ptr [rax + rax + 0]
AT jump_table_case0
  add rdx, 1
  jmp jump_table_next
AT jump_table_case1
  add rdx, 2
AT jump_table_inner
  sub r9, 1
  jne jump_table_inner
  jmp jump_table_next
  int3
AT jump_table_case2
  add rdx, 3
AT jump_table_next
  add rcx, 1
  cmp rcx, rsi
  jne jump_table_top
  mov rax, rdx
  ret
AT jump_table_end

# A computed goto interpreter: every handler jumps on through the table.
AT interpreter
  jmp [rdi]
AT interpreter_add
  add rax, 1
  add rdi, 8
  jmp [rdi]
AT interpreter_sub
  sub rax, 1
  add rdi, 8
  jmp [rdi]
AT interpreter_end

AT call_in_loop
  push rbx
  mov ebx, 10
AT call_in_loop_top
  call straight
AT call_in_loop_after
  sub ebx, 1
  jne call_in_loop_top
  pop rbx
  ret
AT call_in_loop_end

AT push_in_loop
  mov ecx, 10
AT push_in_loop_top
  sub ecx, 1
AT push_in_loop_push
  push rcx
  jne push_in_loop_top
  ret
AT push_in_loop_end

# Two ways with the same depth; left at two depths. The counter is at rsp+8 at the header.
AT balanced_pushes
AT balanced_pushes_top
  push rcx
  sub rsp, 24
  add dword ptr [rsp + 40], 1
  je balanced_pushes_out
  mov rax, [rsp + 24]
  lea rsp, [rsp + 24]
  pop rcx
  cmp [rsp + 8], edi
  jne balanced_pushes_top
  ret
AT balanced_pushes_out
  add rsp, 32
  ret
AT balanced_pushes_end

AT frame_in_loop
AT frame_in_loop_top
  push rbp
  mov rbp, rsp
  sub rsp, 64
  mov [rbp - 8], rax
  leave
  sub rdi, 1
  jne frame_in_loop_top
  ret
AT frame_in_loop_end

AT one_way_pushed
AT one_way_pushed_top
  test eax, eax
  je one_way_pushed_join
  push rcx
AT one_way_pushed_join
  sub rdi, 1
  jne one_way_pushed_top
  ret
AT one_way_pushed_end

AT popped_first
AT popped_first_top
  pop rcx
  push rcx
  sub rdi, 1
  jne popped_first_top
  ret
AT popped_first_end

AT aligned_stack
AT aligned_stack_top
  mov rbp, rsp
  and rsp, -32
  mov rsp, rbp
  sub rdi, 1
  jne aligned_stack_top
  ret
AT aligned_stack_end

AT alloca_in_loop
AT alloca_in_loop_top
  mov rbp, rsp
  sub rsp, rax
  mov rsp, rbp
  sub rdi, 1
  jne alloca_in_loop_top
  ret
AT alloca_in_loop_end

AT outer_frame
AT outer_frame_top
  push rax
  lea rsp, [rbp - 40]
  sub rdi, 1
  jne outer_frame_top
  ret
AT outer_frame_end

AT left_at_two_depths
AT left_at_two_depths_top
  push rcx
  test eax, eax
  je left_at_two_depths_out
  pop rcx
  sub rdi, 1
  je left_at_two_depths_out
  jmp left_at_two_depths_top
AT left_at_two_depths_out
  ret
AT left_at_two_depths_end

AT below_the_stack
AT below_the_stack_top
  push rcx
  pop rcx
  sub rdi, 1
  jne below_the_stack_top
  mov rax, [rsp - 8]
  ret
AT below_the_stack_end

AT syscall_in_loop
  mov eax, 39
AT syscall_in_loop_top
  syscall
  sub ebx, 1
  jne syscall_in_loop_top
  ret
AT syscall_in_loop_end

AT bad_bytes
  test edi, edi
  je bad_bytes_good
AT bad_bytes_bad
  .byte 0x06
AT bad_bytes_good
  ret
AT bad_bytes_end

# The same with a loop: the loop is found in spite of it.
AT bad_bytes_and_loop
  mov ecx, 9
AT bad_bytes_and_loop_top
  sub ecx, 1
  jne bad_bytes_and_loop_top
  .byte 0x06
AT bad_bytes_and_loop_end

# The jump skips the lock prefix: two readings of the same bytes.
AT skipped_prefix
  mov edx, 5
AT skipped_prefix_top
  cmp dword ptr [rdi], 0
  jne skipped_prefix_lock + 1
AT skipped_prefix_lock
  lock add dword ptr [rsi], 1
  sub edx, 1
  jne skipped_prefix_top
  ret
AT skipped_prefix_end

AT loop_instruction
  mov rcx, rdi
AT loop_instruction_top
  add rax, rcx
  loop loop_instruction_top
  ret
AT loop_instruction_end

# Slots.
AT slots
AT slots_top
  mov rax, [rsp + 8]
  add [rsp + 16], rax
  movsd xmm0, qword ptr [rip + slots]
AT slots_cmov
  cmovb rax, [rsp + 24]
  mov eax, [rsp + 32]
  mov rdx, [rsp + 32]
  movups xmm1, [rbx]
  movups xmm1, [rbx + 16]
  mov r8, [rbx + 24]
  mov r9, [rcx]
  mov r10, [rbp + rcx*8 + 8]
  mov r11, fs:[40]
  mov fs:[rbx + 8], r11
  mov r11, gs:[40]
  mov r11, fs:[rsp + 8]
  mov r11, fs:[rbx + rbp + 8]
  lea rax, [rsp + 64]
  nop dword ptr [rsp + 72]
  prefetcht0 [rsp + 80]
  lock add dword ptr [rsp + 88], 1
  mov byte ptr [rsp + 96], 1
  mov al, ds:[0x1234]
  vmovups ymm2, [rsp + 128]
  add rcx, 1
  cmp rcx, [rsp + 16]
  jne slots_top
  ret
AT slots_end

AT many_slots
AT many_slots_top
  i = 0
  .rept 110
  mov rax, [rsp + 8*i]
  i = i + 1
  .endr
  mov [rsp + 1000], rdx
  add [rsp + 1008], rdx
  sub ecx, 1
  jne many_slots_top
  ret
AT many_slots_end

# Accesses that overlap. Not the last ones: 80 bytes, and one of them locked.
AT slot_areas
AT slot_areas_top
  mov rax, [rbp - 8]
  mov [rbp - 4], eax
  movups [rbp - 48], xmm0
  movsd xmm1, qword ptr [rbp - 52]
  mov al, [rbp - 33]
  vmovups ymm2, [rbp - 96]
  vmovups [rbp - 80], ymm2
  mov r8d, [rsp + 7]
  mov r9, [rsp + 8]
  vmovups ymm3, [rsp + 128]
  vmovups ymm3, [rsp + 152]
  vmovups ymm3, [rsp + 176]
  lock inc dword ptr [rsp + 64]
  mov r10b, [rsp + 66]
  sub rcx, 1
  jne slot_areas_top
  ret
AT slot_areas_end

# Liveness.
AT live_leaf
  lea rax, [rdi + 1]
  add rax, rsi
AT live_leaf_ret
  ret
AT live_leaf_end

AT live_call
  mov r11, rbx
  call straight
AT live_call_after
  mov rax, r9
  mov rdx, r11
  ret
AT live_call_end

AT live_tail
  xor eax, eax
  xor r11d, r11d
  jmp straight
AT live_tail_end

AT live_trap
  mov rax, rdi
  ud2
AT live_trap_end

AT live_indirect
  xor eax, eax
  jmp rcx
AT live_indirect_end

# xmm1 and rdx are temporaries, xmm0 an accumulator, r9 is used after the loop only.
AT live_loop
  pxor xmm0, xmm0
  xor ecx, ecx
AT live_loop_top
  movsd xmm1, qword ptr [rdi + rcx*8]
  mov edx, [rsi + rcx*4]
  pxor xmm2, xmm2
  cvtsi2sd xmm2, edx
  mulsd xmm1, xmm2
  addsd xmm0, xmm1
  add rcx, 1
  cmp rcx, r8
  jne live_loop_top
  mov rax, r9
  ret
AT live_loop_end

# ymm1 to ymm3 are temporaries; ymm4 is loop-invariant; xmm5 is scratch of a conversion, its upper half nobody's.
AT live_vex
  mov ecx, 0
AT live_vex_top
  vcvtsi2sd xmm5, xmm5, ecx
  vmovsd qword ptr [rsi + rcx], xmm5
  vmovupd ymm1, [rdi + rcx]
  vmulpd ymm2, ymm1, ymm4
  vextractf128 xmm3, ymm2, 1
  vfmadd231sd xmm6, xmm2, xmm7
  vmovupd [rdi + rcx], ymm2
  add rcx, 32
  cmp rcx, r8
  jne live_vex_top
  vzeroupper
  xor eax, eax
  vxorps xmm0, xmm0, xmm0
  vxorps xmm1, xmm1, xmm1
  ret
AT live_vex_end

# The legacy copy leaves the upper half of ymm0, which vaddps reads.
AT live_mixed
  movaps xmm0, xmm2
  vaddps ymm1, ymm0, ymm0
  vxorps xmm0, xmm0, xmm0
  ret
AT live_mixed_end

# vzeroupper neither needs nor makes the lower halves.
AT live_cleared
  vzeroupper
  vaddpd xmm0, xmm2, xmm3
  vaddsd xmm1, xmm4, xmm5
  ret
AT live_cleared_end
.section .note.GNU-stack,"",@progbits
