#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "cli/commands/blocked_stacks.hpp"
#include "cli/commands/descriptor_facts.hpp"
#include "cli/descriptors/descriptors.hpp"
#include "cli/descriptors/epoll_lists.hpp"
#include "cli/descriptors/outside_poll.hpp"
#include "cli/process/file_descriptor.hpp"
#include "cli/process/proc.hpp"
#include "cli/segment_file.hpp"
#include "cli/tree/resources.hpp"

namespace asynctrace {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::nanoseconds kWatched = std::chrono::seconds(1);
constexpr std::chrono::nanoseconds kBetweenLooks = std::chrono::milliseconds(25);
// On a machine so busy that they take longer loops need longer, too.
constexpr size_t kFewestLooks = 20;

bool is_late(const Task& task) {
  return task.watcher && task.watcher->due_in_ns.value_or(1) <= 0 && task.leaves.size() == 1;
}

// Whether descriptors are ready, at one moment.
class Look {
 public:
  Look(const TracedProcess& process, const OutsidePoll& poll, const std::map<int, DescriptorFacts>& known)
      : poll_(poll), known_(known), descriptors_(fmt::format("/proc/{}", process.pid)) {}

  // How that was seen; "" where it is not ready, or nobody can tell.
  std::string_view ready(int descriptor, uint16_t wanted) {
    const auto known = known_.find(descriptor);
    if (known != known_.end() && known->second.may_be_polled)
      if (const auto has = poll_.events_of(descriptor, wanted)) return (*has & wanted) != 0 ? "poll(2)" : "";
    const auto facts = descriptors_.describe(descriptor);
    return facts && (facts->events & facts->known_events & wanted) != 0 ? facts->known_by : "";
  }

 private:
  const OutsidePoll& poll_;
  const std::map<int, DescriptorFacts>& known_;
  Descriptors descriptors_;  // its tables are as of this look
};

// A watcher that waits, and whether it still does so since the same arming and the same dispatch.
struct Waiting {
  const Task* task;
  int descriptor = -1;
  uint16_t wanted = 0;  // events of poll(2)
  std::string_view seen_by = {};
  bool is_timer = false;                         // its time has come, whatever its descriptor says
  std::optional<uint32_t> slot = {}, leaf = {};  // of the segment
  segment::Task record = {};
  uint32_t leaf_seq = 0;

  bool is_same(const SegmentReader& reader) const {
    if (!slot || !leaf) return false;
    const auto now = reader.task(*slot);
    const auto leaf_now = reader.leaf(*leaf);
    return now && leaf_now && now->id == record.id && now->polls == record.polls &&
           now->state == record.state && leaf_now->seq == leaf_seq && leaf_now->task == record.id;
  }
};

// What the thread of a loop does while one looks.
class LoopThread {
 public:
  // `first` is its record of `index`; `loops` are the ids of all loops.
  LoopThread(const TracedProcess& process, const SegmentReader& reader, uint32_t index,
             const segment::Thread& first, const std::unordered_set<uint64_t>& loops)
      : reader_(reader), loops_(loops), index_(index), first_(first) {
    if (const auto tid = thread_as_seen(process, first.tid))
      stat_path_ = fmt::format("/proc/{}/task/{}/stat", process.pid, *tid);
    look();
  }

  uint32_t tid() const { return first_.tid; }
  // Inside a loop of a library, which calls its watchers; else of one that the program makes itself.
  bool runs_library() const { return loops_.contains(first_.task) || loops_.contains(first_.outer_task); }

  void look() {
    const auto now = reader_.thread(index_);
    is_there_ &= now && now->tid == first_.tid;
    if (!is_there_) return;
    turns_ = now->parks - first_.parks;
    Doing doing;
    const bool is_parked = now->state == segment::ThreadState::kParked;
    if (now->task != 0 && !loops_.contains(now->task))
      doing = {LoopState::kInCallback, now->poll_since, now->task};
    else if (is_parked && is_asleep()) doing = {LoopState::kSleeps, now->parks};
    else if (!is_parked && now->task == 0) doing = {LoopState::kAway, now->parks};
    if (doing != doing_) since_ = Clock::now();
    doing_ = doing;
  }

