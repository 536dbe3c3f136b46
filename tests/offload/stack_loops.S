# Loops that move the stack pointer themselves, each: void f(double* out, const double* in, size_t n). Results depend on
# every byte that went through the stack.
        .intel_syntax noprefix
        .text

#include "tests/offload/asm_functions.inc"

# Pushed values are popped, and read through rsp. Where they lie there, the instructions are the best ones to patch.
        FUNCTION pushes_values
        mov     r11, rdx
        xor     ecx, ecx
        .p2align 4
1:      mov     rax, [rsi+rcx*8]
        push    rax
        push    -7
        push    qword ptr [rsi+rcx*8]
        .p2align 3
        add     rax, 0x12345678
        .p2align 3
        xor     rax, 0x23456789
        .p2align 3
        mov     [rsp+8], rax
        mov     rdx, [rsp+8]
        sub     rdx, [rsp+16]
        pop     rax
        pop     r8
        add     rax, rdx
        pop     r9
        xor     rax, r8
        sub     rax, r9
        mov     [rdi+rcx*8], rax
        inc     rcx
        cmp     rcx, r11
        jne     1b
        ret
        END pushes_values

# A spill slot holds a float in each pass, and in some two of them afterwards.
        FUNCTION reuses_a_spill_slot
        test    rdx, rdx
        je      3f
        sub     rsp, 40
        xor     ecx, ecx
1:      movss   xmm0, [rsi+rcx*8]
        movss   [rsp+8], xmm0
        mov     eax, [rsi+rcx*8+4]
        test    eax, 1
        je      2f
        mulss   xmm0, [rsp+8]
        unpcklps xmm0, xmm0
        movlps  [rsp+8], xmm0
        pxor    xmm0, xmm0
        mov     rax, [rsp+8]
        add     [rdi+rcx*8], rax
2:      mov     eax, [rsp+8]
        xor     [rdi+rcx*8], eax
        inc     rcx
        cmp     rcx, rdx
        jne     1b
        mov     rax, [rsp+8]
        add     [rdi], rax
        add     rsp, 40
3:      ret
        END reuses_a_spill_slot

# The counter and the bound lie in the frame: other displacements while something is pushed.
        FUNCTION counts_in_the_frame
        test    rdx, rdx
        je      2f
        sub     rsp, 40
        mov     [rsp+24], rdx
        mov     qword ptr [rsp+8], 0
1:      mov     rcx, [rsp+8]
        push    qword ptr [rsi+rcx*8]
        sub     rsp, 8
        add     qword ptr [rsp+24], 1
        mov     rax, [rsp+8]
        imul    rax, [rsp+24]
        add     rax, [rsp+40]
        mov     [rsp], rax
        pop     rax
        add     rsp, 8
        mov     [rdi+rcx*8], rax
        mov     rcx, [rsp+8]
        cmp     rcx, [rsp+24]
        jne     1b
        mov     rax, [rsp+8]
        add     [rdi], rax
        add     rsp, 40
2:      ret
        END counts_in_the_frame

# On one of two ways only; an inner loop runs while something is pushed.
        FUNCTION pushes_on_one_way
        xor     ecx, ecx
1:      mov     rax, [rsi+rcx*8]
        test    rax, rax
        js      2f
        push    rax
        push    rcx
        mov     r8d, 5
3:      add     rax, [rsp+8]
        add     [rsp], rax
        dec     r8d
        jne     3b
        pop     r9
        xor     rax, r9
        lea     rsp, [rsp+8]
2:      mov     [rdi+rcx*8], rax
        inc     rcx
        cmp     rcx, rdx
        jne     1b
        ret
        END pushes_on_one_way

# Left while two values are pushed, which are used after.
        FUNCTION leaves_while_pushed
        xor     ecx, ecx
1:      push    rcx
        push    qword ptr [rsi+rcx*8]
        lea     r8, [rcx+1]
        cmp     r8, rdx
        jae     2f
        pop     rax
        pop     r9
        xor     rax, r9
        mov     [rdi+rcx*8], rax
        inc     rcx
        jmp     1b
