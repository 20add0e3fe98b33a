// Entry points for patched slots, one for each original function: a thunk passes its number as an extra argument
// and jumps to the common hook, so the caller's return address and registers stay as they were and no memory is ever
// both writable and executable. Each array is 16 bytes per thunk; see thunks.hpp.
//
// A tail jump leaves the frame as it was at entry: the unwind rule is that of a function's first instruction.

        .macro THUNKS name, count, argument, hook
        .section .text.\name, "ax", @progbits
        .balign 64
        .globl  \name
        .hidden \name
        .type   \name, @function
\name:
        .cfi_startproc
        .set    number, 0
        .rept   \count
        .balign 16
        endbr64
        movl    $number, %\argument
        jmp     \hook
        .set    number, number + 1
        .endr
        .cfi_endproc
        .size   \name, . - \name
        .endm

        THUNKS  asynctrace_poll_thunks,     4096, esi, asynctrace_poll_hook
        THUNKS  asynctrace_shutdown_thunks, 4096, esi, asynctrace_shutdown_hook
        THUNKS  asynctrace_dealloc_thunks,  4096, esi, asynctrace_dealloc_hook
        THUNKS  asynctrace_schedule_thunks, 1024, esi, asynctrace_schedule_hook
        THUNKS  asynctrace_output_thunks,   4096, ecx, asynctrace_output_hook
        THUNKS  asynctrace_clone_thunks,    1024, esi, asynctrace_clone_hook
        THUNKS  asynctrace_call_thunks,      255, r11d, asynctrace_call
        THUNKS  asynctrace_dispatch_thunks, 65536, r11d, asynctrace_dispatch
        THUNKS  asynctrace_notify_thunks,   65536, esi, asynctrace_notify_hook

        .section .note.GNU-stack, "", @progbits
