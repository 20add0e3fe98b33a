// The runtime of callbacks.c.
#pragma once

#include <asynctrace.h>
#include <stdint.h>

struct task {
  void (*poll)(struct task*);
  uint64_t leaf;
  int polls;
  int done;
  volatile int keep;
};

void spawn(struct task* task, const char* name, void (*poll)(struct task*));
void wake(struct task* task);
void run(struct task* task);
void wait_for(const char* kind, enum asynctrace_leaf_class leaf_class, struct task* other);
void stop_waiting(struct task* task);
