#include "agent/live.hpp"

#include <string.h>
#include <sys/mman.h>

#include "agent/capture/stack_table.hpp"
#include "agent/crash.hpp"
#include "agent/leaves.hpp"
#include "agent/loops/watchers.hpp"
#include "agent/modules.hpp"
#include "agent/native/labels.hpp"
#include "agent/native/native_tasks.hpp"
#include "agent/platform.hpp"
#include "agent/rust/tables.hpp"
#include "agent/tasks.hpp"

namespace asynctrace::agent {

std::atomic<Live*> g_live{nullptr};
uint32_t g_generation = 0;
SegmentWriter g_segment;
Config g_config;

namespace {

std::atomic<bool> g_off{false};
Live* g_page = nullptr;

// For what happens only once it is made.
Live& page() {
  if (g_page == nullptr) __builtin_unreachable();
  return *g_page;
}

}  // namespace

bool start_live_page() {
  void* memory = reserve_private(segment::kPage);
  if (memory == nullptr) return false;
  if (madvise(memory, segment::kPage, MADV_WIPEONFORK) != 0) {
    munmap(memory, segment::kPage);
    return false;
  }
  g_page = static_cast<Live*>(memory);
  g_page->parent.store(1, std::memory_order_relaxed);
  return true;
}

void go_live() {
  std::atomic_ref<segment::AgentState>(g_segment.header().state)
      .store(segment::AgentState::kTracing, std::memory_order_release);
  page().tracing.store(1, std::memory_order_release);
  g_live.store(&page(), std::memory_order_release);
}

bool is_forked_child() {
  return page().parent.exchange(1, std::memory_order_relaxed) == 0;
}

void turn_off(segment::OffReason reason) {
  if (g_off.exchange(true)) return;
  segment::Header& header = g_segment.header();
  header.off_reason = reason;
  std::atomic_ref<segment::AgentState>(header.state)
      .store(segment::AgentState::kOff, std::memory_order_release);
  page().tracing.store(0, std::memory_order_release);
}

// On its own, for what is inlined here need not lie on the stack while the file is made.
__attribute__((noinline)) static void fill_segment(const segment::Task* parents_tasks,
                                                   const segment::Leaf* parents_leaves) {
  republish_modules();
  republish_pollers();
  publish_poll_hook();
  republish_labels();
  republish_stacks();
  republish_tasks(parents_tasks);
  republish_native_tasks();
  republish_watchers();
  republish_leaves(parents_leaves);
}

bool adopt_after_fork() {
  if (g_off.load(std::memory_order_relaxed) || g_detached.load(std::memory_order_relaxed)) return false;
  if (page().adopting.exchange(1, std::memory_order_acq_rel) != 0) return false;
  const ErrnoKeeper errno_keeper;
  if (!g_config.follow) return g_off.store(true), false;
  uint32_t used[segment::kSectionCount];
  for (uint32_t id = 0; id < segment::kSectionCount; id++)
    used[id] = g_segment.used(static_cast<segment::SectionId>(id));
  // Still mapped, and never again written by this process.
  const auto* parents_tasks = g_segment.items<segment::Task>(segment::kTasks);
  const auto* parents_leaves = g_segment.items<segment::Leaf>(segment::kLeaves);
  if (!g_segment.create(g_config)) return g_off.store(true), false;
  // Slot numbers are private knowledge and stay as they are.
  for (const segment::SectionId id :
       {segment::kTasks, segment::kLeaves, segment::kStacks, segment::kNativeTasks, segment::kWatchers})
    if (used[id] != 0 && !g_segment.cover(id, used[id] - 1))
      return turn_off(segment::OffReason::kNoRoom), false;
  fill_segment(parents_tasks, parents_leaves);
  g_generation++;
  go_live();
  return true;
}

}  // namespace asynctrace::agent
