// Sessions come and go, and chains of coroutines are destroyed while they are suspended: freed memory is full
// of their frames. Prints what is true of those that are left, and waits for the end of stdin.
//   churn CYCLES DESTROYED [MEGABYTES | go_on]
// MEGABYTES of other memory in use, of which every page has been written. go_on: it never stands still.
#include <array>
#include <atomic>
#include <cstdlib>
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

int main(int count, char** arguments) {
  const int cycles = count > 1 ? std::atoi(arguments[1]) : 1000;
  const int destroyed = count > 2 ? std::atoi(arguments[2]) : 400;
  const size_t megabytes = count > 3 ? std::strtoul(arguments[3], nullptr, 10) : 0;
  const bool goes_on = count > 3 && megabytes == 0;
  std::vector<std::vector<void*>> used(megabytes);
  for (auto& block : used) block.resize((1 << 20) / sizeof(void*), &used);
  World here, there;
  std::thread thread([&] { there.run(cycles / 2, destroyed / 2); });
  thread.join();
  here.run(cycles / 2, destroyed / 2);
  print_truth();
  std::atomic<bool> ended = false;
  std::thread input([&] {
    wait_for_end_of_input();
    ended = true;
  });
  while (goes_on && !ended) here.run(100, 100);
  input.join();
}
