#include "common/segment_reader.hpp"

#include <algorithm>
#include <cstring>

namespace asynctrace {

using namespace segment;

namespace {

// Loads from memory that the traced process may be writing.
template <typename T>
T load(const std::byte* from, int order) {
  return __atomic_load_n(reinterpret_cast<const T*>(from), order);
}

// Word by word, each of them whole. Items are 8-aligned multiples of 8 (asserted below), except single words.
void copy_words(std::byte* to, const std::byte* from, size_t size) {
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = load<uint64_t>(from + i, __ATOMIC_RELAXED);
    memcpy(to + i, &word, 8);
  }
}

template <typename T>
constexpr bool kCopyable = sizeof(T) % 8 == 0;
static_assert(kCopyable<Module> && kCopyable<Poller> && kCopyable<Thread> && kCopyable<Task> &&
              kCopyable<Leaf> && kCopyable<Stack> && kCopyable<Header> && kCopyable<Label> &&
              kCopyable<NativeTask> && kCopyable<segment::Watcher>);

constexpr uint32_t kSmallest[kSectionCount] = {1,
                                               offsetof(segment::Module, loop),  // grown since
                                               sizeof(Poller),
                                               sizeof(segment::Thread),
                                               sizeof(segment::Task),
                                               sizeof(segment::Leaf),
                                               sizeof(segment::Stack),
                                               8,
                                               sizeof(Label),
                                               sizeof(NativeTask),
                                               sizeof(segment::Watcher)};

}  // namespace

const char* describe(SegmentFault fault) {
  switch (fault) {
    case SegmentFault::kTooShort: return "too short to be a segment file (or its creation was cut short)";
    case SegmentFault::kNotASegment: return "not a segment file (or its creation was cut short)";
    case SegmentFault::kOtherVersion: return "written by another version of the agent";
    case SegmentFault::kBadLayout: return "damaged: its sections do not fit into the file";
  }
  return "unknown fault";
}

uint64_t TickRate::to_monotonic_ns(uint64_t ticks) const {
  const double ns =
      static_cast<double>(ns0) + (static_cast<double>(ticks) - static_cast<double>(ticks0)) * ns_per_tick;
  return ns <= 0 ? 0 : ns >= 9.2e18 ? uint64_t{9'200'000'000'000'000'000} : static_cast<uint64_t>(ns);
}

std::variant<SegmentReader, SegmentFault> SegmentReader::open(std::span<const std::byte> bytes) {
  if (bytes.size() < kPage) return SegmentFault::kTooShort;
  SegmentReader reader(bytes);
  const Header header = reader.header();
  if (memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) return SegmentFault::kNotASegment;
  if (header.version != kVersion) return SegmentFault::kOtherVersion;
  for (uint32_t id = 0; id < kSectionCount; id++) {
    const Section& section = header.sections[id];
    const bool fits = section.offset >= kPage && section.offset % 8 == 0 && section.offset <= bytes.size() &&
                      section.item_size >= kSmallest[id] && (id == kStrings || section.item_size % 8 == 0) &&
                      section.item_size <= kPage && (id != kPcs || section.item_size == sizeof(uint64_t));
    if (!fits) return SegmentFault::kBadLayout;
    const uint64_t room = (bytes.size() - section.offset) / section.item_size;
    // A file cut short (a full disk while it was copied) still gives what it has.
    reader.areas_[id] = {section.offset, section.item_size,
                         static_cast<uint32_t>(std::min<uint64_t>(section.capacity, room))};
  }
  return reader;
}

Header SegmentReader::header() const {
  Header header;
  copy_words(reinterpret_cast<std::byte*>(&header), bytes_.data(), sizeof(header));
  return header;
}

uint64_t SegmentReader::counter(Counter counter) const {
  return load<uint64_t>(bytes_.data() + offsetof(Header, counters) + counter * sizeof(uint64_t),
                        __ATOMIC_RELAXED);
}

