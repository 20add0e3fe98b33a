#include "cli/coroutines/coroutine_census.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "cli/coroutines/asio_operations.hpp"
#include "cli/coroutines/asio_tracked.hpp"
#include "cli/coroutines/frame_links.hpp"
#include "cli/coroutines/frame_places.hpp"
#include "cli/coroutines/glibc_heaps.hpp"
#include "cli/tick_rate.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace {
namespace {

constexpr uint64_t kHandlerOffset = 24;  // in an operation of Asio's that was posted
constexpr uint64_t kMaxOperation = 512;  // where its size is not known

// No code lies there, so that these addresses stand for stacks that have none; others of them are the
// census's of futures.
constexpr uint64_t kNowhere = uint64_t{3} << 62;

// Drops what freed memory holds. A frame that has ended and is nowhere that can be checked is dropped too:
// its one word proves too little. So is one that was made to lie in another one where there is no other one.
void check_memory(const ProcessImage& image, std::vector<CoroutineFrame>& frames) {
  std::vector<uint64_t> addresses;
  for (const CoroutineFrame& frame : frames) addresses.push_back(frame.address);
  const std::vector<Block> blocks = find_blocks(image, addresses);
  std::unordered_set<uint64_t> begun;  // blocks that are frames
  // All frames of a coroutine come from one allocator. Where most have blocks of their own, what lies inside
  // of another block is what that one found there; where few have, the program has an allocator of its own.
  std::unordered_map<uint32_t, std::pair<size_t, size_t>> counts;  // by function: own blocks, inside of one
  for (size_t i = 0; i < frames.size(); ++i) {
    frames[i].verified = blocks[i].state == BlockState::kInUse;
    frames[i].block = blocks[i].start;
    frames[i].size = blocks[i].size;
    if (frames[i].verified) begun.insert(frames[i].address);
    auto& [own, inside] = counts[frames[i].function];
    own += frames[i].verified;
    inside += blocks[i].state == BlockState::kInside && !frames[i].is_inner;
  }
  size_t i = 0;
  std::erase_if(frames, [&](const CoroutineFrame& frame) {
    const BlockState state = blocks[i++].state;
    const auto& [own, inside] = counts[frame.function];
    const bool is_lost =
        state == BlockState::kInside && (frame.is_inner ? !begun.contains(frame.block) : own > inside);
    return state == BlockState::kFree || is_lost || (frame.has_ended && !frame.verified);
  });
}

class CoroutineCensus {
 public:
  CoroutineCensus(const ProcessImage& image, bool shares_clocks, Snapshot& snapshot, Symbolizer& symbols)
      : image_(image),
        shares_clocks_(shares_clocks),
        snapshot_(snapshot),
        symbols_(symbols),
        facts_(snapshot, symbols),
        places_(facts_, symbols),
        pages_(*image.memory) {}

  CoroutineScope take(const ThreadReader& threads) {
    for (const Task& task : snapshot_.tasks) last_id_ = std::max(last_id_, task.id);
    if (!facts_.functions().empty()) add_coroutines(threads);
    if (!facts_.asio_functions().empty()) add_operations();
    return {facts_.functions().size() + facts_.asio_functions().size()};
  }

 private:
  void add_coroutines(const ThreadReader& threads) {
    std::vector<CoroutineFrame> found = scan_for_frames(image_, facts_.functions());
    check_memory(image_, found);
    for (const CoroutineFrame& frame : found) {
      const PlacedFrame placed = places_.place(pages_, frame);
      if (places_.makes_sense(placed)) frames_.push_back(placed);
    }
    if (!frames_.empty()) snapshot_.unknown_running = mark_running_frames(image_, threads, facts_, frames_);
    links_ = link_frames(pages_, frames_, facts_);
    mark_resuming_frames();
    verify_inner_frames();
    awaited_by_.resize(frames_.size());
    for (uint32_t i = 0; i < frames_.size(); ++i)
      if (links_[i].kind != CoroutineLink::kNone) awaited_by_[links_[i].awaiting].push_back(i);
    for (uint32_t i = 0; i < frames_.size(); ++i)
      if (links_[i].kind == CoroutineLink::kNone) add_task(i);
  }

