# void tl_storm_call(StormState* state, const void* code): calls code with the state's registers and leaves there what
# it returns with. For any number of threads at once. Layout: patch_storm.cc.
        .intel_syntax noprefix
        .text
        .globl  tl_storm_call
        .type   tl_storm_call, @function
        .balign 64
tl_storm_call:
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        push    rsi
        push    rdi
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movups  xmm\n, [rdi + 144 + 16*\n]
        .endr
        push    qword ptr [rdi + 128]
        popfq
        mov     rax, [rdi]
        mov     rcx, [rdi + 8]
        mov     rdx, [rdi + 16]
        mov     rbx, [rdi + 24]
        mov     rbp, [rdi + 40]
        mov     rsi, [rdi + 48]
        mov     r8, [rdi + 64]
        mov     r9, [rdi + 72]
        mov     r10, [rdi + 80]
        mov     r11, [rdi + 88]
        mov     r12, [rdi + 96]
        mov     r13, [rdi + 104]
        mov     r14, [rdi + 112]
        mov     r15, [rdi + 120]
        mov     rdi, [rdi + 56]
        call    qword ptr [rsp + 8]
        xchg    rax, [rsp]              # flags stay
        mov     [rax + 8], rcx
        mov     [rax + 16], rdx
        mov     [rax + 24], rbx
        mov     [rax + 40], rbp
        mov     [rax + 48], rsi
        mov     [rax + 56], rdi
        mov     [rax + 64], r8
        mov     [rax + 72], r9
        mov     [rax + 80], r10
        mov     [rax + 88], r11
        mov     [rax + 96], r12
        mov     [rax + 104], r13
        mov     [rax + 112], r14
        mov     [rax + 120], r15
        pop     rcx
        mov     [rax], rcx
        pushfq
        pop     qword ptr [rax + 128]
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movups  [rax + 144 + 16*\n], xmm\n
        .endr
        pop     rsi
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        cld
        ret
        .size   tl_storm_call, .-tl_storm_call
        .section .note.GNU-stack,"",@progbits
