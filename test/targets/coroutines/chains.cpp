// Coroutines in every place that they can be in. Prints what is true of them, and waits for the end of stdin.
#include <array>
#include <thread>

#include "task.hpp"

static Event event;
static int sum = 0;

static Task<int> leaf(int number) {
  if (number == 0) co_await event.wait();
  co_await event.wait();
  co_return number;
}

static Task<int> middle(int number) {
  std::array<char, 200> buffer{};
  buffer[static_cast<size_t>(number)] = 1;
  int result = 0;
  result += co_await leaf(number).done();
  result += co_await leaf(number + 1).done();
  co_return result + buffer[static_cast<size_t>(sum)];
}

static Task<int> recursive(int depth) {
  if (depth == 0) co_return co_await middle(depth).done();
  const int below = co_await recursive(depth - 1).done();
  co_return below + 1;
}

// Awaits one of the two that it has begun.
static Task<int> both() {
  Task<int> first = middle(1), second = leaf(1);
  first.handle.resume();
  const int result = co_await second.done();
  co_return result + co_await first.done();
}

static Detached detached(int number) {
  sum += co_await recursive(number).done();
}

static Generator numbers(int count) {
  for (int i = 0; i < count; ++i) {
    co_yield {i};
  }
}

// Stays inside of its body.
static Detached blocked(int ready, int go_on) {
  co_await event.wait();
  char byte = 0;
  sum += static_cast<int>(write(ready, &byte, 1));
  sum += static_cast<int>(read(go_on, &byte, 1));
}

int main() {
  std::vector<Task<int>> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(middle(i));
  for (auto& task : tasks) task.handle.resume();
  tasks.push_back(middle(5));  // not started
  tasks.push_back(recursive(2));
  tasks.back().handle.resume();
  tasks.push_back(both());
  tasks.back().handle.resume();
  detached(3);

  std::vector<Generator> generators;
  for (int i = 0; i < 4; ++i) generators.push_back(numbers(i));
  for (int i = 0; i < 3; ++i) generators[static_cast<size_t>(i)].handle.resume();

  std::array<int, 2> ready{}, go_on{};
  if (pipe(ready.data()) != 0 || pipe(go_on.data()) != 0) return 1;
  blocked(ready[1], go_on[0]);
  const auto running = event.waiting.back();
  event.waiting.pop_back();
  blocked(ready[1], go_on[0]);  // another one, which is suspended
  truth[running.address()] = {"running", 0, nullptr};
  std::thread thread([&] { running.resume(); });
  char byte = 0;
  if (read(ready[0], &byte, 1) != 1) return 1;
  print_truth();
  wait_for_end_of_input();
  if (write(go_on[1], &byte, 1) != 1) return 1;
  thread.join();
}
