# Switches for jump_table_test.cc. They are never run. NAME_table is what the test reads as constant memory up to
# NAME_table_end; both lie behind the code, which ends at NAME_end.
.intel_syntax noprefix
.text
.macro AT name
.globl \name
\name:
.endm

# Four cases, each its own block, and `default`; then the table with entries relative to it.
.macro CASES name
AT \name\()_case0
  add rsi, 1
AT \name\()_case1
  add rsi, 2
AT \name\()_case2
  add rsi, 3
AT \name\()_case3
  add rsi, 4
AT \name\()_default
  ret
AT \name\()_end
.balign 8
AT \name\()_table
  .long \name\()_case0 - \name\()_table
  .long \name\()_case1 - \name\()_table
  .long \name\()_case2 - \name\()_table
  .long \name\()_case3 - \name\()_table
AT \name\()_table_end
  .long 0, 0
.endm

.macro DISPATCH name index=rdi
  movsxd rax, dword ptr [rdx + \index*4]
  add rax, rdx
AT \name\()_jump
  jmp rax
.endm

# As gcc writes it.
AT table_gcc
  cmp edi, 3
  ja table_gcc_default
  lea rdx, [rip + table_gcc_table]
  mov edi, edi
  DISPATCH table_gcc
  CASES table_gcc

# As clang does: the address of the table is loaded once, the index is zero-extended where it is loaded.
AT table_clang
  lea rdx, [rip + table_clang_table]
AT table_clang_loop
  movzx eax, byte ptr [rsi]
  cmp rax, 3
  ja table_clang_default
  movsxd rax, dword ptr [rdx + rax*4]
  add rax, rdx
  jmp rax
AT table_clang_case0
  inc rcx
AT table_clang_case1
  inc rcx
AT table_clang_case2
  inc rcx
AT table_clang_case3
  inc rsi
  cmp rsi, r8
  jne table_clang_loop
AT table_clang_default
  ret
AT table_clang_end
.balign 8
AT table_clang_table
  .long table_clang_case0 - table_clang_table
  .long table_clang_case1 - table_clang_table
  .long table_clang_case2 - table_clang_table
  .long table_clang_case3 - table_clang_table
AT table_clang_table_end

# Compared in memory, loaded after it; the other way round of the comparison, and the jump is the branch's target.
AT table_memory
  lea rdx, [rip + table_memory_table]
  cmp byte ptr [rsi + 8], 4
  jb table_memory_inside
  ret
AT table_memory_inside
  movzx edi, byte ptr [rsi + 8]
  DISPATCH table_memory
  CASES table_memory

# A store in between may change it.
AT table_stored
  lea rdx, [rip + table_stored_table]
  cmp byte ptr [rsi + 8], 3
  ja table_stored_default
  mov byte ptr [rcx], 9
  movzx edi, byte ptr [rsi + 8]
  DISPATCH table_stored
  CASES table_stored

# Bounded by a mask, without a comparison.
AT table_mask
  lea rdx, [rip + table_mask_table]
  and edi, 3
  DISPATCH table_mask
  CASES table_mask

# Two ways in, each with its comparison.
AT table_two_ways
  lea rdx, [rip + table_two_ways_table]
  mov edi, edi
  test ecx, ecx
  je table_two_ways_other
  cmp edi, 2
  ja table_two_ways_default
AT table_two_ways_dispatch
  DISPATCH table_two_ways
AT table_two_ways_other
  cmp edi, 3
  jbe table_two_ways_dispatch
  ret
  CASES table_two_ways

# One of two ways has none.
AT table_one_way
  lea rdx, [rip + table_one_way_table]
  mov edi, edi
  test ecx, ecx
  je table_one_way_dispatch
  cmp edi, 3
  ja table_one_way_default
AT table_one_way_dispatch
  DISPATCH table_one_way
  CASES table_one_way

# A case leads back behind the comparison, with another index: seen only when the table is followed.
AT table_reentered
  lea rdx, [rip + table_reentered_table]
  mov edi, edi
  cmp edi, 3
  ja table_reentered_default
AT table_reentered_dispatch
  DISPATCH table_reentered
AT table_reentered_case0
  mov rdi, rcx
  jmp table_reentered_dispatch
AT table_reentered_case1
AT table_reentered_default
  ret
AT table_reentered_end
.balign 8
AT table_reentered_table
  .long table_reentered_case0 - table_reentered_table
  .long table_reentered_case1 - table_reentered_table
  .long table_reentered_case1 - table_reentered_table
  .long table_reentered_case1 - table_reentered_table
AT table_reentered_table_end

# A signed comparison says nothing of negative indices.
AT table_signed
  lea rdx, [rip + table_signed_table]
  mov edi, edi
  cmp edi, 3
  jg table_signed_default
  DISPATCH table_signed
  CASES table_signed

# The upper half is not zero for certain.
AT table_upper
  lea rdx, [rip + table_upper_table]
  cmp edi, 3
  ja table_upper_default
  DISPATCH table_upper
  CASES table_upper

# The index changes after the comparison.
AT table_changed
  lea rdx, [rip + table_changed_table]
  mov edi, edi
  cmp edi, 3
  ja table_changed_default
  add edi, 1
  DISPATCH table_changed
  CASES table_changed

# Other flags than the comparison's decide.
AT table_flags
  lea rdx, [rip + table_flags_table]
  mov edi, edi
  cmp edi, 3
  test ecx, ecx
  ja table_flags_default
  DISPATCH table_flags
  CASES table_flags

# The address of the table is another on one way.
AT table_base
  lea rdx, [rip + table_base_table]
  test ecx, ecx
  je 1f
  mov rdx, rcx
1:
  and edi, 3
  DISPATCH table_base
  CASES table_base

# A call may change rdx.
AT table_call
  lea rdx, [rip + table_call_table]
  call rcx
  and edi, 3
  DISPATCH table_call
  CASES table_call

# An entry leads out of the function.
AT table_outside
  lea rdx, [rip + table_outside_table]
  and edi, 1
  DISPATCH table_outside
AT table_outside_case0
  ret
AT table_outside_end
.balign 8
AT table_outside_table
  .long table_outside_case0 - table_outside_table
  .long table_outside_end - table_outside_table
AT table_outside_table_end

# An entry leads into an instruction.
AT table_inside
  lea rdx, [rip + table_inside_table]
  and edi, 1
  DISPATCH table_inside
AT table_inside_case0
  mov eax, 0x90909090
  ret
AT table_inside_end
.balign 8
AT table_inside_table
  .long table_inside_case0 - table_inside_table
  .long table_inside_case0 + 1 - table_inside_table
AT table_inside_table_end

.section .note.GNU-stack,"",@progbits
