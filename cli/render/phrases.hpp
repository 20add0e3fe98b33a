// Phrases that the text and the reports for CI systems share. What comes from the target is escaped.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "cli/tree/report.hpp"

namespace asynctrace {

inline constexpr size_t kListedIds = 10;  // a group of more tasks is summarized

std::string with_commas(size_t number);
std::string counted(size_t number, std::string_view what);  // "1 task", "10,000 tasks"

// The file name of the program.
std::string program_name(const Report& report);

// "shop pid 42  tokio, 4 workers: 3 parked, 1 idle   5 tasks: 4 inside, 1 running   read in 3 ms"
std::string headline(const Report& report);

// "SIGSEGV"
std::string signal_name(int signal);

// "crashed: SIGSEGV in task 17 on thread tid 42 (in one poll for 3ms)"; of a report with a crash.
std::string crash_line(const Report& report);

// "task 3", "task 3 "accept loop"", "block_on, thread 42 (task 3)", "3 tasks", where it is known with the
// name of their thread.
std::string subject(const Group& group, const Report& report);

// "31.0s..31.2s", "at least 2.0s", "31.0s, 2 of 3 not moved in 10.0s"; "" where it is not known
std::string waiting(const Group& group, const Report& report);

// Two spaces and the text; nothing for nothing.
std::string spaced(const std::string& text);

// "thread tid 4250", "thread tid 4250 in task 7"
std::string thread_in_task(const Thread& thread, const Report& report);

// The trace, a line for each row, each after `indent`.
std::string draw(const Group& group, const Report& report, std::string_view indent = "", bool colour = false);

enum class Style { kRed, kBold, kDim };
std::string styled(Style style, std::string_view text);

}  // namespace asynctrace
