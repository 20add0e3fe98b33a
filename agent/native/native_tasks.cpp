#include "agent/native/native_tasks.hpp"

#include <string.h>

#include <algorithm>
#include <atomic>

#include "agent/native/labels.hpp"

namespace asynctrace::agent {

using segment::NativeTask;

namespace {

NativeTask* g_entries = nullptr;  // private copies
IndexPool g_pool;

NativeTask& record(uint32_t slot) {
  return g_segment.items<NativeTask>(segment::kNativeTasks)[slot];
}

// The other half is SegmentReader::native_task().
void publish(uint32_t slot) {
  const NativeTask& entry = g_entries[slot];
  NativeTask& item = record(slot);
  std::atomic_thread_fence(std::memory_order_release);
  std::atomic_ref<uint64_t>(item.woken_by).store(entry.woken_by, std::memory_order_relaxed);
  item.spawn_site = entry.spawn_site;
  item.runtime = entry.runtime;
  item.name_length = entry.name_length;
  memcpy(item.name, entry.name, sizeof(item.name));
  std::atomic_ref<uint64_t>(item.task).store(entry.task, std::memory_order_release);
}

}  // namespace

bool start_native_tasks() {
  g_entries = reserve_array<NativeTask>(g_segment.capacity(segment::kNativeTasks));
  return g_entries != nullptr && g_pool.start(g_segment, segment::kNativeTasks);
}

uint32_t add_native_task(const HookGuard& guard, uint64_t task_id, const NativeTaskFacts& facts) {
  const uint32_t slot = g_pool.take(guard.context().native_tasks);
  if (slot == kNone) {
    g_segment.count_loss(segment::kLostNames);
    return kNone;
  }
  NativeTask& entry = g_entries[slot];
  entry = {task_id, 0, facts.spawn_site, label_number(facts.runtime, 0), 0, {}};
  if (facts.name != nullptr) {
    const size_t length = strnlen(facts.name, UINT16_MAX);
    entry.name_length = static_cast<uint16_t>(length);
    memcpy(entry.name, facts.name, std::min(length, sizeof(entry.name)));
  }
  publish(slot);
  return slot;
}

void end_native_task(const HookGuard& guard, uint32_t slot) {
  g_entries[slot].task = 0;
  std::atomic_ref<uint64_t>(record(slot).task).store(0, std::memory_order_release);
  g_pool.give(guard.context().native_tasks, slot);
}

void note_waker(uint32_t slot, uint64_t waker_id) {
  std::atomic_ref<uint64_t>(g_entries[slot].woken_by).store(waker_id, std::memory_order_relaxed);
  std::atomic_ref<uint64_t>(record(slot).woken_by).store(waker_id, std::memory_order_relaxed);
}

void republish_native_tasks() {
  const uint32_t used = g_segment.used(segment::kNativeTasks);
  for (uint32_t slot = 0; slot < used; slot++)
    if (g_entries[slot].task != 0) publish(slot);
}

}  // namespace asynctrace::agent
