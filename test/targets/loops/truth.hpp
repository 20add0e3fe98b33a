// What the targets of poll loops say of themselves: LEAF file:line kind, callback for each watcher that stays
// armed, on the line that arms it.
#pragma once

#include <stdio.h>
#include <unistd.h>

#define LEAF(kind, callback) printf("LEAF %s:%d %s, %s\n", __FILE_NAME__, __LINE__, kind, callback)

// The same of one whose callback is another one by now.
#define CHANGED(kind, callback) printf("CHANGED %s:%d %s, %s\n", __FILE_NAME__, __LINE__, kind, callback)

// What happened `count` times, and what is as it should be.
inline void dispatched(const char* callback, int count) {
  printf("POLLS %s %d\n", callback, count);
}
inline void check(const char* what, bool holds) {
  printf("CHECK %s %s\n", what, holds ? "yes" : "no");
}

inline void ready() {
  printf("READY %d\n", static_cast<int>(getpid()));
  fflush(stdout);
}
