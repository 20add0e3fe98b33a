#include "agent/native/labels.hpp"

#include <string.h>

#include <algorithm>
#include <atomic>

#include "agent/arena.hpp"
#include "agent/capture/stack_table.hpp"
#include "agent/live.hpp"

namespace asynctrace::agent {
namespace {

constexpr uint32_t kCapacity = 1024;
constexpr uint32_t kMaxText = 64;

struct Label {
  uint32_t leaf_class;
  uint32_t length;
  char text[kMaxText];
};

std::atomic<Label*>* g_labels = nullptr;
Label g_busy;  // stands where a label is just being made

uint32_t hash_of(const Label& label) {
  uint32_t hash = 2166136261u + label.leaf_class;
  for (uint32_t i = 0; i < label.length; i++)
    hash = (hash ^ static_cast<unsigned char>(label.text[i])) * 16777619u;
  return hash;
}

bool publish(uint32_t number, const Label& label) {
  if (!g_segment.cover(segment::kLabels, number)) return false;
  segment::Label& record = g_segment.items<segment::Label>(segment::kLabels)[number];
  record.leaf_class = label.leaf_class & kLeafClassMask;
  record.poll_events = label.leaf_class >> kPollEventsShift;
  record.text = add_string(g_segment, label.text, label.length);
  return record.text.length != 0;
}

// Null: no room.
Label* add(uint32_t number, const Label& wanted) {
  Label* label = stack_arena().make<Label>();
  if (label == nullptr) return nullptr;
  *label = wanted;
  return publish(number, *label) ? label : nullptr;
}

}  // namespace

bool start_labels() {
  g_labels = reserve_array<std::atomic<Label*>>(kCapacity);
  return g_labels != nullptr;
}

// Not inlined: its copy of the text is off the stack when the stack is walked.
__attribute__((noinline)) uint16_t label_number(const char* text, uint32_t leaf_class) {
  if (text == nullptr || *text == '\0') return segment::kNoLabel;
  Label wanted;
  wanted.leaf_class = leaf_class;
  wanted.length = static_cast<uint32_t>(strnlen(text, kMaxText));
  memcpy(wanted.text, text, wanted.length);
  const uint32_t capacity = std::min(kCapacity, g_segment.capacity(segment::kLabels));
  const uint32_t home = hash_of(wanted);
  for (uint32_t probe = 0; probe < capacity; probe++) {
    const uint32_t number = (home + probe) % capacity;
    Label* known = g_labels[number].load(std::memory_order_acquire);
    if (known == nullptr) {
      if (!g_labels[number].compare_exchange_strong(known, &g_busy, std::memory_order_acq_rel))
        return segment::kNoLabel;
      known = add(number, wanted);
      g_labels[number].store(known, std::memory_order_release);
      return known != nullptr ? static_cast<uint16_t>(number) : segment::kNoLabel;
    }
    if (known == &g_busy) return segment::kNoLabel;
    if (known->leaf_class == leaf_class && known->length == wanted.length &&
        memcmp(known->text, wanted.text, wanted.length) == 0)
      return static_cast<uint16_t>(number);
  }
  return segment::kNoLabel;
}

void republish_labels() {
  for (uint32_t number = 0; number < kCapacity; number++) {
    const Label* label = g_labels[number].load(std::memory_order_relaxed);
    if (label != nullptr && label != &g_busy) publish(number, *label);
  }
}

}  // namespace asynctrace::agent
