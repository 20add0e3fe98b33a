// What /proc tells about processes. Every answer may be out of date when it arrives: a process can end
// between two calls, so "not there" is a normal value and never an error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace asynctrace {

struct ProcStat {
  std::string name;  // as the kernel knows it, at most 15 bytes, not escaped
  char state = 0;    // 'Z': ended, waits for its parent
  pid_t ppid = 0;
  uint64_t flags = 0;              // PF_* of the kernel's include/linux/sched.h
  uint64_t start_time = 0;         // field 22: clock ticks since boot
  std::optional<int> exit_status;  // field 52, as of waitpid(2); before the end 0
};

// The text of /proc/PID/stat. The name may hold spaces, parentheses and newlines.
std::optional<ProcStat> parse_stat(std::string_view text);
std::optional<ProcStat> read_stat(pid_t pid);

// A file that a process shares with others through its memory: what a segment is.
struct SharedMapping {
  std::string path;  // as the process sees it, without " (deleted)"
  bool deleted = false;
  std::string range;  // "7f00-7f10": its name in map_files
  uint64_t inode = 0;
};

// Of the text of /proc/PID/maps: the first shared mapping of each file, whatever its name (-o chooses any).
std::vector<SharedMapping> parse_shared_mappings(std::string_view maps);

std::vector<pid_t> all_pids();
// Everything below `root`, without it, parents before their children.
std::vector<pid_t> descendants(pid_t root);
// The process's id in each pid namespace that it lives in, ours first; {pid} where the kernel does not tell.
std::vector<uint32_t> namespaced_pids(pid_t pid);
// "" where unknown.
std::string boot_id();
// Seconds since the process started, from its start time; nothing for a start in the future.
std::optional<double> age_seconds(uint64_t start_time);

}  // namespace asynctrace
