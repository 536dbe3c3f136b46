# Loops that call, and what they call (callees_test.cc).
        .intel_syntax noprefix
        .text

        .macro FUNCTION name
        .globl  callees_\name
        .p2align 4
callees_\name:
        .endm
        .macro END name
        .globl  callees_\name\()_end
callees_\name\()_end:
        .endm
        .macro LOOP callee
        FUNCTION loop_\callee
        xor     ebx, ebx
1:      mov     rdi, rbx
        call    callees_\callee
        mov     [r12+rbx*8], rax
        add     rbx, 1
        cmp     rbx, r13
        jne     1b
        ret
        END loop_\callee
        .endm

        FUNCTION leaf
        lea     rax, [rdi+rdi*2]
        ret
        END leaf

        FUNCTION framed
        push    rbx
        sub     rsp, 32
        mov     rbx, rdi
        mov     [rsp+8], rdi
        call    callees_leaf
        add     rax, [rsp+8]
        lea     rdx, [rsp+8]
        nop     dword ptr [rdx+rdx]     # padding, no array
        add     rsp, 32
        pop     rbx
        ret
        END framed

        FUNCTION tail
        add     rdi, 1
        jmp     callees_leaf
        END tail

        FUNCTION endless
        call    callees_endless
        ret
        END endless

        FUNCTION pointer
        call    rsi
        ret
        END pointer

        FUNCTION array
        sub     rsp, 64
        mov     [rsp+rdi*8], rdi
        mov     rax, [rsp]
        add     rsp, 64
        ret
        END array

        FUNCTION walking
        sub     rsp, 64
        lea     rdx, [rsp+8]
        mov     ecx, 4
2:      mov     [rdx], rdi
        add     rdx, 8
        sub     ecx, 1
        jne     2b
        add     rsp, 64
        ret
        END walking

        FUNCTION aligned
        push    rbp
        mov     rbp, rsp
        and     rsp, -32
        mov     [rsp-8], rdi
        leave
        ret
        END aligned

        FUNCTION unbalanced
        push    rdi
        test    rdi, rdi
        je      3f
        push    rdi
3:      pop     rax
        ret
        END unbalanced

        FUNCTION locked
        lock add [rsi], rdi
        ret
        END locked

        FUNCTION rarely
        mov     rax, rdi
        test    rdi, rdi
        js      4f
        ret
4:      lock add [rsi], rdi
        ret
        END rarely

        LOOP leaf
        LOOP framed
        LOOP tail
        LOOP endless
        LOOP pointer
        LOOP array
        LOOP walking
        LOOP aligned
        LOOP unbalanced
        LOOP locked
        LOOP rarely

        .section .note.GNU-stack,"",@progbits
