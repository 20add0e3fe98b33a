// What led to the waits of a task: whose callback armed what it waits for, and so on.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cli/tree/report.hpp"
#include "cli/tree/stack_table.hpp"

namespace asynctrace {

class CauseTable {
 public:
  // `function_of`: the name of a function, from an index into Snapshot::stacks.
  using FunctionOf = std::function<std::string(uint32_t)>;
  CauseTable(StackTable& stacks, Report& report, FunctionOf function_of)
      : stacks_(stacks), report_(report), function_of_(std::move(function_of)) {}

  // Index into Report::causes; nothing for a task of which none is known.
  std::optional<uint32_t> add(const Task& task);
  // Once all tasks are there: names those that are causes, and draws the chains.
  void finish();

 private:
  void draw(CauseChain& chain);

  StackTable& stacks_;
  Report& report_;
  FunctionOf function_of_;
  std::map<std::string, uint32_t> drawn_;  // by their text
};

}  // namespace asynctrace
