# Loops to patch, and a way to call them with every register given and taken.
#
# Each is `name` .. `name_end`, its outer header at `name_header`. They take rdi = buffer of 512 qwords, rsi = passes
# (at least 1), rcx = 0, and may change anything. Alignment decides which patch site there is.

        .intel_syntax noprefix
        .macro FUNCTION name
        .globl  \name
        .globl  \name\()_end
        .globl  \name\()_header
        .type   \name, @function
        .balign 64
\name:
        .endm
        .macro END name
\name\()_end:
        .size   \name, .-\name
        .endm

        .section .rodata
        .balign 8
step:   .quad 0x0123456789abcdef

        .text

# Switches: entries of 4 bytes relative to the table, through a register, and of 8 bytes, from memory. One case is the
# next pass.
        .macro  JUMP_BY_DISTANCE
        movsxd  rax, dword ptr [r9 + rax*4]
        add     rax, r9
        jmp     rax
        .endm
        .macro  JUMP_BY_ADDRESS
        jmp     qword ptr [r9 + rax*8]
        .endm
        .macro  TABLE_LOOP name, dispatch
FUNCTION \name
        lea     r9, [rip + \name\()_table]
        .balign 16
\name\()_header:
        mov     rax, [rdi + rcx*8 + 0x100]
        add     rcx, 1
        cmp     rcx, rsi
        jae     \name\()_out
        and     eax, 7
        \dispatch
\name\()_0:
        add     rdx, 1
\name\()_1:
        xor     rdx, rcx
        jmp     \name\()_header
\name\()_2:
        add     r8, rdx
        jmp     \name\()_header
\name\()_out:
        ret
END \name
        .endm
        .macro  ENTRIES name, size, base
        .irp    to, 0, 1, 2, header, 0, 2, header, 1
        .\size  \name\()_\to \base
        .endr
        .endm

TABLE_LOOP table_loop, JUMP_BY_DISTANCE
TABLE_LOOP wide_table_loop, JUMP_BY_ADDRESS

        .section .data.rel.ro, "aw"
        .balign 8
        .globl  test_tables, test_tables_end
test_tables:
table_loop_table:
        ENTRIES table_loop, long, -table_loop_table
wide_table_loop_table:
        ENTRIES wide_table_loop, quad
test_tables_end:
        .text

# Header is the site; the loop is in the middle of a leaf whose 16 locals live in the red zone.
FUNCTION red_zone_loop
        .irp k, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
        mov     qword ptr [rsp - 8*\k], 0x1000 + \k
        .endr
        .balign 16
red_zone_loop_header:
        mov     rax, [rdi + rcx*8 + 0x100]
        add     rdx, rax
        add     [rsp - 128], rdx
        add     rcx, 1
        cmp     rcx, rsi
        jne     red_zone_loop_header
        .irp k, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
        mov     rax, [rsp - 8*\k]
        mov     [rdi + 8*\k], rax
        .endr
        ret
END red_zone_loop

# Ahead of the loop: what is computed and stored there, in registers that the loop has no use for, too; and a way past it. The site
# is the nearest instruction, or one ahead of the branch.
        .macro  GUARDED_LOOP name, nearest
FUNCTION \name
        mov     r9, 5
        lea     r15, [rcx + r9*8 + 1000]
        test    al, 1
        jne     \name\()_past
        inc     ebx
        add     [rdi], ebx
        nop
        \nearest
\name\()_header:
        adc     rdx, [rdi + rcx*8 + 0x100]
        inc     rcx
        dec     rsi
        jne     \name\()_header
        mov     [rdi + 0x80], rdx
        mov     [rdi + 0x88], r15
        ret
\name\()_past:
        mov     [rdi + 8], r15
        ret
END \name
        .endm
GUARDED_LOOP guarded_loop, "mov r10, 0x12345"
GUARDED_LOOP far_guarded_loop, "nop"

# The carry is live at the header and across the site.
FUNCTION carry_loop
        .balign 16
carry_loop_header:
        mov     r8, [rdi + rcx*8 + 0x100]
        adc     rax, r8
        lea     rcx, [rcx + 1]
        dec     rsi
        jne     carry_loop_header
        ret
END carry_loop

# The site lies between an addition and the instructions that store all six flags it has set.
FUNCTION flags_loop
        .balign 16
