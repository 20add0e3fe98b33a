// Loops made with epoll, poll and select, in ways that the lines on stdout tell. Ends at the end of stdin.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "truth.hpp"

#define FUNCTION extern "C" __attribute__((noinline)) void

namespace {

int g_epoll;
int g_pipe[2];
int g_quiet[2];
int g_more[2];
int g_event;
int g_twice;

epoll_event events(uint32_t what, int fd) {
  epoll_event event = {};
  event.events = what;
  event.data.fd = fd;
  return event;
}

void add(int fd, epoll_event event) {
  check("added", epoll_ctl(g_epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

}  // namespace

FUNCTION watch() {
  g_twice = eventfd(0, 0);
  check("pipes", pipe(g_pipe) == 0 && pipe(g_quiet) == 0 && pipe(g_more) == 0);
  epoll_event event = events(EPOLLIN, g_pipe[0]);
  LEAF("read", "null"), epoll_ctl(g_epoll, EPOLL_CTL_ADD, g_pipe[0], &event);
  event = events(EPOLLIN | EPOLLPRI, g_quiet[0]);
  LEAF("read or urgent data", "null"), epoll_ctl(g_epoll, EPOLL_CTL_ADD, g_quiet[0], &event);
  const int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  const itimerspec hour = {{0, 0}, {3600, 0}};
  timerfd_settime(timer, 0, &hour, nullptr);
  event = events(EPOLLIN, timer);
  LEAF("read", "null"), epoll_ctl(g_epoll, EPOLL_CTL_ADD, timer, &event);
  g_event = eventfd(3, 0);
  event = events(EPOLLIN, g_event);
  epoll_ctl(g_epoll, EPOLL_CTL_ADD, g_event, &event);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  const int signals = signalfd(-1, &set, 0);
  event = events(EPOLLIN, signals);
  LEAF("read", "null"), epoll_ctl(g_epoll, EPOLL_CTL_ADD, signals, &event);
  event = events(EPOLLIN, STDIN_FILENO);
  LEAF("read", "null"), epoll_ctl(g_epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
}

// What has been added and waits no more.
FUNCTION forget() {
  epoll_event event = events(EPOLLIN, g_more[0]);
  const int copy = dup(g_more[0]);
  check("added", epoll_ctl(g_epoll, EPOLL_CTL_ADD, copy, &event) == 0);
  check("twice", epoll_ctl(g_epoll, EPOLL_CTL_ADD, copy, &event) != 0);
  check("removed", epoll_ctl(g_epoll, EPOLL_CTL_DEL, copy, nullptr) == 0);
  check("removed", epoll_ctl(g_epoll, EPOLL_CTL_DEL, copy, nullptr) != 0);
  check("refused", epoll_ctl(g_epoll, EPOLL_CTL_ADD, -1, &event) != 0);
  const int closed = eventfd(0, 0);
  add(closed, events(EPOLLIN, closed));
  close(closed);
  // By the C library, which nobody stands before there.
  int ends[2];
  check("pipe", pipe(ends) == 0);
  add(ends[0], events(EPOLLIN, ends[0]));
  fclose(fdopen(ends[0], "r"));
  // Closed, and watched on by its duplicate.
  const int second = dup(g_twice);
  printf("UNSEEN read, fd %d\n", g_twice);
  add(second, events(EPOLLIN, second));
  close(second);
  // Added, and let rest.
  event = events(EPOLLIN, g_more[1]);
  epoll_ctl(g_epoll, EPOLL_CTL_ADD, g_more[1], &event);
  event.events = EPOLLET;
  check("changed", epoll_ctl(g_epoll, EPOLL_CTL_MOD, g_more[1], &event) == 0);
  // In two instances, one of which is closed first.
  const int other = epoll_create1(0);
  add(copy, event);
  check("added", epoll_ctl(other, EPOLL_CTL_ADD, copy, &event) == 0);
  close(other);
  close(copy);
  // What a child of vfork() closes is its own.
  const pid_t child = vfork();
  if (child == 0) {
    close(g_pipe[0]);
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  for (int i = 0; i < 1000; i++) {
    const int many = eventfd(0, 0);
    event = events(EPOLLIN, many);
    epoll_ctl(g_epoll, EPOLL_CTL_ADD, many, &event);
    close(many);
  }
}

extern "C" __attribute__((noinline)) void* polls(void*) {
  pollfd fds[] = {{g_quiet[0], POLLIN, 0}, {g_more[0], POLLIN | POLLPRI, 0}, {-1, POLLIN, 0}};
  poll(fds, 2, 0);
  LEAF("read", "null"), LEAF("read or urgent data", "null"), ready(), poll(fds, 3, -1);
  return nullptr;
}

extern "C" __attribute__((noinline)) void* selects(void* thread) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(g_more[0], &set);
  auto* next = static_cast<pthread_t*>(thread);
  const int n = g_more[0] + 1;
  LEAF("read", "null"), pthread_create(next, 0, polls, 0), select(n, &set, 0, 0, nullptr);
  return nullptr;
}

// Until what is there has been read, byte by byte; the event's descriptor is then armed for one time.
FUNCTION loop() {
  static pthread_t threads[2];
  for (int reads = 0;;) {
    epoll_event got[8];
    const int count = epoll_wait(g_epoll, got, 8, -1);
    for (int i = 0; i < count; i++) {
      const int fd = got[i].data.fd;
      uint64_t word = 0;
      if (fd == STDIN_FILENO) exit(0);
      check("read", read(fd, &word, fd == g_pipe[0] ? 1 : 8) > 0);
      if (fd == g_event) {
        epoll_event event = events(EPOLLIN | EPOLLONESHOT, fd);
        LEAF("read", "null"), epoll_ctl(g_epoll, EPOLL_CTL_MOD, fd, &event);
      } else if (++reads == 2) {
        pthread_create(&threads[0], nullptr, selects, &threads[1]);
      }
    }
  }
}

int main() {
  g_epoll = epoll_create1(0);
  watch();
  check("written", write(g_pipe[1], "ab", 2) == 2);
  forget();
  loop();
}
