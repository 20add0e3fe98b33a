#include "cli/coroutines/asio_queues.hpp"

#include <array>
#include <functional>
#include <optional>
#include <span>

namespace asynctrace {
namespace {

constexpr uint64_t kWord = 8;
constexpr uint64_t kVtableHeader = 2 * kWord;  // before what objects point to
constexpr size_t kMaxQueue = 1 << 20;          // operations

// In a timer queue: a heap as a vector of {time, timer}. In a timer: its queue of operations, its place in
// the heap.
constexpr uint64_t kHeapBegin = 24, kHeapEnd = 32, kHeapEntry = 16;
constexpr uint64_t kHeapIndex = 16;

// Where the queue lies in a scheduler depends on its version.
constexpr uint64_t kSchedulerSize = 512;

// Of operations, which begin with the address of the next one. False: it does not end where it should.
bool walk(const Memory& memory, uint64_t front, uint64_t back, const std::function<void(uint64_t)>& visit) {
  uint64_t at = front;
  for (size_t i = 0; i < kMaxQueue; ++i) {
    const auto next = at != 0 && at % kWord == 0 ? memory.number(at) : std::nullopt;
    if (!next) return false;
    visit(at);
    if (at == back) return *next == 0;
    at = *next;
  }
  return false;
}

void read_timers(const Memory& memory, uint64_t queue, clockid_t clock, AsioQueues& queues) {
  const auto begin = memory.number(queue + kHeapBegin), end = memory.number(queue + kHeapEnd);
  if (!begin || !end || *end < *begin || (*end - *begin) / kHeapEntry > kMaxQueue) return;
  for (uint64_t at = *begin, index = 0; at + kHeapEntry <= *end; at += kHeapEntry, ++index) {
    const auto time = memory.number(at), timer = memory.number(at + kWord);
    if (!time || !timer || memory.number(*timer + kHeapIndex) != index) continue;
    const auto front = memory.number(*timer), back = memory.number(*timer + kWord);
    std::vector<uint64_t> operations;
    if (!front || !back || !walk(memory, *front, *back, [&](uint64_t one) { operations.push_back(one); }))
      continue;
    for (const uint64_t one : operations) queues.due[one] = {clock, static_cast<int64_t>(*time)};
  }
}

// Its own entry, for the reactor, lies in the scheduler itself.
void read_scheduler(const Memory& memory, uint64_t scheduler, AsioQueues& queues) {
  std::array<uint64_t, kSchedulerSize / kWord> words;
  if (!memory.read(scheduler, std::as_writable_bytes(std::span(words)))) return;
  for (size_t i = 1; i + 1 < words.size(); ++i) {
    if (words[i] == 0 || words[i + 1] == 0) continue;
    std::vector<uint64_t> operations;
    if (!walk(memory, words[i], words[i + 1], [&](uint64_t one) { operations.push_back(one); })) continue;
    for (const uint64_t one : operations)
      if (one - scheduler >= kSchedulerSize) queues.posted.insert(one);
  }
}

std::optional<AsioQueueClass::Kind> kind_of(std::string_view vtable) {
  constexpr std::string_view kTimers = "4asio6detail11timer_queueI";
  if (vtable.ends_with("4asio6detail9schedulerE")) return AsioQueueClass::kScheduler;
  const size_t timers = vtable.find(kTimers);
  if (timers == std::string_view::npos) return std::nullopt;
  if (vtable.find("18chrono_time_traitsINSt6chrono3_V212steady_clockE", timers) != std::string_view::npos)
    return AsioQueueClass::kSteadyTimers;
  if (vtable.find("18chrono_time_traitsINSt6chrono3_V212system_clockE", timers) != std::string_view::npos)
    return AsioQueueClass::kSystemTimers;
  return std::nullopt;
}

}  // namespace

std::vector<AsioQueueClass> find_asio_queue_classes(const Module& module, const ModuleFiles& files) {
  std::vector<AsioQueueClass> classes;
  if (!files.file) return classes;
  for (const ElfSymbol& vtable : files.names().objects("_ZTV"))
    if (const auto kind = kind_of(vtable.name))
      classes.push_back({*kind, vtable.address + kVtableHeader + module.bias});
  return classes;
}

void read_asio_queues(const Memory& memory, uint64_t address, AsioQueueClass::Kind kind, AsioQueues& queues) {
  switch (kind) {
    case AsioQueueClass::kScheduler: return read_scheduler(memory, address, queues);
    case AsioQueueClass::kSteadyTimers: return read_timers(memory, address, CLOCK_MONOTONIC, queues);
    case AsioQueueClass::kSystemTimers: return read_timers(memory, address, CLOCK_REALTIME, queues);
  }
}

}  // namespace asynctrace
