#include "cli/descriptors/epoll_lists.hpp"

#include <cerrno>
#include <filesystem>

#include <fmt/format.h>

#include "cli/descriptors/words.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

// "ino:61af"
std::optional<uint64_t> cut_inode(std::string_view& line) {
  std::string_view word = cut_word(line);
  if (word.starts_with("pos:")) word = cut_word(line);
  if (cut(word, ':') != "ino") return std::nullopt;
  return whole_number<uint64_t>(word, 16);
}

}  // namespace

// "tfd:        7 events: 8000001d data:                7  pos:0 ino:61af sdev:7"
std::vector<EpollEntry> parse_epoll_list(std::string_view info) {
  std::vector<EpollEntry> entries;
  while (!info.empty()) {
    std::string_view line = cut(info, '\n');
    if (cut_word(line) != "tfd:") continue;
    const auto descriptor = whole_number<int>(cut_word(line));
    if (cut_word(line) != "events:") continue;
    const auto events = whole_number<uint32_t>(cut_word(line), 16);
    if (cut_word(line) != "data:") continue;
    const auto data = whole_number<uint64_t>(cut_word(line), 16);
    const auto inode = cut_inode(line);
    if (descriptor && events && data && inode) entries.push_back({*descriptor, *events, *data, *inode});
  }
  return entries;
}

std::optional<EpollLists> epoll_lists(const std::string& process) {
  EpollLists lists;
  std::error_code error;
  const std::filesystem::directory_iterator descriptors(process + "/fd", error);
  if (error) return std::nullopt;
  for (const auto& entry : descriptors) {
    if (std::filesystem::read_symlink(entry.path(), error) != "anon_inode:[eventpoll]") continue;
    const std::string name = entry.path().filename().string();
    const auto number = whole_number<int>(name);
    const auto info = read_file(fmt::format("{}/fdinfo/{}", process, name));
    if (!info && errno != ENOENT) return std::nullopt;
    if (number && info) lists.emplace(*number, parse_epoll_list(*info));
  }
  return lists;
}

}  // namespace asynctrace