  void add_operations() {
    std::unordered_map<uint64_t, size_t> tracked;  // address -> task that the agent has seen
    for (size_t i = 0; i < snapshot_.tasks.size(); ++i)
      if (is_tracked_operation(snapshot_.tasks[i])) tracked.emplace(snapshot_.tasks[i].address, i);
    const auto [operations, queues] =
        scan_for_operations(image_, facts_.asio_functions(), facts_.asio_queue_classes());
    for (const AsioOperation& operation : operations) {
      const AsioFunction& function = facts_.asio_functions()[operation.function];
      const auto handler = find_handler(operation, function.completion, queues);
      if (!handler) continue;
      const uint32_t called = stack({&places_.handler(function, *handler)});
      Leaf leaf;
      leaf.stack = called;
      leaf.label = label(waits_for(operation, function.completion, queues));
      leaf.unverified = !operation.verified;
      if (const auto known = tracked.find(operation.address); known != tracked.end()) {
        Task& task = snapshot_.tasks[known->second];
        set_callback(task, called);
        for (Leaf& seen : task.leaves) seen.label = leaf.label;
        tracked.erase(known);
        continue;
      }
      Task task;
      task.id = ++last_id_;
      task.address = operation.address;
      task.runtime = RuntimeId::kAsio;
      task.from_census = true;
      task.leaves.push_back(leaf);
      note_due(task.id, operation.address, queues);
      snapshot_.tasks.push_back(std::move(task));
    }
    drop_awaited(tracked);
  }

  // Nothing: it resumes a coroutine, in whose chain it stands.
  std::optional<AsioHandler> find_handler(const AsioOperation& operation, const AsioCompletion& completion,
                                          const AsioQueues& queues) {
    const uint64_t end = operation.end != 0 ? operation.end : operation.address + kMaxOperation;
    if (completion.resumes_coroutine) {
      note_queued(operation.address, {operation.address, end}, queues);
      return std::nullopt;
    }
    if (completion.is_posted && completion.handler.empty()) {
      const uint64_t hidden = pages_.number(operation.address + kHandlerOffset).value_or(0);
      const uint64_t caller = pages_.number(hidden).value_or(0);
      const auto erased = asio_erased(facts_.name_of_start(caller));
      if (!erased) return AsioHandler{"(handler unknown)"};
      if (!erased->resumes_coroutine) return AsioHandler{erased->handler, 0, caller};
      note_queued(operation.address, {hidden, hidden + kMaxOperation}, queues);
      return std::nullopt;
    }
    if (operation.end == 0) return AsioHandler{completion.handler};
    return read_handler(pages_, operation.address, operation.end, completion.handler,
                        [&](uint64_t address) { return facts_.name_of_start(address); });
  }

  static Label waits_for(const AsioOperation& operation, const AsioCompletion& completion,
                         const AsioQueues& queues) {
    if (completion.is_posted || !queues.posted.contains(operation.address)) return completion.waits_for;
    return {completion.waits_for.text + " done: handler not yet run", ASYNCTRACE_SYNC};
  }

  // Of one that a coroutine awaits: its handler holds the outermost promise of a chain, which says nothing of
  // which leaf of several.
  void note_queued(uint64_t operation, const AddressRange& handler, const AsioQueues& queues) {
    for (uint64_t at = handler.start; at + sizeof(uint64_t) <= handler.end; at += sizeof(uint64_t)) {
      const auto word = pages_.number(at);
      const auto root = word ? task_of_promise_.find(*word) : task_of_promise_.end();
      if (root == task_of_promise_.end()) continue;
      Task& task = snapshot_.tasks[root->second];
      if (task.leaves.size() != 1 || task.state == TaskState::kRunning) return;
      note_due(task.id, operation, queues);
      Leaf& leaf = task.leaves.front();
      if (queues.posted.contains(operation))
        leaf.label = label({snapshot_.labels[*leaf.label].text + " done: not yet resumed", ASYNCTRACE_SYNC});
      return;
    }
  }

  void note_due(uint64_t task, uint64_t operation, const AsioQueues& queues) {
    const auto due = queues.due.find(operation);
    if (due == queues.due.end() || !shares_clocks_ || queues.posted.contains(operation)) return;
    snapshot_.due_in_ns[task] = due->second.at_ns - static_cast<int64_t>(clock_ns(due->second.clock));
  }

