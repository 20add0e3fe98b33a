// Sessions come and go, and chains of coroutines are destroyed while they are suspended: freed memory is full
// of their frames. Prints what is true of those that are left, and waits for the end of stdin.
//   churn CYCLES DESTROYED [MEGABYTES | go_on | again]
// MEGABYTES of other memory in use, of which every page has been written. go_on: it never stands still.
// again: not before the first byte of stdin, and once more for each.
#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "task.hpp"

static constexpr size_t kSessions = 500;  // at a time, in each thread

struct World {
  Event event;
  std::mt19937 random{42};

  Task<int> receive() {
    co_await event.wait();
    co_return 1;
  }
  // Frames of several sizes: some too large for glibc's caches of small blocks.
  Task<int> parse(int number) {
    std::array<char, 1200> buffer{};
    buffer[static_cast<size_t>(number % 1200)] = 1;
    const int received = co_await receive().done();
    co_return received + buffer[0];
  }
  Task<int> serve(int number) {
    int sum = 0;
    if (number % 3 == 0) sum += co_await parse(number).done();
    sum += co_await receive().done();
    co_return sum;
  }
  Detached session(int number) {
    std::array<char, 100> state{};
    state[0] = static_cast<char>(co_await serve(number).done());
    co_await event.wait();
  }

  void wake_one() { event.wake(random() % event.waiting.size()); }

  void forget_destroyed() {
    const std::lock_guard lock(truth_lock);
    std::erase_if(event.waiting,
                  [](std::coroutine_handle<> handle) { return !truth.contains(handle.address()); });
  }

  void run(int cycles, int destroyed) {
    for (int i = 0; i < cycles; ++i) {
      session(i);
      while (event.waiting.size() > kSessions) wake_one();
    }
    for (int left = destroyed; left > 0;) {
      std::vector<Task<int>> owned;
      const int count = std::min(left, 400);
      for (int i = 0; i < count; ++i) {
        owned.push_back(serve(i));
        owned.back().handle.resume();
        if (i % 7 == 0) session(i);
      }
      std::shuffle(owned.begin(), owned.end(), random);
      owned.clear();
      forget_destroyed();
      left -= count;
    }
  }
};

// Blocks of one word each, side by side: what is done to one that is given back must not reach the next.
static bool keeps_neighbours() {
  using Function = void (*)();
  std::vector<Function*> blocks;
  for (int i = 0; i < 1000; ++i) blocks.push_back(new Function(print_truth));
  for (size_t i = 0; i < blocks.size(); i += 2) ::operator delete(static_cast<void*>(blocks[i]));
  bool all_stay = true;
  for (size_t i = 1; i < blocks.size(); i += 2) {
    all_stay &= *blocks[i] == print_truth;
    delete blocks[i];
  }
  return all_stay;
}

static int run_again(World& world, int cycles, int destroyed) {
  const int loop = epoll_create1(0);
  epoll_event event{EPOLLIN, {}};
  if (epoll_ctl(loop, EPOLL_CTL_ADD, 0, &event) != 0) return 1;
  char byte;
  while (epoll_wait(loop, &event, 1, -1) < 0 || read(0, &byte, 1) > 0) {
    world.run(cycles, destroyed);
    print_truth();
  }
  return 0;
}

int main(int count, char** arguments) {
  const int cycles = count > 1 ? std::atoi(arguments[1]) : 1000;
  const int destroyed = count > 2 ? std::atoi(arguments[2]) : 400;
  const size_t megabytes = count > 3 ? std::strtoul(arguments[3], nullptr, 10) : 0;
  const bool again = count > 3 && std::strcmp(arguments[3], "again") == 0;
  const bool goes_on = count > 3 && megabytes == 0 && !again;
  if (!keeps_neighbours()) return 1;
  std::vector<std::vector<void*>> used(megabytes);
  for (auto& block : used) block.resize((1 << 20) / sizeof(void*), &used);
  World here, there;
  if (!again) {
    std::thread thread([&] { there.run(cycles / 2, destroyed / 2); });
    thread.join();
    here.run(cycles / 2, destroyed / 2);
  }
  print_truth();
  if (again) return run_again(here, cycles, destroyed);
  std::atomic<bool> ended = false;
  std::thread input([&] {
    wait_for_end_of_input();
    ended = true;
  });
  while (goes_on && !ended) here.run(100, 100);
  input.join();
}
