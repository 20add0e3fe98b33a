// Snapshots and symbols written by hand, for tests of the report and its renderers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace::testing {

inline constexpr uint64_t kMs = 1'000'000, kSec = 1000 * kMs;

// Answers with the frames given for an address.
class HandWrittenFrames final : public FrameSource {
 public:
  // `inlined_to_physical` as the symbolizer gives them: innermost first.
  uint64_t add(std::vector<Frame> inlined_to_physical) {
    const uint64_t pc = 0x1000 + 0x10 * expanded_.size();
    std::vector<uint32_t>& expanded = expanded_[pc];
    for (Frame& frame : inlined_to_physical) {
      frame.offset = pc - 1;
      frame.inlined = &frame != &inlined_to_physical.back();
      if (!frame.module) frame.module = 0;
      expanded.push_back(static_cast<uint32_t>(frames_.size()));
      frames_.push_back(std::move(frame));
    }
    return pc;
  }

  std::span<const uint32_t> resolve_return_address(uint64_t pc) override { return expanded_.at(pc); }
  uint32_t resolve_function(uint64_t address) override { return expanded_.at(address).front(); }
  const std::vector<Frame>& frames() const override { return frames_; }
  ModuleStatus status(uint32_t index) const override { return statuses.at(index); }
  bool touched(uint32_t index) const override { return statuses.contains(index); }

  std::map<uint32_t, ModuleStatus> statuses;

 private:
  std::map<uint64_t, std::vector<uint32_t>> expanded_;
  std::vector<Frame> frames_;
};

inline Frame frame(std::string function, std::string file = {}, uint32_t line = 0, uint32_t column = 0) {
  Frame result;
  if (!function.empty()) result.raw = "_ZN" + function;
  result.function = std::move(function);
  result.file = std::move(file);
  result.line = line;
  result.column = column;
  return result;
}

// The body of `async fn name`.
inline Frame async_fn(const std::string& name, std::string file, uint32_t line, uint32_t column) {
  Frame result = frame(name + "::{{closure}}", std::move(file), line, column);
  result.debug_name = "{async_fn#0}";
  return result;
}

inline Frame tokio_frame(const std::string& function, const std::string& file) {
  return frame(function, "/usr/share/cargo/registry/tokio-1.24.2/src/" + file, 1, 1);
}

inline Frame poll_function(const std::string& future) {
  Frame result = tokio_frame("tokio::runtime::task::raw::poll", "runtime/task/raw.rs");
  result.debug_name =
      "poll<" + future + ", alloc::sync::Arc<tokio::runtime::scheduler::multi_thread::handle::Handle>>";
  return result;
}

struct Program {
  HandWrittenFrames symbols;
  Snapshot snapshot;

  // `outermost_first`: one address each, no inlining.
  uint32_t stack(std::vector<Frame> outermost_first) {
    Stack stack;
    for (Frame& source : outermost_first)
      stack.pcs.insert(stack.pcs.begin(), symbols.add({std::move(source)}));
    return stack_of(std::move(stack.pcs));
  }
  uint32_t stack_of(std::vector<uint64_t> innermost_first) {
    snapshot.stacks.push_back({std::move(innermost_first), false, false, false});
    return static_cast<uint32_t>(snapshot.stacks.size() - 1);
  }
  Task& task(uint64_t id, std::vector<Leaf> leaves = {}) {
    Task task;
    task.id = id;
    task.address = 0x7f0000000000 + id * 0x100;
    task.runtime = RuntimeId::kTokio;
    task.polls = 1;
    task.leaves = std::move(leaves);
    snapshot.tasks.push_back(std::move(task));
    return snapshot.tasks.back();
  }
};

inline Leaf leaf(uint32_t stack, uint64_t waiting_ns) {
  Leaf result;
  result.stack = stack;
  result.waiting_ns = waiting_ns;
  result.registered = 1'000 * kSec - waiting_ns;
  return result;
}