  // What a coroutine awaits stands in its chain.
  void drop_awaited(const std::unordered_map<uint64_t, size_t>& tracked) {
    std::vector<uint64_t> promises;
    for (const PlacedFrame& placed : frames_)
      promises.push_back(placed.frame.address + facts_.promise_offset(placed.frame.function));
    std::ranges::sort(promises);
    std::erase_if(snapshot_.tasks, [&](const Task& task) {
      return is_tracked_operation(task) && tracked.contains(task.address) &&
             resumes_one_of(pages_, task.address, promises);
    });
  }

  // What has resumed the one that it awaits is on the stack below it, but suspended.
  void mark_resuming_frames() {
    std::vector<uint32_t> resuming;
    for (size_t i = 0; i < frames_.size(); ++i)
      if (frames_[i].state == CoroutineState::kRunning && links_[i].kind != CoroutineLink::kNone &&
          links_[i].sure)
        resuming.push_back(links_[i].awaiting);
    for (const uint32_t awaiting : resuming) frames_[awaiting].state = CoroutineState::kSuspended;
  }

  // Those that the one awaits whose frame they lie in. The outer ones come first.
  void verify_inner_frames() {
    for (size_t i = 0; i < frames_.size(); ++i) {
      CoroutineFrame& frame = frames_[i].frame;
      if (!frame.is_inner || frame.block == 0 || links_[i].kind == CoroutineLink::kNone) continue;
      const CoroutineFrame& awaiting = frames_[links_[i].awaiting].frame;
      frame.verified = awaiting.verified && awaiting.block == frame.block && awaiting.address < frame.address;
    }
  }

  void add_task(uint32_t root) {
    Task task;
    task.id = ++last_id_;
    task.address = frames_[root].frame.address;
    task.runtime = RuntimeId::kCoroutine;
    task.from_census = true;
    add_ways(root, task);
    task_of_promise_[task.address + facts_.promise_offset(frames_[root].frame.function)] =
        snapshot_.tasks.size();
    snapshot_.tasks.push_back(std::move(task));
  }

  // Each way from the root to a coroutine that awaits none that was found ends in a leaf. Ways may be long,
  // so that this is no recursion.
  void add_ways(uint32_t root, Task& task) {
    std::vector<uint32_t> way = {root};
    std::vector<size_t> next = {0};  // of each: which of those that it awaits comes next
    add_coroutine(root, task);
    while (!way.empty()) {
      const std::vector<uint32_t>& awaited = awaited_by_[way.back()];
      if (next.back() < awaited.size()) {
        way.push_back(awaited[next.back()++]);
        next.push_back(0);
        add_coroutine(way.back(), task);
        continue;
      }
      if (awaited.empty()) add_leaf(way, task);
      way.pop_back();
      next.pop_back();
    }
  }

  void add_leaf(const std::vector<uint32_t>& way, Task& task) {
    Leaf leaf;
    leaf.stack = stack(way);
    leaf.label = label(leaf_label(way));
    for (const uint32_t one : way) {
      leaf.unsure_link |= !links_[one].sure;
      leaf.unverified |= !frames_[one].frame.verified;
      leaf.may_run |= frames_[one].may_run;
    }
    task.leaves.push_back(leaf);
  }

  void add_coroutine(uint32_t frame, Task& task) {
    const PlacedFrame& placed = frames_[frame];
    const FrameLink& link = links_[frame];
    task.torn |= has_changed(placed);
    if (placed.state == CoroutineState::kRunning) task.state = TaskState::kRunning;
    Coroutine coroutine;
    coroutine.task = task.id;
    coroutine.address = placed.frame.address;
    coroutine.function = function_name(placed.frame.function);
    if (link.kind == CoroutineLink::kAsio || is_asio(snapshot_.coroutine_functions[coroutine.function]))
      task.runtime = RuntimeId::kAsio;
    coroutine.state = placed.may_run ? CoroutineState::kSuspendedOrRunning : placed.state;
    coroutine.link = link.kind;
    coroutine.sure_link = link.sure;
    coroutine.verified = placed.frame.verified;
    if (link.kind != CoroutineLink::kNone) coroutine.awaited_by = frames_[link.awaiting].frame.address;
    snapshot_.coroutines.push_back(coroutine);
  }

