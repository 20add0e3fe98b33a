// The functions behind asynctrace_hooks (common/include/asynctrace.h).
#pragma once

#include "agent/thread_context.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace::agent {

extern const asynctrace_hooks kNativeHooks;

// Boundaries and collectors: agent/native/trace_hooks.cpp.
void native_enter(asynctrace_frame* frame);
void native_leave(asynctrace_frame* frame);
int native_trace_leaf();
int native_is_tracing();
void native_trace_enter(asynctrace_collector* collector);
void native_trace_leave(asynctrace_collector* collector);
const asynctrace_frame* native_active_frame();
size_t native_backtrace(const asynctrace_trace_meta* meta, const void** pcs, size_t capacity);

// agent/native/symbol_of.cpp
size_t native_symbol(const void* pc, char* text, size_t size);

// agent/native/repoll.cpp
void native_repoll_open(asynctrace_repoll* repoll);
void native_repoll_close(asynctrace_repoll* repoll);
int native_repoll_due(const asynctrace_repoll* repoll);
void native_repoll_begin(const asynctrace_repoll* repoll);
void native_repoll_leaf(const asynctrace_repoll* repoll, const void* task, const void* const* pcs,
                        size_t count);
void native_repoll_end(const asynctrace_repoll* repoll, const asynctrace_repoll_result* result);

// agent/native/operations.cpp
void native_operation_begun(const void* operation, const asynctrace_operation* facts);
void native_operation_ended(const void* operation);
// Their ends have not been told of for a while.
void end_operations(const HookGuard& guard);

// A poll that the runtime itself tells of.
void begin_native_poll(asynctrace_frame* frame);
void end_native_poll(asynctrace_frame* frame);

}  // namespace asynctrace::agent
