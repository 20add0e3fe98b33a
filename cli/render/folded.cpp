#include "cli/render/folded.hpp"

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cli/render/escape.hpp"

namespace asynctrace {
namespace {

std::string escape_frame(std::string_view name) {
  std::string escaped = escape(name);
  for (size_t at = 0; (at = escaped.find(';', at)) != std::string::npos;) escaped.replace(at, 1, "\\x3b");
  return escaped;
}

// The stacks of the group's tree: each way from a root to a row at which tasks wait. Rows that differ in
// their position only are the same here.
std::vector<std::string> stacks(const Group& group) {
  std::vector<std::string> found;
  std::vector<std::string> path;  // of the row at hand, each with its parents
  for (const Row& row : group.rows) {
    path.resize(row.depth);
    path.push_back(path.empty() ? escape_frame(row.text) : path.back() + ';' + escape_frame(row.text));
    if (row.is_leaf) found.push_back(path.back());
  }
  return found;
}

}  // namespace

void render_folded(const Report& report, std::ostream& out) {
  std::map<std::string, size_t> tasks;
  const auto add = [&](const Group& group) {
    const std::vector<std::string> found = stacks(group);
    for (const std::string& stack : std::set<std::string>(found.begin(), found.end()))
      tasks[stack] += group.tasks.size();
  };
  for (const Group& group : report.groups) add(group);
  for (const Suspect& suspect : report.suspects) {
    if (suspect.group.group_class == GroupClass::kRunning) continue;
    if (suspect.kind != "deadlock") {
      add(suspect.group);
      continue;
    }
    for (const std::string& stack : stacks(suspect.group)) ++tasks[stack];
  }
  for (const auto& [stack, count] : tasks) out << stack << ' ' << count << '\n';
}

}  // namespace asynctrace
