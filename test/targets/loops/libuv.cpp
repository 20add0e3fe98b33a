// libuv: watchers and requests in each role of the table of libuv's functions, in ways that the lines on
// stdout tell. Ends at the end of stdin.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
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
uv_work_t g_work;
uv_write_t g_write;
uv_sem_t g_never;
int g_ticks = 0;
int g_reads = 0;
bool g_worked = false;
constexpr int kPoolThreads = 4;  // of libuv, by default
int g_done = 0;                  // requests that have come to their ends
constexpr int kRequests = 13;
uv_tcp_t g_client, g_late_client;
uv_udp_t g_receiver, g_sender;
uv_idle_t g_idle;
sockaddr_in g_full;  // where a second connection stays pending
char g_byte;
uv_buf_t g_bytes = uv_buf_init(&g_byte, 1);

// For a request of its own each time.
template <typename T>
T* a() {
  return static_cast<T*>(calloc(1, sizeof(T)));
}

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
  for (int i = 0; i < kPoolThreads; i++) uv_sem_post(&g_never);  // the library waits for its threads
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
FUNCTION on_received(uv_udp_t*, ssize_t, const uv_buf_t* buffer, const sockaddr*, unsigned) {
  free(buffer->base);
}
FUNCTION on_file_change(uv_fs_event_t*, const char*, int, int) {}
FUNCTION on_file_poll(uv_fs_poll_t*, int, const uv_stat_t*, const uv_stat_t*) {}
FUNCTION on_prepare(uv_prepare_t*) {}
FUNCTION on_check(uv_check_t*) {}
FUNCTION on_idle(uv_idle_t* idle) {
  uv_idle_stop(idle);
}

// Requests, each of which ends with one call.
FUNCTION on_connect(uv_connect_t*, int) {
  g_done++;
}
FUNCTION on_sent(uv_udp_send_t*, int) {
  g_done++;
}
FUNCTION on_shutdown(uv_shutdown_t*, int) {
  g_done++;
}
FUNCTION on_written(uv_write_t*, int) {
  g_done++;
}
FUNCTION on_address(uv_getaddrinfo_t*, int, addrinfo*) {
  g_done++;
}
FUNCTION on_name(uv_getnameinfo_t*, int, const char*, const char*) {
  g_done++;
}
FUNCTION on_file(uv_fs_t*) {
  g_done++;
}

// The next turn has been armed by now: the fourth is the last for an hour.
FUNCTION on_tick(uv_timer_t* timer) {
  if (++g_ticks == 3) uv_timer_set_repeat(timer, kHour);
}

FUNCTION pipe_of(uv_pipe_t* ends[2], bool ipc) {
  uv_file files[2];
  check("pair", uv_socketpair(SOCK_STREAM, 0, files, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE) == 0);
  for (int i = 0; i < 2; i++) {
    ends[i] = a<uv_pipe_t>();
    uv_pipe_init(g_loop, ends[i], ipc);
    uv_pipe_open(ends[i], files[i]);
  }
}

// Requests that come to their ends.
FUNCTION request() {
  const auto* full = reinterpret_cast<sockaddr*>(&g_full);
  check("connect", uv_tcp_connect(a<uv_connect_t>(), &g_client, full, on_connect) == 0);
  auto* nowhere = a<uv_pipe_t>();
  uv_pipe_init(g_loop, nowhere, 0);
  uv_pipe_connect(a<uv_connect_t>(), nowhere, "/nowhere/at all", on_connect);
  sockaddr_in receiver;
  int size = sizeof(receiver);
  uv_udp_getsockname(&g_receiver, reinterpret_cast<sockaddr*>(&receiver), &size);
  const auto* to = reinterpret_cast<sockaddr*>(&receiver);
  check("send", uv_udp_send(a<uv_udp_send_t>(), &g_sender, &g_bytes, 1, to, on_sent) == 0);
  uv_pipe_t* ends[2];
  pipe_of(ends, true);
  auto* stream = reinterpret_cast<uv_stream_t*>(ends[0]);
  check("write2", uv_write2(a<uv_write_t>(), stream, &g_bytes, 1, nullptr, on_written) == 0);
  check("shutdown", uv_shutdown(a<uv_shutdown_t>(), stream, on_shutdown) == 0);
  check("address", uv_getaddrinfo(g_loop, a<uv_getaddrinfo_t>(), on_address, "127.0.0.1", "1", nullptr) == 0);
  const int flags = NI_NUMERICHOST | NI_NUMERICSERV;
  check("name", uv_getnameinfo(g_loop, a<uv_getnameinfo_t>(), on_name, to, flags) == 0);
  const int file = open("/dev/null", O_RDWR);
  check("file", uv_fs_open(g_loop, a<uv_fs_t>(), "/dev/null", O_RDONLY, 0, on_file) == 0);
  check("file", uv_fs_read(g_loop, a<uv_fs_t>(), file, &g_bytes, 1, 0, on_file) == 0);
  check("file", uv_fs_write(g_loop, a<uv_fs_t>(), file, &g_bytes, 1, 0, on_file) == 0);
  check("file", uv_fs_stat(g_loop, a<uv_fs_t>(), "/dev/null", on_file) == 0);
  check("file", uv_fs_close(g_loop, a<uv_fs_t>(), dup(file), on_file) == 0);
  check("file", uv_fs_close(g_loop, a<uv_fs_t>(), dup(file), on_file) == 0);
}

