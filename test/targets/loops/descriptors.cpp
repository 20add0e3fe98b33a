// libevent: descriptors of every kind, descriptors that are ready and not served, and watchers that others
// have armed; which of these is the first argument. The second is a directory for files. The truth is on
// stdout. Ends at the end of stdin.
#include <arpa/inet.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include <string>
#include <string_view>

#include "truth.hpp"

#define FUNCTION extern "C" __attribute__((noinline)) void

namespace {

constexpr timeval kAtOnce = {0, 0};
constexpr timeval kSoon = {0, 1000};
constexpr timeval kHour = {3600, 0};
event_base* g_base;
std::string g_directory;

// The function that is called, and where the watcher of the cause was armed.
void link(const char* function, int line) {
  printf("CAUSE %s %s:%d\n", function, __FILE_NAME__, line);
}

}  // namespace

FUNCTION on_any(evutil_socket_t, short, void*) {}
FUNCTION on_late(evutil_socket_t, short, void*) {}
FUNCTION on_ready(evutil_socket_t, short, void*) {
  ready();
}
FUNCTION on_end(evutil_socket_t, short, void*) {
  event_base_loopbreak(g_base);
}

namespace {

void watch(int fd, const std::string& what, short events = EV_READ) {
  printf("RESOURCE %d %s\n", fd, what.c_str());
  event_add(event_new(g_base, fd, events, on_any, nullptr), nullptr);
}

sockaddr_in loopback() {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::string local(int fd) {
  sockaddr_in address = {};
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

int bound(int type) {
  const int fd = socket(AF_INET, type, 0);
  const sockaddr_in address = loopback();
  bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  return fd;
}

void watch_sockets() {
  const int listener = bound(SOCK_STREAM);
  listen(listener, 5);
  watch(listener, "tcp " + local(listener) + ", listening");
  const int client = bound(SOCK_STREAM);
  sockaddr_in server = {};
  socklen_t size = sizeof(server);
  getsockname(listener, reinterpret_cast<sockaddr*>(&server), &size);
  connect(client, reinterpret_cast<sockaddr*>(&server), size);
  const int accepted = accept(listener, nullptr, nullptr);
  watch(accepted, "tcp " + local(accepted) + " <- " + local(client));
  watch(client, "tcp " + local(client) + " <-> " + local(listener));
  const int datagrams = bound(SOCK_DGRAM);
  watch(datagrams, "udp " + local(datagrams));
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  const std::string path = g_directory + "/unix socket";
  path.copy(name.sun_path, sizeof(name.sun_path) - 1);
  const int unix_listener = socket(AF_UNIX, SOCK_STREAM, 0);
  bind(unix_listener, reinterpret_cast<sockaddr*>(&name), sizeof(name));
  listen(unix_listener, 5);
  watch(unix_listener, "unix stream " + path + ", listening");
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0) watch(ends[0], "unix seqpacket, connected");
}

void watch_kinds() {
  watch_sockets();
  int ends[2];
  if (pipe(ends) == 0) watch(ends[0], "pipe, read end");
  watch(eventfd(0, 0), "eventfd, count 0");
  const int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  const itimerspec hour = {{60, 0}, {3600, 0}};
  timerfd_settime(timer, 0, &hour, nullptr);
  watch(timer, "timer, in 59m59s, every 1m00s");
  watch(timerfd_create(CLOCK_REALTIME, 0), "timer, not set");
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR2);
  sigaddset(&mask, SIGHUP);
  watch(signalfd(-1, &mask, 0), "signalfd of SIGHUP, SIGUSR2");
  const std::string fifo = g_directory + "/fifo";
  mkfifo(fifo.c_str(), 0600);
  watch(open(fifo.c_str(), O_RDWR), fifo);
  const int changes = inotify_init();
  inotify_add_watch(changes, g_directory.c_str(), IN_CREATE);
  watch(changes, "inotify, 1 watched");
  const int nested = epoll_create1(0);
  epoll_event readable = {};
  epoll_ctl(nested, EPOLL_CTL_ADD, changes, &readable);
  watch(nested, "epoll of 1 descriptor");
  const int closed = eventfd(0, 0);
  watch(closed, "not open");
  close(closed);
  event_add(evsignal_new(g_base, SIGUSR1, on_any, nullptr), nullptr);
}

int written_pipe() {
  int ends[2];
  const bool is_written = pipe(ends) == 0 && write(ends[1], "ab", 2) == 2;
  printf("UNSERVED %d pipe, read end\n", is_written ? ends[0] : -1);
  return ends[0];
}

}  // namespace

// Blocks until the end of stdin.
FUNCTION on_block(evutil_socket_t, short, void*) {
  event_add(event_new(g_base, written_pipe(), EV_READ, on_late, nullptr), nullptr);
  ready();
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) continue;
  event_base_loopbreak(g_base);
}

// Another file takes its number, which nobody watches.
FUNCTION on_swapped(evutil_socket_t, short, void*) {}
FUNCTION on_swap(evutil_socket_t, short, void* watched) {
  int ends[2];
  check("swapped",
        pipe(ends) == 0 && write(ends[1], "a", 1) == 1 && dup2(ends[0], *static_cast<int*>(watched)) > 0);
  ready();
}

