// What Asio and Boost.Asio keep in queues: until when operations wait that wait for a time, and which wait
// for nothing but a thread that runs their handlers. By the layout of their queues, each borne out by what
// the entries say themselves; what does not fit is left out. Trusts nothing that it reads. Allocates.
#pragma once

#include <time.h>

#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cli/census/memory.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/module_files.hpp"

namespace asynctrace {

// A class of objects with such queues.
struct AsioQueueClass {
  enum Kind : uint8_t { kScheduler, kSteadyTimers, kSystemTimers } kind = kScheduler;
  uint64_t vtable = 0;  // what its objects begin with, in the process
};

std::vector<AsioQueueClass> find_asio_queue_classes(const Module& module, const ModuleFiles& files);

struct AsioQueues {
  struct Time {
    clockid_t clock = CLOCK_MONOTONIC;
    int64_t at_ns = 0;
  };
  // By addresses of operations.
  std::unordered_map<uint64_t, Time> due;
  std::unordered_set<uint64_t> posted;
};

// Adds what the queues of the object at `address` hold.
void read_asio_queues(const Memory& memory, uint64_t address, AsioQueueClass::Kind kind, AsioQueues& queues);

}  // namespace asynctrace
