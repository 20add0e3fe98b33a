#include "cli/descriptors/edge_triggered.hpp"

#include <sys/epoll.h>

#include <filesystem>

#include <fmt/format.h>

#include "cli/descriptors/words.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {

// "tfd:        7 events: 8000001d data: ..."
void add_edge_triggered(std::string_view info, std::unordered_set<int>& descriptors) {
  while (!info.empty()) {
    std::string_view line = cut(info, '\n');
    if (cut_word(line) != "tfd:") continue;
    const auto descriptor = whole_number<int>(cut_word(line));
    if (cut_word(line) != "events:") continue;
    const auto events = whole_number<uint32_t>(cut_word(line), 16);
    if (descriptor && events && (*events & static_cast<uint32_t>(EPOLLET)) != 0)
      descriptors.insert(*descriptor);
  }
}

std::unordered_set<int> edge_triggered_descriptors(const std::string& process) {
  std::unordered_set<int> descriptors;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(process + "/fd", error)) {
    if (std::filesystem::read_symlink(entry.path(), error) != "anon_inode:[eventpoll]") continue;
    const std::string info = fmt::format("{}/fdinfo/{}", process, entry.path().filename().string());
    add_edge_triggered(read_file(info).value_or(""), descriptors);
  }
  return descriptors;
}

}  // namespace asynctrace
