// Suspects: tasks that can never go on, and tasks that keep a thread from polling others. By evidence only:
// age ranks them, it never makes one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "cli/tree/report.hpp"
#include "cli/tree/rows.hpp"

namespace asynctrace {

enum class SuspectKind : uint8_t { kNoWaker, kDeadlock, kBlockedWorker, kReadyNotServed, kWaitsOnSuspect };
std::string_view name(SuspectKind kind);

// A thread that is in one poll of a task for long. What may block is none: closures of spawn_blocking, worker
// loops, the future of a block_on.
struct BlockedThread {
  size_t thread = 0;  // index into Snapshot::threads
  const Task* task = nullptr;
};
// Longest first. Needs only the names of poll functions.
std::vector<BlockedThread> blocked_threads(const Snapshot& snapshot, FrameSource& symbols, uint64_t min_ns);

class SuspectFinder {
 public:
  // `report` has its tasks already; it must outlive this.
  SuspectFinder(const Report& report, std::vector<BlockedThread> blocked);

  // Nothing for a task that is none. A blocked task is running, so that it has no place among the waiting.
  std::optional<SuspectKind> kind_of(uint64_t task) const;
  // Fills report.suspects. `waiting` are groups of tasks for which kind_of() says kNoWaker,
  // kReadyNotServed or kWaitsOnSuspect.
  void add_suspects(std::vector<Group> waiting, RowBuilder& rows, Report& report) const;

 private:
  Suspect deadlock(const std::vector<uint64_t>& tasks, RowBuilder& rows) const;
  Suspect blocked_worker(const BlockedThread& blocked, RowBuilder& rows) const;
  Suspect waiting(Group group) const;
  std::string why_waiting(const ReportTask& task) const;
  std::string not_served(const Group& group) const;

  const Report& report_;
  std::vector<BlockedThread> blocked_;
  std::vector<std::vector<uint64_t>> circles_;  // ids
  std::unordered_map<uint64_t, SuspectKind> kinds_;
};

}  // namespace asynctrace
