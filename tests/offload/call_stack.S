# Callees that move the stack pointer in every way that is lifted. Each: double f(double*), with rdi at 8 bytes of input.
# Results depend on every byte that went through the stack.
        .intel_syntax noprefix
        .text

#include "tests/offload/asm_functions.inc"

        FUNCTION stack_pushes
        mov     rax, [rdi]
        push    rax
        push    -7
        push    0x12345678
        push    qword ptr [rdi]
        push    rsp                     # the value before
        pop     rcx
        sub     rcx, rsp
        pop     rdx
        pop     rsi
        xor     rdx, rsi
        pop     r8
        add     rdx, r8
        pop     r9
        add     rdx, r9
        add     rdx, rcx
        cvtsi2sd xmm0, rdx
        ret
        END stack_pushes

# A cycle that is entered at two places: counts halvings, odd ones more.
        FUNCTION stack_two_entries
        mov     rax, [rdi]
        shr     rax, 20
        xor     ecx, ecx
        test    al, 1
        jnz     2f
1:      add     ecx, 1
        shr     rax, 1
        jz      3f
        test    al, 1
        jz      1b
2:      add     ecx, 3
        shr     rax, 1
        jz      3f
        test    al, 2
        jnz     2b
        jmp     1b
3:      cvtsi2sd xmm0, ecx
        ret
        END stack_two_entries

        FUNCTION stack_frame
        push    rbp
        mov     rbp, rsp
        sub     rsp, 48
        push    rbx
        mov     rbx, [rdi]
        mov     [rbp-8], rbx
        mov     dword ptr [rbp-16], 0x3ff
        mov     word ptr [rbp-12], bx
        mov     byte ptr [rbp-10], bh
        mov     byte ptr [rbp-9], 0
        mov     rax, [rbp-16]
        xor     rax, [rbp-8]
        lea     rdx, [rbp-40]
        mov     [rdx], rax
        movq    xmm0, [rbp-40]
        cvtsi2sd xmm0, rax
        pop     rbx
        leave
        ret
        END stack_frame

        FUNCTION stack_without_frame_pointer
        sub     rsp, 24
        movsd   xmm1, [rdi]
        movsd   [rsp], xmm1
        movsd   [rsp+8], xmm1
        movapd  xmm0, [rsp-0]
        lea     rsp, [rsp+16]
        addsd   xmm0, xmm1
        add     rsp, 8
        ret
        END stack_without_frame_pointer

# Rounds upwards meanwhile, as callers of libm may: a mode that the lifted code does not have, so it runs natively.
        FUNCTION stack_other_rounding
        sub     rsp, 8
        stmxcsr [rsp]
        mov     eax, [rsp]
        or      dword ptr [rsp], 0x4000
        ldmxcsr [rsp]
        movsd   xmm0, [rdi]
        mulsd   xmm0, xmm0
        mov     [rsp], eax
        ldmxcsr [rsp]
        add     rsp, 8
        ret
        END stack_other_rounding

# Clears the exception flags and puts them back, in both encodings.
        FUNCTION stack_holds_exceptions
        sub     rsp, 8
        vstmxcsr [rsp]
        mov     eax, [rsp]
        and     dword ptr [rsp], 0xffc0
        vldmxcsr [rsp]
        movsd   xmm0, [rdi]
        mulsd   xmm0, xmm0
        stmxcsr [rsp+4]
        mov     ecx, [rsp+4]
        and     ecx, 0x3f
        or      eax, ecx
        mov     [rsp], eax
        ldmxcsr [rsp]
        add     rsp, 8
        ret
        END stack_holds_exceptions

# Looks at the flags: whether the multiplication was exact.
        FUNCTION stack_reads_exceptions
        sub     rsp, 8
        stmxcsr [rsp]
        and     dword ptr [rsp], 0xffc0
        ldmxcsr [rsp]
        movsd   xmm0, [rdi]
        mulsd   xmm0, xmm0
        stmxcsr [rsp]
        test    dword ptr [rsp], 0x20
        je      1f
        addsd   xmm0, xmm0
1:      add     rsp, 8
        ret
        END stack_reads_exceptions

# Reads what it never wrote.
        FUNCTION stack_uninitialised
        sub     rsp, 40
        movsd   xmm0, [rdi]
        mov     eax, [rsp+16]
        and     eax, 0
        add     rsp, 40
        ret
        END stack_uninitialised

        FUNCTION stack_garbage
        sub     rsp, 40
        movsd   xmm0, [rdi]
        mov     eax, [rsp+16]
        cvtsi2sd xmm1, eax
        addsd   xmm0, xmm1
        add     rsp, 40
        ret
        END stack_garbage

        .macro KERNEL name
        FUNCTION loop_\name
        push    rbx
        push    r12
        push    r13
        push    r14
        sub     rsp, 8
        mov     r12, rdi
        mov     r13, rsi
        mov     r14, rdx
        xor     ebx, ebx
2:      lea     rdi, [r13+rbx*8]
        mov     rbp, rbp
        call    \name
        movsd   [r12], xmm0
        add     r12, 8
        add     rbx, 1
        sub     r14, 1
        jne     2b
        add     rsp, 8
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        ret
        END loop_\name
        .endm
        KERNEL stack_pushes
        KERNEL stack_frame
        KERNEL stack_two_entries
        KERNEL stack_without_frame_pointer
        KERNEL stack_other_rounding
        KERNEL stack_holds_exceptions
        KERNEL stack_reads_exceptions
        KERNEL stack_uninitialised
        KERNEL stack_garbage

        .section .note.GNU-stack,"",@progbits