TickRate SegmentReader::clock() const {
  const std::byte* at = bytes_.data() + offsetof(Header, clock);
  Clock clock;
  // Pairs with refresh_clock() in agent/clock.cpp.
  for (int tries = 0; tries < 1000; tries++) {
    const uint32_t before = load<uint32_t>(at + offsetof(Clock, seq), __ATOMIC_ACQUIRE);
    copy_words(reinterpret_cast<std::byte*>(&clock), at, sizeof(clock));
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((before & 1) == 0 && load<uint32_t>(at + offsetof(Clock, seq), __ATOMIC_RELAXED) == before) break;
  }
  TickRate rate{clock.kind, clock.ticks0, clock.ns0, 1.0};
  const bool counts = clock.kind == ClockKind::kTsc && clock.ticks1 > clock.ticks0 && clock.ns1 > clock.ns0;
  if (counts)
    rate.ns_per_tick =
        static_cast<double>(clock.ns1 - clock.ns0) / static_cast<double>(clock.ticks1 - clock.ticks0);
  return rate;
}

uint32_t SegmentReader::used(SectionId id) const {
  const std::byte* at =
      bytes_.data() + offsetof(Header, sections) + id * sizeof(Section) + offsetof(Section, used);
  return std::min(load<uint32_t>(at, __ATOMIC_ACQUIRE), areas_[id].capacity);
}

std::span<const std::byte> SegmentReader::items(SectionId id) const {
  return bytes_.subspan(areas_[id].offset, uint64_t{used(id)} * areas_[id].item_size);
}

std::string_view SegmentReader::string(StringRef ref) const {
  const Area& area = areas_[kStrings];
  if (ref.offset > area.capacity || ref.length > area.capacity - ref.offset) return {};
  return {reinterpret_cast<const char*>(bytes_.data() + area.offset + ref.offset), ref.length};
}

const std::byte* SegmentReader::item(SectionId id, uint32_t index) const {
  const Area& area = areas_[id];
  return index < area.capacity ? bytes_.data() + area.offset + uint64_t{index} * area.item_size : nullptr;
}

template <typename T>
T SegmentReader::copy(const std::byte* from, uint32_t item_size) const {
  T value{};
  copy_words(reinterpret_cast<std::byte*>(&value), from, std::min<size_t>(sizeof(T), item_size));
  return value;
}

std::optional<segment::Module> SegmentReader::module(uint32_t index) const {
  const std::byte* at = item(kModules, index);
  // Pairs with publish() in agent/modules.cpp.
  if (at == nullptr || load<uint64_t>(at + offsetof(segment::Module, end), __ATOMIC_ACQUIRE) == 0) return {};
  auto module = copy<segment::Module>(at, areas_[kModules].item_size);
  if (module.end <= module.start || module.build_id_size > sizeof(module.build_id)) return {};
  return module;
}

std::optional<Poller> SegmentReader::poller(uint32_t index) const {
  const std::byte* at = item(kPollers, index);
  if (at == nullptr) return {};
  return copy<Poller>(at, areas_[kPollers].item_size);
}

std::optional<segment::Thread> SegmentReader::thread(uint32_t index) const {
  const std::byte* at = item(kThreads, index);
  if (at == nullptr || load<uint32_t>(at, __ATOMIC_ACQUIRE) == 0) return {};
  return copy<segment::Thread>(at, areas_[kThreads].item_size);
}

// The slot may go to another task meanwhile: the copy counts if the id is the same before and after.
template <typename T>
std::optional<T> SegmentReader::guarded_by_id(SectionId section, uint32_t index,
                                              uint64_t T::*id_field) const {
  const std::byte* at = item(section, index);
  if (at == nullptr) return {};
  for (int tries = 0; tries < 100; tries++) {
    const uint64_t id = load<uint64_t>(at, __ATOMIC_ACQUIRE);
    if (id == 0) return {};
    auto value = copy<T>(at, areas_[section].item_size);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (value.*id_field == id && load<uint64_t>(at, __ATOMIC_RELAXED) == id) return value;
  }
  return {};
}

std::optional<segment::Task> SegmentReader::task(uint32_t index) const {
  return guarded_by_id<segment::Task>(kTasks, index, &segment::Task::id);
}