  // False: it may have had no chance to serve anything, for it waits for a processor, or has left its loop.
  // `is_called`: by a library's loop.
  bool tell(bool is_called, Unserved& unserved) const {
    const bool may_be_away = doing_.state != LoopState::kAway || !is_called;
    const bool is_long =
        Clock::now() - since_ >= kWatched / 2 && doing_.state != LoopState::kTurns && may_be_away;
    if (!is_there_ || (!is_long && turns_ < 2)) return false;
    unserved.tid = first_.tid;
    unserved.loop = is_long ? doing_.state : LoopState::kTurns;
    unserved.turns = turns_;
    unserved.callback = doing_.task;
    return true;
  }

 private:
  struct Doing {
    LoopState state = LoopState::kTurns;
    uint64_t which = 0;  // callback, or sleep
    uint64_t task = 0;
    bool operator==(const Doing&) const = default;
  };

  bool is_asleep() const {
    const auto stat = parse_stat(read_file(stat_path_).value_or(""));
    return stat && stat->state == 'S';
  }

  const SegmentReader& reader_;
  const std::unordered_set<uint64_t>& loops_;
  uint32_t index_;
  segment::Thread first_;
  std::string stat_path_;
  bool is_there_ = true;
  uint64_t turns_ = 0;
  Doing doing_;
  Clock::time_point since_ = Clock::now();
};

class Watch {
 public:
  Watch(const TracedProcess& process, const std::map<int, DescriptorFacts>& descriptors,
        const SegmentReader& reader, Snapshot& snapshot)
      : process_(process),
        descriptors_(descriptors),
        reader_(reader),
        snapshot_(snapshot),
        poll_(process.pid) {}

  void run() {
    const auto begun = Clock::now();
    first_look();
    leave_out_told_ones();
    if (waiting_.empty()) return;
    find_records();
    find_loops();
    size_t looks = 1;
    Clock::duration watched{};
    while (!waiting_.empty() && (watched < kWatched || looks < kFewestLooks)) {
      std::this_thread::sleep_for(kBetweenLooks);
      Look look(process_, poll_, descriptors_);
      std::erase_if(waiting_,
                    [&](const Waiting& one) { return !one.is_same(reader_) || !is_due(one, look); });
      for (LoopThread& thread : threads_) thread.look();
      watched = Clock::now() - begun;
      ++looks;
    }
    for (const Waiting& one : waiting_) {
      const auto late = one.is_timer ? static_cast<uint64_t>(-*one.task->watcher->due_in_ns) : 0;
      Unserved unserved{.task = one.task->id,
                        .is_timer = one.is_timer,
                        .ready_ns = late + static_cast<uint64_t>(watched.count()),
                        .looks = looks,
                        .seen_by = std::string(one.seen_by)};
      if (could_be_served(one, unserved)) snapshot_.unserved.push_back(std::move(unserved));
    }
  }

 private:
  void first_look() {
    Look look(process_, poll_, descriptors_);
    for (const Task& task : snapshot_.tasks) {
      const auto descriptor = descriptor_of(task, snapshot_);
      const uint16_t events = descriptor && task.state == TaskState::kWaiting ? events_of(task) : 0;
      const uint16_t wanted = events | POLLERR | POLLHUP;
      const std::string_view seen_by = events != 0 ? look.ready(*descriptor, wanted) : "";
      if (!seen_by.empty()) waiting_.push_back({&task, *descriptor, wanted, seen_by});
      else if (is_late(task)) waiting_.push_back({.task = &task, .is_timer = true});
    }
  }

  static bool is_due(const Waiting& one, Look& look) {
    return one.is_timer || !look.ready(one.descriptor, one.wanted).empty();
  }

  // What is watched edge-triggered may well be writable, and stay so: it was told once. Nor must whoever was
  // told read to the end: it may let the sender wait. A counter may serve as a bell.
  void leave_out_told_ones() {
    if (waiting_.empty()) return;
    Look look(process_, poll_, descriptors_);
    const std::unordered_set<int> edges = edge_triggered();
    std::erase_if(waiting_, [&](Waiting& one) {
      const bool is_edge = edges.contains(one.descriptor);
      if (is_edge) one.wanted &= is_counter(one.descriptor) ? 0 : POLLIN;
      const bool is_ready = is_due(one, look);
      const bool is_told = is_edge && one.task->polls > 0;
      if (is_ready && is_told) snapshot_.descriptors[one.descriptor] += ", ready (edge-triggered: told once)";
      return !is_ready || is_told;
    });
  }

