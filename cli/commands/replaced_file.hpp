// ReplacedFile: a file that appears under its name whole or not at all. It is written beside it and renamed;
// without commit() nothing is left. What is no regular file (/dev/null, a FIFO) is written in place.
#pragma once

#include <string>

#include "cli/error.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {

class ReplacedFile {
 public:
  static Result<ReplacedFile> open(const std::string& path);
  ReplacedFile(ReplacedFile&& other) noexcept;
  ReplacedFile& operator=(ReplacedFile&&) = delete;
  ~ReplacedFile();

  int descriptor() const { return file_.get(); }
  Result<void> commit();

 private:
  ReplacedFile(FileDescriptor file, std::string path, std::string temporary);

  FileDescriptor file_;
  std::string path_;
  std::string temporary_;  // "": none, or renamed
};

}  // namespace asynctrace
