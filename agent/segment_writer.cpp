#include "agent/segment_writer.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "agent/clock.hpp"
#include "agent/platform.hpp"
#include "agent/proc_files.hpp"
#include "common/segment_dir.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace asynctrace::agent {

using namespace segment;

namespace {

constexpr uint64_t kMinSize = 1u << 20;
constexpr uint64_t kFirstChunk = 16 * kPage;
constexpr uint64_t kLargestChunk = 256 * kPage;
// Once not even a page is to be had, so many requests are refused before the system is asked again: a full
// file system must not turn every poll into a system call.
constexpr uint32_t kUnaskedRefusals = 1u << 14;
// Where a kernel cannot populate on demand everything is reserved at start, so it has to be less.
constexpr uint64_t kSizeWithoutPopulate = 32u << 20;

struct Share {
  SectionId id;
  uint32_t item_size;
  uint32_t weight;  // of the space, in 1/1000
};
// A waiting task takes one task and, joins and selects counted, some 1.3 leaves.
constexpr Share kShares[] = {
    {kStrings, 1, 1},
    {kModules, sizeof(Module), 2},
    {kPollers, sizeof(Poller), 2},
    {kThreads, sizeof(Thread), 5},
    {kTasks, sizeof(Task), 400},
    {kLeaves, sizeof(Leaf), 400},
    {kStacks, sizeof(Stack), 10},
    {kPcs, sizeof(uint64_t), 119},
    {kLabels, sizeof(Label), 1},
    {kNativeTasks, sizeof(NativeTask), 55},
    {kWatchers, sizeof(Watcher), 5},
};

// Chunks grow with the section: few system calls for a large program, little memory for a small one.
uint64_t next_chunk(uint64_t reserved) {
  return std::clamp(reserved / 4, kFirstChunk, kLargestChunk);
}

}  // namespace

void SegmentWriter::plan(uint64_t max_size) {
  const uint64_t space = max_size - kPage - std::size(kShares) * kPage;
  uint64_t offset = kPage;
  for (const Share& share : kShares) {
    Area& area = sections_[share.id];
    const uint64_t bytes = space / 1000 * share.weight / kPage * kPage + kPage;
    area.base = reinterpret_cast<void*>(offset);  // made an address once the file is mapped
    area.item_size = share.item_size;
    area.capacity = static_cast<uint32_t>(bytes / share.item_size);
    area.next.store(0, std::memory_order_relaxed);
    area.reserved_bytes.store(0, std::memory_order_relaxed);
    area.unasked.store(0, std::memory_order_relaxed);
    area.low_water.store(0, std::memory_order_relaxed);
    offset += bytes;
  }
  file_size_ = offset;
}

int SegmentWriter::open_file(const Config& config, char* path, size_t path_size) {
  static char exe[4096];
  read_exe_path(exe, sizeof(exe));
  const char* base = strrchr(exe, '/');
  base = base != nullptr ? base + 1 : exe;
  uint64_t nonce = 0;
  if (getrandom(&nonce, sizeof(nonce), GRND_NONBLOCK) != sizeof(nonce)) nonce = monotonic_ns();
  const SegmentName name{base, static_cast<uint32_t>(getpid()), config.run_id, nonce};
  if (config.output != nullptr) return open_output(config.output, name, path, path_size);
  static char directory[4096];
  if (!choose_segment_dir(config.directory, directory, sizeof(directory))) return -1;
  return open_in_dir(directory, name, path, path_size);
}

void SegmentWriter::note_path(int fd) {
  char link[32];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path_, sizeof(path_) - 1);
  path_[length > 0 ? length : 0] = '\0';
}