  // Since it was looked at, so that what was made of it may be wrong.
  bool has_changed(const PlacedFrame& placed) {
    return !is_still_there(*image_.memory, placed.frame, facts_.functions()) ||
           (placed.state != CoroutineState::kRunning &&
            places_.place(*image_.memory, placed.frame).number != placed.number);
  }

  uint32_t function_name(uint32_t function) {
    const auto [entry, is_new] =
        names_.try_emplace(function, static_cast<uint32_t>(snapshot_.coroutine_functions.size()));
    if (is_new) snapshot_.coroutine_functions.push_back(facts_.name(function));
    return entry->second;
  }

  uint32_t stack(const std::vector<uint32_t>& way) {
    std::vector<const Frame*> place;
    for (const uint32_t frame : way) place.push_back(&places_.frame(frames_[frame]));
    return stack(place);
  }

  uint32_t stack(const std::vector<const Frame*>& place) {
    const auto [entry, is_new] = stacks_.try_emplace(place, static_cast<uint32_t>(snapshot_.stacks.size()));
    if (!is_new) return entry->second;
    std::vector<Frame> innermost_first;
    for (auto frame = place.rbegin(); frame != place.rend(); ++frame) innermost_first.push_back(**frame);
    const uint64_t address = kNowhere + snapshot_.stacks.size();
    symbols_.define(address, std::move(innermost_first));
    snapshot_.stacks.push_back({{address}});
    return entry->second;
  }

  std::string leaf_text(const PlacedFrame& placed) {
    if (placed.state == CoroutineState::kNotStarted) return "not started";
    if (placed.state == CoroutineState::kEnded) return "ended, not destroyed";
    if (placed.state == CoroutineState::kRunning) return "running";
    if (places_.may_be_not_started(placed)) return "not started, or at its first suspension";
    if (places_.yields(placed)) return "co_yield";
    std::string awaited = places_.awaited(placed);
    if (awaited.empty()) {
      const bool has_lines = places_.frame(placed).line != 0;
      awaited = has_lines ? "leaf unknown (its code does not tell)" : "leaf unknown (no debug info)";
    }
    return awaited;
  }

  // The coroutines in which Asio carries out an operation say what it is.
  Label leaf_label(const std::vector<uint32_t>& way) {
    const bool is_wrapper = links_[way.back()].kind == CoroutineLink::kFolly &&
                            frames_[way.back()].state == CoroutineState::kNotStarted;
    const PlacedFrame& innermost = frames_[is_wrapper ? way[way.size() - 2] : way.back()];
    if (innermost.state == CoroutineState::kSuspended) {
      for (auto frame = way.rbegin(); frame != way.rend(); ++frame) {
        const std::string& name =
            snapshot_.coroutine_functions[function_name(frames_[*frame].frame.function)];
        if (!is_asio(name)) break;
        if (auto operation = asio_operation(name)) return *operation;
      }
    }
    return {leaf_text(innermost), 0};
  }

  uint32_t label(Label label) {
    const auto [entry, is_new] =
        labels_.try_emplace(label.text, static_cast<uint32_t>(snapshot_.labels.size()));
    if (is_new) snapshot_.labels.push_back(std::move(label));
    return entry->second;
  }

  const ProcessImage& image_;
  const bool shares_clocks_;
  Snapshot& snapshot_;
  Symbolizer& symbols_;
  FunctionFacts facts_;
  FramePlaces places_;
  PageCache pages_;
  std::vector<PlacedFrame> frames_;  // by address
  std::vector<FrameLink> links_;
  std::vector<std::vector<uint32_t>> awaited_by_;         // the other way round: whom each awaits
  std::unordered_map<uint64_t, size_t> task_of_promise_;  // of its outermost coroutine; index into the tasks
  uint64_t last_id_ = 0;
  std::map<std::vector<const Frame*>, uint32_t> stacks_;
  std::map<uint32_t, uint32_t> names_;
  std::map<std::string, uint32_t> labels_;
};

}  // namespace

CoroutineScope add_coroutines_in_memory(const ProcessImage& image, const ThreadReader& threads,
                                        Snapshot& snapshot, Symbolizer& symbols) {
  return CoroutineCensus(image, threads.shares_clocks, snapshot, symbols).take(threads);
}

}  // namespace asynctrace