2:      pop     rax
        mov     [rdi+rcx*8], rax
        pop     rax
        xor     [rdi], rax
        ret
        END leaves_while_pushed

# A rare call through a pointer, while something is pushed that is used after it.
        FUNCTION calls_while_pushed
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        mov     r13, rdi
        mov     r14, rsi
        mov     r15, rdx
        xor     ebx, ebx
1:      mov     r12, [r14+rbx*8]
        push    r12
        push    3
        movabs  rax, 0x7fe1ccf385ebc8a0     # 1e308
        cmp     r12, rax
        jne     2f
        movq    xmm0, r12
        mov     rax, call_on_error@GOTPCREL[rip]
        call    [rax]
2:      pop     rax
        pop     rcx
        add     rax, rcx
        mov     [r13+rbx*8], rax
        inc     rbx
        cmp     rbx, r15
        jne     1b
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        ret
        END calls_while_pushed

# Arguments on the stack: pushed; and stored in an area that is always there.
        FUNCTION takes_from_stack
        mov     rax, [rsp+8]
        sub     rax, [rsp+16]
        push    rax
        mov     rcx, [rsp+32]
        pop     rax
        xor     rax, rcx
        mov     [rsp+8], rax            # an argument is the callee's own
        ret
        END takes_from_stack

        FUNCTION pushes_arguments
        push    rbx
        mov     r9, rdx
        xor     ebx, ebx
1:      push    rbx
        push    5
        push    qword ptr [rsi+rbx*8]
        call    takes_from_stack
        add     rax, [rsp]
        add     rsp, 24
        mov     [rdi+rbx*8], rax
        inc     rbx
        cmp     rbx, r9
        jne     1b
        pop     rbx
        ret
        END pushes_arguments

        FUNCTION stores_arguments
        push    rbx
        sub     rsp, 32
        mov     r9, rdx
        xor     ebx, ebx
1:      mov     rax, [rsi+rbx*8]
        mov     [rsp], rax
        mov     qword ptr [rsp+8], 5
        mov     [rsp+16], rbx
        call    takes_from_stack
        add     rax, [rsp]
        mov     [rdi+rbx*8], rax
        inc     rbx
        cmp     rbx, r9
        jne     1b
        mov     rax, [rsp]
        xor     [rdi], rax
        add     rsp, 32
        pop     rbx
        ret
        END stores_arguments

# The pushed pointer to one local becomes one to another, by a store whose address takes some arithmetic.
        FUNCTION changes_a_pushed_pointer
        push    rbx
        sub     rsp, 32
        mov     r9, rdx
        xor     ebx, ebx
1:      mov     rax, [rsi+rbx*8]
        mov     [rsp+16], rax
        mov     qword ptr [rsp+24], 5
        lea     rcx, [rsp+16]
        push    rcx
        mov     r8d, 16
        lea     rdx, [rsp+r8-16]
        lea     r10, [rsp+32]
        mov     [rdx], r10
        pop     rcx
        add     [rcx], rax
        mov     rax, [rsp+16]
        imul    rax, [rsp+24]
        mov     [rdi+rbx*8], rax
        inc     rbx
        cmp     rbx, r9
        jne     1b
        add     rsp, 32
        pop     rbx
        ret
        END changes_a_pushed_pointer

# The address of a local is taken ahead of the loop, and then changed by a function that breaks the ABI.
        FUNCTION adds_to_rbx
        add     rbx, 8
        ret
        END adds_to_rbx
        FUNCTION local_of_another_address
        push    rbx
        push    r12
        sub     rsp, 40
        lea     rbx, [rsp+16]
        call    adds_to_rbx
        mov     r9, rdx
        xor     r12d, r12d
1:      mov     rax, [rsi+r12*8]
        mov     [rsp+16], rax
        mov     qword ptr [rsp+24], 5
        add     [rbx], rax
        imul    rax, [rsp+16]
        xor     rax, [rsp+24]
        mov     [rdi+r12*8], rax
        inc     r12
        cmp     r12, r9
        jne     1b
        add     rsp, 40
        pop     r12
        pop     rbx
        ret
        END local_of_another_address

        .section .note.GNU-stack,"",@progbits
