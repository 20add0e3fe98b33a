// SegmentFile: a segment file, mapped for reading, or a packed one, unpacked into memory. Owns the memory.
// Never writes. Blocks only for file reads.
#pragma once

#include <string>
#include <vector>

#include "cli/error.hpp"
#include "cli/mapped_bytes.hpp"
#include "cli/symbols/symbol_table.hpp"
#include "common/segment_reader.hpp"

namespace asynctrace {

class SegmentFile {
 public:
  static Result<SegmentFile> open(const std::string& path);

  const SegmentReader& reader() const { return reader_; }
  // Gives the pages back that were read so far; they are read from the file again if need be.
  void let_go() const { file_.let_go(); }
  bool is_packed() const;
  // Of a packed file, one for each of the modules that it has; else none.
  Result<std::vector<ModuleSymbols>> symbols(size_t modules) const;

 private:
  SegmentFile(std::string path, MappedBytes file, MappedBytes unpacked, const SegmentReader& reader)
      : path_(std::move(path)), file_(std::move(file)), unpacked_(std::move(unpacked)), reader_(reader) {}

  std::string path_;
  MappedBytes file_;
  MappedBytes unpacked_;  // the segment, where the file is packed
  SegmentReader reader_;
};

}  // namespace asynctrace
