// A segment built in memory with the structs of common/segment.hpp, as tests want it: small sections, every
// item settable, the result as bytes or as a file that goes away with it.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "common/segment.hpp"

namespace asynctrace::test {

inline constexpr uint32_t kItems = 16;  // capacity of most sections

class SegmentImage {
 public:
  SegmentImage() {
    using namespace segment;
    const struct {
      uint32_t item_size;
      uint32_t capacity;
    } plan[kSectionCount] = {{1, 4096},
                             {sizeof(segment::Module), kItems},
                             {sizeof(Poller), kItems},
                             {sizeof(segment::Thread), kItems},
                             {sizeof(segment::Task), kItems},
                             {sizeof(segment::Leaf), kItems},
                             {sizeof(segment::Stack), kItems},
                             {sizeof(uint64_t), 1024},
                             {sizeof(segment::Label), kItems},
                             {sizeof(segment::NativeTask), kItems},
                             {sizeof(segment::Watcher), kItems}};
    uint64_t end = kPage;
    Header header{};
    for (uint32_t id = 0; id < kSectionCount; id++) {
      header.sections[id] = {end, plan[id].item_size, plan[id].capacity, 0, 0};
      end += (uint64_t{plan[id].item_size} * plan[id].capacity + kPage - 1) / kPage * kPage;
    }
    words_.resize(end / sizeof(uint64_t));
    memcpy(header.magic, kMagic, sizeof(kMagic));
    header.version = kVersion;
    header.header_size = sizeof(Header);
    header.file_size = end;
    header.pid = 42;
    header.state = AgentState::kTracing;
    header.clock = {ClockKind::kMonotonic, 0, 0, 0, 0, 0, 0};
    header.next_task_id = 1;
    this->header() = header;
  }

  segment::Header& header() { return *reinterpret_cast<segment::Header*>(words_.data()); }
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(words_)); }

  template <typename T>
  T& at(segment::SectionId id, uint32_t index) {
    return reinterpret_cast<T*>(bytes().data() + header().sections[id].offset)[index];
  }

  // Appends; returns the item's number.
  template <typename T>
  uint32_t add(segment::SectionId id, const T& item) {
    const uint32_t index = header().sections[id].used++;
    if (index >= header().sections[id].capacity) throw std::length_error("section is full");
    at<T>(id, index) = item;
    return index;
  }
  segment::StringRef add_string(std::string_view text) {
    const uint32_t offset = header().sections[segment::kStrings].used;
    for (const char c : text) add(segment::kStrings, c);
    return {offset, static_cast<uint32_t>(text.size())};
  }
  uint32_t add_stack(std::span<const uint64_t> pcs, uint16_t flags = 0) {
    const uint32_t first = header().sections[segment::kPcs].used;
    for (const uint64_t pc : pcs) add(segment::kPcs, pc);
    return add(segment::kStacks, segment::Stack{first, static_cast<uint16_t>(pcs.size()), flags});
  }

 private:
  std::vector<uint64_t> words_;  // keeps items aligned as a mapped file does
};

// Of which nothing is told but who it is.
inline segment::Watcher watcher_record(uint64_t task, uint64_t callback, int32_t descriptor,
                                       uint16_t library) {
  segment::Watcher watcher{};
  watcher.task = task;
  watcher.callback = callback;
  watcher.descriptor = descriptor;
  watcher.library = library;
  return watcher;
}

// One item of each kind.
inline SegmentImage small_image() {
  using namespace segment;
  SegmentImage image;
  Header& header = image.header();
  header.exe = image.add_string("/opt/shop");
  header.cmdline = image.add_string(std::string_view("shop\0--port\0", 12));
  header.agent_version = image.add_string("1.2.3");
  header.clock = {ClockKind::kTsc, 2, 1000, 5000, 2000, 5500, 77};
  header.counters[kLostStacks] = 9;
  image.add(kModules, segment::Module{0x1000, 0x2000, 0x3000, header.exe, 2, {0xab, 0xcd}, 0});
  image.add(kPollers, Poller{0x2100, RuntimeId::kTokio, 0});
  image.add(kThreads, segment::Thread{43, segment::ThreadState::kParked, 1, 2, 3, 4, 5, "worker"});
  image.add(kTasks, segment::Task{7, 0x9000, 5 << 2 | 2, 4, 3, 2, 11, 1, 43, 0, 0, References::kNone});
  const uint64_t pcs[] = {0x2200, 0x2300, 0x2400};
  const uint32_t stack = image.add_stack(pcs, kTruncated);
  image.add(kLeaves, segment::Leaf{4 | kLeafLive, kOwnWaker, 7, stack, 11, 6, 6, 0x8000});
  image.add(kLabels, segment::Label{image.add_string("loop"), 0, 0});
  image.add(kLabels, segment::Label{image.add_string("queue"), 5, 0});
  image.add(kNativeTasks, segment::NativeTask{9, 7, 0x2500, 0, 4, "desk"});
  image.add(kWatchers, watcher_record(10, 0x2600, 5, 0));
  return image;
}

class TemporaryFile {
 public:
  explicit TemporaryFile(std::span<const std::byte> bytes) : path_("/tmp/asynctrace-test-XXXXXX") {
    const int fd = mkstemp(path_.data());
    const bool written =
        fd >= 0 && write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
    if (fd >= 0) close(fd);
    if (!written) throw std::runtime_error("no temporary file");
  }
  ~TemporaryFile() { unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace asynctrace::test
