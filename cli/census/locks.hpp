// Who holds which of tokio's locks, and who waits for which: from the guards that waiting tasks keep across
// their awaits. A guard that was dropped before its await can leave its bytes behind, so that a holder is
// named only where the guards found are exactly the permits that are missing. Allocates.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "cli/census/future_walker.hpp"

namespace asynctrace {

// What FutureWalker has to collect for this: guards and permits.
std::span<const std::string_view> guard_types();

struct LockWait {
  uint64_t task = 0;
  uint64_t semaphore = 0;            // address of the semaphore inside the lock
  std::optional<uint64_t> capacity;  // of permits, where the kind of lock tells
  uint64_t reserved = 0;             // permits that it has got so far
  uint64_t available = 0;            // permits nobody has

  bool operator==(const LockWait&) const = default;
};

class LockTable {
 public:
  // What `nodes`, the last walk, waits for, and what it keeps.
  void add_task(uint64_t task, const std::vector<FutureNode>& nodes, FutureWalker& walker, TypeSource& types,
                const Memory& memory);

  struct Answer {
    std::optional<uint64_t> task;  // the only holder
    const char* reason = nullptr;  // why there is none; static text
    bool operator==(const Answer&) const = default;
  };
  Answer holder(const LockWait& wait) const;

  const std::vector<LockWait>& waits() const { return waits_; }

 private:
  struct Guard {
    uint64_t task;
    uint64_t address;  // of the guard itself
    uint64_t permits;
    std::optional<uint64_t> capacity;
  };
  std::vector<LockWait> waits_;
  std::multimap<uint64_t, Guard> guards_;  // by semaphore
};

}  // namespace asynctrace