std::optional<segment::Leaf> SegmentReader::leaf(uint32_t index) const {
  const std::byte* at = item(kLeaves, index);
  if (at == nullptr) return {};
  // Pairs with publish() and unpublish() in agent/leaves.cpp.
  for (int tries = 0; tries < 100; tries++) {
    const uint32_t before = load<uint32_t>(at, __ATOMIC_ACQUIRE);
    if ((before & 3) == kLeafFree) return {};
    auto leaf = copy<segment::Leaf>(at, areas_[kLeaves].item_size);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    const bool whole = (before & 3) == kLeafLive && load<uint32_t>(at, __ATOMIC_RELAXED) == before;
    if (whole) return leaf.task != 0 ? std::optional(leaf) : std::nullopt;
  }
  return {};
}

uint64_t SegmentReader::peek_leaf_task(uint32_t index) const {
  const std::byte* at = item(kLeaves, index);
  if (at == nullptr || (load<uint32_t>(at, __ATOMIC_ACQUIRE) & 3) == kLeafFree) return 0;
  return load<uint64_t>(at + offsetof(segment::Leaf, task), __ATOMIC_RELAXED);
}

std::optional<Label> SegmentReader::label(uint32_t index) const {
  const std::byte* at = item(kLabels, index);
  if (at == nullptr) return {};
  const auto label = copy<Label>(at, areas_[kLabels].item_size);
  return label.text.length != 0 ? std::optional(label) : std::nullopt;
}

// Pairs with publish() in agent/native/native_tasks.cpp.
std::optional<NativeTask> SegmentReader::native_task(uint32_t index) const {
  return guarded_by_id<NativeTask>(kNativeTasks, index, &NativeTask::task);
}

// Pairs with publish(), publish_cause() and set_due() in agent/loops/watchers.cpp.
std::optional<segment::Watcher> SegmentReader::watcher(uint32_t index) const {
  const auto arming = [&] {
    return load<uint32_t>(item(kWatchers, index) + offsetof(segment::Watcher, arming), __ATOMIC_ACQUIRE);
  };
  const auto due_clock = [&] {
    return load<uint16_t>(item(kWatchers, index) + offsetof(segment::Watcher, due_clock), __ATOMIC_ACQUIRE);
  };
  std::optional<segment::Watcher> watcher;
  const uint32_t size = areas_[kWatchers].item_size;
  const bool is_told = size >= offsetof(segment::Watcher, arming) + sizeof(segment::Watcher::arming);
  const bool has_due = size >= offsetof(segment::Watcher, due_clock) + sizeof(segment::Watcher::due_clock);
  for (int tries = 0; tries < 100; tries++) {
    const bool is_there = is_told && index < areas_[kWatchers].capacity;
    const uint32_t before = is_there ? arming() : 0;
    const uint16_t clock = is_there && has_due ? due_clock() : 0;
    watcher = guarded_by_id<segment::Watcher>(kWatchers, index, &segment::Watcher::task);
    if (!watcher || !is_told) return watcher;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    const bool is_one = (before & 1) == 0 && arming() == before && (!has_due || due_clock() == clock);
    if (is_one) return watcher;
  }
  watcher->arming = 0;
  watcher->due_clock = DueClock::kNone;
  return watcher;
}

std::optional<SegmentReader::StackView> SegmentReader::stack(uint32_t index) const {
  const std::byte* at = item(kStacks, index);
  if (at == nullptr) return {};
  // Pairs with publish() in agent/capture/stack_table.cpp.
  const auto count = load<uint16_t>(at + offsetof(segment::Stack, count), __ATOMIC_ACQUIRE);
  const auto stack = copy<segment::Stack>(at, areas_[kStacks].item_size);
  const Area& pcs = areas_[kPcs];
  if (count == 0 || count > kMaxFrames || stack.first_pc > pcs.capacity ||
      count > pcs.capacity - stack.first_pc)
    return {};
  const auto* first = reinterpret_cast<const uint64_t*>(bytes_.data() + pcs.offset) + stack.first_pc;
  return StackView{stack.flags, {first, count}};
}

}  // namespace asynctrace
