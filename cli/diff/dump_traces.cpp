#include "cli/diff/dump_traces.hpp"

#include <algorithm>
#include <ctime>
#include <iterator>
#include <set>
#include <sstream>
#include <unordered_map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/render/escape.hpp"
#include "cli/tree/names.hpp"
#include "cli/tree/tree.hpp"

namespace asynctrace {
namespace {

using Json = nlohmann::json;
using Stacks = std::set<size_t>;

// Text in a dump has been escaped once; that is kept, and whatever else a file may hold is made harmless.
std::string printable(const std::string& text) {
  std::string escaped = escape(text);
  for (size_t at = 0; (at = escaped.find("\\\\", at)) != std::string::npos; ++at) escaped.erase(at, 1);
  return escaped;
}

std::string text_or_empty(const Json& value) {
  return value.is_null() ? "" : printable(value.get<std::string>());
}

// "2023-11-14T22:13:51.500Z"
std::optional<int64_t> milliseconds(const std::string& time) {
  std::tm parts{};
  const char* rest = ::strptime(time.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  int fraction = 0, used = 0;
  if (*rest == '.' && std::sscanf(rest, ".%3dZ%n", &fraction, &used) == 1 && used == 5)
    return int64_t{::timegm(&parts)} * 1000 + fraction;
  return *rest == 'Z' ? std::optional(int64_t{::timegm(&parts)} * 1000) : std::nullopt;
}

// Draws combinations of stacks as the text of a dump does.
class Drawing {
 public:
  Drawing(const Json& dump, const SourcePaths& sources) : dump_(dump), sources_(sources) {
    for (const Json& task : dump.at("tasks")) {
      for (const Json& leaf : task.at("leaves")) {
        if (!leaf.at("stack").is_null())
          kinds_.try_emplace(leaf.at("stack").get<size_t>(), printable(leaf.at("kind").get<std::string>()));
      }
    }
  }

  // `type`: of a task that has no stack, "" if unknown.
  std::vector<std::string> draw(const Stacks& stacks, const std::string& type) {
    std::vector<SymbolTrace> traces;
    for (const size_t stack : stacks) traces.push_back(to_symboltrace(path(stack)));
    if (stacks.empty()) {
      std::vector<uint32_t> nodes;
      if (!type.empty()) nodes.push_back(intern(type));
      nodes.push_back(intern("leaf unknown"));
      traces.push_back(to_symboltrace(nodes));
    }
    std::vector<std::string> lines;
    const auto label = [this](uint32_t node) -> std::string_view { return labels_[node]; };
    for (const Tree::Line& line : Tree::from_trace(traces).display(label))
      lines.push_back(line.drawing + labels_[line.symbol.node]);
    return lines;
  }

 private:
  uint32_t intern(const std::string& label) {
    const auto [entry, is_new] = by_label_.try_emplace(label, static_cast<uint32_t>(labels_.size()));
    if (is_new) labels_.push_back(label);
    return entry->second;
  }

  std::string describe(const Json& frame) const {
    Frame source;
    source.line = frame.at("line").is_null() ? 0 : frame.at("line").get<uint32_t>();
    source.column = frame.at("column").is_null() ? 0 : frame.at("column").get<uint32_t>();
    const std::string file = map_source(text_or_empty(frame.at("file")), sources_);
    const std::string position = display_position(source, file, sources_.root);
    return printable(frame.at("function").get<std::string>()) + (position.empty() ? "" : " at " + position);
  }

  std::vector<uint32_t> path(size_t stack) {
    const Json& frames = dump_.at("stacks").at(stack);
    const auto is_user = [&](const Json& index) {
      return dump_.at("frames").at(index.get<size_t>()).at("class") == "user";
    };
    const std::string_view wanted = std::any_of(frames.begin(), frames.end(), is_user) ? "user" : "library";
    const auto known = kinds_.find(stack);
    const std::string kind = known == kinds_.end() ? "unknown" : known->second;
    bool names_itself = false;
    std::vector<uint32_t> nodes;
    for (const Json& index : frames) {
      const Json& frame = dump_.at("frames").at(index.get<size_t>());
      if (frame.at("class") != wanted) continue;
      names_itself |= printable(frame.at("function").get<std::string>()) == kind;
      nodes.push_back(intern(describe(frame)));
    }
    // A hand-written future is its own leaf: its name would only be repeated.
    if (!names_itself) nodes.push_back(intern(kind));
    return nodes;
  }

  const Json& dump_;
  const SourcePaths& sources_;
  std::unordered_map<size_t, std::string> kinds_;  // of the leaves at each stack
  std::unordered_map<std::string, uint32_t> by_label_;
  std::vector<std::string> labels_;
};

// Where a task waits that stands in no group: a suspect.
Stacks leaf_stacks(const Json& task) {
  Stacks confirmed, all;
  for (const Json& leaf : task.at("leaves")) {
    if (leaf.at("stack").is_null()) continue;
    all.insert(leaf.at("stack").get<size_t>());
    if (leaf.at("confirmed").get<bool>()) confirmed.insert(leaf.at("stack").get<size_t>());
  }
  return confirmed.empty() ? all : confirmed;
}

DumpTraces read(const Json& dump, const SourcePaths& sources) {
  DumpTraces result;
  const Json& process = dump.at("process");
  result.exe = printable(process.at("exe").get<std::string>());
  result.pid = process.at("pid").get<uint32_t>();
  result.start_time = text_or_empty(process.at("start_time"));
  result.captured_at = text_or_empty(dump.at("captured_at"));
  result.state = printable(process.at("state").get<std::string>());
  if (process.contains("ended_at")) result.ended_at = text_or_empty(process.at("ended_at"));
  result.shown_ms = milliseconds(result.state == "running" ? result.captured_at : result.ended_at);

  std::map<uint64_t, const Json*> tasks;
  for (const Json& task : dump.at("tasks")) {
    const auto id = task.at("id").get<uint64_t>();
    tasks[id] = &task;
    result.tasks[id].address = printable(task.at("address").get<std::string>());
    if (task.at("observed").get<bool>()) result.tasks[id].polls = task.at("polls").get<uint64_t>();
    if (task.at("kind") != "worker") result.task_count++;
  }
  Drawing drawing(dump, sources);
  std::map<std::vector<std::string>, size_t> known;
  const auto add = [&](uint64_t id, const Stacks& stacks) {
    std::vector<std::string> lines = drawing.draw(stacks, text_or_empty(tasks.at(id)->at("type")));
    const auto [entry, is_new] = known.try_emplace(lines, result.traces.size());
    if (is_new) result.traces.push_back({std::move(lines), {}});
    return entry->second;
  };
  std::set<uint64_t> grouped;
  for (const Json& group : dump.at("groups")) {
    const auto ids = group.at("tasks").get<std::vector<uint64_t>>();
    grouped.insert(ids.begin(), ids.end());
    if (group.at("class") == "running" || ids.empty()) continue;
    std::vector<uint64_t>& trace = result.traces[add(ids.front(), group.at("stacks").get<Stacks>())].tasks;
    trace.insert(trace.end(), ids.begin(), ids.end());
  }
  for (const auto& [id, task] : tasks) {
    if (grouped.contains(id) || task->at("state") == "running" || task->at("kind") == "worker") continue;
    result.traces[add(id, leaf_stacks(*task))].tasks.push_back(id);
  }
  for (DumpTrace& trace : result.traces) std::sort(trace.tasks.begin(), trace.tasks.end());
  return result;
}

}  // namespace

Result<DumpTraces> parse_dump(const std::string& text, const std::string& name, size_t number,
                              const SourcePaths& sources) {
  try {
    std::istringstream in(text);
    Json wanted;
    size_t found = 0;
    while ((in >> std::ws).peek() != std::istringstream::traits_type::eof()) {
      Json next;
      in >> next;
      if (++found == std::max<size_t>(number, 1)) wanted = std::move(next);
    }
    if (number == 0 && found > 1)
      return fail(fmt::format("{}: holds {} dumps", name, found),
                  fmt::format("name one of them: {}#1", name));
    if (number > found) return fail(fmt::format("{}: holds {} dumps only", name, found));
    if (wanted.at("schema") != "asynctrace.dump/1") return fail(name + ": not of schema asynctrace.dump/1");
    return read(wanted, sources);
  } catch (const std::exception& error) {
    return fail(fmt::format("{}: not a complete dump in JSON: {}", name, error.what()),
                "write one with: asynctrace dump --format json");
  }
}

}  // namespace asynctrace
