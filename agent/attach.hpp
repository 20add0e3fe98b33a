// The two functions that `asynctrace attach` and `detach` call, in a thread of the target that they hold in a
// waiting system call. The library was brought in by dlopen just before, or is there since an earlier attach
// or by LD_PRELOAD. They open files and take the loader's lock; errno is kept.
#pragma once

#include "common/attach_call.hpp"

extern "C" {
__attribute__((visibility("default"))) extern uint32_t asynctrace_attach_ready;  // see attach_call.hpp

// Finds runtimes, makes the segment, patches slots; after a detach only the last.
__attribute__((visibility("default"))) void asynctrace_attach(asynctrace::AttachCall* call);

// Gives every slot back. Wakers that are wrapped keep working, and keep their records until they are gone.
__attribute__((visibility("default"))) void asynctrace_detach(asynctrace::AttachCall* call);
}
