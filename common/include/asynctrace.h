/* asynctrace.h: how an async runtime tells asynctrace what its tasks do. C11 and C++, any language by the same
 * names. Nothing to link: the program defines one data symbol, asynctrace_hooks, by including this header.
 * The agent, where it is loaded, finds that symbol and puts the address of its functions there. Without an
 * agent every call below is one load and one predicted branch.
 *
 * All functions may be called in any thread, do not block, do not fail, and leave errno as it is. A task is
 * whatever address the runtime knows it by; it must not be reused before asynctrace_task_finished().
 *
 * A stripped executable must export the symbol: -Wl,--export-dynamic-symbol=asynctrace_hooks
 */
#ifndef ASYNCTRACE_H
#define ASYNCTRACE_H

#include <stddef.h>
#include <stdint.h>

#include "asynctrace/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every source file that includes this header defines it, the linker keeps one for each program or library. */
#ifdef __cplusplus
extern
#endif
    __attribute__((weak, visibility("default"))) const struct asynctrace_hooks *asynctrace_hooks;
__attribute__((weak, visibility("default"))) const struct asynctrace_hooks *asynctrace_hooks = NULL;

#define ASYNCTRACE_INLINE_ static inline __attribute__((always_inline))

/* NULL where there is no agent, or one older than `version`. */
ASYNCTRACE_INLINE_ const struct asynctrace_hooks *asynctrace_hooks_since_(uint64_t version) {
  const struct asynctrace_hooks *hooks = __atomic_load_n(&asynctrace_hooks, __ATOMIC_ACQUIRE);
  if (__builtin_expect(hooks != NULL, 0) && hooks->version >= version) return hooks;
  return NULL;
}

/* ---- Events: what a dump shows without asking the runtime ---- */

/* A task exists, not polled yet. `runtime` names its runtime, `name` the task (NULL: none); both are copied,
 * names to 35 bytes. `spawn_site` is a code address, say asynctrace_here() or a return address; NULL: unknown. */
ASYNCTRACE_INLINE_ void asynctrace_task_created(const void *task, const char *runtime, const char *name,
                                                const void *spawn_site) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(1);
  if (hooks != NULL) hooks->task_created(task, runtime, name, spawn_site);
}

/* It will not be polled again. Inside its last poll or after it, before its address is free. */
ASYNCTRACE_INLINE_ void asynctrace_task_finished(const void *task) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(1);
  if (hooks != NULL) hooks->task_finished(task);
}

/* The task is about to be queued for its next poll, by the task that this thread polls, or from outside. */
ASYNCTRACE_INLINE_ void asynctrace_task_woken(const void *task) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(1);
  if (hooks != NULL) hooks->task_woken(task);
}

/* Enters a boundary; `frame` is a local variable of the function that is the boundary. Leave it in the same
 * thread, innermost first, exceptions included. */
ASYNCTRACE_INLINE_ void asynctrace_enter(struct asynctrace_frame *frame, enum asynctrace_frame_kind kind,
                                         const void *subject) {
  frame->hooks = asynctrace_hooks_since_(1);
  if (frame->hooks == NULL) return;
  frame->kind = (uint32_t)kind;
  frame->subject = subject;
  frame->hooks->enter(frame);
}

ASYNCTRACE_INLINE_ void asynctrace_leave(struct asynctrace_frame *frame) {
  if (__builtin_expect(frame->hooks != NULL, 0)) frame->hooks->leave(frame);
}

ASYNCTRACE_INLINE_ void asynctrace_poll_begin(struct asynctrace_frame *frame, const void *task) {
  asynctrace_enter(frame, ASYNCTRACE_POLL, task);
}
/* The task waits from now on, unless it was woken or finished meanwhile. */
ASYNCTRACE_INLINE_ void asynctrace_poll_end(struct asynctrace_frame *frame) {
  asynctrace_leave(frame);
}

/* The task polled in this thread starts to wait here, for what `kind` says ("sleep"; copied), and for the end of
 * `awaited_task` where that is known (else NULL). Returns what asynctrace_leaf_ended() wants, in any thread. */
ASYNCTRACE_INLINE_ uint64_t asynctrace_leaf_armed(const char *kind, enum asynctrace_leaf_class leaf_class,
                                                  const void *awaited_task) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(1);
  return hooks != NULL ? hooks->leaf_armed(kind, (uint32_t)leaf_class, awaited_task) : 0;
}

/* Exactly once for each leaf that was armed. */
ASYNCTRACE_INLINE_ void asynctrace_leaf_ended(uint64_t leaf) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(1);
  if (hooks != NULL) hooks->leaf_ended(leaf);
}

/* An operation begins here, outside or inside of any poll; it must not have ended yet. Dumps show the stack of this
 * call. `operation` is its address. */
ASYNCTRACE_INLINE_ void asynctrace_operation_begun(const void *operation,
                                                   const struct asynctrace_operation *facts) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(3);
  if (hooks != NULL) hooks->operation_begun(operation, facts);
}

/* In any thread, before its function is called and its address is free. One that was not told of may be told
 * of here. */
