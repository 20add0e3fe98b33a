// coroutines: tasks of C++20 coroutines in a runtime of one thread, each stuck in a way that its LEAF line
// tells: the lines where the coroutines await, outermost first. Ends with stdin.
#include <sys/socket.h>

#include <cstdio>
#include <utility>

#include "single_thread.hpp"

namespace shop {

using namespace std::chrono_literals;
using native::Channel;
using native::Read;
using native::SingleThread;
using native::Sleep;
using native::Task;

// Notes the line of an await.
template <typename A>
A&& at(int& place, A&& awaitable, int line = __builtin_LINE()) {
  place = line;
  return std::forward<A>(awaitable);
}

int g_report, g_query, g_row, g_recursion, g_countdown, g_last, g_clerk, g_connection;

Channel<int> g_orders, g_prices;

Task<int> row(int n) {
  co_await at(g_row, Sleep(1h));
  co_return n;
}
Task<int> query(int n) {
  co_await Sleep(1ms);  // resumed by the runtime: from here on its awaiters are on no stack
  const int found = co_await at(g_query, row(n));
  co_return found + n;
}
Task<> report() {
  co_await at(g_report, query(1));
}

Task<int> countdown(int n) {
  if (n > 0) {
    const int rest = co_await at(g_countdown, countdown(n - 1));
    co_return rest + n;
  }
  const int price = co_await at(g_last, g_prices.receive());
  co_return price;
}
Task<> recursion() {
  co_await at(g_recursion, countdown(2));
}

Task<> clerk() {
  for (;;) {
    const int order = co_await at(g_clerk, g_orders.receive());
    if (order == 0) break;
  }
}

Task<> connection(int socket) {
  for (;;) {
    const auto byte = co_await at(g_connection, Read(socket));
    if (!byte) break;
  }
}

Task<> customer(bool& done) {
  g_orders.send(7);
  co_await Sleep(1ms);
  g_orders.send(8);
  co_await Sleep(5ms);
  done = true;
}

}  // namespace shop

int main() {
  using namespace shop;
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets) != 0) return 1;
  SingleThread runtime;
  bool done = false;
  runtime.spawn(report(), "report", asynctrace_here());
  runtime.spawn(recursion(), "recursion");
  runtime.spawn(clerk(), "clerk");
  runtime.spawn(connection(sockets[0]), "connection");
  runtime.spawn(customer(done), "customer");
  while (!done) runtime.turn(1ms);
  runtime.turn();
  std::printf("LEAF report sleep %d %d %d\n", g_report, g_query, g_row);
  std::printf("LEAF recursion channel-recv %d %d %d %d\n", g_recursion, g_countdown, g_countdown, g_last);
  std::printf("LEAF clerk channel-recv %d\n", g_clerk);
  std::printf("LEAF connection socket-read %d\n", g_connection);
  std::printf("READY %d\n", getpid());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  return 0;
}