// Its buffers are static, for in a forked child it runs inside a hook, on a stack of any size, and one thread
// at a time runs it.
bool SegmentWriter::create(const Config& config) {
  uint64_t size = std::max(config.max_size, kMinSize);
  rlimit limit;
  // Growing past RLIMIT_FSIZE raises SIGXFSZ, which kills.
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    size = std::min<uint64_t>(size, limit.rlim_cur);
  populate_on_demand_ = madvise(nullptr, 0, MADV_POPULATE_WRITE) == 0;
  if (!populate_on_demand_) size = std::min(size, kSizeWithoutPopulate);
  if (size < kMinSize) return errno = EFBIG, false;
  static char path[4096];
  const int fd = open_file(config, path, sizeof(path));
  if (fd < 0) return false;
  void* memory = MAP_FAILED;
  // Under an address space limit a smaller segment is better than none.
  for (; size >= kMinSize && memory == MAP_FAILED; size /= 2) {
    plan(size);
    if (ftruncate(fd, static_cast<off_t>(file_size_)) != 0) break;
    if (!populate_on_demand_ && posix_fallocate(fd, 0, static_cast<off_t>(file_size_)) != 0) continue;
    memory = mmap(nullptr, file_size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  const int error = errno;
  // On a disk the kernel would read ahead, which in a new file means to fill megabytes with zeros.
  if (memory != MAP_FAILED) madvise(memory, file_size_, MADV_RANDOM);
  note_path(fd);
  close(fd);
  if (memory == MAP_FAILED || (populate_on_demand_ && madvise(memory, kPage, MADV_POPULATE_WRITE) != 0)) {
    if (memory != MAP_FAILED) munmap(memory, file_size_);
    unlink(path);
    errno = memory == MAP_FAILED ? error : ENOSPC;
    return false;
  }
  header_ = static_cast<Header*>(memory);
  header_->attached_at = config.attached_at;
  for (uint32_t id = 0; id < kSectionCount; id++) {
    Area& area = sections_[id];
    const auto offset = reinterpret_cast<uint64_t>(area.base);
    area.base = static_cast<char*>(memory) + offset;
    if (!populate_on_demand_) area.reserved_bytes = uint64_t{area.capacity} * area.item_size;
    header_->sections[id] = {offset, area.item_size, area.capacity, 0, 0};
  }
  write_identity();
  return true;
}

void SegmentWriter::write_identity() {
  Header& h = *header_;
  h.version = kVersion;
  h.header_size = sizeof(Header);
  h.file_size = file_size_;
  h.pid = static_cast<uint32_t>(getpid());
  h.ppid = static_cast<uint32_t>(getppid());
  h.start_time = read_start_time();
  read_boot_id(h.boot_id, sizeof(h.boot_id));
  static char text[8192];
  h.exe = add_string(*this, text, read_exe_path(text, sizeof(text)));
  h.cmdline = add_string(*this, text, read_cmdline(text, sizeof(text)));
  h.agent_version = add_string(*this, ASYNCTRACE_VERSION, strlen(ASYNCTRACE_VERSION));
  start_clock(h.clock);
  h.last_event = h.clock.ticks1;
  h.next_task_id = 1;
  // Last: a file without its magic is one that was never finished.
  std::atomic_signal_fence(std::memory_order_release);
  memcpy(h.magic, kMagic, sizeof(kMagic));
}

bool SegmentWriter::reserve(Area& area, uint64_t bytes) {
  const uint64_t limit = round_up(uint64_t{area.capacity} * area.item_size, kPage);
  uint64_t reserved = area.reserved_bytes.load(std::memory_order_acquire);
  while (reserved < bytes) {
    const ErrnoKeeper errno_keeper;
    // Two threads may populate the same pages; that is harmless, so no lock is needed.
    uint64_t end = std::min(limit, round_up(std::max(bytes, reserved + next_chunk(reserved)), kPage));
    if (end < bytes) return false;
    const uint64_t least = round_up(bytes, kPage);
    while (madvise(static_cast<char*>(area.base) + reserved, end - reserved, MADV_POPULATE_WRITE) != 0) {
      if (end == least) return false;
      end = std::max(
          least, round_up(reserved + (end - reserved) / 2, kPage));  // the last pages of a full file system
    }
    if (area.reserved_bytes.compare_exchange_strong(reserved, end, std::memory_order_acq_rel)) return true;
  }
  return true;
}

uint32_t SegmentWriter::take(SectionId id, uint32_t count) {
  Area& area = sections_[id];
  uint32_t first = area.next.load(std::memory_order_relaxed);
  do {
    if (first > area.capacity || count > area.capacity - first) return kNone;
    const uint64_t bytes = uint64_t{first + count} * area.item_size;
    if (bytes > area.reserved_bytes.load(std::memory_order_acquire)) [[unlikely]] {
      const uint32_t unasked = area.unasked.load(std::memory_order_relaxed);
      if (unasked != 0) return area.unasked.store(unasked - 1, std::memory_order_relaxed), kNone;
      if (!reserve(area, bytes)) {
        const bool full = bytes - area.reserved_bytes.load(std::memory_order_relaxed) <= kPage;
        if (full) area.unasked.store(kUnaskedRefusals, std::memory_order_relaxed);
        return kNone;
      }
    }
  } while (!area.next.compare_exchange_weak(first, first + count, std::memory_order_acq_rel));
  std::atomic_ref<uint32_t> used(header_->sections[id].used);
  // Only ever raised. Read with acquire by SegmentReader::used().
  for (uint32_t seen = used.load(std::memory_order_relaxed);
       seen < first + count && !used.compare_exchange_weak(seen, first + count, std::memory_order_release);) {
  }
  return first;
}

bool SegmentWriter::cover(SectionId id, uint32_t index) {
  constexpr uint32_t kBatch = 64;
  for (uint32_t count = used(id); count <= index; count = used(id))
    if (index >= capacity(id) ||
        take(id, std::min(std::max(kBatch, index - count + 1), capacity(id) - count)) == kNone)
      return false;
  return true;
}

void SegmentWriter::reserve_next_chunk(SectionId id) {
  Area& area = sections_[id];
  const uint64_t used = uint64_t{area.next.load(std::memory_order_relaxed)} * area.item_size;
  const uint64_t limit = uint64_t{area.capacity} * area.item_size;
  const bool reserved = reserve(area, std::min(limit, used + next_chunk(used)));
  const uint64_t end = area.reserved_bytes.load(std::memory_order_relaxed);
  // A full file system is asked again only when the room is really needed.
  const uint64_t mark =
      reserved && end < limit ? std::max(used + area.item_size, end - next_chunk(end) / 2) : limit;
  area.low_water.store(static_cast<uint32_t>(mark / area.item_size), std::memory_order_relaxed);
}

void SegmentWriter::count_loss(Counter counter) {
  std::atomic_ref<uint64_t>(header_->counters[counter]).fetch_add(1, std::memory_order_relaxed);
}

StringRef add_string(SegmentWriter& writer, const char* bytes, size_t length) {
  if (length == 0) return {0, 0};
  const uint32_t offset = writer.take(kStrings, static_cast<uint32_t>(length));
  if (offset == kNone) return {0, 0};
  memcpy(writer.items<char>(kStrings) + offset, bytes, length);
  return {offset, static_cast<uint32_t>(length)};
}

}  // namespace asynctrace::agent
