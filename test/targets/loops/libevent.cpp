// libevent: a watcher in each role of the table of libevent's functions, in ways that the lines on stdout
// tell. Ends at the end of stdin.
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/socket.h>

#include "truth.hpp"

// Callbacks have names without a file's own prefix, and each call of theirs stays a frame of its own.
#define FUNCTION extern "C" __attribute__((noinline)) void

namespace {

constexpr timeval kHour = {3600, 0};
event_base* g_base;
event* g_again;
event g_assigned;
int g_pipe[2];
int g_reads = 0;
int g_turns = 0;
jmp_buf g_out;

int full_pipe() {
  int ends[2];
  if (pipe2(ends, O_NONBLOCK) != 0) return -1;
  char block[4096] = {};
  while (write(ends[1], block, sizeof(block)) > 0) continue;
  return ends[1];
}

}  // namespace

FUNCTION on_readable(evutil_socket_t fd, short, void*) {
  char byte;
  if (read(fd, &byte, 1) == 1) g_reads++;
}
FUNCTION on_writable(evutil_socket_t, short, void*) {}
FUNCTION on_timer(evutil_socket_t, short, void*) {}
FUNCTION on_signal(evutil_socket_t, short, void*) {}
FUNCTION on_once(evutil_socket_t, short, void*) {}
FUNCTION on_any(evutil_socket_t, short, void*) {}
FUNCTION on_data(bufferevent*, void*) {}
FUNCTION on_event(bufferevent*, short, void*) {}
FUNCTION on_accept(evconnlistener*, evutil_socket_t, sockaddr*, int, void*) {}

FUNCTION on_end(evutil_socket_t, short, void* base) {
  event_base_loopbreak(static_cast<event_base*>(base));
}

// One shot, armed again by itself; in its third turn everything else has been dispatched.
FUNCTION on_turn(evutil_socket_t, short, void*) {
  const timeval soon = {0, 1000};
  if (++g_turns < 3) {
    event_add(g_again, &soon);
    return;
  }
  if (g_reads != 2) {
    g_turns--;
    event_add(g_again, &soon);
    return;
  }
  LEAF("timer", "on_turn"), event_add(g_again, &kHour);
  dispatched("on_turn", g_turns);
  dispatched("on_readable", g_reads);
  ready();
}

// Its last call leaves nothing of it on the stack.
extern "C" __attribute__((noinline, optimize("O2", "optimize-sibling-calls"))) void on_tail(evutil_socket_t,
                                                                                            short,
                                                                                            void* self) {
  event_add(*static_cast<event**>(self), &kHour);
}
FUNCTION throws(evutil_socket_t, short, void*) {
  throw 1;
}
FUNCTION jumps(evutil_socket_t, short, void*) {
  longjmp(g_out, 1);
}
FUNCTION frees_itself(evutil_socket_t, short, void* self) {
  event_free(*static_cast<event**>(self));
}

FUNCTION watch_pipe() {
  if (pipe(g_pipe) != 0) return;
  event* watcher = event_new(g_base, g_pipe[0], EV_READ | EV_PERSIST, on_readable, nullptr);
  LEAF("read", "on_readable"), event_add(watcher, nullptr);
  check("event_get_callback", event_get_callback(watcher) == on_readable);
  event_callback_fn callback = nullptr;
  event_get_assignment(watcher, nullptr, nullptr, nullptr, &callback, nullptr);
  check("event_get_assignment", callback == on_readable);
  check("written", write(g_pipe[1], "ab", 2) == 2);
}

FUNCTION watch_all() {
  event* writer = event_new(g_base, full_pipe(), EV_WRITE, on_writable, nullptr);
  LEAF("write", "on_writable"), event_add(writer, &kHour);
  event* timer = evtimer_new(g_base, on_timer, nullptr);
  event_add(timer, &kHour);
  LEAF("timer", "on_timer"), event_add(timer, &kHour);
  event* signal = evsignal_new(g_base, SIGUSR1, on_signal, nullptr);
  LEAF("signal", "on_signal"), event_add(signal, nullptr);
  event_assign(&g_assigned, g_base, full_pipe(), EV_READ | EV_WRITE | EV_PERSIST, on_any, nullptr);
  LEAF("read or write", "on_any"), event_add(&g_assigned, nullptr);
  LEAF("timer", "on_once"), event_base_once(g_base, -1, EV_TIMEOUT, on_once, nullptr, &kHour);
  check("refused", event_base_once(g_base, -1, EV_SIGNAL, on_once, nullptr, nullptr) != 0);
}

FUNCTION watch_buffer() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) return;
  bufferevent* buffer = bufferevent_socket_new(g_base, ends[0], 0);
  bufferevent_setcb(buffer, on_data, nullptr, on_event, nullptr);
  LEAF("read", "internal"), bufferevent_enable(buffer, EV_READ);
  sockaddr_in any = {};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto* address = reinterpret_cast<sockaddr*>(&any);
  LEAF("read", "internal"), evconnlistener_new_bind(g_base, on_accept, nullptr, 0, -1, address, sizeof(any));
}

// What has been armed and waits no more.
FUNCTION forget() {
  event* deleted = evtimer_new(g_base, on_timer, nullptr);
  event_add(deleted, &kHour);
  event_del(deleted);
  event* freed = evtimer_new(g_base, on_timer, nullptr);
  event_add(freed, &kHour);
  event_free(freed);
  event* without_timer = evtimer_new(g_base, on_timer, nullptr);
  event_add(without_timer, &kHour);
  event_remove_timer(without_timer);
  event_base* other = event_base_new();
  event_add(evtimer_new(other, on_timer, nullptr), &kHour);
  event_base_free(other);
  for (int i = 0; i < 1000; i++) {
    event* many = evtimer_new(g_base, on_timer, nullptr);
    event_add(many, &kHour);
    event_free(many);
  }
}

// Callbacks that are left, or end their watchers, in the midst of a dispatch.
FUNCTION leave() {
  const timeval now = {0, 0};
  event_base* base = event_base_new();
  event_add(evtimer_new(base, throws, nullptr), &now);
  bool caught = false;
  try {
    event_base_dispatch(base);
  } catch (int) {
    caught = true;
  }
  check("caught", caught);
  event_base_free(base);
  event_base* second = event_base_new();
  event_base_once(second, -1, EV_TIMEOUT, jumps, nullptr, &now);
  if (setjmp(g_out) == 0) event_base_loop(second, 0);
  event_base* third = event_base_new();
  event* self = evtimer_new(third, frees_itself, &self);
  event_add(self, &now);
  check("dispatched", event_base_dispatch(third) == 1);
  event_base_free(third);
}

FUNCTION watch_tail() {
  static event* tail;
  const timeval now = {0, 0};
  tail = evtimer_new(g_base, on_tail, &tail);
  puts("TAIL on_tail timer, on_tail");
  event_add(tail, &now);
}

int main() {
  g_base = event_base_new();
  watch_pipe();
  watch_all();
  watch_buffer();
  forget();
  leave();
  watch_tail();
  event* end = event_new(g_base, STDIN_FILENO, EV_READ, on_end, g_base);
  LEAF("read", "on_end"), event_add(end, nullptr);
  g_again = evtimer_new(g_base, on_turn, nullptr);
  const timeval now = {0, 0};
  event_add(g_again, &now);
  event_base_dispatch(g_base);
  return 0;
}
