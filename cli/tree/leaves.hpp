// Which leaves of a task are true, which are shown, and why the others are not.
#pragma once

#include <vector>

#include "cli/tree/stack_table.hpp"

namespace asynctrace {

// In the order of registration. A waker may outlive its await, so a live leaf is not yet a true one:
//  1. one that was not renewed in the task's last poll is not confirmed (the snapshot says so);
//  2. of those that exclude each other, only the newest is confirmed (StackTable::exclude_each_other).
// Unconfirmed leaves are hidden where the task has a confirmed one.
std::vector<ReportLeaf> judge_leaves(const Task& task, StackTable& stacks, const Report& report);

}  // namespace asynctrace
