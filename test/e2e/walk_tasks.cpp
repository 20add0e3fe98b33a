// walk_tasks SEGMENT PID: prints, as a line of JSON each, what every waiting tokio task of a live process
// waits for by the future walker alone: {"id": N, "incomplete": bool, "chains": [[[function, file,
// line|null]..]..]}, one chain of async bodies for each leaf, outermost first.
#include <cstdlib>
#include <iostream>
#include <memory>

#include <nlohmann/json.hpp>

#include "cli/census/dwarf_types.hpp"
#include "cli/census/future_walker.hpp"
#include "cli/read_snapshot.hpp"
#include "cli/tree/names.hpp"

using namespace asynctrace;
using nlohmann::json;

namespace {

void add_chains(const std::vector<FutureNode>& nodes, const json& above, json& chains) {
  for (const FutureNode& node : nodes) {
    json chain = above;
    if (node.kind == FutureKind::kBody) {
      chain.push_back({display_name(node.frame, {}), node.frame.file,
                       node.frame.line == 0 ? json(nullptr) : json(node.frame.line)});
    }
    if (node.children.empty()) chains.push_back(chain);
    add_chains(node.children, chain, chains);
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const auto pid = static_cast<uint32_t>(std::atoi(arguments[2]));
  const auto snapshot = read_snapshot(arguments[1], {ProcessState::kRunning, pid});
  if (!snapshot) {
    std::cerr << snapshot.error().message << '\n';
    return 1;
  }
  Symbolizer symbols(snapshot->modules);
  const auto types = DwarfTypes::open(snapshot->modules.at(0), symbols.find_files(0));
  if (!types) return 1;
  const ProcessMemory memory(static_cast<pid_t>(pid));
  FutureWalker walker(*types, memory);
  for (const Task& task : snapshot->tasks) {
    if (task.runtime != RuntimeId::kTokio || task.state != TaskState::kWaiting || task.poll_function == 0)
      continue;
    json chains = json::array();
    add_chains(walker.walk_task(types->task_shape(task.poll_function), task.address), json::array(), chains);
    std::cout << json{{"id", task.id}, {"incomplete", walker.incomplete()}, {"chains", chains}} << '\n';
  }
}
