// What the call thunks and the dispatch thunks jump to, with their number in r11: saves the registers that carry
// arguments, lets a hook look at them, calls the function that the hook names as its caller would have, and lets a
// second hook look at the result. Exceptions pass through: nothing here would have to run then.

        // CallRegisters, agent/loops/calls.hpp; frame pointer relative
        .set    SIZE, 96
        .set    RESULTS, 64 - SIZE

        .macro HOOKED name, before, after
        .text
        .balign 16
        .globl  \name
        .hidden \name
        .type   \name, @function
\name:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbp, 0
        movq    %rsp, %rbp
        .cfi_def_cfa_register rbp
        subq    $SIZE, %rsp
        movq    %rdi, 0 - SIZE(%rbp)
        movq    %rsi, 8 - SIZE(%rbp)
        movq    %rdx, 16 - SIZE(%rbp)
        movq    %rcx, 24 - SIZE(%rbp)
        movq    %r8, 32 - SIZE(%rbp)
        movq    %r9, 40 - SIZE(%rbp)
        movq    %rax, 48 - SIZE(%rbp)
        movq    %r11, 56 - SIZE(%rbp)
        movq    %rsp, %rdi
        movq    %rbp, %rsi
        call    \before
        // The arguments on the stack, again at its top, which stays aligned to 16.
        movq    %rax, %r11
        testq   %rdx, %rdx
        jz      2f
        leaq    1(%rdx), %rax
        andq    $-2, %rax
        shlq    $3, %rax
        subq    %rax, %rsp
1:      movq    8(%rbp, %rdx, 8), %rax
        movq    %rax, -8(%rsp, %rdx, 8)
        decq    %rdx
        jnz     1b
2:      movq    0 - SIZE(%rbp), %rdi
        movq    8 - SIZE(%rbp), %rsi
        movq    16 - SIZE(%rbp), %rdx
        movq    24 - SIZE(%rbp), %rcx
        movq    32 - SIZE(%rbp), %r8
        movq    40 - SIZE(%rbp), %r9
        movq    48 - SIZE(%rbp), %rax
        call    *%r11
        .globl  \name\()_return
        .hidden \name\()_return
\name\()_return:
        movq    %rax, RESULTS(%rbp)
        movq    %rdx, RESULTS + 8(%rbp)
        leaq    -SIZE(%rbp), %rdi
        movq    %rbp, %rsi
        call    \after
        movq    RESULTS(%rbp), %rax
        movq    RESULTS + 8(%rbp), %rdx
        leave
        .cfi_def_cfa rsp, 8
        .cfi_same_value rbp
        ret
        .cfi_endproc
        .size   \name, . - \name
        .endm

        HOOKED  asynctrace_call, asynctrace_before_call, asynctrace_after_call
        HOOKED  asynctrace_dispatch, asynctrace_before_dispatch, asynctrace_after_dispatch

        .section .note.GNU-stack, "", @progbits
