// capture_bench METHOD FRAMES CALLS THREADS DIR: prints the nanoseconds that one capture of a stack of FRAMES
// physical frames takes while THREADS threads do nothing else; of CPU time, so that threads which have to
// share a processor do not count as slow. One process measures one method, because the agent tames the
// libunwind that it loads, and that is no longer the libunwind of everyone else. The agent's segment goes to
// DIR.
#include <dlfcn.h>
#include <execinfo.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <numeric>
#include <thread>
#include <vector>

#include "agent/capture/capture.hpp"
#include "agent/capture/unwinder.hpp"
#include "agent/interpose.hpp"
#include "agent/leaves.hpp"
#include "agent/live.hpp"
#include "agent/modules.hpp"
#include "agent/tasks.hpp"
#include "agent/thread_context.hpp"
#include "test/bench/chain.hpp"

namespace asynctrace::bench {
namespace {

using namespace agent;

constexpr int kMaxFrames = 256;
void* g_pcs[kMaxFrames];
int g_frames = 0;
int (*g_unw_backtrace)(void**, int) = nullptr;

// As the constructor does it, but without looking for a runtime.
bool start_agent(const char* directory) {
  g_config.directory = directory;
  g_config.max_size = 16u << 20;
  const bool started = start_modules() && start_live_page() && start_unwinder() &&
                       g_segment.create(g_config) && start_threads() && start_tasks() && start_leaves() &&
                       start_capture();
  if (!started) return false;
  g_generation = 1;
  go_live();
  return current_thread() != nullptr;
}

// Loaded and not linked, because libunwind exports a backtrace() that would replace glibc's. By a dlsym()
// that is not the agent's, which would bring the whole of it along.
bool start_unw_backtrace(const char*) {
  void* library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return false;
  g_unw_backtrace = reinterpret_cast<decltype(g_unw_backtrace)>(real_dlsym()(library, "unw_backtrace"));
  return g_unw_backtrace != nullptr;
}

bool start_nothing(const char*) {
  return true;
}

// What the clone hook does to get a stack.
__attribute__((noinline)) uint64_t capture_with_memo() {
  const LeafSite site = LeafSite::of_hook(__builtin_frame_address(0));
  const HookGuard guard(current_thread());
  const StackEntry* stack = capture(guard, site);
  return stack != nullptr ? stack->count : 0;
}

__attribute__((noinline)) uint64_t capture_with_unw_backtrace() {
  return static_cast<uint64_t>(g_unw_backtrace(g_pcs, g_frames));
}

__attribute__((noinline)) uint64_t capture_with_backtrace() {
  return static_cast<uint64_t>(backtrace(g_pcs, g_frames));
}

__attribute__((noinline)) uint64_t capture_along_frame_pointers() {
  auto* frame = static_cast<void**>(__builtin_frame_address(0));
  int count = 0;
  while (count < g_frames) {
    g_pcs[count++] = frame[1];
    auto* caller = static_cast<void**>(frame[0]);
    if (caller <= frame) break;
    frame = caller;
  }
  return static_cast<uint64_t>(count);
}

// The walks of the others go on to the start of the thread; they are told to stop after as many frames.
__attribute__((noinline)) void run_as_root(void (*run_below)(int, Loop&), Loop& loop) {
  Frame frame{};
  frame.root = reinterpret_cast<uintptr_t>(&frame);
  if (t_context != nullptr) t_context->frame = &frame;
  run_below(g_frames, loop);
  if (t_context != nullptr) t_context->frame = nullptr;
}

struct Method {
  const char* name;
  bool (*start)(const char* directory);
  uint64_t (*capture)();
  void (*run_below)(int, Loop&);
};
constexpr Method kMethods[] = {
    {"memo", start_agent, capture_with_memo, frameless::run_below},
    {"memo-framed", start_agent, capture_with_memo, framed::run_below},
    {"unw_backtrace", start_unw_backtrace, capture_with_unw_backtrace, frameless::run_below},
    {"backtrace", start_nothing, capture_with_backtrace, frameless::run_below},
    {"frame-pointers", start_nothing, capture_along_frame_pointers, framed::run_below},
};

int fail(const char* message) {
  std::fprintf(stderr, "capture_bench: %s\n", message);
  return 1;
}

std::vector<Loop> run_on_threads(const Method& method, uint64_t calls, uint32_t count) {
  std::vector<Loop> loops(count, Loop{method.capture, calls});
  std::latch all_are_there(count);
  std::vector<std::thread> threads;
  for (Loop& loop : loops)
    threads.emplace_back([&] {
      if (g_live != nullptr) current_thread();
      all_are_there.arrive_and_wait();
      run_as_root(method.run_below, loop);
    });
  for (std::thread& thread : threads) thread.join();
  return loops;
}

int run(const Method& method, uint64_t calls, uint32_t threads, const char* directory) {
  if (!method.start(directory)) return fail("the method cannot be started");
  const std::vector<Loop> loops = run_on_threads(method, calls, threads);
  for (const Loop& loop : loops)
    if (loop.captured != static_cast<uint64_t>(g_frames))
      return fail("the capture has the wrong number of frames");
  const bool walked_each_time =
      g_live != nullptr && g_segment.header().counters[segment::kUnmemoizedWalks] != 0;
  if (walked_each_time) return fail("the memo did not recognize the stack");
  const double sum = std::accumulate(loops.begin(), loops.end(), 0.0,
                                     [](double ns, const Loop& loop) { return ns + loop.ns_per_call; });
  std::printf("%.2f\n", sum / threads);
  return 0;
}

}  // namespace
}  // namespace asynctrace::bench

int main(int argc, char** argv) {
  using namespace asynctrace::bench;
  if (argc != 6) return fail("usage: capture_bench METHOD FRAMES CALLS THREADS DIR");
  g_frames = std::atoi(argv[2]);
  if (g_frames < 2 || g_frames > kMaxFrames) return fail("2 to 256 frames");
  for (const Method& method : kMethods)
    if (std::strcmp(method.name, argv[1]) == 0)
      return run(method, std::strtoull(argv[3], nullptr, 10),
                 static_cast<uint32_t>(std::strtoul(argv[4], nullptr, 10)), argv[5]);
  return fail("unknown method");
}
