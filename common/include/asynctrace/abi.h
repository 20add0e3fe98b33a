/* What a program and the agent agree on: the types of asynctrace.h. Include that one instead. */
#ifndef ASYNCTRACE_ABI_H
#define ASYNCTRACE_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a leaf waits for: shown, and sorted into what the program waits for inside itself or outside. */
enum asynctrace_leaf_class {
  ASYNCTRACE_UNKNOWN = 0,
  ASYNCTRACE_IO = 1,
  ASYNCTRACE_TIMER = 2,
  ASYNCTRACE_SIGNAL = 3,
  ASYNCTRACE_SYNC = 4,
  ASYNCTRACE_CHANNEL = 5,
  ASYNCTRACE_JOIN = 6
};

enum asynctrace_frame_kind {
  ASYNCTRACE_POLL = 1,  /* `subject` is the task that is polled */
  ASYNCTRACE_ROOT = 2,  /* bounds a trace */
  ASYNCTRACE_AWAIT = 3  /* `subject` is the struct asynctrace_coroutine that awaits */
};

/* A boundary on the execution stack, in the stack frame of the function that is the boundary. Traces hold the
 * frames strictly between a leaf and the innermost boundary. */
struct asynctrace_frame {
  const struct asynctrace_hooks *hooks; /* set on entry; NULL: nobody listens */
  struct asynctrace_frame *parent;      /* the boundary around this one */
  const void *subject;
  uint32_t kind;     /* enum asynctrace_frame_kind */
  uint32_t reserved; /* the agent's */
};

/* One level of a logical call chain: a suspended coroutine is on no stack. Lives as long as the coroutine. */
struct asynctrace_coroutine {
  const struct asynctrace_coroutine *awaited_by; /* must outlive this one; NULL: outermost */
  const void *await_site;                        /* code address of its current await */
};

/* Where a leaf was hit, for a collector. Valid during its call only. */
struct asynctrace_trace_meta {
  const struct asynctrace_frame *root; /* NULL: no boundary, hence no frames */
  const void *leaf;
};

/* What is called at each leaf while it is entered. Lives on the stack of the capturing function. */
struct asynctrace_collector {
  void (*leaf)(struct asynctrace_collector *self, const struct asynctrace_trace_meta *meta);
  const struct asynctrace_hooks *hooks;
  struct asynctrace_collector *outer;
  uintptr_t busy; /* its `leaf` is being called; an exception that leaves it must reset this */
};

/* A runtime that can poll its tasks when a dump asks for it. Lives from its open to its close, in one process. */
struct asynctrace_repoll {
  const struct asynctrace_hooks *hooks; /* set on opening; NULL: nobody will ask */
  int fd;                               /* readable once somebody asks; -1: none */
  uint32_t slot;                        /* the agent's */
};

/* What came of it. */
struct asynctrace_repoll_result {
  uint32_t tasks;           /* polled */
  uint32_t workers;         /* of the runtime */
  uint32_t missing_workers; /* did not come, and then no task was polled */
};

/* Something that was begun and calls a function once it ends. */
struct asynctrace_operation {
  const char *runtime; /* whose it is; copied, like `kind` */
  const char *kind;    /* what it waits for: "async_accept" */
  uint32_t leaf_class; /* enum asynctrace_leaf_class */
  int descriptor;      /* -1: none, or not known */
  const void *calls;   /* that function */
};

/* The agent's functions. Later versions append; nothing changes its meaning or its place. */
struct asynctrace_hooks {
  uint64_t version;
  /* Since version 1. */
  void (*task_created)(const void *task, const char *runtime, const char *name, const void *spawn_site);
  void (*task_finished)(const void *task);
  void (*task_woken)(const void *task);
  void (*enter)(struct asynctrace_frame *frame);
  void (*leave)(struct asynctrace_frame *frame);
  uint64_t (*leaf_armed)(const char *kind, uint32_t leaf_class, const void *awaited_task);
  void (*leaf_ended)(uint64_t leaf);
  int (*trace_leaf)(void);
  int (*is_tracing)(void);
  void (*trace_enter)(struct asynctrace_collector *collector);
  void (*trace_leave)(struct asynctrace_collector *collector);
  const struct asynctrace_frame *(*active_frame)(void);
  size_t (*backtrace)(const struct asynctrace_trace_meta *meta, const void **pcs, size_t capacity);
  size_t (*symbol)(const void *pc, char *text, size_t size);
  /* Since version 2. */
  void (*repoll_open)(struct asynctrace_repoll *repoll);
  void (*repoll_close)(struct asynctrace_repoll *repoll);
  int (*repoll_due)(const struct asynctrace_repoll *repoll);
  void (*repoll_begin)(const struct asynctrace_repoll *repoll);
  void (*repoll_leaf)(const struct asynctrace_repoll *repoll, const void *task, const void *const *pcs,
                      size_t count);
  void (*repoll_end)(const struct asynctrace_repoll *repoll, const struct asynctrace_repoll_result *result);
  /* Since version 3. */
  void (*operation_begun)(const void *operation, const struct asynctrace_operation *facts);
  void (*operation_ended)(const void *operation);
};

#ifdef __cplusplus
}
#endif

#endif
