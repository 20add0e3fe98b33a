#include "cli/commands/own_epolls.hpp"

#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <tuple>
#include <unordered_set>

#include <fmt/format.h>

#include "cli/coroutines/asio_operations.hpp"
#include "cli/descriptors/epoll_lists.hpp"
#include "cli/descriptors/words.hpp"
#include "cli/native/thread_image.hpp"
#include "cli/process/file_descriptor.hpp"
#include "cli/segment_file.hpp"
#include "common/own_loops.hpp"

namespace asynctrace {
namespace {

namespace fs = std::filesystem;

bool is_of_epoll(const Task& task) {
  return task.watcher && !task.watcher->is_loop && !task.watcher->callback &&
         task.watcher->library == kEpollName;
}

// Errors and hang-ups are told unasked: who asks for nothing else lets a descriptor rest.
bool asks_for_events(const EpollEntry& entry) {
  return std::ranges::any_of(kEpollEvents,
                             [&](const EventWord& event) { return (entry.events & event.bit) != 0; });
}

// "232 0x3 0x7ffc..": the descriptor of the epoll in which the thread sleeps.
std::optional<int> epoll_of_sleeper(std::string_view call) {
  const auto number = whole_number<long>(cut(call, ' '));
  const bool is_wait =
      number && (*number == SYS_epoll_wait || *number == SYS_epoll_pwait || *number == SYS_epoll_pwait2);
  std::string_view argument = cut(call, ' ');
  if (!is_wait || !argument.starts_with("0x")) return std::nullopt;
  return whole_number<int>(argument.substr(2), 16);
}

// One entry of a list, and the how manieth with its number it is there: epoll goes by the file, and the
// number of one that was closed may be in use again.
struct Listed {
  int epoll;
  EpollEntry entry;
  uint32_t nth;
  bool is_only;
  bool operator==(const Listed&) const = default;
};

std::vector<Listed> entries_of(const EpollLists& lists, const std::set<int>& epolls) {
  std::vector<Listed> found;
  for (const int epoll : epolls) {
    const auto list = lists.find(epoll);
    if (list == lists.end()) continue;
    std::map<int, uint32_t> count, nth;
    for (const EpollEntry& entry : list->second) count[entry.descriptor]++;
    for (const EpollEntry& entry : list->second)
      found.push_back({epoll, entry, nth[entry.descriptor]++, count[entry.descriptor] == 1});
  }
  return found;
}

class OwnEpolls {
 public:
  OwnEpolls(const TracedProcess& process, Snapshot& snapshot, Symbolizer& symbols)
      : process_(process),
        snapshot_(snapshot),
        symbols_(symbols),
        directory_(fmt::format("/proc/{}", process.pid)) {}

  void compare() {
    for (const Task& task : snapshot_.tasks) {
      if (!is_of_epoll(task)) continue;
      known_.insert(task.address);
      epolls_.insert(static_cast<int>(watching(task.address)));
    }
    if (snapshot_.attached_ns) add_sleepers();
    const auto first = epolls_.empty() ? std::nullopt : epoll_lists(directory_);
    if (!first) return;
    std::vector<Listed> unseen = unseen_in(*first);
    std::unordered_set<uint64_t> gone = gone_from(*first);
    if (unseen.empty() && gone.empty()) return;
    // What came or went between the dump and this list is seen on either side of a second one.
    known_ = recorded_now();
    const auto second = epoll_lists(directory_);
    if (!second) return;
    const std::vector<Listed> still = unseen_in(*second);
    std::erase_if(unseen, [&](const Listed& one) { return std::ranges::find(still, one) == still.end(); });
    const std::unordered_set<uint64_t> gone_too = gone_from(*second);
    std::erase_if(snapshot_.tasks, [&](const Task& task) {
      return is_of_epoll(task) && gone.contains(task.address) && gone_too.contains(task.address);
    });
    // The kernel's order is that of addresses.
    std::ranges::sort(unseen, {},
                      [](const Listed& one) { return std::tuple(one.epoll, one.entry.descriptor, one.nth); });
    for (const Listed& one : unseen) add(one);
  }

 private:
  // Epolls of programs that have added nothing since the agent came.
  void add_sleepers() {
    std::set<int> plain, others;
    std::error_code error;
    for (const auto& thread : fs::directory_iterator(directory_ + "/task", error)) {
      const auto epoll = epoll_of_sleeper(read_file(thread.path() / "syscall").value_or(""));
      const auto tid = whole_number<pid_t>(thread.path().filename().string());
      if (!epoll || !tid || epolls_.contains(*epoll)) continue;
      (is_called_by_plain_module(*tid) ? plain : others).insert(*epoll);
    }
    std::ranges::set_difference(plain, others, std::inserter(epolls_, epolls_.end()));
  }

  bool is_called_by_plain_module(pid_t tid) const {
    const auto image = copy_thread(process_.pid, tid, false);
    const auto pcs = image ? native_stack_of_image(process_.pid, tid, *image) : tl::unexpected(image.error());
    if (!pcs) return false;
    for (const uint64_t pc : *pcs) {
      const auto module = module_at(pc - 1, snapshot_);
      if (!module) return false;
      const Module& caller = snapshot_.modules[*module];
      const bool is_between =
          snapshot_.agent.has_return(pc) || fs::path(caller.path).filename() == "libc.so.6";
      if (!is_between) return caller.is_plain && !is_in_asio(pc);
    }
    return false;
  }

