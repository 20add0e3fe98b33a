// ReplacedFile: a file that appears under its name whole or not at all. It is written in the same directory,
// without a name where the file system can, so that not even SIGKILL leaves anything, and renamed. What is no
// regular file (/dev/null, a FIFO) is written in place.
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
  // Without it the old file stays as it was.
  Result<void> commit();

 private:
  enum class Form { kInPlace, kUnnamed, kNamed };
  ReplacedFile(FileDescriptor file, Form form, std::string path, std::string temporary);

  FileDescriptor file_;
  Form form_;
  std::string path_;
  std::string temporary_;
};

}  // namespace asynctrace
