// Coroutines in every place that they can be in. Prints what is true of them, and waits for the end of stdin.
// With the argument "spin" some are on threads that do not sleep.
#include <array>
#include <atomic>
#include <cstring>
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

[[gnu::noinline]] static int block(int ready, int go_on) {
  char byte = 0;
  const ssize_t written = write(ready, &byte, 1);
  return static_cast<int>(written + read(go_on, &byte, 1));
}

// Stays inside of its body.
static Detached blocked(int ready, int go_on) {
  co_await event.wait();
  sum += block(ready, go_on);
}

static std::atomic<bool> told_to_end = false;

[[gnu::noinline]] static int spin(int number) {
  while (!told_to_end) ++number;
  return number;
}

// Each in its own code, or in a function that it calls.
static Task<int> busy(int number, std::atomic<int>& begun) {
  if (number < 2) co_await event.wait();
  ++begun;
  if (number % 2 == 0) {
    while (!told_to_end) ++number;
  } else {
    number = spin(number);
  }
  co_return number;
}

static Detached awaits_busy(int number, std::atomic<int>& begun) {
  co_await busy(number, begun).done();
}

// Two that go on after a suspension, and two that have begun on their thread, and were awaited there.
static int some_spin() {
  std::atomic<int> begun = 0;
  for (int i = 0; i < 4; ++i) awaits_busy(i % 2, begun);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    const auto running = event.waiting.front();
    event.waiting.erase(event.waiting.begin());
    truth[running.address()].state = "running";
    threads.emplace_back([running] { running.resume(); });
  }
  while (begun < 2) std::this_thread::yield();
  for (int i = 2; i < 4; ++i) {
    threads.emplace_back([i, &begun] { awaits_busy(i, begun); });
    while (begun <= i) std::this_thread::yield();
  }
  for (auto& [address, known] : truth)
    if (known.awaited_by != nullptr && std::strcmp(known.state, "not_started") == 0) known.state = "running";
  print_truth();
  wait_for_end_of_input();
  told_to_end = true;
  for (auto& thread : threads) thread.join();
  return 0;
}

int main(int count, char** arguments) {
  if (count > 1 && std::strcmp(arguments[1], "spin") == 0) return some_spin();
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
