// A symbol whose address dlsym() does not look up but asks for, by calling it: see loader_lock.hpp.
        .text
        .balign 16
        .globl  asynctrace_under_loader_lock
        .type   asynctrace_under_loader_lock, @gnu_indirect_function
asynctrace_under_loader_lock:
        .cfi_startproc
        endbr64
        jmp     asynctrace_act_under_loader_lock
        .cfi_endproc
        .size   asynctrace_under_loader_lock, . - asynctrace_under_loader_lock

        .section .note.GNU-stack, "", @progbits
