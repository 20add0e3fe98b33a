#include "cli/process/death_record.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <cstddef>

#include "cli/process/file_descriptor.hpp"
#include "cli/segment_file.hpp"

namespace asynctrace {
namespace {

template <typename T>
void write_at(const FileDescriptor& file, size_t offset, const T& value, size_t size = sizeof(T)) {
  [[maybe_unused]] const ssize_t written = ::pwrite(file.get(), &value, size, static_cast<off_t>(offset));
}

segment::Crash to_record(const CrashedThread& thread) {
  segment::Crash crash{};
  crash.tid = static_cast<uint32_t>(thread.tid);
  crash.signal = static_cast<uint32_t>(thread.signal);
  crash.source = thread.source;
  crash.count = static_cast<uint32_t>(std::min<size_t>(thread.pcs.size(), segment::kMaxCrashFrames));
  std::copy_n(thread.pcs.begin(), crash.count, crash.pcs);
  return crash;
}

}  // namespace

void record_death(const std::string& path, const Ended& ended) {
  // Nothing is ever written into anything else, nor past the header of an older agent. A
  // packed file was made of a dead process, whose end is in it.
  const auto segment = SegmentFile::open(path);
  if (!segment || segment->is_packed()) return;
  const bool has_crash_record = segment->reader().header().header_size >= sizeof(segment::Header);
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return;
  const auto status = static_cast<uint32_t>(ended.status);
  write_at(file, offsetof(segment::Header, died_at_ns), ended.at_ns);
  write_at(file, offsetof(segment::Header, wait_status), status);
  if (ended.crash && has_crash_record)
    write_at(file, offsetof(segment::Header, crash), to_record(*ended.crash));
}

}  // namespace asynctrace
