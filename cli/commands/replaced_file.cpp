#include "cli/commands/replaced_file.hpp"

#include <fcntl.h>
#include <stdlib.h>
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

Result<ReplacedFile> refused(const std::string& path) {
  return fail(fmt::format("{}: {}", path, std::strerror(errno)), "choose another -o FILE");
}

mode_t umask_now() {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return mask;
}

}  // namespace

Result<ReplacedFile> ReplacedFile::open(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file) return refused(path);
    return ReplacedFile(std::move(file), path, "");
  }
  // Through a symbolic link the file that it names is replaced, not the link.
  const auto resolved = std::filesystem::weakly_canonical(path, error);
  const std::string real = error ? path : resolved.string();
  std::string temporary = real + ".XXXXXX";
  FileDescriptor file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!file) return refused(path);
  const bool known = std::filesystem::exists(status);
  const mode_t mode = known ? static_cast<mode_t>(status.permissions()) : 0666 & ~umask_now();
  ReplacedFile result(std::move(file), real, std::move(temporary));
  if (::fchmod(result.descriptor(), mode) != 0) return refused(path);
  return result;
}

ReplacedFile::ReplacedFile(FileDescriptor file, std::string path, std::string temporary)
    : file_(std::move(file)), path_(std::move(path)), temporary_(std::move(temporary)) {}

ReplacedFile::ReplacedFile(ReplacedFile&& other) noexcept
    : file_(std::move(other.file_)),
      path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})) {}

ReplacedFile::~ReplacedFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<void> ReplacedFile::commit() {
  if (temporary_.empty()) return {};
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0)
    return fail(fmt::format("{}: {}", path_, std::strerror(errno)), "choose another -o FILE");
  temporary_.clear();
  return {};
}

}  // namespace asynctrace
