// Which processes of this user are traced, alive and dead, and where their segments are. A live process's
// segment is found through its own mappings, so a renamed, deleted or far-away file is found as well; a dead
// one's by listing the segment directories. Reads /proc and files only.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "cli/error.hpp"
#include "cli/read_snapshot.hpp"

namespace asynctrace {

enum class Life {
  kRunning,
  kExeced,    // lives, but as another program: the file belongs to the one before
  kExited,    // ran its exit handlers
  kEnded,     // gone without them: killed, crashed or _exit
  kUntraced,  // lives, without the agent: there is no segment
  kCore,      // of a dead one there is a core file, `open_path`
};

struct TracedProcess {
  pid_t pid = 0;  // as we see it; of a dead one as it saw itself
  Life life = Life::kRunning;
  std::string open_path;   // opens the segment; "": there is none
  std::string shown_path;  // what it is called, for people
  SegmentSummary summary;
};

// The process `pid`, which must be alive and traced. Errors say which of gone, another user's, without the
// agent or without a runtime it is.
Result<TracedProcess> find_live(pid_t pid);

// The same, else the newest segment that a dead process of that id left, else the living process as
// kUntraced.
Result<TracedProcess> find_traced(pid_t pid);

// All live ones that belong to this user, by pid.
std::vector<TracedProcess> list_live();

// `live` and the dead, by pid, the newer first. Files that are no segments go to `unreadable`, as errors.
std::vector<TracedProcess> list_traced(std::vector<Error>& unreadable);

// What became of the process that wrote this file, judged from its header and /proc; kRunning also where
// /proc hides the answer.
Life life_of(const std::string& path, const SegmentSummary& summary);

}  // namespace asynctrace
