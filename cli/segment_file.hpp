// SegmentFile: a segment file mapped for reading. Owns the mapping. Never writes. Blocks only for file reads.
#pragma once

#include <span>
#include <string>

#include "cli/error.hpp"
#include "common/segment_reader.hpp"

namespace asynctrace {

class SegmentFile {
 public:
  static Result<SegmentFile> open(const std::string& path);
  SegmentFile(SegmentFile&& other) noexcept;
  SegmentFile& operator=(SegmentFile&&) = delete;
  ~SegmentFile();

  const SegmentReader& reader() const { return reader_; }

 private:
  SegmentFile(std::span<const std::byte> bytes, const SegmentReader& reader)
      : bytes_(bytes), reader_(reader) {}

  std::span<const std::byte> bytes_;
  SegmentReader reader_;
};

}  // namespace asynctrace