flags_loop_header:
        add     eax, edx
        .balign 8, 0x90
        .globl  flags_loop_site
flags_loop_site:
        mov     r9, [rdi + rcx*8 + 0x100]
        lahf
        seto    al
        mov     [rdi + rcx*8 + 0x400], rax
        add     edx, r9d
        inc     rcx
        cmp     rcx, rsi
        jb      flags_loop_header
        ret
END flags_loop

# jrcxz leaves, the operand is RIP-relative, an unconditional jump closes the loop.
FUNCTION jrcxz_loop
        mov     rcx, rsi
        .balign 16
jrcxz_loop_header:
        jrcxz   1f
        lea     rcx, [rcx - 1]
        .balign 8, 0x90
        add     rax, [rip + step]
        mov     [rdi + rcx*8], rax
        jmp     jrcxz_loop_header
1:      add     rax, 1                  # flags are dead at the header: a clone run may change them
        ret
END jrcxz_loop

# `loop` closes it.
FUNCTION loop_instruction_loop
        mov     rcx, rsi
        .balign 16
loop_instruction_loop_header:
        add     rax, [rip + step]
        mov     [rdi + rcx*8], rax
        loop    loop_instruction_loop_header
        ret
END loop_instruction_loop

# Two exits: a match leaves in the middle.
FUNCTION search_loop
        .balign 16
search_loop_header:
        mov     rax, [rdi + rcx*8 + 0x100]
        cmp     rax, rdx
        je      1f
        inc     rcx
        cmp     rcx, rsi
        jne     search_loop_header
        mov     eax, 1
        ret
1:      mov     eax, 2
        ret
END search_loop

# A nest. The header is too short to be the site; one candidate before the inner loop, one after.
FUNCTION nested_loop
        .balign 16
nested_loop_header:
        xor     r8d, r8d
        .balign 8, 0x90
        mov     r9, [rdi + rcx*8 + 0x100]
1:      add     r9, r8
        imul    r9, r9, 0x12345677
        inc     r8
        cmp     r8, 5
        jne     1b
        .balign 8, 0x90
        .globl  nested_loop_after
nested_loop_after:
        mov     [rdi + rcx*8 + 0x100], r9
        inc     rcx
        cmp     rcx, rsi
        jne     nested_loop_header
        ret
END nested_loop

# The only instruction of five bytes or more has two of them before an 8-byte boundary; no other has three.
FUNCTION crossing_loop
        .balign 16
crossing_loop_header:
        add     edx, ecx
        .rept   4
        nop
        .endr
        .globl  crossing_loop_site
crossing_loop_site:
        mov     rax, [rdi + rcx*8 + 0x100]
        add     edx, eax
        inc     ecx
        cmp     ecx, esi
        jne     crossing_loop_header
        ret
END crossing_loop

# No instruction of three bytes at all.
FUNCTION short_loop
        .balign 16
short_loop_header:
        add     edx, ecx
        inc     ecx
        cmp     ecx, esi
        jne     short_loop_header
        ret
END short_loop

# No instruction of five bytes; the first one has four in its word.
FUNCTION punned_loop
        .balign 16
punned_loop_header:
        mov     rax, [rdi + rcx*8]
        add     rdx, rax
        inc     rcx
        cmp     rcx, rsi
        jne     punned_loop_header
        ret
END punned_loop

# A jump at the header would rely on the first byte of the inner loop's header, which is a site as well.
FUNCTION adjacent_loop
        .balign 16
adjacent_loop_header:
        mov     rax, [rdi + rcx*8]
        .globl  adjacent_loop_inner
adjacent_loop_inner:
        mov     r9, [rdi + rcx*8 + 0x100]
        inc     edx
        test    dl, 7
        jne     adjacent_loop_inner
        inc     ecx
        cmp     ecx, esi
        jne     adjacent_loop_header
        ret
END adjacent_loop

# Only an instruction that some passes skip fits.
FUNCTION conditional_loop
        .balign 16
conditional_loop_header:
        mov     al, cl
        and     al, 1
        je      1f
        .balign 8, 0x90
        .globl  conditional_loop_site
conditional_loop_site:
        mov     rax, [rdi + rcx*8 + 0x100]
        add     rdx, rax
1:      inc     ecx
        cmp     ecx, esi
        jne     conditional_loop_header
        ret
END conditional_loop

