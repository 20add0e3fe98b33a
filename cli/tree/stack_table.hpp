// The report's stacks and frames, resolved and classified when they are first used.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cli/tree/report.hpp"

namespace asynctrace {

// Of a native stack what lies inside the innermost poll, up to the agent's hook around it; all where there is
// none. Without what else of the agent stands between the frames.
std::vector<uint64_t> inside_poll(const std::vector<uint64_t>& pcs, const Snapshot& snapshot);

class StackTable {
 public:
  // Fills report.stacks and report.frames; all arguments must outlive it.
  StackTable(const Snapshot& snapshot, FrameSource& symbols, const ReportOptions& options, Report& report)
      : snapshot_(snapshot), symbols_(symbols), options_(options), report_(report) {}

  // Index into Report::stacks, for one into Snapshot::stacks; nullopt for none, or one that does not exist.
  // `joins`: known to wait for the end of a task, whatever its functions are called. `label`: index into
  // Snapshot::labels, what the program itself says.
  std::optional<uint32_t> add(std::optional<uint32_t> stack, bool joins = false,
                              std::optional<uint32_t> label = {});

  // The same for a native stack, without the agent's frames. `in_task`: of it what lies inside the innermost
  // poll, as far as it reaches out to that.
  uint32_t add_native(uint32_t stack, bool in_task);

  // Both are indexes into Report::stacks. True if no task can wait in both at once: seen from the root they
  // part inside one async body, at different awaits of it. Below something that holds several futures of one
  // type the body may be another instance, so that nothing follows. `same_waker`: both are leaves of one
  // waker, so that a combinator which gives each future its own holds them in the same one.
  bool exclude_each_other(uint32_t a, uint32_t b, bool same_waker);

  // `stack` ends in a combinator of a task known by its wakers alone. True if some other such task was polled
  // from inside the same combinator.
  bool has_children_apart(uint32_t stack);

 private:
  uint32_t add_frame(uint32_t frame);
  bool part_in_async_body(uint32_t a, uint32_t b, bool same_waker);
  bool part_in_combinator(uint32_t source_a, uint32_t source_b);

  const Snapshot& snapshot_;
  FrameSource& symbols_;
  const ReportOptions& options_;
  Report& report_;
  std::map<std::pair<uint32_t, std::optional<uint32_t>>, uint32_t> stacks_;  // by stack and label
  std::unordered_map<uint32_t, uint32_t> frames_;
  std::unordered_map<uint64_t, bool> exclusive_;
  std::unordered_map<uint32_t, bool> parents_;
};

}  // namespace asynctrace
