/* What `asynctrace attach` may meet: threads that wait, allocate, load libraries, fork or compute, and that
 * notice whatever happens to them. Arguments: what they do (wait, malloc, dlopen, fork, spin, vfork), threads. The main
 * thread does the same. At the end of stdin it prints how often each thing has happened. */
#define _GNU_SOURCE
#include <asynctrace.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_bool stopping;
static atomic_ulong turns, interrupted, signals;
static int wakeup; /* an eventfd that becomes readable at the end */

#define CHECK(condition)                                                                 \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      fprintf(stderr, "busy.c:%d: %s, errno %d\n", __LINE__, #condition, errno); \
      _exit(1);                                                                          \
    }                                                                                    \
  } while (0)

static void on_signal(int number) {
  (void)number;
  atomic_fetch_add(&signals, 1);
}

static void wait_in_epoll(void) {
  struct epoll_event event = {.events = EPOLLIN};
  int fd = epoll_create1(EPOLL_CLOEXEC);
  CHECK(fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, wakeup, &event) == 0);
  while (epoll_wait(fd, &event, 1, -1) < 0) {
    CHECK(errno == EINTR);
    atomic_fetch_add(&interrupted, 1);
  }
  close(fd);
}

static void allocate(void) {
  enum { kBlocks = 64 };
  char *blocks[kBlocks];
  for (int i = 0; i < kBlocks; i++) {
    size_t size = (size_t)(i * i * 37 % 70000 + 1);
    CHECK((blocks[i] = malloc(size)) != NULL);
    memset(blocks[i], i, size);
  }
  for (int i = 0; i < kBlocks; i++) CHECK((blocks[i] = realloc(blocks[i], (size_t)i * 100 + 1))[0] == i);
  for (int i = 0; i < kBlocks; i++) free(blocks[i]);
}

static void load(void) {
  void *library = dlopen("libBrokenLocale.so.1", RTLD_NOW | RTLD_LOCAL);
  CHECK(library != NULL);
  CHECK(dlsym(library, "__ctype_get_mb_cur_max") != NULL);
  CHECK(dlclose(library) == 0);
}

static void fork_once(void) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) _exit(7);
  int status = 0;
  pid_t ended;
  while ((ended = waitpid(child, &status, 0)) < 0) CHECK(errno == EINTR);
  CHECK(ended == child && WEXITSTATUS(status) == 7);
}

/* Every bit of a wide register, and the flags that say how to round, last over a stop anywhere in the loop. */
__attribute__((target("avx"))) static void compute_wide(void) {
  unsigned long pattern[4] = {0x1111, 0x2222, 0x3333, 0x4444}, after[4];
  unsigned control = 0x3f80, control_after; /* rounds down */
  __asm__ volatile(
      "ldmxcsr %2\n vmovdqu %3, %%ymm15\n mov $2000000, %%ecx\n"
      "1: dec %%ecx\n jnz 1b\n"
      "vmovdqu %%ymm15, %0\n stmxcsr %1\n"
      : "=m"(after), "=m"(control_after)
      : "m"(control), "m"(pattern)
      : "ecx", "xmm15", "memory");
  CHECK(memcmp(pattern, after, sizeof after) == 0 && control == control_after);
}

/* Until the child has ended the kernel lets nothing interrupt the parent. */
static void fork_and_share(void) {
  pid_t child = vfork();
  if (child == 0) {
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) continue;
    _exit(0);
  }
  CHECK(waitpid(child, NULL, 0) == child);
}

static void compute(void) {
  if (__builtin_cpu_supports("avx")) compute_wide();
  for (volatile long i = 0; i < 100000; i++) continue;
}

static const struct {
  const char *name;
  void (*turn)(void);
} kWays[] = {{"wait", wait_in_epoll}, {"malloc", allocate}, {"dlopen", load}, {"fork", fork_once}, {"spin", compute},
            {"vfork", fork_and_share}};

static void (*turn)(void);

static int at_end(void) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  return poll(&input, 1, 0) != 0;
}

/* A thread of which hardly an instruction lies outside of libc and the loader takes long to be caught there. */
static void stay_outside(void) {
  for (volatile int i = 0; i < 20000; i++) continue;
}

static void *work(void *task) {
  do {
    struct asynctrace_frame frame;
    asynctrace_poll_begin(&frame, task);
    uint64_t leaf = asynctrace_leaf_armed("turn", ASYNCTRACE_SYNC, NULL);
    asynctrace_leaf_ended(leaf);
    asynctrace_poll_end(&frame);
    turn();
    stay_outside();
    atomic_fetch_add(&turns, 1);
  } while (!atomic_load(&stopping));
  return NULL;
}

int main(int count, char **arguments) {
  static int tasks[16];
  pthread_t threads[16];
  int thread_count = count > 2 ? atoi(arguments[2]) : 2;
  for (size_t i = 0; i < sizeof kWays / sizeof *kWays; i++)
    if (count > 1 && strcmp(arguments[1], kWays[i].name) == 0) turn = kWays[i].turn;
  CHECK(turn != NULL && thread_count <= 16 && (wakeup = eventfd(0, EFD_CLOEXEC)) >= 0);
  CHECK(sigaction(SIGRTMIN, &(struct sigaction){.sa_handler = on_signal}, NULL) == 0);
  for (int i = 0; i < thread_count; i++) CHECK(pthread_create(&threads[i], NULL, work, &tasks[i]) == 0);
  printf("READY %d\n", getpid());
  fflush(stdout);
  if (turn == wait_in_epoll) {
    char byte;
    while (read(STDIN_FILENO, &byte, 1) < 0) atomic_fetch_add(&interrupted, 1);
  }
  while (!at_end()) {
    turn();
    stay_outside();
  }
  atomic_store(&stopping, 1);
  eventfd_write(wakeup, 1);
  for (int i = 0; i < thread_count; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  printf("TURNS %lu\nINTERRUPTED %lu\nSIGNALS %lu\n", turns, interrupted, signals);
  return 0;
}
