// Coroutines and callbacks on Asio, or on Boost.Asio with -DUSE_BOOST. Prints where each of them waits, as
//   CHAIN <count> <what it waits for> <line of each function, outermost first>
//   OPERATION <count> <what it waits for> <line where it was begun> <function of the handler>
// and waits for the end of stdin; with the argument "spin" in a coroutine that does not sleep meanwhile. For
// each byte before the end one client more connects to the coroutines, is CONNECTED and says nothing. With
// "queued" more is queued, for which no thread comes:
//   QUEUED <count> <what it waits for> <function>
#ifdef USE_BOOST
#include <boost/asio.hpp>
#include <boost/asio/experimental/channel.hpp>
namespace asio = boost::asio;
using boost::system::error_code;
#define ERROR_CODE "boost::system::error_code"
#else
#include <asio.hpp>
#include <asio/experimental/channel.hpp>
using asio::error_code;
#define ERROR_CODE "std::error_code"
#endif
#include <poll.h>

#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;
using Channel = asio::experimental::channel<void(error_code, int)>;

static constexpr int kClients = 4;
static constexpr std::chrono::hours kLong(1);
static int accepted = 0, received = 0, begun = 0;

struct Connection {
  tcp::socket socket;
  std::array<char, 64> buffer{};
};

static constexpr int kRead = __LINE__ + 3;
static awaitable<size_t> read_some(Connection& connection) {
  const size_t size =
      co_await connection.socket.async_read_some(asio::buffer(connection.buffer), use_awaitable);
  ++received;
  co_return size;
}
static constexpr int kParse = __LINE__ + 2;
static awaitable<size_t> parse(Connection& connection) {
  size_t size = co_await read_some(connection);
  while (size < 100) {
    size += co_await read_some(connection);
  }
  co_return size;
}
static constexpr int kServe = __LINE__ + 3;
static awaitable<void> serve(std::shared_ptr<Connection> connection) {
  for (;;) {
    const size_t size = co_await parse(*connection);
    if (size == 0) co_return;
  }
}
static constexpr int kAccept = __LINE__ + 3;
static awaitable<void> listen(tcp::acceptor& acceptor) {
  for (;;) {
    tcp::socket socket = co_await acceptor.async_accept(use_awaitable);
    ++accepted;
    auto connection = std::make_shared<Connection>(Connection{std::move(socket)});
    asio::co_spawn(acceptor.get_executor(), serve(std::move(connection)), asio::detached);
  }
}
static constexpr int kSleep = __LINE__ + 4;
static awaitable<void> sleep(std::chrono::seconds duration) {
  asio::steady_timer timer(co_await asio::this_coro::executor, duration);
  ++begun;
  co_await timer.async_wait(use_awaitable);
}
static constexpr int kTick = __LINE__ + 3;
static awaitable<void> tick(int count) {
  for (int i = 0; i < count; ++i) {
    co_await sleep(kLong);
  }
}
static constexpr int kTicker = __LINE__ + 2;
static awaitable<void> ticker(int count) {
  co_await tick(count);
}
static constexpr int kReceive = __LINE__ + 3;
static awaitable<int> receive(Channel& channel) {
  ++begun;
  co_return co_await channel.async_receive(use_awaitable);
}
static constexpr int kConsume = __LINE__ + 3;
static awaitable<void> consume(Channel& channel) {
  int sum = 0;
  while (sum >= 0) sum += co_await receive(channel);
}

static void say_ready() {
  std::printf("READY %d\n", getpid());
  std::fflush(stdout);
}

static awaitable<void> spin() {
  co_await asio::post(use_awaitable);
  say_ready();
  for (pollfd input = {0, POLLIN, 0}; input.revents == 0;) poll(&input, 1, 0);
  std::_Exit(0);
}
static awaitable<void> spinner() {
  co_await spin();
}

static awaitable<void> post_itself() {
  ++begun;
  co_await asio::post(use_awaitable);
}

// The same with callbacks.
struct Session : std::enable_shared_from_this<Session> {
  explicit Session(tcp::socket from) : socket(std::move(from)), timer(socket.get_executor()) {}
  void start() {
    read();
    arm_timer();
  }
  static constexpr int kReadBegun = __LINE__ + 2, kTimerBegun = __LINE__ + 15;
  void read() {
    socket.async_read_some(asio::buffer(buffer), [self = shared_from_this()](error_code error, size_t size) {
      if (!error) self->write(size);
    });
  }
  void write(size_t size) {
    asio::async_write(socket, asio::buffer(buffer, size),
                      [self = shared_from_this()](error_code error, size_t) {
                        ++received;
                        if (!error) self->read();
                      });
  }
  void arm_timer() {
    timer.expires_after(kLong);
    timer.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->socket.close();
    });
  }
  tcp::socket socket;
  asio::steady_timer timer;
  std::array<char, 64> buffer{};
};

