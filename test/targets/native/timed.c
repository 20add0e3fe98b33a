/* Waits once in a system call with a time-out, as its arguments say (which call, milliseconds), and prints for how long
 * that took, in microseconds, and how often the call told of an interruption. Then it waits for the end of stdin. */
#define _GNU_SOURCE
#include <asynctrace.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

static int epoll;

static int in_epoll_wait(int ms) {
  struct epoll_event event;
  return epoll_wait(epoll, &event, 1, ms);
}

static int in_epoll_pwait(int ms) {
  struct epoll_event event;
  return epoll_pwait(epoll, &event, 1, ms, &(sigset_t){0});
}

static int in_poll(int ms) { return poll(NULL, 0, ms); }

static struct timespec time_of(int ms) {
  return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
}

static int in_ppoll(int ms) {
  struct timespec time = time_of(ms);
  return ppoll(NULL, 0, &time, NULL);
}

static int in_select(int ms) { return select(0, NULL, NULL, NULL, &(struct timeval){ms / 1000, ms % 1000 * 1000}); }

static int in_nanosleep(int ms) {
  struct timespec time = time_of(ms), rest;
  return nanosleep(&time, &rest);
}

static int in_clock_nanosleep(int ms) {
  struct timespec time = time_of(ms), rest;
  return clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &rest) == EINTR ? (errno = EINTR, -1) : 0;
}

static const struct {
  const char *name;
  int (*wait)(int ms);
} kCalls[] = {{"epoll_wait", in_epoll_wait}, {"epoll_pwait", in_epoll_pwait}, {"poll", in_poll},
              {"ppoll", in_ppoll},           {"select", in_select},           {"nanosleep", in_nanosleep},
              {"clock_nanosleep", in_clock_nanosleep}};

static long long now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

int main(int count, char **arguments) {
  struct asynctrace_frame frame;
  int interrupted = 0;
  char byte;
  asynctrace_poll_begin(&frame, &epoll); /* makes it a program that can be attached to */
  asynctrace_poll_end(&frame);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  for (size_t i = 0; count > 2 && i < sizeof kCalls / sizeof *kCalls; i++) {
    if (strcmp(arguments[1], kCalls[i].name) != 0) continue;
    printf("READY %d\n", getpid());
    fflush(stdout);
    long long start = now_us();
    while (kCalls[i].wait(atoi(arguments[2])) < 0 && errno == EINTR) interrupted++;
    printf("INTERRUPTED %d\nWAITED %lld\n", interrupted, now_us() - start);
    fflush(stdout);
    return read(STDIN_FILENO, &byte, 1) < 0;
  }
  return 2;
}