  // Of its operations the census tells.
  bool is_in_asio(uint64_t pc) const {
    return std::ranges::any_of(symbols_.resolve_return_address(pc),
                               [&](uint32_t frame) { return is_asio(symbols_.frames()[frame].function); });
  }

  std::vector<Listed> unseen_in(const EpollLists& lists) const {
    std::vector<Listed> entries = entries_of(lists, epolls_);
    std::erase_if(entries, [&](const Listed& one) {
      const bool is_known =
          known_.contains(own_watch(static_cast<uint32_t>(one.epoll), one.entry.descriptor));
      const auto is_it = [&] { return one.is_only || is_open_as(one, one.entry.descriptor).value_or(true); };
      return !asks_for_events(one.entry) || (is_known && is_it());
    });
    return entries;
  }

  std::unordered_set<uint64_t> gone_from(const EpollLists& lists) const {
    std::unordered_set<uint64_t> gone = known_;
    for (const Listed& one : entries_of(lists, epolls_))
      gone.erase(own_watch(static_cast<uint32_t>(one.epoll), one.entry.descriptor));
    return gone;
  }

  std::unordered_set<uint64_t> recorded_now() const {
    std::unordered_set<uint64_t> addresses;
    const auto file = SegmentFile::open(process_.open_path);
    for (uint32_t slot = 0; file && slot < file->reader().used(segment::kTasks); ++slot) {
      const auto task = file->reader().task(slot);
      if (task && static_cast<TaskKind>(task->kind_and_flags >> 4) == TaskKind::kWatcher)
        addresses.insert(task->address);
    }
    return addresses;
  }

  // Whether this descriptor is the file that is watched. Nothing: it may be, but the kernel may not be asked.
  std::optional<bool> is_open_as(const Listed& one, int descriptor) const {
    struct stat file;
    if (::stat(fmt::format("{}/fd/{}", directory_, descriptor).c_str(), &file) != 0 ||
        file.st_ino != one.entry.inode)
      return false;
    kcmp_epoll_slot slot = {static_cast<uint32_t>(one.epoll), static_cast<uint32_t>(one.entry.descriptor),
                            one.nth};
    const long order = ::syscall(SYS_kcmp, process_.pid, process_.pid, KCMP_EPOLL_TFD, descriptor, &slot);
    return order >= 0 ? std::optional(order == 0) : std::nullopt;
  }

  // A closed one goes on by a duplicate, which may be another process's: -1.
  int descriptor_of(const Listed& one) const {
    if (is_open_as(one, one.entry.descriptor).value_or(true)) return one.entry.descriptor;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory_ + "/fd", error)) {
      const auto descriptor = whole_number<int>(entry.path().filename().string());
      if (descriptor && is_open_as(one, *descriptor).value_or(false)) return *descriptor;
    }
    return -1;
  }

  uint32_t label_of(const EpollEntry& entry) {
    Label label{.text = "", .leaf_class = ASYNCTRACE_IO, .poll_events = 0};
    for (const EventWord& event : kEpollEvents) {
      if ((entry.events & event.bit) == 0) continue;
      label.text += (label.text.empty() ? "" : " or ") + std::string(event.word);
      label.poll_events |= event.poll_events;
    }
    snapshot_.labels.push_back(std::move(label));
    return static_cast<uint32_t>(snapshot_.labels.size() - 1);
  }

  void add(const Listed& one) {
    if (!no_stack_) {
      no_stack_ = static_cast<uint32_t>(snapshot_.stacks.size());
      snapshot_.stacks.emplace_back();
    }
    Task task;
    task.id = snapshot_.tasks.empty() ? 1 : snapshot_.tasks.back().id + 1;
    task.address = own_watch(static_cast<uint32_t>(one.epoll), one.entry.descriptor);
    task.runtime = RuntimeId::kLoop;
    task.kind = TaskKind::kWatcher;
    task.from_census = true;
    Watcher watcher;
    watcher.library = kEpollName;
    watcher.descriptor = descriptor_of(one);
    watcher.doubt = WatcherDoubt::kArmingUnseen;
    task.watcher = std::make_unique<const Watcher>(std::move(watcher));
    Leaf leaf;
    leaf.stack = *no_stack_;
    leaf.label = label_of(one.entry);
    task.leaves.push_back(leaf);
    snapshot_.tasks.push_back(std::move(task));
    snapshot_.source = DumpSource::kBoth;
  }

  const TracedProcess& process_;
  Snapshot& snapshot_;
  Symbolizer& symbols_;
  const std::string directory_;
  std::set<int> epolls_;
  std::unordered_set<uint64_t> known_;  // addresses
  std::optional<uint32_t> no_stack_;
};

}  // namespace

void compare_with_epolls(const TracedProcess& process, Snapshot& snapshot, Symbolizer& symbols) {
  if (process.life == Life::kRunning) OwnEpolls(process, snapshot, symbols).compare();
}

}  // namespace asynctrace
