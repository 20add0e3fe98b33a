// runtimes single|multi|both|forked [blocked]: a runtime that waits in its poll loop, with tasks that wait in
// ways that the LEAF lines tell: name, kind, lines of the awaits from the outermost on. Ends with stdin.
// `blocked`: a task blocks its worker until then. `forked`: as `single`, with a child by fork that only waits
// for the end of stdin. `both`: `single`, and the chains of awaits in the other runtime too.
#include <fcntl.h>

#include <cstdio>
#include <cstring>

#include "multi_thread.hpp"
#include "single_thread.hpp"

namespace shop {

using namespace std::chrono_literals;
using native::Channel;
using native::Read;
using native::Sleep;
using native::Task;

// Notes the line of an await.
template <typename A>
A&& at(std::atomic<int>& place, A&& awaitable, int line = __builtin_LINE()) {
  place = line;
  return std::forward<A>(awaitable);
}

std::atomic<int> g_a, g_b, g_c, g_clerk, g_quiet;
std::atomic<size_t> g_arrived;      // at the await where a task stays
std::vector<native::Waker> g_jobs;  // that stay
Channel<int> g_orders;

// Waits for ever and tells nobody: only a poll finds it.
class Quiet : public native::Leaf {
 public:
  Quiet() : Leaf("quiet", ASYNCTRACE_UNKNOWN) {}
  void await_resume() const {}

 private:
  bool tells() const override { return false; }
  bool ready_or_arm(const native::Waker&) override { return false; }
};

Task<> c() {
  g_arrived++;
  co_await at(g_c, Sleep(1h));
}
Task<> b() {
  co_await Sleep(1ms);  // from here on its awaiters are on no stack
  co_await at(g_b, c());
}
Task<> a() {
  co_await at(g_a, b());
}
Task<> clerk() {
  g_arrived++;
  for (;;) {
    const int order = co_await at(g_clerk, g_orders.receive());
    if (order == 0) break;
  }
}
Task<> quiet() {
  g_arrived++;
  co_await at(g_quiet, Quiet());
}
Task<> end_with_stdin(std::atomic<bool>& over) {
  for (;;) {
    const auto byte = co_await Read(STDIN_FILENO);
    if (!byte) break;
  }
  over = true;
  over.notify_one();
  native::Runtime::current()->reactor().wake_up();
}

template <typename Runtime>
void spawn_chains(Runtime& runtime) {
  for (const char* name : {"first", "second", "third"}) g_jobs.push_back(runtime.spawn(a(), name));
}
template <typename Runtime>
void spawn_all(Runtime& runtime) {
  spawn_chains(runtime);
  g_jobs.push_back(runtime.spawn(clerk(), "clerk"));
  g_jobs.push_back(runtime.spawn(quiet(), "quiet"));
}

void ready() {
  for (const char* name : {"first", "second", "third"})
    std::printf("LEAF %s sleep %d %d %d\n", name, g_a.load(), g_b.load(), g_c.load());
  std::printf("LEAF clerk channel-recv %d\nLEAF quiet - %d\n", g_clerk.load(), g_quiet.load());
  std::printf("READY %d\n", getpid());
  std::fflush(stdout);
}

void wait_for_end_of_stdin() {
  fcntl(STDIN_FILENO, F_SETFL, 0);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) continue;
}

// Its first event gives the child a segment of its own.
void fork_child() {
  int pipes[2];
  if (pipe(pipes) != 0) return;
  const pid_t pid = fork();
  if (pid == 0) {
    asynctrace_task_woken(nullptr);
    char byte = 'x';
    if (write(pipes[1], &byte, 1) != 1) _exit(1);
    wait_for_end_of_stdin();
    _exit(0);
  }
  char byte;
  if (read(pipes[0], &byte, 1) == 1) std::printf("CHILD %d\n", pid);
}

// Nothing wakes a task once it has arrived, so that its poll is over when it is idle.
bool all_stay(const native::Job& stdin_job) {
  const auto waits = [](const native::Job& job) {
    return job.state == native::JobState::kIdle && job.polls > 0;
  };
  return g_arrived == g_jobs.size() && waits(stdin_job) &&
         std::all_of(g_jobs.begin(), g_jobs.end(), [&](const native::Waker& job) { return waits(*job); });
}

Task<> tell_when_ready(const native::Job& stdin_job, bool forks, bool blocks) {
  while (!all_stay(stdin_job)) co_await Sleep(1ms);
  if (forks) fork_child();
  ready();
  if (blocks) wait_for_end_of_stdin();
}

}  // namespace shop

int main(int argc, char** argv) {
  using namespace shop;
  if (argc < 2) return 2;
  const bool blocked = argc > 2 && std::strcmp(argv[2], "blocked") == 0;
  const bool forked = std::strcmp(argv[1], "forked") == 0;
  std::atomic<bool> over{false};
  fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
  const auto spawn_rest = [&](auto& runtime) {
    const native::Waker stdin_job = runtime.spawn(end_with_stdin(over), "stdin");
    runtime.spawn(tell_when_ready(*stdin_job, forked, blocked), "starter");
  };
  if (std::strcmp(argv[1], "multi") == 0) {
    native::MultiThread runtime(2);
    spawn_all(runtime);
    spawn_rest(runtime);
    over.wait(false);
  } else {
    std::optional<native::MultiThread> other;
    if (std::strcmp(argv[1], "both") == 0) spawn_chains(other.emplace(2));
    native::SingleThread runtime;
    spawn_all(runtime);
    spawn_rest(runtime);
    while (!over) runtime.turn(1h);
  }
  return 0;
}
