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

        FUNCTION padded
        sub     rsp, 8
        lea     rax, [rsp-8]
        nop     dword ptr [rax+rax*1]
        lea     rax, [rdi+1]
        add     rsp, 8
        ret
        END padded

        # What the other ways do with the stack does not matter.
        FUNCTION rare_array
        sub     rsp, 64
        mov     rax, rdi
        test    rdi, rdi
        js      5f
4:      add     rsp, 64
        ret
5:      mov     [rsp+rdi*8+64], rdi
        mov     rax, [rsp]
        jmp     4b
        END rare_array

        FUNCTION rare_alignment
        push    rbp
        mov     rbp, rsp
        mov     rax, rdi
        test    rdi, rdi
        js      5f
4:      leave
        ret
5:      and     rsp, -32
        mov     [rsp-8], rdi
        jmp     4b
        END rare_alignment

        FUNCTION rare_tail
        push    rdi
        test    rdi, rdi
        js      callees_leaf
        pop     rax
        ret
        END rare_tail

        # One of its exits leaves the stack as it was, the other does not: the same function.
        FUNCTION two_tails
        test    rdi, rdi
        js      callees_leaf
        push    rdi
        cmp     rdi, 5
        je      callees_leaf
        pop     rax
        ret
        END two_tails

        # More functions than are ever examined for one loop, behind an instruction that is not lifted.
        .set    crowd_size, 300
        FUNCTION crowd
        lock add [rsi], rdi
        .set    at, 0
        .rept   crowd_size
        call    callees_crowd_members + 16 * at
        .set    at, at + 1
        .endr
        ret
        END crowd
        FUNCTION crowd_members
        .rept   crowd_size
        .p2align 4
        lea     rax, [rdi+1]
        ret
        .endr
        .p2align 4
        END crowd_members

        FUNCTION rare_crowd
        test    rdi, rdi
        jns     4f
        call    callees_crowd
        ret
4:      mov     rax, rdi
        cmp     rdi, 5
        je      5f
        call    callees_framed
5:      ret
        END rare_crowd

        # Needed on every way, but found last.
        FUNCTION crowd_first
        test    rdi, rdi
        jns     4f
        call    callees_crowd_of_leaves
4:      call    callees_framed
        ret
        END crowd_first
        FUNCTION crowd_of_leaves
        .set    at, 0
        .rept   crowd_size
        call    callees_crowd_members + 16 * at
        .set    at, at + 1
        .endr
        ret
        END crowd_of_leaves

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
        LOOP padded
        LOOP rare_array
        LOOP rare_alignment
        LOOP rare_tail
        LOOP two_tails
        LOOP rare_crowd
        LOOP crowd_first

        .section .note.GNU-stack,"",@progbits