// The program whose dump the manual shows: thousands of connections, three stuck checkouts, a worker in a
// long poll.
inline Program shop() {
  Program shop;
  Snapshot& snapshot = shop.snapshot;
  snapshot.process = {42,
                      "/opt/shop/shop",
                      {"/opt/shop/shop", "--port=80"},
                      1'700'000'000 * int64_t{1'000'000'000},
                      0,
                      ProcessState::kRunning};
  snapshot.captured_realtime_ns = 1'700'000'031'500'000'000;
  snapshot.capture_ns = 3 * kMs;
  snapshot.modules.push_back(
      {"/opt/shop/shop", {0xab, 0x12}, 0x555555554000, 0x555555554000, 0x555555954000});
  shop.symbols.statuses[0] = {};

  const std::string src = "/home/dev/shop/src/";
  const Frame raw_poll = tokio_frame("tokio::runtime::task::raw::poll", "runtime/task/raw.rs");
  const Frame clone =
      frame("<core::task::wake::Waker as core::clone::Clone>::clone",
            "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/core/src/task/wake.rs", 619, 29);
  const uint32_t checkout = shop.stack(
      {raw_poll, async_fn("shop::checkout", src + "cart.rs", 88, 14),
       tokio_frame("tokio::sync::mpsc::bounded::Receiver<T>::recv::{{closure}}", "sync/mpsc/bounded.rs"),
       tokio_frame("tokio::sync::mpsc::chan::Rx<T,S>::recv", "sync/mpsc/chan.rs"), clone});
  const uint32_t connection = shop.stack(
      {raw_poll, async_fn("shop::handle_conn", src + "main.rs", 11, 32),
       tokio_frame("<tokio::net::tcp::stream::TcpStream as tokio::io::async_read::AsyncRead>::poll_read",
                   "net/tcp/stream.rs"),
       tokio_frame("tokio::runtime::io::registration::Registration::poll_ready",
                   "runtime/io/registration.rs"),
       clone});
  const Frame joins = async_fn("shop::joins", src + "main.rs", 16, 5);
  const uint32_t row =
      shop.stack({raw_poll, joins, async_fn("shop::query_db", src + "main.rs", 8, 20),
                  async_fn("shop::fetch_row", src + "main.rs", 7, 40),
                  tokio_frame("tokio::sync::notify::Notified::poll_notified", "sync/notify.rs"), clone});
  const uint32_t sleeper = shop.stack(
      {raw_poll, joins, async_fn("shop::sleeper", src + "main.rs", 17, 60),
       tokio_frame("<tokio::time::sleep::Sleep as core::future::future::Future>::poll", "time/sleep.rs"),
       clone});
  const uint32_t hub = shop.stack({raw_poll, async_fn("shop::notify_all", src + "hub.rs", 12, 8), clone});

  const uint64_t worker_poll = shop.symbols.add({poll_function(
      "tokio::runtime::blocking::task::BlockingTask<tokio::runtime::scheduler::multi_thread::worker::"
      "{impl#0}::launch::{closure_env#0}>")});
  for (uint32_t i = 0; i < 4; ++i) {
    Task& worker = shop.task(i == 0 ? 1 : i == 1 ? 2 : i + 2);  // 1, 2, 4, 5
    worker.poll_function = worker_poll;
    worker.state = TaskState::kRunning;
    worker.nests_polls = true;
    const bool busy = i == 1;
    snapshot.threads.push_back({4249 + i, "tokio-runtime-w",
                                busy ? ThreadState::kPolling : ThreadState::kParked,
                                busy ? 31'200 * kMs : 900 * kMs, busy ? 17 : worker.id, worker.id});
  }

  const uint64_t waits[] = {31'200 * kMs, 31'000 * kMs, 31'100 * kMs};
  const uint64_t checkouts[] = {7, 8, 12};
  const uint64_t checkout_poll = shop.symbols.add(
      {poll_function("core::future::from_generator::GenFuture<shop::checkout::{async_fn_env#0}>")});
  for (size_t i = 0; i < 3; ++i) {
    Task& task = shop.task(checkouts[i], {leaf(checkout, waits[i])});
    task.poll_function = checkout_poll;
    task.in_state_ns = waits[i];
  }
  shop.task(3, {leaf(row, 12'400 * kMs), leaf(sleeper, 300 * kMs)}).in_state_ns = 300 * kMs;
  Task& stuck = shop.task(9, {leaf(hub, 31'000 * kMs)});
  stuck.stuck = true;
  stuck.in_state_ns = 31'000 * kMs;
  shop.task(17).state = TaskState::kRunning;
  for (uint64_t i = 0; i < 9'999; ++i) {
    // 0.1 s to 31 s, the median at 4 s.
    const uint64_t wait =
        i <= 4'999 ? 100 * kMs + i * 3'900 * kMs / 4'999 : 4 * kSec + (i - 4'999) * 27 * kSec / 4'999;
    shop.task(100 + i, {leaf(connection, wait)}).in_state_ns = wait;
  }
  return shop;
}

// The same facts in another order, with stacks under other numbers.
inline void shuffle(Snapshot& snapshot, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint32_t> place(snapshot.stacks.size());
  for (uint32_t i = 0; i < place.size(); ++i) place[i] = i;
  std::shuffle(place.begin(), place.end(), random);
  std::vector<Stack> stacks(place.size());
  for (uint32_t i = 0; i < place.size(); ++i) stacks[place[i]] = snapshot.stacks[i];
  snapshot.stacks = std::move(stacks);
  for (Task& task : snapshot.tasks) {
    for (Leaf& leaf : task.leaves) {
      if (leaf.stack) leaf.stack = place[*leaf.stack];
    }
    std::shuffle(task.leaves.begin(), task.leaves.end(), random);
  }
  std::shuffle(snapshot.tasks.begin(), snapshot.tasks.end(), random);
  std::shuffle(snapshot.threads.begin(), snapshot.threads.end(), random);
}

inline std::string golden(const std::string& name) {
  std::ifstream file(std::string(GOLDEN_DIR) + "/" + name, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace asynctrace::testing