// Called once, it reads less than there is, and is never called again.
FUNCTION on_edge(evutil_socket_t fd, short, void*) {
  char byte;
  check("read", read(fd, &byte, 1) == 1);
  event_base_once(g_base, -1, EV_TIMEOUT, on_ready, nullptr, &kSoon);
}

FUNCTION on_turn(evutil_socket_t, short, void* self) {
  static int turns = 0;
  event_add(*static_cast<event**>(self), &kAtOnce);
  if (++turns == 100) ready();
}
FUNCTION on_tick(evutil_socket_t, short, void*) {
  event_base_once(g_base, -1, EV_TIMEOUT, on_ready, nullptr, &kSoon);
}

// Each step is armed in the one before.
namespace {
event* g_steps[13];
void set_step(int n, event_callback_fn function) {
  g_steps[n] = evtimer_new(g_base, function, nullptr);
}
}  // namespace
#define STEP(n, next)                                                \
  FUNCTION step_##n(evutil_socket_t, short, void*) {                 \
    event_add(g_steps[next], &kSoon), link("step_" #next, __LINE__); \
  }
FUNCTION step_12(evutil_socket_t, short, void*) {}
FUNCTION step_11(evutil_socket_t, short, void*) {
  event_add(g_steps[12], &kHour);
  ready();
}
STEP(10, 11)
STEP(9, 10)
STEP(8, 9)
STEP(7, 8)
STEP(6, 7)
STEP(5, 6)
STEP(4, 5)
STEP(3, 4)
STEP(2, 3)
STEP(1, 2)

namespace {

void watch_chain() {
  constexpr event_callback_fn kSteps[] = {nullptr, step_1, step_2, step_3,  step_4,  step_5, step_6,
                                          step_7,  step_8, step_9, step_10, step_11, step_12};
  for (int n = 1; n <= 12; n++) set_step(n, kSteps[n]);
  event_add(g_steps[1], &kSoon), link("step_1", __LINE__);
}

}  // namespace

// What causes the last one is gone by then; what causes that is not known any more.
FUNCTION gone_2(evutil_socket_t, short, void*) {
  event_add(evtimer_new(g_base, on_any, nullptr), &kHour);
  ready();
}
FUNCTION gone_1(evutil_socket_t, short, void*) {
  event_base_once(g_base, -1, EV_TIMEOUT, gone_2, nullptr, &kSoon), link("gone_2", __LINE__);
}

// Arms itself and another one.
FUNCTION on_again(evutil_socket_t, short, void* self) {
  static int turns = 0;
  event_add(*static_cast<event**>(self), turns++ == 0 ? &kSoon : &kHour), link("on_again", __LINE__);
  if (turns != 2) return;
  event_add(evtimer_new(g_base, on_any, nullptr), &kHour);
  ready();
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string_view what = argv[1];
  g_directory = argv[2];
  g_base = event_base_new();
  event* now = nullptr;
  if (what == "kinds") {
    watch_kinds();
  } else if (what == "blocked") {
    now = evtimer_new(g_base, on_block, nullptr);
  } else if (what == "swapped") {
    static int ends[2];
    check("pipe", pipe(ends) == 0);
    event_add(event_new(g_base, ends[0], EV_READ | EV_PERSIST, on_swapped, nullptr), nullptr);
    printf("UNSERVED %d pipe, read end\n", ends[0]);
    now = evtimer_new(g_base, on_swap, ends);
  } else if (what == "edge") {
    event_add(event_new(g_base, written_pipe(), EV_READ | EV_ET | EV_PERSIST, on_edge, nullptr), nullptr);
  } else if (what == "writable") {
    int ends[2];
    check("pair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    event_add(event_new(g_base, ends[0], EV_READ | EV_WRITE | EV_ET | EV_PERSIST, on_tick, nullptr), nullptr);
  } else if (what == "bell") {
    event_add(event_new(g_base, eventfd(1, 0), EV_READ | EV_ET | EV_PERSIST, on_tick, nullptr), nullptr);
  } else if (what == "timer") {
    const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    const itimerspec once = {{0, 0}, {0, 1'000'000}};
    timerfd_settime(timer, 0, &once, nullptr);
    printf("UNSERVED %d timer, expired and not read\n", timer);
    // What always goes first leaves it no turn.
    event_base_priority_init(g_base, 2);
    event* late = event_new(g_base, timer, EV_READ | EV_PERSIST, on_late, nullptr);
    event_priority_set(late, 1);
    event_add(late, nullptr);
    static event* first;
    first = evtimer_new(g_base, on_turn, &first);
    event_priority_set(first, 0);
    event_add(first, &kAtOnce);
  } else if (what == "chain") {
    watch_chain();
  } else if (what == "gone") {
    event_base_once(g_base, -1, EV_TIMEOUT, gone_1, nullptr, &kSoon);
  } else if (what == "again") {
    now = evtimer_new(g_base, on_again, &now);
  }
  if (now != nullptr) event_add(now, &kSoon);
  const bool has_end = what != "blocked";
  event* end = event_new(g_base, STDIN_FILENO, EV_READ, on_end, nullptr);
  event_priority_set(end, 0);
  if (has_end) event_add(end, nullptr);
  if (what == "kinds") ready();
  event_base_dispatch(g_base);
  return 0;
}
