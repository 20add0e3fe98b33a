#include "agent/rust/task_header.hpp"

namespace asynctrace::agent {
namespace {

// Taking a reference must add one to the count of a task that is scheduled and neither running nor ended, or
// that runs. Other threads change the word too, so one sample that differs means little.
void learn_layout(WakerTable& table, const void* header, HeldTask state) {
  constexpr int kSamples = 8;
  const TaskLayout& layout = layout_of(table);
  const auto address = reinterpret_cast<uint64_t>(header);
  int fits = 0;
  for (int i = 0; i < kSamples; i++) {
    const uint64_t before = load_task_state(address);
    table.original.clone(header);
    const uint64_t after = load_task_state(address);
    table.original.drop(header);
    const uint64_t seen = before & (layout.running | layout.ended);
    const bool expected =
        state == HeldTask::kRunning ? seen == layout.running : seen == 0 && (before & layout.scheduled) != 0;
    if (expected && after - before == layout.reference) fits++;
  }
  table.layout.store(fits > kSamples / 2 ? LayoutState::kShown : LayoutState::kRefuted,
                     std::memory_order_relaxed);
}

}  // namespace

// By the count alone: the runtime's own waker functions may trace.
WakerTable* hold_task(const PollFunction& function, void* header, HeldTask state) {
  const uint16_t number = function.waker_table.load(std::memory_order_relaxed);
  if (number == kNoTable) return nullptr;
  WakerTable& table = g_tables.wakers[number];
  if (table.layout.load(std::memory_order_relaxed) == LayoutState::kUnknown)
    learn_layout(table, header, state);
  if (!layout_is_known(table)) return nullptr;
  task_state(reinterpret_cast<uint64_t>(header))
      .fetch_add(layout_of(table).reference, std::memory_order_relaxed);
  return &table;
}

void let_go_of_task(const WakerTable& table, void* header) {
  const uint64_t reference = layout_of(table).reference;
  std::atomic_ref<uint64_t> state = task_state(reinterpret_cast<uint64_t>(header));
  uint64_t word = state.load(std::memory_order_relaxed);
  while (word / reference > 1)
    if (state.compare_exchange_weak(word, word - reference, std::memory_order_acq_rel)) return;
  table.original.drop(header);  // the last reference: the runtime frees its task itself
}

bool note_dropped_reference(const LeafEntry& entry) {
  const WakerTable& table = g_tables.wakers[entry.table];
  if (table.kind != WakerKind::kTask || !layout_is_known(table)) return false;
  const TaskLayout& layout = layout_of(table);
  // The waker that is about to go holds the task, so its header can be read.
  const uint64_t word = load_task_state(entry.waker_data);
  if ((word & (layout.running | layout.ended | layout.scheduled)) != 0) return false;
  if (task_entry(entry.task).id.load(std::memory_order_acquire) != entry.task_id) return false;
  const segment::References references = other_references(layout, word, 1);
  publish_references(entry.task, references);
  return references == segment::References::kNone;
}

}  // namespace asynctrace::agent
