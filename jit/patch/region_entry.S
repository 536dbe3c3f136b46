# Entry to and exit from a region, common to all images; the rest is emitted per image (region_image.cc).
#
# Stack, from the program's rsp down:
#     128  the program's red zone: never touched
#       n  EntryBlock::pass_stack: what the loop and its callees push while the native clone runs
#       8  EntryBlock*; later the tail to go on at
#     144  SavedContext (xsave pointer, rflags, gpr[16] with rax lowest)
#          alignment to 64
#          XSAVE area
#          frames of the dispatch function
#
# A signal may arrive at any instruction: the kernel writes its frame from rsp-128 downwards. So what is still needed
# always lies above rsp. Registers are popped upwards from the SavedContext; the last thing above is the tail, which
# is jumped to through memory because by then every register and flag is the program's.
#
# XSAVE and XRSTOR: Intel SDM vol. 1 chapter 13; AMD APM vol. 1 section 6.5 ("XSAVE/XRSTOR"), vol. 2 section 11.5.

#define RSP_IN_CONTEXT    32
#define XSAVE_POINTER     136
#define BLOCK_OR_TAIL     144   /* above the SavedContext */
#define CONTEXT_BYTES     280   /* up to the program's rsp */

#define DISPATCH          0
#define COOKIE            8
#define XSAVE_BYTES       16
#define XSAVE_MASK        24
#define HAS_AVX           32
#define NATIVE_RSP        40
#define FRAMES            48
#define FRAME_CAPACITY    56
#define FRAME_BYTES       64
#define TAILS             72
#define PASS_STACK        104

        .section .rodata
        .balign 4
default_mxcsr:
        .long 0x1f80

        .text

# Saves everything. In: rsp = program's rsp - pass_stack - 136, EntryBlock* at (%rsp). Out: rbx = SavedContext*, r12 = EntryBlock*,
# rsp at the XSAVE area; flags clean, MXCSR default, no upper vector halves in use.
        .macro SAVE_CONTEXT
        pushq   $0
        pushfq
        cld
        pushq   %r15
        pushq   %r14
        pushq   %r13
        pushq   %r12
        pushq   %r11
        pushq   %r10
        pushq   %r9
        pushq   %r8
        pushq   %rdi
        pushq   %rsi
        pushq   %rbp
        pushq   %rsp                    # replaced below
        pushq   %rbx
        pushq   %rdx
        pushq   %rcx
        pushq   %rax
        movq    %rsp, %rbx
        movq    BLOCK_OR_TAIL(%rbx), %r12
        leaq    CONTEXT_BYTES(%rbx), %rax
        addq    PASS_STACK(%r12), %rax
        movq    %rax, RSP_IN_CONTEXT(%rbx)
        subq    XSAVE_BYTES(%r12), %rsp
        andq    $-64, %rsp
        movq    %rsp, XSAVE_POINTER(%rbx)
        xorl    %eax, %eax              # the header: XRSTOR refuses garbage in its reserved part
        movq    %rax, 512(%rsp)
        movq    %rax, 520(%rsp)
        movq    %rax, 528(%rsp)
        movq    %rax, 536(%rsp)
        movq    %rax, 544(%rsp)
        movq    %rax, 552(%rsp)
        movq    %rax, 560(%rsp)
        movq    %rax, 568(%rsp)
        movl    XSAVE_MASK(%r12), %eax
        movl    XSAVE_MASK+4(%r12), %edx
        xsave64 (%rsp)
        cmpq    $0, HAS_AVX(%r12)
        je      1f
        vzeroupper
1:      ldmxcsr default_mxcsr(%rip)
        .endm

        .globl  tl_region_entry
        .hidden tl_region_entry
        .type   tl_region_entry, @function
        .balign 64
tl_region_entry:
        SAVE_CONTEXT
        movq    COOKIE(%r12), %rdi
        movq    %rbx, %rsi
        call    *DISPATCH(%r12)
        movl    %eax, %eax
        movq    TAILS(%r12), %rcx
        movq    (%rcx,%rax,8), %rax
        # falls through
# rax = tail, rbx = SavedContext*, r12 = EntryBlock*.
resume:
        movq    %rax, BLOCK_OR_TAIL(%rbx)
        movq    XSAVE_POINTER(%rbx), %rdi
        movl    XSAVE_MASK(%r12), %eax
        movl    XSAVE_MASK+4(%r12), %edx
        xrstor64 (%rdi)
        movq    %rbx, %rsp
        popq    %rax
        popq    %rcx
        popq    %rdx
        popq    %rbx
        leaq    8(%rsp), %rsp           # the program's rsp: the tail restores it
        popq    %rbp
        popq    %rsi
        popq    %rdi
        popq    %r8
        popq    %r9
        popq    %r10
        popq    %r11
        popq    %r12
        popq    %r13
        popq    %r14
        popq    %r15
        popfq
        jmp     *8(%rsp)
        .size   tl_region_entry, .-tl_region_entry

# void tl_native_run(EntryBlock*, SavedContext*, uint64_t tail)
        .globl  tl_native_run
        .hidden tl_native_run
        .type   tl_native_run, @function
        .balign 64
tl_native_run:
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rdi, %r12
        movq    %rsi, %rbx
        movq    %rdx, %rax
        movq    %rsp, NATIVE_RSP(%r12)
        # The program's code owns its stack while it runs: if one of its instructions faults and a handler returns,
        # the handler has run over our frames. They are put back afterwards.
        movq    XSAVE_POINTER(%rbx), %rcx
        subq    %rsp, %rcx
        xorl    %edx, %edx
        cmpq    FRAME_CAPACITY(%r12), %rcx
        cmovaq  %rdx, %rcx
        movq    %rcx, FRAME_BYTES(%r12)
        movq    %rsp, %rsi
        movq    FRAMES(%r12), %rdi
        rep movsb
        jmp     resume
        .size   tl_native_run, .-tl_native_run

        .globl  tl_native_exit
        .hidden tl_native_exit
        .type   tl_native_exit, @function
        .balign 64
tl_native_exit:
        SAVE_CONTEXT
        movq    NATIVE_RSP(%r12), %rsp
        movq    FRAMES(%r12), %rsi
        movq    %rsp, %rdi
        movq    FRAME_BYTES(%r12), %rcx
        rep movsb
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret
        .size   tl_native_exit, .-tl_native_exit

        .section .note.GNU-stack,"",@progbits
