// RunSegments: the segment files of one `run`, told from all others by the run's id in their names, or by the
// pattern of -o. Reads /proc and directories; discard_clean() removes files.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

#include "cli/error.hpp"
#include "cli/process/ended_processes.hpp"
#include "cli/process/traced_process.hpp"

namespace asynctrace {

class RunSegments {
 public:
  // `output`: the absolute pattern of -o, "" for files in `directory`. Refuses (125) an output that would
  // overwrite something that is no segment of a dead process; such a segment is removed.
  static Result<RunSegments> prepare(std::string directory, std::string run_id, std::string output);

  // The living processes below this one that are traced, parents first.
  std::vector<TracedProcess> live() const;

  // Those that SIGKILL or a crash has ended since the last call; so it is noted in their files.
  std::vector<TracedProcess> take_lost(const EndedProcesses& ended);

  // Removes the files of processes that ended well and returns the others that are dead. `ended` tells of
  // those that are known; their end is noted in the files that stay. Any other ended well if it ran its exit
  // handlers and the target, too, ended with 0. With -o nothing is removed.
  std::vector<TracedProcess> discard_clean(const EndedProcesses& ended, bool target_ended_well) const;

  const std::string& directory() const { return directory_; }
  // Whether a file name in that directory is one of the run's segments.
  bool is_segment(std::string_view name) const;

 private:
  using FileId = std::pair<dev_t, ino_t>;
  RunSegments() = default;
  std::vector<std::string> files() const;

  std::string directory_;
  std::string file_pattern_;  // for fnmatch, of the name inside directory_
  bool keeps_all_ = false;
  std::set<FileId> older_;      // there before the run
  std::set<std::string> lost_;  // files that take_lost() has returned
};

// 16 hexadecimal digits, random.
std::string make_run_id();

}  // namespace asynctrace
