#include "cli/segment_file.hpp"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include <fmt/format.h>

#include "cli/process/file_descriptor.hpp"

namespace asynctrace {

Result<SegmentFile> SegmentFile::open(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info {};
  if (!file || fstat(file.get(), &info) != 0)
    return fail(fmt::format("{}: {}", path, strerror(errno)), "`asynctrace ps` lists the segment files");
  if (!S_ISREG(info.st_mode)) return fail(fmt::format("{}: not a regular file", path));
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) return fail(fmt::format("{}: {}", path, describe(SegmentFault::kTooShort)));
  void* memory = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) return fail(fmt::format("{}: {}", path, strerror(errno)));
  const std::span bytes(static_cast<const std::byte*>(memory), size);
  const auto opened = SegmentReader::open(bytes);
  if (const auto* reader = std::get_if<SegmentReader>(&opened)) return SegmentFile(bytes, *reader);
  munmap(memory, size);
  const SegmentFault fault = std::get<SegmentFault>(opened);
  return fail(fmt::format("{}: {}", path, describe(fault)),
              fault == SegmentFault::kNewerVersion ? "use the asynctrace that belongs to that agent" : "");
}

SegmentFile::SegmentFile(SegmentFile&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})), reader_(other.reader_) {}

SegmentFile::~SegmentFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace asynctrace
