// Leaves that a poll on request has met, beside those that the task told of itself when it began to wait.
#pragma once

#include <vector>

#include "cli/snapshot.hpp"

namespace asynctrace {

// Of one task that was polled. A leaf that was both told and met is confirmed; one that was only told is not,
// and one that was only met comes to `leaves`. Nothing changes where `met` is empty: the task may not have
// been polled.
void merge_met(std::vector<Leaf> met, std::vector<Leaf>& leaves, const std::vector<Stack>& stacks);

}  // namespace asynctrace
