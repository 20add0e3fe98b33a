#include "cli/diff/compare.hpp"

#include <map>

namespace asynctrace {

Diff compare(const DumpTraces& before, const DumpTraces& after) {
  Diff diff;
  diff.same_process = before.pid == after.pid && before.exe == after.exe &&
                      before.start_time == after.start_time && !after.start_time.empty();
  if (before.shown_ms && after.shown_ms && *after.shown_ms >= *before.shown_ms)
    diff.between_ms = static_cast<uint64_t>(*after.shown_ms - *before.shown_ms);

  std::map<std::vector<std::string>, const DumpTrace*> earlier, later;
  for (const DumpTrace& trace : before.traces) earlier[trace.lines] = &trace;
  for (const DumpTrace& trace : after.traces) {
    later[trace.lines] = &trace;
    const auto known = earlier.find(trace.lines);
    if (known == earlier.end()) {
      diff.added.push_back({trace.lines, {}, trace.tasks, {}});
      continue;
    }
    DiffTrace both{trace.lines, known->second->tasks, trace.tasks, {}};
    for (const uint64_t id : trace.tasks) {
      const auto was = before.tasks.find(id);
      if (diff.same_process && was != before.tasks.end() && was->second.polls &&
          was->second == after.tasks.at(id))
        both.unmoved.push_back(id);
    }
    diff.both.push_back(std::move(both));
  }
  for (const DumpTrace& trace : before.traces) {
    if (!later.contains(trace.lines)) diff.gone.push_back({trace.lines, trace.tasks, {}, {}});
  }
  return diff;
}

}  // namespace asynctrace
