#include "cli/symbols/symbol_cache.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include "cli/compressed.hpp"
#include "cli/process/file_descriptor.hpp"
#include "cli/symbols/debug_file.hpp"

namespace asynctrace {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "ATSYMS\n\x01";
constexpr std::string_view kSuffix = ".symbols";
constexpr size_t kMaxFile = 64 << 20;
constexpr uint64_t kMaxDecoded = 256 << 20;
// Fast both ways; a smaller file would not pay.
constexpr int kLevel = 1;

std::string identity(const ModuleFiles& files, const std::string& stamp) {
  const auto version = [](const ElfFile& file) {
    return fmt::format("{} {}", file.version().size, file.version().changed_ns);
  };
  std::string text = fmt::format("{}\n{}\n{}\n", stamp, hex(files.file->build_id()), version(*files.file));
  if (files.debug_file) text += fmt::format("{}\n{}\n", files.debug_file->path(), version(*files.debug_file));
  return text;
}

bool is_ours(const std::string& directory) {
  struct stat info {};
  return ::lstat(directory.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::geteuid();
}

bool is_private(const std::string& directory) {
  struct stat info {};
  return is_ours(directory) && ::lstat(directory.c_str(), &info) == 0 && (info.st_mode & 022) == 0;
}

// Where root borrows a user's HOME nothing of root's is left behind.
bool make(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0700) == 0) return true;
  const std::string parent = fs::path(directory).parent_path().string();
  const std::string home = fs::path(parent).parent_path().string();
  if (::access(parent.c_str(), F_OK) != 0 && is_ours(home)) ::mkdir(parent.c_str(), 0700);
  if (!is_ours(parent)) return is_private(directory);
  ::mkdir(directory.c_str(), 0700);
  return is_private(directory);
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

std::string default_cache_directory() {
  const auto absolute = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value != nullptr && *value == '/' ? value : "");
  };
  if (const std::string cache = absolute("XDG_CACHE_HOME"); !cache.empty()) return cache + "/asynctrace";
  const std::string home = absolute("HOME");
  return home.empty() ? "" : home + "/.cache/asynctrace";
}

std::optional<ModuleSymbols> SymbolCache::load(const ModuleFiles& files) const {
  if (files.file->build_id().empty() || !is_private(directory_)) return std::nullopt;
  const std::string path = fmt::format("{}/{}{}", directory_, hex(files.file->build_id()), kSuffix);
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat info {};
  if (!file || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != ::geteuid() ||
      info.st_size > static_cast<off_t>(kMaxFile)) {
    return std::nullopt;
  }
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  if (::read(file.get(), bytes.data(), bytes.size()) != info.st_size) return std::nullopt;
  const std::string head = std::string(kMagic) + identity(files, stamp_);
  if (!bytes.starts_with(head)) return std::nullopt;
  const auto decoded = decompress(as_bytes(bytes).subspan(head.size()), kMaxDecoded);
  if (!decoded) return std::nullopt;
  ByteReader in(decoded->bytes());
  ModuleSymbols symbols = read_module(in);
  if (!in.ok() || !in.at_end()) return std::nullopt;
  ::futimens(file.get(), nullptr);  // used now: see drop_oldest()
  return symbols;
}

void SymbolCache::store(const ModuleFiles& files, const ModuleSymbols& symbols) const {
  if (files.file->build_id().empty() || !make(directory_)) return;
  ByteWriter out;
  write_module(symbols, out);
  const std::string payload = compress(as_bytes(out.take()), kLevel);
  const std::string bytes = std::string(kMagic) + identity(files, stamp_) + payload;
  if (bytes.size() > kMaxFile) return;
  const std::string path = fmt::format("{}/{}{}", directory_, hex(files.file->build_id()), kSuffix);
  const std::string temporary = fmt::format("{}.{}", path, ::getpid());
  ::unlink(temporary.c_str());
  {
    const FileDescriptor file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) return;
    if (::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
      ::unlink(temporary.c_str());
      return;
    }
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) ::unlink(temporary.c_str());
  drop_oldest();
}

void SymbolCache::drop_oldest() const {
  struct Kept {
    fs::file_time_type used;
    uint64_t size;
    fs::path path;
  };
  std::vector<Kept> files;
  uint64_t size = 0;
  std::error_code failed;
  for (fs::directory_iterator entry(directory_, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    std::error_code gone;
    Kept kept{entry->last_write_time(gone), 0, entry->path()};
    if (!gone) kept.size = entry->file_size(gone);
    if (gone) continue;
    size += kept.size;
    files.push_back(std::move(kept));
  }
  std::ranges::sort(files, {}, &Kept::used);
  for (const Kept& oldest : files) {
    if (size <= kMaxBytes) return;
    std::error_code ignored;
    fs::remove(oldest.path, ignored);
    size -= oldest.size;
  }
}

}  // namespace asynctrace
