// Operations of the native API: watchers that the library itself tells of, so that nothing stands in for the
// functions that they call.
#include "agent/capture/capture.hpp"
#include "agent/loops/watchers.hpp"
#include "agent/native/event_hooks.hpp"
#include "agent/native/labels.hpp"
#include "agent/platform.hpp"

namespace asynctrace::agent {
namespace {

WatcherKey key_of(const void* operation) {
  return {reinterpret_cast<uint64_t>(operation), kOperationSlot};
}

// Off the stack when that is walked.
__attribute__((noinline)) uint32_t set_operation(const HookGuard& guard, const void* operation,
                                                 const asynctrace_operation& facts) {
  const uint16_t kind = label_number(facts.kind, facts.leaf_class & kLeafClassMask);
  return set_watcher(guard, key_of(operation),
                     {.callback = reinterpret_cast<const void*>(~reinterpret_cast<uint64_t>(facts.calls)),
                      .descriptor = facts.descriptor,
                      .library = label_number(facts.runtime, 0),
                      .kind = static_cast<uint16_t>(kind + 1),
                      .leaf_class = static_cast<uint8_t>(facts.leaf_class)});
}

void end(const HookGuard& guard, uint32_t number) {
  end_watcher(guard, number);
  give_back(guard, number);
}

}  // namespace

// Compiled with a frame pointer (see LeafSite).
void native_operation_begun(const void* operation, const asynctrace_operation* facts) {
  const ErrnoKeeper errno_keeper;
  const LeafSite site = LeafSite::of_hook(__builtin_frame_address(0));
  const HookGuard guard(current_thread());
  if (!guard || operation == nullptr || facts->calls == nullptr) return;
  drop_dead_frames(guard, site.caller_sp);
  const uint32_t number = set_operation(guard, operation, *facts);
  if (number != kNone) arm(guard, number, capture(guard, site));
}

void native_operation_ended(const void* operation) {
  if (operation == nullptr) return;
  const ErrnoKeeper errno_keeper;
  const HookGuard guard(current_thread());
  if (!guard) return;
  const uint32_t number = find_watcher(key_of(operation));
  if (number != kNone) end(guard, number);
  g_segment.reserve_ahead(segment::kLeaves);
  g_segment.reserve_ahead(segment::kTasks);
  g_segment.reserve_ahead(segment::kWatchers);
}

void end_operations(const HookGuard& guard) {
  const uint32_t used = g_segment.used(segment::kWatchers);
  for (uint32_t number = 0; number < used; number++) {
    const WatcherEntry& entry = watcher_entry(number);
    if (entry.slot == kOperationSlot && entry.task_id.load(std::memory_order_acquire) != 0) end(guard, number);
  }
}

}  // namespace asynctrace::agent
