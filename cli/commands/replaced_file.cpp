#include "cli/commands/replaced_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

namespace asynctrace {
namespace {

tl::unexpected<Error> refused(const std::string& path) {
  return fail(fmt::format("{}: {}", path, std::strerror(errno)), "choose another file");
}

}  // namespace

Result<ReplacedFile> ReplacedFile::open(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  const bool exists = std::filesystem::exists(status);
  if (exists && !std::filesystem::is_regular_file(status)) {
    FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file) return refused(path);
    return ReplacedFile(std::move(file), Form::kInPlace, path, "");
  }
  // Through a symbolic link the file that it names is replaced, not the link.
  const std::filesystem::path real = std::filesystem::weakly_canonical(path, error);
  if (error) return fail(fmt::format("{}: {}", path, error.message()), "choose another file");
  const std::string temporary = fmt::format("{}.{}", real.string(), ::getpid());
  FileDescriptor file(::open(real.parent_path().c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666));
  const Form form = file ? Form::kUnnamed : Form::kNamed;
  if (!file) file = FileDescriptor(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!file) return refused(path);
  ReplacedFile result(std::move(file), form, real.string(), temporary);
  if (exists && ::fchmod(result.descriptor(), static_cast<mode_t>(status.permissions())) != 0)
    return refused(path);
  return result;
}

ReplacedFile::ReplacedFile(FileDescriptor file, Form form, std::string path, std::string temporary)
    : file_(std::move(file)), form_(form), path_(std::move(path)), temporary_(std::move(temporary)) {}

ReplacedFile::ReplacedFile(ReplacedFile&& other) noexcept
    : file_(std::move(other.file_)),
      form_(std::exchange(other.form_, Form::kInPlace)),
      path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)) {}

ReplacedFile::~ReplacedFile() {
  if (form_ == Form::kNamed) ::unlink(temporary_.c_str());
}

Result<void> ReplacedFile::commit() {
  if (form_ == Form::kInPlace) return {};
  if (form_ == Form::kUnnamed) {
    const std::string self = fmt::format("/proc/self/fd/{}", file_.get());
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) != 0)
      return refused(path_);
    form_ = Form::kNamed;
  }
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return refused(path_);
  form_ = Form::kInPlace;
  return {};
}

}  // namespace asynctrace