// The same, while no thread of the pool is free and nobody reads or accepts.
FUNCTION block_all() {
  for (int i = 1; i < kPoolThreads; i++)
    LEAF("thread pool", "on_blocked"), uv_queue_work(g_loop, a<uv_work_t>(), block, on_blocked);
  const auto* full = reinterpret_cast<sockaddr*>(&g_full);
  LEAF("connect", "on_connect"), uv_tcp_connect(a<uv_connect_t>(), &g_late_client, full, on_connect);
  uv_pipe_t* ends[2];
  pipe_of(ends, true);
  auto* stream = reinterpret_cast<uv_stream_t*>(ends[0]);
  static char block_of_bytes[1 << 22];
  static uv_buf_t much = uv_buf_init(block_of_bytes, sizeof(block_of_bytes));
  LEAF("write", "on_written"), uv_write(a<uv_write_t>(), stream, &much, 1, on_written);
  LEAF("write", "on_written"), uv_write2(a<uv_write_t>(), stream, &much, 1, nullptr, on_written);
  LEAF("shutdown", "on_shutdown"), uv_shutdown(a<uv_shutdown_t>(), stream, on_shutdown);
  auto* address = a<uv_getaddrinfo_t>();
  LEAF("name lookup", "on_address"), uv_getaddrinfo(g_loop, address, on_address, "127.0.0.1", "1", nullptr);
  auto* name = a<uv_getnameinfo_t>();
  LEAF("name lookup", "on_name"), uv_getnameinfo(g_loop, name, on_name, full, NI_NUMERICHOST);
  const int null = open("/dev/null", O_RDWR);
  auto* file = a<uv_fs_t>();
  LEAF("file", "on_file"), uv_fs_open(g_loop, file, "/dev/null", O_RDONLY, 0, on_file);
  file = a<uv_fs_t>();
  LEAF("file", "on_file"), uv_fs_read(g_loop, file, null, &g_bytes, 1, 0, on_file);
  file = a<uv_fs_t>();
  LEAF("file", "on_file"), uv_fs_write(g_loop, file, null, &g_bytes, 1, 0, on_file);
  file = a<uv_fs_t>();
  LEAF("file", "on_file"), uv_fs_stat(g_loop, file, "/dev/null", on_file);
  file = a<uv_fs_t>();
  LEAF("file", "on_file"), uv_fs_close(g_loop, file, null, on_file);
}

// Until the others have been dispatched.
FUNCTION on_turn(uv_timer_t* timer) {
  if (g_ticks < 4 || g_reads < 1 || !g_worked || g_done < kRequests) {
    uv_timer_start(timer, on_turn, 1, 0);
    return;
  }
  block_all();
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
  LEAF("thread pool", "on_blocked"), uv_queue_work(g_loop, a<uv_work_t>(), block, on_blocked);
}

