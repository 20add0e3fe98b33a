#include "cli/process/proc.hpp"

#include <dirent.h>
#include <unistd.h>
#include <algorithm>
#include <charconv>
#include <ctime>
#include <map>
#include <memory>
#include <set>

#include <fmt/format.h>

#include "cli/process/file_descriptor.hpp"
#include "cli/process/mappings.hpp"

namespace asynctrace {
namespace {

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Cuts the next space-separated word off `text`.
std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size());
  return word;
}

}  // namespace

std::optional<ProcStat> parse_stat(std::string_view text) {
  size_t open = text.find('(');
  size_t close = text.rfind(')');
  if (open == text.npos || close == text.npos || close < open) return std::nullopt;
  ProcStat stat;
  stat.name = text.substr(open + 1, close - open - 1);
  std::string_view rest = text.substr(close + 1);
  std::string_view state = next_word(rest);
  auto ppid = parse_number<pid_t>(next_word(rest));
  for (int field = 5; field < 9; field++) next_word(rest);
  stat.flags = parse_number<uint64_t>(next_word(rest)).value_or(0);
  for (int field = 10; field < 22; field++) next_word(rest);
  auto start_time = parse_number<uint64_t>(next_word(rest));
  if (state.size() != 1 || !ppid || !start_time) return std::nullopt;
  stat.state = state[0];
  stat.ppid = *ppid;
  stat.start_time = *start_time;
  for (int field = 23; field < 52; field++) next_word(rest);
  rest = rest.substr(0, rest.find('\n'));
  stat.exit_status = parse_number<int>(next_word(rest));
  return stat;
}

std::optional<ProcStat> read_stat(pid_t pid) {
  auto text = read_file(fmt::format("/proc/{}/stat", pid));
  return text ? parse_stat(*text) : std::nullopt;
}

std::vector<SharedMapping> parse_shared_mappings(std::string_view maps) {
  constexpr std::string_view kDeleted = " (deleted)";
  std::vector<SharedMapping> found;
  while (!maps.empty()) {
    std::string_view line = maps.substr(0, maps.find('\n'));
    maps.remove_prefix(std::min(line.size() + 1, maps.size()));

    std::string_view range = next_word(line);
    bool shared = next_word(line).ends_with('s');
    for (int skipped = 0; skipped < 2; skipped++) next_word(line);
    auto inode = parse_number<uint64_t>(next_word(line));
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    bool deleted = line.ends_with(kDeleted);
    if (deleted) line.remove_suffix(kDeleted.size());
    if (!shared || !inode || !line.starts_with('/')) continue;
    bool seen = std::any_of(found.begin(), found.end(), [&](auto& m) { return m.inode == *inode; });
    if (!seen) found.push_back({unescape_newlines(line), deleted, std::string(range), *inode});
  }
  return found;
}

std::vector<pid_t> all_pids() {
  std::vector<pid_t> pids;
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc"), ::closedir);
  if (!directory) return pids;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (auto pid = parse_number<pid_t>(entry->d_name)) pids.push_back(*pid);
  }
  std::sort(pids.begin(), pids.end());
  return pids;
}

std::vector<pid_t> descendants(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  for (pid_t pid : all_pids()) {
    if (auto stat = read_stat(pid)) children.emplace(stat->ppid, pid);
  }
  std::vector<pid_t> found{root};
  // Pids can be reused while /proc is read, so the edges may form a circle.
  std::set<pid_t> seen{root};
  for (size_t i = 0; i < found.size(); i++) {
    auto [first, last] = children.equal_range(found[i]);
    for (auto child = first; child != last; ++child) {
      if (seen.insert(child->second).second) found.push_back(child->second);
    }
  }
  found.erase(found.begin());
  return found;
}

std::vector<uint32_t> namespaced_pids(pid_t pid) {
  std::vector<uint32_t> pids;
  std::string status = read_file(fmt::format("/proc/{}/status", pid)).value_or("");
  constexpr std::string_view kField = "\nNSpid:";
  if (size_t at = status.find(kField); at != status.npos) {
    std::string line = status.substr(at + kField.size(), status.find('\n', at + 1) - at - kField.size());
    std::replace(line.begin(), line.end(), '\t', ' ');
    std::string_view rest = line;
    while (auto number = parse_number<uint32_t>(next_word(rest))) pids.push_back(*number);
  }
  if (pids.empty()) pids.push_back(static_cast<uint32_t>(pid));
  return pids;
}

std::string boot_id() {
  std::string text = read_file("/proc/sys/kernel/random/boot_id").value_or("");
  return text.substr(0, text.find('\n'));
}

std::optional<double> age_seconds(uint64_t start_time) {
  timespec now{};
  if (::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return std::nullopt;
  double age = static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9 -
               static_cast<double>(start_time) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  // A start time counts whole ticks, so a new process may seem to start a moment ahead.
  if (age < -1) return std::nullopt;
  return std::max(age, 0.0);
}

}  // namespace asynctrace