  std::unordered_set<int> edge_triggered() const {
    std::unordered_set<int> descriptors;
    const auto lists = epoll_lists(fmt::format("/proc/{}", process_.pid));
    if (!lists) return descriptors;
    for (const auto& [epoll, entries] : *lists)
      for (const EpollEntry& entry : entries)
        if ((entry.events & static_cast<uint32_t>(EPOLLET)) != 0) descriptors.insert(entry.descriptor);
    return descriptors;
  }

  bool is_counter(int descriptor) const {
    const auto known = descriptors_.find(descriptor);
    return known != descriptors_.end() && known->second.is_counter;
  }

  // 0: not known.
  uint16_t events_of(const Task& task) const {
    const auto label =
        task.leaves.empty() ? std::nullopt : std::optional<uint32_t>(task.leaves.front().label);
    return label ? static_cast<uint16_t>(snapshot_.labels.at(*label).poll_events) : 0;
  }

  void find_records() {
    std::unordered_map<uint64_t, Waiting*> by_id;
    for (Waiting& one : waiting_) by_id.emplace(one.task->id, &one);
    for (uint32_t slot = 0; slot < reader_.used(segment::kTasks); ++slot) {
      const auto task = reader_.task(slot);
      const auto known = task ? by_id.find(task->id) : by_id.end();
      if (known == by_id.end()) continue;
      known->second->slot = slot;
      known->second->record = *task;
    }
    for (uint32_t index = 0; index < reader_.used(segment::kLeaves); ++index) {
      const auto known = by_id.find(reader_.peek_leaf_task(index));
      const auto leaf = known != by_id.end() ? reader_.leaf(index) : std::nullopt;
      if (!leaf || leaf->task != known->first) continue;
      // Armed for another time since the dump.
      if (known->second->is_timer && leaf->registered != known->second->task->leaves.front().registered)
        continue;
      known->second->leaf = index;
      known->second->leaf_seq = leaf->seq;
    }
    // Dispatched between the dump and this look.
    std::erase_if(waiting_, [](const Waiting& one) {
      const auto state = static_cast<TaskState>(one.record.state & 3);
      return one.record.polls != one.task->polls || state != TaskState::kWaiting;
    });
  }

  void find_loops() {
    for (uint32_t i = 0; i < reader_.used(segment::kWatchers); ++i) {
      const auto watcher = reader_.watcher(i);
      if (watcher && watcher->callback == 0 && watcher->descriptor == -1) loops_.insert(watcher->task);
    }
    // Workers of runtimes, whose polls last as long as they do.
    for (const Task& task : snapshot_.tasks)
      if (task.nests_polls) loops_.insert(task.id);
    for (uint32_t i = 0; i < reader_.used(segment::kThreads); ++i) {
      const auto thread = reader_.thread(i);
      if (thread && (thread->task != 0 || thread->parks != 0))
        threads_.emplace_back(process_, reader_, i, *thread, loops_);
    }
  }

  // By the loop that last called it; of one that was never called any loop may be the one.
  bool could_be_served(const Waiting& one, Unserved& unserved) const {
    const uint32_t tid = one.record.last_tid;
    const bool is_called = one.task->watcher->callback.has_value();
    bool any = false;
    for (const LoopThread& thread : threads_) {
      if (tid != 0 ? thread.tid() != tid : thread.runs_library() != is_called) continue;
      if (!thread.tell(is_called, unserved)) return false;
      any = true;
    }
    return any;
  }

  const TracedProcess& process_;
  const std::map<int, DescriptorFacts>& descriptors_;
  const SegmentReader& reader_;
  Snapshot& snapshot_;
  const OutsidePoll poll_;
  std::vector<Waiting> waiting_;
  std::unordered_set<uint64_t> loops_;  // ids
  std::vector<LoopThread> threads_;
};

}  // namespace

void add_unserved(const TracedProcess& process, const std::map<int, DescriptorFacts>& descriptors,
                  Snapshot& snapshot) {
  if (process.life != Life::kRunning) return;
  if (descriptors.empty() && std::ranges::none_of(snapshot.tasks, is_late)) return;
  if (const auto file = SegmentFile::open(process.open_path))
    Watch(process, descriptors, file->reader(), snapshot).run();
}

}  // namespace asynctrace
