// callbacks [wakes]: a runtime of callbacks in C11 that tells asynctrace of its tasks. Some tasks start to
// wait, in ways that the lines on stdout tell, then it waits for the end of stdin. The library of the same
// source (-DLIBRARY) has the runtime; the program by itself (no -DAPART) has both.
#include <asynctrace.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "callbacks.h"

#if defined(LIBRARY) || !defined(APART)
static struct task* current;

void spawn(struct task* task, const char* name, void (*poll)(struct task*)) {
  memset(task, 0, sizeof(*task));
  task->poll = poll;
  asynctrace_task_created(task, "callbacks", name, __builtin_return_address(0));
}

void wake(struct task* task) {
  asynctrace_task_woken(task);
}

void run(struct task* task) {
  struct asynctrace_frame frame;
  asynctrace_poll_begin(&frame, task);
  current = task;
  task->polls++;
  task->poll(task);
  current = NULL;
  asynctrace_poll_end(&frame);
  if (task->done) asynctrace_task_finished(task);
}

void wait_for(const char* kind, enum asynctrace_leaf_class leaf_class, struct task* other) {
  current->leaf = asynctrace_leaf_armed(kind, leaf_class, other);
  current->keep++;  // no tail call: its caller must stay on the stack
}

void stop_waiting(struct task* task) {
  asynctrace_leaf_ended(task->leaf);
  task->leaf = 0;
}
#endif

#ifndef LIBRARY
#define LEAF(kind) printf("LEAF %s:%d %s\n", "callbacks.c", __LINE__, kind)

static struct task tasks[6];
enum { kReader, kSleeper, kJoiner, kRestarted, kWoken, kEnded };

__attribute__((noinline)) static void read_line(struct task* task) {
  LEAF("line read"), wait_for("line read", ASYNCTRACE_IO, NULL);
  task->keep++;
}
__attribute__((noinline)) static void reader(struct task* task) {
  read_line(task);
  task->keep++;
}
static void sleeper(struct task* task) {
  LEAF("pause"), wait_for("pause", ASYNCTRACE_TIMER, NULL);
  task->keep++;
}
static void joiner(struct task* task) {
  LEAF("child"), wait_for("child", ASYNCTRACE_JOIN, &tasks[kSleeper]);
  task->keep++;
}
static void restarted(struct task* task) {
  if (task->polls > 1) {
    stop_waiting(task);
    LEAF("second"), wait_for("second", ASYNCTRACE_SYNC, NULL);
  } else {
    wait_for("first", ASYNCTRACE_CHANNEL, NULL);
  }
  task->keep++;
}
static void woken(struct task* task) {
  if (task->polls == 1) {
    LEAF("turn"), wait_for("turn", ASYNCTRACE_SYNC, NULL);
  } else {
    wake(&tasks[kReader]);
    wake(task);
  }
  task->keep++;
}
static void ended(struct task* task) {
  task->done = 1;
}

int main(int argc, char** argv) {
  spawn(&tasks[kReader], "reader", reader);
  spawn(&tasks[kSleeper], NULL, sleeper);
  spawn(&tasks[kJoiner], "a name that is longer than the record has room for", joiner);
  spawn(&tasks[kRestarted], "restarted", restarted), printf("SPAWN callbacks.c:%d\n", __LINE__);
  spawn(&tasks[kWoken], "woken", woken);
  spawn(&tasks[kEnded], "ended", ended);
  for (int i = 0; i < 6; i++) run(&tasks[i]);
  wake(&tasks[kRestarted]);
  run(&tasks[kRestarted]);
  if (argc > 1 && strcmp(argv[1], "wakes") == 0) run(&tasks[kWoken]);
  printf("READY %d\n", getpid());
  fflush(stdout);
  while (getchar() != EOF) {
  }
  return 0;
}
#endif
