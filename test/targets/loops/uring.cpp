// io_uring through a shared liburing: operations that wait, and operations that have completed, were
// cancelled or belong to a ring that is gone. Ends at the end of stdin.
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "truth.hpp"

#define OPERATION(kind, fd) LEAF(kind, "null"), printf("FD %d %s\n", fd, kind)

namespace {

io_uring g_ring;
char g_buffer[16];
int g_polled[2];

void named(io_uring_sqe* sqe, uint64_t user_data) {
  sqe->user_data = user_data;
}

// The next completion, which has this name.
int32_t completed(uint64_t user_data) {
  io_uring_cqe* cqe = nullptr;
  if (io_uring_wait_cqe(&g_ring, &cqe) != 0 || cqe->user_data != user_data) return -1;
  const int32_t result = cqe->res;
  io_uring_cqe_seen(&g_ring, cqe);
  return result;
}

int silent_socket() {
  int ends[2];
  check("pair", socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  return ends[0];
}

void wait_for_sockets() {
  const int socket_fd = silent_socket();
  io_uring_sqe* sqe = io_uring_get_sqe(&g_ring);
  io_uring_prep_recv(sqe, socket_fd, g_buffer, sizeof(g_buffer), 0), named(sqe, 1);
  OPERATION("receive", socket_fd), io_uring_submit(&g_ring);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  check("listens", listen(listener, 1) == 0);
  sqe = io_uring_get_sqe(&g_ring);
  io_uring_prep_accept(sqe, listener, nullptr, nullptr, 0), named(sqe, 2);
  OPERATION("accept", listener), io_uring_submit(&g_ring);
}

// Two in one submission, one of which completes.
void wait_for_pipes() {
  int silent[2], written[2];
  check("pipes", pipe(silent) == 0 && pipe(written) == 0 && write(written[1], "a", 1) == 1);
  io_uring_sqe* sqe = io_uring_get_sqe(&g_ring);
  io_uring_prep_read(sqe, silent[0], g_buffer, 1, 0), named(sqe, 3);
  sqe = io_uring_get_sqe(&g_ring);
  io_uring_prep_read(sqe, written[0], g_buffer + 1, 1, 0), named(sqe, 4);
  OPERATION("read", silent[0]), io_uring_submit(&g_ring);
  check("completed", completed(4) == 1);
}

void wait_for_time() {
  static __kernel_timespec hour = {3600, 0};
  io_uring_sqe* sqe = io_uring_get_sqe(&g_ring);
  io_uring_prep_timeout(sqe, &hour, 0, 0), named(sqe, 5);
  LEAF("timer", "null"), io_uring_submit(&g_ring);
}

// Fires twice and goes on.
void poll_again_and_again() {
  check("pipe", pipe(g_polled) == 0);
  io_uring_sqe* sqe = io_uring_get_sqe(&g_ring);
  io_uring_prep_poll_multishot(sqe, g_polled[0], POLLIN), named(sqe, 6);
  OPERATION("poll", g_polled[0]), io_uring_submit(&g_ring);
  for (int i = 0; i < 2; i++) {
    char byte;
    check("written", write(g_polled[1], "b", 1) == 1);
    check("polled", completed(6) > 0 && read(g_polled[0], &byte, 1) == 1);
  }
  printf("FIRED %d 2\n", g_polled[0]);
}

void cancel() {
  io_uring_sqe* sqe = io_uring_get_sqe(&g_ring);
  io_uring_prep_recv(sqe, silent_socket(), g_buffer, 1, 0), named(sqe, 7);
  io_uring_submit(&g_ring);
  sqe = io_uring_get_sqe(&g_ring);
  io_uring_prep_cancel64(sqe, 7, 0), named(sqe, 8);
  io_uring_submit(&g_ring);
  for (int left = 2; left > 0; left--) {
    io_uring_cqe* cqe = nullptr;
    check("completed", io_uring_wait_cqe(&g_ring, &cqe) == 0 && (cqe->user_data == 7 || cqe->user_data == 8));
    io_uring_cqe_seen(&g_ring, cqe);
  }
}

// More than the ring has room for, in one turn after the other.
void many() {
  for (int round = 0; round < 100; round++) {
    for (uint64_t i = 0; i < 4; i++) {
      io_uring_sqe* sqe = io_uring_get_sqe(&g_ring);
      io_uring_prep_nop(sqe), named(sqe, 100 + i / 2);
    }
    if (io_uring_submit_and_wait(&g_ring, 4) != 4) check("submitted", false);
    unsigned head, seen = 0;
    io_uring_cqe* cqe;
    io_uring_for_each_cqe(&g_ring, head, cqe) seen++;
    io_uring_cq_advance(&g_ring, seen);
    if (seen != 4) check("seen", false);
  }
}

void ring_that_goes() {
  io_uring other;
  check("ring", io_uring_queue_init(4, &other, 0) == 0);
  io_uring_sqe* sqe = io_uring_get_sqe(&other);
  io_uring_prep_recv(sqe, silent_socket(), g_buffer, 1, 0), named(sqe, 1);
  io_uring_submit(&other);
  io_uring_queue_exit(&other);
}

}  // namespace

int main() {
  if (const int error = io_uring_queue_init(8, &g_ring, 0); error != 0) {
    printf("REFUSED %s\n", strerror(-error));
    ready();
    return 0;
  }
  wait_for_sockets();
  wait_for_pipes();
  wait_for_time();
  poll_again_and_again();
  cancel();
  many();
  ring_that_goes();
  io_uring_sqe* sqe = io_uring_get_sqe(&g_ring);
  io_uring_prep_read(sqe, STDIN_FILENO, g_buffer, 1, 0), named(sqe, 9);
  OPERATION("read", STDIN_FILENO), io_uring_submit(&g_ring);
  ready();
  return completed(9) != 0;
}