# Every register is used, so passes cannot be counted in one.
FUNCTION crowded_loop
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        .balign 16
crowded_loop_header:
        mov     rax, [rdi + rcx*8 + 0x100]
        .irp reg, rbx, rdx, rbp, r8, r9, r10, r11, r12, r13, r14, r15
        add     rax, \reg
        rol     \reg, 3
        xor     \reg, rax
        .endr
        mov     [rdi + rcx*8 + 0x100], rax
        inc     rcx
        cmp     rcx, rsi
        jne     crowded_loop_header
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret
END crowded_loop

# The site is a conditional jump itself.
FUNCTION jump_site_loop
        .balign 16
jump_site_loop_header:
        add     rax, rcx
        inc     rcx
        nop
        nop
        cmp     rcx, rsi
        nop
        nop
        nop
        .balign 8, 0x90
        .globl  jump_site_loop_site
jump_site_loop_site:
        .byte   0x0f, 0x82              # jb rel32
        .long   jump_site_loop_header - . - 4
        ret
END jump_site_loop

# Copies a buffer that is given as a second one in rdx: its pages may be missing.
FUNCTION copy_loop
        .balign 16
copy_loop_header:
        mov     rax, [rdx + rcx*8 + 0x100]
        mov     [rdi + rcx*8], rax
        inc     rcx
        cmp     rcx, rsi
        jne     copy_loop_header
        ret
END copy_loop

# Calls a function, so that it cannot become a region.
FUNCTION calling_loop
        .balign 16
calling_loop_header:
        call    calling_loop_end
        inc     rcx
        cmp     rcx, rsi
        jne     calling_loop_header
        ret
END calling_loop
        ret

# void tl_test_call(const CpuState* in, CpuState* out, const void* function, uint64_t xsave_mask)
# CpuState: gpr[16], rflags, 7 spare, XSAVE area at 192. rsp is this function's own; for one thread at a time.
        .globl  tl_test_call
        .type   tl_test_call, @function
        .balign 64
tl_test_call:
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        mov     [rip + kept_rsp], rsp
        mov     [rip + kept_out], rsi
        mov     [rip + kept_function], rdx
        mov     [rip + kept_mask], rcx
        mov     rbx, rdi
        mov     eax, [rip + kept_mask]
        mov     edx, [rip + kept_mask + 4]
        xrstor64 [rbx + 192]
        push    qword ptr [rbx + 128]
        popfq
        mov     rax, [rbx]
        mov     rcx, [rbx + 8]
        mov     rdx, [rbx + 16]
        mov     rbp, [rbx + 40]
        mov     rsi, [rbx + 48]
        mov     rdi, [rbx + 56]
        mov     r8, [rbx + 64]
        mov     r9, [rbx + 72]
        mov     r10, [rbx + 80]
        mov     r11, [rbx + 88]
        mov     r12, [rbx + 96]
        mov     r13, [rbx + 104]
        mov     r14, [rbx + 112]
        mov     r15, [rbx + 120]
        mov     rbx, [rbx + 24]
        call    qword ptr [rip + kept_function]
        xchg    rbx, [rip + kept_out]
        mov     [rbx], rax
        mov     [rbx + 8], rcx
        mov     [rbx + 16], rdx
        mov     [rbx + 32], rsp
        mov     [rbx + 40], rbp
        mov     [rbx + 48], rsi
        mov     [rbx + 56], rdi
        mov     [rbx + 64], r8
        mov     [rbx + 72], r9
        mov     [rbx + 80], r10
        mov     [rbx + 88], r11
        mov     [rbx + 96], r12
        mov     [rbx + 104], r13
        mov     [rbx + 112], r14
        mov     [rbx + 120], r15
        mov     rax, [rip + kept_out]
        mov     [rbx + 24], rax
        pushfq
        pop     qword ptr [rbx + 128]
        cld
        mov     eax, [rip + kept_mask]
        mov     edx, [rip + kept_mask + 4]
        xsave64 [rbx + 192]
        fninit
        mov     dword ptr [rip + kept_mask], 0x1f80
        ldmxcsr [rip + kept_mask]
        mov     rsp, [rip + kept_rsp]
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret
        .size   tl_test_call, .-tl_test_call

        .bss
        .balign 8
kept_rsp:       .skip 8
kept_out:       .skip 8
kept_function:  .skip 8
kept_mask:      .skip 8

        .section .note.GNU-stack,"",@progbits
