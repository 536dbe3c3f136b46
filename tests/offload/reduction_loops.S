# Loops that reduce integers in ways that compilers have for it, each: void f(uint64_t* out, const uint64_t* in, size_t n),
# n > 0. Accumulators start with what `out` holds.
        .intel_syntax noprefix
        .text

#include "tests/offload/asm_functions.inc"

# Counts by the carry of a comparison, up and down, and by setcc.
        FUNCTION counts_by_carry
        mov     rax, [rdi]
        mov     r8, [rdi+8]
        mov     r9, [rdi+16]
        mov     r11, 0x8000000000000000
1:      cmp     [rsi], r11
        adc     rax, 0
        cmp     [rsi], r11
        sbb     r8, -1
        xor     ecx, ecx
        cmp     [rsi], r11
        setg    cl
        sub     r9, rcx
        add     rsi, 8
        dec     rdx
        jne     1b
        mov     [rdi], rax
        mov     [rdi+8], r8
        mov     [rdi+16], r9
        ret
        END counts_by_carry

# Only some passes write eax: until the first of them, and if there is none, the upper half is what it was.
        FUNCTION adds_some_low_halves
        mov     rax, [rdi]
1:      mov     ecx, [rsi]
        test    cl, 7
        jne     2f
        mov     r8d, ecx
        imul    r8d, ecx
        shr     r8d, 3
        add     eax, r8d
2:      add     rsi, 8
        dec     rdx
        jne     1b
        mov     [rdi], rax
        ret
        END adds_some_low_halves

# The same with bit 0, which is never set in some data: no pass writes eax then.
        FUNCTION adds_in_half_a_register
        mov     rax, [rdi]
1:      mov     ecx, [rsi]
        test    cl, 1
        je      2f
        imul    ecx, ecx
        add     eax, ecx
2:      add     rsi, 8
        dec     rdx
        jne     1b
        mov     [rdi], rax
        ret
        END adds_in_half_a_register

# Scaled additions, and a difference.
        FUNCTION adds_by_lea
        mov     rax, [rdi]
        mov     r8, [rdi+8]
1:      mov     rcx, [rsi]
        lea     rax, [rax+rcx*4+3]
        shr     rcx, 7
        sub     r8, rcx
        add     rsi, 8
        dec     rdx
        jne     1b
        mov     [rdi], rax
        mov     [rdi+8], r8
        ret
        END adds_by_lea

# The accumulator lies in the frame.
        FUNCTION adds_in_the_frame
        mov     rax, [rdi]
        mov     [rsp-16], rax
1:      mov     rcx, [rsi]
        ror     rcx, 11
        xor     [rsp-16], rcx
        add     rsi, 8
        dec     rdx
        jne     1b
        mov     rax, [rsp-16]
        mov     [rdi], rax
        ret
        END adds_in_the_frame

# Lanes of 4 and 8 bytes, of sums, of absolute differences of bytes, and of logic. The upper halves of the registers stay.
        FUNCTION reduces_lanes
        movdqu  xmm0, [rdi]
        movdqu  xmm1, [rdi+16]
        movdqu  xmm2, [rdi+32]
        movdqa  xmm3, xmm0
        pxor    xmm5, xmm5
1:      movq    xmm4, [rsi]
        punpcklqdq xmm4, xmm4
        paddd   xmm0, xmm4
        pxor    xmm3, xmm4
        psadbw  xmm4, xmm5
        paddq   xmm1, xmm4
        movq    xmm4, [rsi]
        por     xmm2, xmm4
        add     rsi, 8
        dec     rdx
        jne     1b
        pxor    xmm0, xmm3
        movdqu  [rdi], xmm0
        movdqu  [rdi+16], xmm1
        movdqu  [rdi+32], xmm2
        ret
        END reduces_lanes

# The largest of each lane, in the order that they have with out[4] subtracted: unsigned if that is the sign bit.
        FUNCTION largest_after_subtraction
        movdqu  xmm0, [rdi]
        movdqu  xmm5, [rdi+32]
1:      movd    xmm4, [rsi]
        pshufd  xmm4, xmm4, 0x44
        movdqa  xmm1, xmm4
        psubd   xmm1, xmm5
        movdqa  xmm2, xmm0
        psubd   xmm2, xmm5
        pcmpgtd xmm1, xmm2
        pand    xmm4, xmm1
        pandn   xmm1, xmm0
        por     xmm1, xmm4
        movdqa  xmm0, xmm1
        add     rsi, 8
        dec     rdx
        jne     1b
        movdqu  [rdi], xmm0
        ret
        END largest_after_subtraction

# The inner loop runs not at all in some passes.
        FUNCTION sums_of_sums
        mov     rax, [rdi]
1:      mov     r9, [rsi]
        mov     ecx, r9d
        and     ecx, 3
        je      3f
2:      rol     r9, 3
        xor     rax, r9
        dec     ecx
        jne     2b
3:      add     rsi, 8
        dec     rdx
        jne     1b
        mov     [rdi], rax
        ret
        END sums_of_sums

# A sum of 128 bits: what is carried into its upper half depends on the lower.
        FUNCTION adds_wide
        mov     rax, [rdi]
        mov     r8, [rdi+8]
1:      add     rax, [rsi]
        adc     r8, 0
        add     rsi, 8
        dec     rdx
        jne     1b
        mov     [rdi], rax
        mov     [rdi+8], r8
        ret
        END adds_wide

# Two accumulators that change places in each pass.
        FUNCTION changes_places
        mov     rax, [rdi]
        mov     r8, [rdi+8]
1:      add     rax, [rsi]
        xchg    rax, r8
        add     rsi, 8
        dec     rdx
        jne     1b
        mov     [rdi], rax
        mov     [rdi+8], r8
        ret
        END changes_places

# What the accumulator was a pass ago is left beside it: the last pass is the original's.
        FUNCTION keeps_an_earlier_one
        mov     rax, [rdi]
        mov     r8, [rdi+8]
1:      mov     r8, rax
        add     rax, [rsi]
        add     rsi, 8
        dec     rdx
        jne     1b
        mov     [rdi], rax
        mov     [rdi+8], r8
        ret
        END keeps_an_earlier_one

# The same where only some passes leave it: then it is needed at the header.
        FUNCTION keeps_some_earlier_one
        mov     rax, [rdi]
        mov     r8, [rdi+8]
1:      mov     rcx, [rsi]
        test    cl, 3
        cmove   r8, rax
        add     rax, rcx
        add     rsi, 8
        dec     rdx
        jne     1b
        mov     [rdi], rax
        mov     [rdi+8], r8
        ret
        END keeps_some_earlier_one

# The sign of the sum decides what is added to it.
        FUNCTION turns_at_zero
        mov     rax, [rdi]
1:      mov     rcx, [rsi]
        mov     r8, rcx
        neg     r8
        test    rax, rax
        cmovs   rcx, r8
        add     rax, rcx
        add     rsi, 8
        dec     rdx
        jne     1b
        mov     [rdi], rax
        ret
        END turns_at_zero

# The smaller of the two by a comparison of other values than are kept.
        FUNCTION compares_others
        mov     rax, [rdi]
1:      mov     rcx, [rsi]
        lea     r8, [rcx+1]
        cmp     r8, rax
        cmovb   rax, rcx
        add     rsi, 8
        dec     rdx
        jne     1b
        mov     [rdi], rax
        ret
        END compares_others

        .section .note.GNU-stack,"",@progbits
