#include "cli/segment_file.hpp"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "cli/pack/packed_file.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

tl::unexpected<Error> about(const std::string& path, Error error) {
  error.message = fmt::format("{}: {}", path, error.message);
  return tl::unexpected(std::move(error));
}

}  // namespace

Result<SegmentFile> SegmentFile::open(const std::string& path) {
  const FileDescriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info {};
  if (!descriptor || fstat(descriptor.get(), &info) != 0)
    return fail(fmt::format("{}: {}", path, strerror(errno)), "`asynctrace ps` lists the segment files");
  if (!S_ISREG(info.st_mode)) return fail(fmt::format("{}: not a regular file", path));
  auto file = MappedBytes::of_file(descriptor.get(), static_cast<size_t>(info.st_size));
  if (!file) return fail(fmt::format("{}: {}", path, strerror(errno)));
  MappedBytes unpacked;
  const bool packed = pack::is_packed(file->bytes());
  if (packed) {
    auto segment = pack::unpack_segment(file->bytes());
    if (!segment) return about(path, segment.error());
    unpacked = std::move(*segment);
  }
  const auto opened = SegmentReader::open(packed ? unpacked.bytes() : file->bytes());
  if (const auto* reader = std::get_if<SegmentReader>(&opened))
    return SegmentFile(path, std::move(*file), std::move(unpacked), *reader);
  const SegmentFault fault = std::get<SegmentFault>(opened);
  return fail(fmt::format("{}: {}", path, describe(fault)),
              fault == SegmentFault::kOtherVersion ? "use the asynctrace that belongs to that agent" : "");
}

bool SegmentFile::is_packed() const {
  return pack::is_packed(file_.bytes());
}

Result<std::vector<ModuleSymbols>> SegmentFile::symbols(size_t modules) const {
  if (!is_packed()) return std::vector<ModuleSymbols>();
  auto symbols = pack::unpack_symbols(file_.bytes(), modules);
  if (!symbols) return about(path_, symbols.error());
  return symbols;
}

}  // namespace asynctrace