FUNCTION watch_more() {
  static uv_signal_t once;
  uv_signal_init(g_loop, &once);
  LEAF("signal", "on_signal"), uv_signal_start_oneshot(&once, on_signal, SIGUSR2);
  sockaddr_in address;
  uv_ip4_addr("127.0.0.1", 0, &address);
  uv_udp_init(g_loop, &g_sender);
  uv_udp_init(g_loop, &g_receiver);
  uv_udp_bind(&g_receiver, reinterpret_cast<sockaddr*>(&address), 0);
  LEAF("receive", "on_received"), uv_udp_recv_start(&g_receiver, allocate, on_received);
  static uv_fs_event_t event;
  uv_fs_event_init(g_loop, &event);
  LEAF("file change", "on_file_change"), uv_fs_event_start(&event, on_file_change, "/dev/null", 0);
  static uv_fs_poll_t poll;
  uv_fs_poll_init(g_loop, &poll);
  LEAF("file change", "on_file_poll"), uv_fs_poll_start(&poll, on_file_poll, "/dev/null", kHour);
  static uv_prepare_t prepare;
  uv_prepare_init(g_loop, &prepare);
  LEAF("prepare", "on_prepare"), uv_prepare_start(&prepare, on_prepare);
  static uv_check_t after;
  uv_check_init(g_loop, &after);
  LEAF("check", "on_check"), uv_check_start(&after, on_check);
  uv_idle_init(g_loop, &g_idle);
  uv_idle_start(&g_idle, on_idle);
  uv_tcp_init(g_loop, &g_client);
  uv_tcp_init(g_loop, &g_late_client);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  socklen_t size = sizeof(g_full);
  check("listens", bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
                       listen(listener, 0) == 0 &&
                       getsockname(listener, reinterpret_cast<sockaddr*>(&g_full), &size) == 0);
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
  uv_file ends[2];
  check("pipe", uv_pipe(ends, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE) == 0);
  static uv_poll_t poll;
  uv_poll_init(g_loop, &poll, ends[0]);
  uv_poll_start(&poll, UV_READABLE, on_poll);
  uv_poll_stop(&poll);
  auto* reader = a<uv_pipe_t>();
  uv_pipe_init(g_loop, reader, 0);
  uv_pipe_open(reader, ends[1]);
  uv_read_start(reinterpret_cast<uv_stream_t*>(reader), allocate, on_readable);
  uv_read_stop(reinterpret_cast<uv_stream_t*>(reader));
  sockaddr_in address;
  uv_ip4_addr("127.0.0.1", 0, &address);
  auto* receiver = a<uv_udp_t>();
  uv_udp_init(g_loop, receiver);
  uv_udp_bind(receiver, reinterpret_cast<sockaddr*>(&address), 0);
  uv_udp_recv_start(receiver, allocate, on_received);
  uv_udp_recv_stop(receiver);
  auto* signal = a<uv_signal_t>();
  uv_signal_init(g_loop, signal);
  uv_signal_start(signal, on_signal, SIGHUP);
  uv_signal_stop(signal);
  auto* event = a<uv_fs_event_t>();
  uv_fs_event_init(g_loop, event);
  uv_fs_event_start(event, on_file_change, "/dev/null", 0);
  uv_fs_event_stop(event);
  auto* changes = a<uv_fs_poll_t>();
  uv_fs_poll_init(g_loop, changes);
  uv_fs_poll_start(changes, on_file_poll, "/dev/null", kHour);
  uv_fs_poll_stop(changes);
  auto* prepare = a<uv_prepare_t>();
  uv_prepare_init(g_loop, prepare);
  uv_prepare_start(prepare, on_prepare);
  uv_prepare_stop(prepare);
  auto* after = a<uv_check_t>();
  uv_check_init(g_loop, after);
  uv_check_start(after, on_check);
  uv_check_stop(after);
}

int main() {
  g_loop = uv_default_loop();
  watch();
  watch_more();
  forget();
  request();
  uv_pipe_init(g_loop, &g_stdin, 0);
  uv_pipe_open(&g_stdin, 0);
  LEAF("read", "on_end"), uv_read_start(reinterpret_cast<uv_stream_t*>(&g_stdin), allocate, on_end);
  uv_timer_init(g_loop, &g_turn);
  uv_timer_start(&g_turn, on_turn, 1, 0);
  return uv_run(g_loop, UV_RUN_DEFAULT);
}
