// HangWatch: finds tasks that hang: they wait inside the program and have been neither polled nor woken for a
// given time. Reads segments only; a full report is made only where something new may hang.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands/process_report.hpp"

namespace asynctrace {

class HangWatch {
 public:
  using Clock = std::chrono::steady_clock;
  HangWatch(std::chrono::nanoseconds limit, ReadingOptions options)
      : limit_(limit), options_(std::move(options)), next_(Clock::now() + limit) {}

  struct Hang {
    OwnedReport report;
    size_t tasks = 0;         // that are told of for the first time
    uint64_t longest_ns = 0;  // of their waits
  };
  // One for each process in which another task hangs. What waits for nothing but other tasks hangs only if it
  // is a suspect: otherwise it goes on when they do.
  std::vector<Hang> look(const std::vector<TracedProcess>& live);
  // When something may have come to hang that did not at the last look.
  Clock::time_point next() const { return next_; }

 private:
  struct Known {
    std::set<uint64_t> told;                         // ids of tasks that hung
    std::set<std::pair<uint64_t, uint64_t>> passed;  // id and polls: waited long, and not inside
  };
  bool may_hang(const Snapshot& snapshot, const Known& known);
  std::vector<const ReportTask*> hanging(const Report& report, const Known& known) const;

  std::chrono::nanoseconds limit_;
  ReadingOptions options_;
  Clock::time_point next_;
  std::map<std::pair<pid_t, uint64_t>, Known> known_;  // by process: id and start time
};

}  // namespace asynctrace
