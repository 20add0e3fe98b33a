// libuv: watchers and requests in each role of the table of libuv's functions, in ways that the lines on
// stdout tell. Ends at the end of stdin.
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

#include "truth.hpp"

// As agent/loops/libuv_rows.cpp has them.
static_assert(offsetof(uv_stream_t, io_watcher.fd) == 184);
static_assert(offsetof(uv_udp_t, io_watcher.fd) == 176);
static_assert(offsetof(uv_poll_t, io_watcher.fd) == 152);

#define FUNCTION extern "C" __attribute__((noinline)) void

namespace {

constexpr uint64_t kHour = 3'600'000;
uv_loop_t* g_loop;
uv_timer_t g_turn, g_timer, g_tick, g_stopped, g_closed;
uv_pipe_t g_stdin, g_reader, g_writer;
uv_tcp_t g_listener;
uv_poll_t g_poll;
uv_async_t g_async;
uv_signal_t g_signal;
uv_work_t g_work, g_blocked;
uv_write_t g_write;
uv_sem_t g_never;
int g_ticks = 0;
int g_reads = 0;
bool g_worked = false;

}  // namespace

FUNCTION allocate(uv_handle_t*, size_t size, uv_buf_t* buffer) {
  *buffer = uv_buf_init(static_cast<char*>(malloc(size)), static_cast<unsigned>(size));
}
FUNCTION on_readable(uv_stream_t*, ssize_t count, const uv_buf_t* buffer) {
  if (count > 0) g_reads++;
  free(buffer->base);
}
FUNCTION on_end(uv_stream_t*, ssize_t count, const uv_buf_t*) {
  if (count >= 0) return;
  uv_sem_post(&g_never);  // the library waits for its threads
  exit(0);
}
FUNCTION on_timer(uv_timer_t*) {}
FUNCTION on_poll(uv_poll_t*, int, int) {}
FUNCTION on_async(uv_async_t*) {}
FUNCTION on_signal(uv_signal_t*, int) {}
FUNCTION on_accept(uv_stream_t*, int) {}
FUNCTION on_write(uv_write_t*, int) {}
FUNCTION work(uv_work_t*) {}
FUNCTION block(uv_work_t*) {
  uv_sem_wait(&g_never);
}
FUNCTION on_worked(uv_work_t*, int) {
  g_worked = true;
}
FUNCTION on_blocked(uv_work_t*, int) {}

// The next turn has been armed by now: the fourth is the last for an hour.
FUNCTION on_tick(uv_timer_t* timer) {
  if (++g_ticks == 3) uv_timer_set_repeat(timer, kHour);
}

// Until the others have been dispatched.
FUNCTION on_turn(uv_timer_t* timer) {
  if (g_ticks < 4 || g_reads < 1 || !g_worked) {
    uv_timer_start(timer, on_turn, 1, 0);
    return;
  }
  LEAF("timer", "on_turn"), uv_timer_start(timer, on_turn, kHour, 0);
  dispatched("on_tick", g_ticks);
  dispatched("on_readable", g_reads);
  ready();
}

FUNCTION watch() {
  uv_timer_init(g_loop, &g_timer);
  LEAF("timer", "on_timer"), uv_timer_start(&g_timer, on_timer, kHour, 0);
  uv_timer_init(g_loop, &g_tick);
  LEAF("timer", "on_tick"), uv_timer_start(&g_tick, on_tick, 1, 1);
  uv_async_init(g_loop, &g_async, nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&g_async), nullptr);
  static uv_async_t async;
  LEAF("async", "on_async"), uv_async_init(g_loop, &async, on_async);
  uv_signal_init(g_loop, &g_signal);
  LEAF("signal", "on_signal"), uv_signal_start(&g_signal, on_signal, SIGUSR1);
  uv_file ends[2];
  check("pipe", uv_pipe(ends, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE) == 0);
  uv_pipe_init(g_loop, &g_reader, 0);
  uv_pipe_open(&g_reader, ends[0]);
  auto* reader = reinterpret_cast<uv_stream_t*>(&g_reader);
  LEAF("read", "on_readable"), uv_read_start(reader, allocate, on_readable);
  uv_pipe_init(g_loop, &g_writer, 0);
  uv_pipe_open(&g_writer, ends[1]);
  uv_buf_t text = uv_buf_init(const_cast<char*>("a"), 1);
  check("write", uv_write(&g_write, reinterpret_cast<uv_stream_t*>(&g_writer), &text, 1, on_write) == 0);
  sockaddr_in address;
  uv_ip4_addr("127.0.0.1", 0, &address);
  uv_tcp_init(g_loop, &g_listener);
  uv_tcp_bind(&g_listener, reinterpret_cast<sockaddr*>(&address), 0);
  auto* listener = reinterpret_cast<uv_stream_t*>(&g_listener);
  LEAF("accept", "on_accept"), uv_listen(listener, 8, on_accept);
  uv_file more[2];
  check("pipe", uv_pipe(more, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE) == 0);
  uv_poll_init(g_loop, &g_poll, more[0]);
  LEAF("read or close", "on_poll"), uv_poll_start(&g_poll, UV_READABLE | UV_DISCONNECT, on_poll);
  uv_sem_init(&g_never, 0);
  uv_queue_work(g_loop, &g_work, work, on_worked);
  LEAF("thread pool", "on_blocked"), uv_queue_work(g_loop, &g_blocked, block, on_blocked);
}

// What has been armed and waits no more.
FUNCTION forget() {
  uv_timer_init(g_loop, &g_stopped);
  uv_timer_start(&g_stopped, on_timer, kHour, 0);
  uv_timer_stop(&g_stopped);
  check("again", uv_timer_again(&g_stopped) == 0);
  uv_timer_init(g_loop, &g_closed);
  uv_timer_start(&g_closed, on_timer, kHour, 1);
  uv_close(reinterpret_cast<uv_handle_t*>(&g_closed), nullptr);
  check("refused", uv_timer_start(&g_closed, nullptr, 1, 1) != 0);
}

int main() {
  g_loop = uv_default_loop();
  watch();
  forget();
  uv_pipe_init(g_loop, &g_stdin, 0);
  uv_pipe_open(&g_stdin, 0);
  LEAF("read", "on_end"), uv_read_start(reinterpret_cast<uv_stream_t*>(&g_stdin), allocate, on_end);
  uv_timer_init(g_loop, &g_turn);
  uv_timer_start(&g_turn, on_turn, 1, 0);
  return uv_run(g_loop, UV_RUN_DEFAULT);
}