struct Server {
  tcp::acceptor acceptor;
  static constexpr int kBegun = __LINE__ + 2;
  void accept() {
    acceptor.async_accept([this](error_code error, tcp::socket socket) {
      ++accepted;
      if (!error) std::make_shared<Session>(std::move(socket))->start();
      accept();
    });
  }
};

// Its layout is what the census knows, whatever Asio is told to track.
static_assert(sizeof(asio::detail::scheduler_operation) == 3 * sizeof(void*));

// Handlers whose types do not tell what they call.
struct Beat {
  asio::steady_timer timer;
  int beats = 0;
  void tick(error_code) { ++beats; }
  void tock(error_code) { beats -= 2; }
};

struct Queued {
  explicit Queued(asio::io_context& context) : late(context), cancelled(context) {
    begun = 0;
    asio::co_spawn(context, post_itself(), asio::detached);
    while (begun == 0) context.run_one();
    for (int i = 0; i < 2; ++i) post(context);
    wait(late, -kLong);
    wait(cancelled, kLong);
    cancelled.cancel();
    std::printf("QUEUED 1 post_done:_not_yet_resumed post_itself\n");
    std::printf("QUEUED 2 posted_handler,_not_yet_run Queued::post\n");
    std::printf("QUEUED 1 timer Queued::wait\n");
    std::printf("QUEUED 1 timer_done:_handler_not_yet_run Queued::wait\n");
  }
  void post(asio::io_context& context) {
    asio::post(context, [this] { wait(late, kLong); });
  }
  void wait(asio::steady_timer& timer, std::chrono::seconds after) {
    timer.expires_after(after);
    timer.async_wait([this](error_code error) {
      if (!error) cancelled.cancel();
    });
  }
  asio::steady_timer late, cancelled;
};

int main(int count, char** arguments) {
  asio::io_context context(1);
  const tcp::endpoint any(asio::ip::make_address("127.0.0.1"), 0);
  tcp::acceptor acceptor(context, any);
  Channel channel(context);
  asio::co_spawn(context, listen(acceptor), asio::detached);
  for (int i = 0; i < 2; ++i) asio::co_spawn(context, ticker(3), asio::detached);
  asio::co_spawn(context, consume(channel), asio::detached);
  Server server{tcp::acceptor(context, any)};
  server.accept();
  Beat beats[] = {{asio::steady_timer(context, kLong)}, {asio::steady_timer(context, kLong)}};
  using std::placeholders::_1;
  constexpr int kBound = __LINE__ + 1, kErased = __LINE__ + 2;
  beats[0].timer.async_wait(std::bind(&Beat::tick, &beats[0], _1));
  beats[1].timer.async_wait(std::function<void(error_code)>(std::bind(&Beat::tock, &beats[1], _1)));
  asio::steady_timer cancelled(context, kLong);
  cancelled.async_wait([](error_code) {});
  cancelled.cancel();

  std::vector<tcp::socket> peers;
  for (int i = 0; i < 2 * kClients; ++i) {
    peers.emplace_back(context);
    peers.back().connect(i % 2 == 0 ? acceptor.local_endpoint() : server.acceptor.local_endpoint());
    // Half of the coroutines, and as many sessions, have had something to read.
    if (i < kClients) asio::write(peers.back(), asio::buffer("hello", 5));
  }
  while (accepted < 2 * kClients || received < kClients || begun < 3) context.run_one();
  context.poll();

  std::printf("CHAIN 1 async_accept %d\n", kAccept);
  std::printf("CHAIN %d async_read_some %d %d %d\n", kClients / 2, kServe, kParse, kRead);
  std::printf("CHAIN %d async_read_some %d %d %d\n", kClients / 2, kServe, kParse + 2, kRead);
  std::printf("CHAIN 2 steady_timer %d %d %d\n", kTicker, kTick, kSleep);
  std::printf("CHAIN 1 channel_receive %d %d\n", kConsume, kReceive);
  std::printf("OPERATION 1 async_accept %d Server::accept()\n", Server::kBegun);
  std::printf("OPERATION %d async_read_some %d Session::read()\n", kClients, Session::kReadBegun);
  std::printf("OPERATION %d timer %d Session::arm_timer()\n", kClients, Session::kTimerBegun);
  std::printf("OPERATION 1 timer %d Beat::tick(" ERROR_CODE ")\n", kBound);
  std::printf("OPERATION 1 timer %d Beat::tock(" ERROR_CODE ")\n", kErased);
  std::optional<Queued> queued;
  if (count > 1 && std::strcmp(arguments[1], "queued") == 0) queued.emplace(context);
  if (count > 1 && std::strcmp(arguments[1], "spin") == 0) {
    asio::co_spawn(context, spinner(), asio::detached);
    context.run();
  }
  say_ready();
  char byte;
  while (read(0, &byte, 1) > 0) {
    const int before = accepted;
    peers.emplace_back(context);
    peers.back().connect(acceptor.local_endpoint());
    while (accepted == before) context.run_one();
    context.poll();
    std::printf("CONNECTED\n");
    std::fflush(stdout);
  }
  std::_Exit(0);
}
