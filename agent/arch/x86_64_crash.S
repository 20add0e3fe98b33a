// abort() and __assert_fail() as the target calls them: records the call on a stack of our own, then jumps to the
// real function with every register and the stack as they were at entry.

        .set    STACK_SIZE, 32768       // kCrashStackSize

        .macro INTERPOSE name, real
        .text
        .balign 16
        .globl  \name
        .type   \name, @function
\name:
        .cfi_startproc
        endbr64
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbp, 0
        movq    %rsp, %rbp
        .cfi_def_cfa_register rbp
        pushq   %rdi
        pushq   %rsi
        pushq   %rdx
        pushq   %rcx
        // Another constructor may abort before ours has run.
        cmpq    $0, asynctrace_real_abort(%rip)
        jne     1f
        call    asynctrace_find_real_abort
1:
        // A second thread that aborts meanwhile goes unrecorded.
        movl    $1, %eax
        xchgl   %eax, asynctrace_crash_busy(%rip)
        testl   %eax, %eax
        jnz     2f
        leaq    STACK_SIZE + asynctrace_crash_stack(%rip), %rsp
        // CallerRegisters, from its end
        pushq   %r15
        pushq   %r14
        pushq   %r13
        pushq   %r12
        pushq   %rbx
        pushq   (%rbp)
        leaq    16(%rbp), %rax
        pushq   %rax
        pushq   8(%rbp)
        movq    %rsp, %rdi
        call    asynctrace_record_abort
        movl    $0, asynctrace_crash_busy(%rip)
2:
        leaq    -32(%rbp), %rsp
        popq    %rcx
        popq    %rdx
        popq    %rsi
        popq    %rdi
        popq    %rbp
        .cfi_def_cfa rsp, 8
        .cfi_same_value rbp
        jmp     *\real(%rip)
        .cfi_endproc
        .size   \name, . - \name
        .endm

        INTERPOSE abort, asynctrace_real_abort
        INTERPOSE __assert_fail, asynctrace_real_assert_fail

        .section .note.GNU-stack, "", @progbits