ASYNCTRACE_INLINE_ void asynctrace_operation_ended(const void *operation) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(3);
  if (hooks != NULL) hooks->operation_ended(operation);
}

/* ---- Traces: the runtime polls tasks to see where they are. After tokio's task::trace ---- */

/* At a leaf, before it waits. 1: it was recorded and must return to its caller as if it were not ready,
 * without arming anything; 0: not traced, or a collector is being called. */
ASYNCTRACE_INLINE_ int asynctrace_trace_leaf(void) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(1);
  return hooks != NULL ? hooks->trace_leaf() : 0;
}

/* Whether a collector is entered in this thread. */
ASYNCTRACE_INLINE_ int asynctrace_is_tracing(void) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(1);
  return hooks != NULL ? hooks->is_tracing() : 0;
}

/* From here to the leave, each trace_leaf() of this thread calls `collector->leaf`. They nest. */
ASYNCTRACE_INLINE_ void asynctrace_trace_enter(struct asynctrace_collector *collector) {
  collector->hooks = asynctrace_hooks_since_(1);
  if (collector->hooks != NULL) collector->hooks->trace_enter(collector);
}

ASYNCTRACE_INLINE_ void asynctrace_trace_leave(struct asynctrace_collector *collector) {
  if (__builtin_expect(collector->hooks != NULL, 0)) collector->hooks->trace_leave(collector);
}

/* The innermost boundary of this thread, of any kind; NULL: none. */
ASYNCTRACE_INLINE_ const struct asynctrace_frame *asynctrace_active_frame(void) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(1);
  return hooks != NULL ? hooks->active_frame() : NULL;
}

/* In a collector: the return addresses between leaf and root, innermost first. Returns how many there are. */
ASYNCTRACE_INLINE_ size_t asynctrace_backtrace(const struct asynctrace_trace_meta *meta, const void **pcs,
                                               size_t capacity) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(1);
  return hooks != NULL ? hooks->backtrace(meta, pcs, capacity) : 0;
}

/* ---- Re-polls: `asynctrace dump --repoll` asks the runtime where its tasks are ---- */

/* The runtime can answer. `repoll->fd` is then a descriptor for its poll loop to watch, and to read empty when it is
 * readable: a loop that sleeps wakes up by it. Opened before a fork, it is nothing to the child; of more than eight
 * in a process the others are not asked. */
ASYNCTRACE_INLINE_ void asynctrace_repoll_open(struct asynctrace_repoll *repoll) {
  repoll->fd = -1;
  repoll->hooks = asynctrace_hooks_since_(2);
  if (__builtin_expect(repoll->hooks != NULL, 0)) repoll->hooks->repoll_open(repoll);
}

/* Closes the descriptor. */
ASYNCTRACE_INLINE_ void asynctrace_repoll_close(struct asynctrace_repoll *repoll) {
  if (__builtin_expect(repoll->hooks != NULL, 0)) repoll->hooks->repoll_close(repoll);
}

/* Between two polls, at each turn of the loop: whether a dump waits for an answer. */
ASYNCTRACE_INLINE_ int asynctrace_repoll_due(const struct asynctrace_repoll *repoll) {
  return __builtin_expect(repoll->hooks != NULL, 0) ? repoll->hooks->repoll_due(repoll) : 0;
}

/* The answer, by one thread: begin, the backtrace of each leaf that a task's poll has met, end. */
ASYNCTRACE_INLINE_ void asynctrace_repoll_begin(const struct asynctrace_repoll *repoll) {
  if (__builtin_expect(repoll->hooks != NULL, 0)) repoll->hooks->repoll_begin(repoll);
}
ASYNCTRACE_INLINE_ void asynctrace_repoll_leaf(const struct asynctrace_repoll *repoll, const void *task,
                                               const void *const *pcs, size_t count) {
  if (__builtin_expect(repoll->hooks != NULL, 0)) repoll->hooks->repoll_leaf(repoll, task, pcs, count);
}
ASYNCTRACE_INLINE_ void asynctrace_repoll_end(const struct asynctrace_repoll *repoll,
                                              const struct asynctrace_repoll_result *result) {
  if (__builtin_expect(repoll->hooks != NULL, 0)) repoll->hooks->repoll_end(repoll, result);
}

/* The linkage name of the function that `pc` returns into, zero-terminated, cut to `size`; "module+0x12" where it
 * has none. Returns its length. Reads the symbol table from the file: slow. */
ASYNCTRACE_INLINE_ size_t asynctrace_symbol(const void *pc, char *text, size_t size) {
  const struct asynctrace_hooks *hooks = asynctrace_hooks_since_(1);
  return hooks != NULL ? hooks->symbol(pc, text, size) : 0;
}

/* The address of the call itself, in the function that the call stands in. */
static __attribute__((noinline, unused)) const void *asynctrace_here(void) {
  __asm__ volatile("");
  return __builtin_extract_return_addr(__builtin_return_address(0));
}

#ifdef __cplusplus
}
#endif

#endif
