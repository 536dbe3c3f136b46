# Loops that hand addresses of locals to functions (held_addresses_test.cc).
        .intel_syntax noprefix
        .text
        .globl  held_begin, held_end
        .p2align 4
held_begin:

        .macro FUNCTION name
        .globl  held_\name
        .p2align 4
held_\name:
        .endm
        .macro END name
        .globl  held_\name\()_end
held_\name\()_end:
        .endm
        # The loop around `pass`, with 64 bytes of locals.
        .macro BEGIN_LOOP name
        FUNCTION \name
        push    rbp
        push    rbx
        sub     rsp, 64
        xor     ebx, ebx
        .endm
        .macro END_LOOP name
        add     rbx, 1
        cmp     rbx, rsi
        jne     1b
        add     rsp, 64
        pop     rbx
        pop     rbp
        ret
        END \name
        .endm

        FUNCTION add_to                 # of what rdi points to
        .globl  held_add_to_access
held_add_to_access:
        add     [rdi], rbx
        ret
        END add_to

        FUNCTION through_others         # keeps rdi in a register that it saves, and calls
        push    rbp
        mov     rbp, rdi
        add     rbp, 8
        xor     edi, edi
        call    held_nothing
        .globl  held_through_others_access
held_through_others_access:
        mov     [rbp], rbx
        pop     rbp
        ret
        END through_others

        FUNCTION nothing
        xor     edx, edx
        ret
        END nothing

        FUNCTION unoptimised            # keeps its argument in its frame
        push    rbp
        mov     rbp, rsp
        mov     [rbp-8], rdi
        mov     [rbp-16], rbx
        mov     rax, [rbp-8]
        .globl  held_unoptimised_access
held_unoptimised_access:
        mov     [rax], rbx
        leave
        ret
        END unoptimised

        FUNCTION overwritten            # changes the argument that it keeps
        mov     [rsp-8], rdi
        mov     byte ptr [rsp-5], 0
        mov     rax, [rsp-8]
        .globl  held_overwritten_access
held_overwritten_access:
        mov     [rax], rbx
        ret
        END overwritten

        FUNCTION walking
        mov     ecx, 4
2:
        .globl  held_walking_access
held_walking_access:
        mov     [rdi], rbx
        add     rdi, 8
        sub     ecx, 1
        jne     2b
        ret
        END walking

        BEGIN_LOOP local
1:      mov     qword ptr [rsp+16], 0
        lea     rdi, [rsp+16]
        call    held_add_to
        mov     rax, [rsp+16]
        END_LOOP local

        BEGIN_LOOP ahead                # the address is taken ahead of the loop
        lea     rbp, [rsp+8]
        mov     r12, rsp
1:      mov     dword ptr [rbp+8], 0
        lea     rdi, [r12+16]
        call    held_add_to
        mov     rax, [rsp+16]
        END_LOOP ahead

        FUNCTION frame_pointer
        push    rbp
        mov     rbp, rsp
        push    rbx
        sub     rsp, 40
        lea     r13, [rsp+8]
        xor     ebx, ebx
1:      mov     qword ptr [rbp-40], 0
        mov     rdi, r13
        call    held_add_to
        add     rbx, 1
        cmp     rbx, rsi
        jne     1b
        leave
        ret
        END frame_pointer

        BEGIN_LOOP kept
1:      lea     rdi, [rsp+16]
        call    held_through_others
        END_LOOP kept

        BEGIN_LOOP in_frame
1:      lea     rdi, [rsp+16]
        call    held_unoptimised
        END_LOOP in_frame

        BEGIN_LOOP spoilt
1:      lea     rdi, [rsp+16]
        call    held_overwritten
        END_LOOP spoilt

        BEGIN_LOOP along
1:      lea     rdi, [rsp+16]
        call    held_walking
        END_LOOP along

        BEGIN_LOOP either               # one of two addresses
1:      lea     rdi, [rsp+16]
        test    bl, 1
        je      2f
        lea     rdi, [rsp+24]
2:      call    held_add_to
        END_LOOP either

        BEGIN_LOOP same_either_way
1:      lea     rdi, [rsp+16]
        test    bl, 1
        je      2f
        lea     rdi, [rsp+8]
        sub     rdi, -8
2:      call    held_add_to
        END_LOOP same_either_way

        BEGIN_LOOP narrow               # the upper half is lost
1:      lea     rdi, [rsp+16]
        mov     edi, edi
        call    held_add_to
        END_LOOP narrow

        BEGIN_LOOP indexed
1:      lea     rdi, [rsp+rbx*8]
        call    held_add_to
        END_LOOP indexed

        BEGIN_LOOP through_a_local      # the pointer lies in a variable meanwhile
1:      lea     rdi, [rsp+16]
        mov     [rsp+40], rdi
        xor     edi, edi
        mov     rdi, [rsp+40]
        call    held_add_to
        END_LOOP through_a_local

        BEGIN_LOOP pushed
1:      lea     rdi, [rsp+16]
        push    rdi
        xor     edi, edi
        pop     rdi
        call    held_add_to
        END_LOOP pushed

        BEGIN_LOOP below                # what a pass pushed is no variable of the loop
1:      push    rbx
        mov     rdi, rsp
        call    held_add_to
        pop     rax
        END_LOOP below
held_end:
        .section .note.GNU-stack,"",@progbits
