// add_tasks_in_memory(): tables -> scan -> walk.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "cli/census/census.hpp"
#include "cli/census/chains.hpp"
#include "cli/census/dwarf_types.hpp"
#include "cli/census/memory_scan.hpp"
#include "cli/census/task_tables.hpp"

namespace asynctrace {
namespace {

constexpr int kLooks = 4;  // at a task that changes while it is read

// What one task was found to wait for, as of one state of it.
struct Walk {
  std::vector<FutureNode> nodes;
  std::vector<Chain> chains;
};

// Whatever else its task waits for will come first.
bool is_never(const Chain& chain) {
  const std::string& function = chain.nodes.back()->frame.function;
  return function.starts_with("<core::future::pending::Pending") ||
         function.starts_with("<futures_lite::future::Pending") ||
         function.starts_with("<futures_util::future::pending::Pending");
}

class TaskCensus {
 public:
  TaskCensus(const ProcessImage& image, const ThreadsOf& threads, Snapshot& snapshot, Symbolizer& symbols)
      : image_(image),
        threads_(threads),
        snapshot_(snapshot),
        symbols_(symbols),
        pages_(*image.memory),
        stacks_(snapshot, symbols) {}

  CensusScope take() {
    std::vector<TaskTable> tables = find_tables();
    std::unordered_set<uint64_t> known;
    uint64_t last_id = 0;
    for (const Task& task : snapshot_.tasks) {
      if (task.kind == TaskKind::kTask) known.insert(task.address);
      last_id = std::max(last_id, task.id);
    }
    const size_t before = snapshot_.tasks.size();
    for (const TaskHeader& header : scan_for_tasks(image_, tables)) {
      if (!known.contains(header.address)) add(header, ++last_id);
    }
    for (const auto& [module, types] : scope_.types)
      if (types != nullptr && scope_.has_types) add_block_ons(module, *types, last_id);
    link_joins(before);
    return std::move(scope_);
  }

 private:
  std::vector<TaskTable> find_tables() {
    std::vector<TaskTable> tables;
    for (uint32_t i = 0; i < snapshot_.modules.size(); ++i) {
      TaskTables found = find_task_tables(snapshot_.modules[i], symbols_.find_files(i));
      scope_.unknown_layouts += found.unknown_layouts;
      tables.insert(tables.end(), found.tables.begin(), found.tables.end());
    }
    scope_.tables = tables.size();
    for (const TaskTable& table : tables) {
      DwarfTypes* types = types_of(table.poll_function);
      if (types != nullptr && types->task_shape(table.poll_function).is_known()) scope_.has_types = true;
    }
    return tables;
  }

  // Types of the module that the poll function is in; null: it has none.
  DwarfTypes* types_of(uint64_t poll_function) {
    const auto module = module_at(poll_function, snapshot_);
    if (!module) return nullptr;
    const auto [entry, is_new] = scope_.types.try_emplace(*module);
    if (is_new) entry->second = DwarfTypes::open(snapshot_.modules[*module], symbols_.find_files(*module));
    return entry->second.get();
  }

  void add(const TaskHeader& first, uint64_t id) {
    Task task;
    task.id = id;
    task.address = first.address;
    task.runtime = first.table->runtime;
    task.poll_function = first.table->poll_function;
    task.native_id = first.native_id;
    task.from_census = true;
    task.is_blocking = task.runtime == RuntimeId::kTokio && first.owner == 0;
    DwarfTypes* types = types_of(task.poll_function);
    const TaskShape shape = types == nullptr ? TaskShape() : types->task_shape(task.poll_function);

    std::optional<TaskHeader> header = first;
    std::optional<Walk> walk;
    for (int look = 0; look < kLooks && !walk; ++look) {
      if (look > 0) header = read_header(*image_.memory, first.address, *first.table, false);
      if (!header) return;  // it has ended meanwhile
      walk = look_at(*header, shape, types);
    }
    task.torn = !walk;
    task.state = state_of(*header);
    task.stuck = walk && is_stuck(*header);
    if (walk) add_leaves(*walk, types, task);
    snapshot_.tasks.push_back(std::move(task));
  }

  // Nothing: it changed in the meantime.
  std::optional<Walk> look_at(const TaskHeader& header, const TaskShape& shape, DwarfTypes* types) {
    Walk walk;
    if (shape.is_known() && state_of(header) == TaskState::kWaiting) {
      FutureWalker walker(*types, pages_);
      pages_.forget();
      walk.nodes = walker.walk_task(shape, header.address);
      walk.chains = chains_of(walk.nodes);
      pages_.forget();
      if (!same_places(walk.chains, chains_of(walker.walk_task(shape, header.address)))) return std::nullopt;
    }
    const auto after = read_header(*image_.memory, header.address, *header.table, false);
    // Who holds it matters only for what is waking nobody; others come and go without a poll.
    return after && after->state == header.state ? std::optional(std::move(walk)) : std::nullopt;
  }

  // Those that the agent has seen are known already.
  void add_block_ons(uint32_t module, DwarfTypes& types, uint64_t& last_id) {
    BlockOns& block_ons = scope_.block_ons[module];
    std::vector<std::optional<Walk>> walks;
    for (int look = 0; look < kLooks; ++look) {
      block_ons = find_block_ons(threads_(), snapshot_.modules[module], types, *image_.memory);
      walks.clear();
      for (const BlockOn& block_on : block_ons.found) walks.push_back(look_at(block_on, types));
      if (block_ons.found.empty()) break;
      const BlockOns after = find_block_ons(threads_(), snapshot_.modules[module], types, *image_.memory);
      for (size_t i = 0; i < walks.size(); ++i) {
        const auto same = [&](const BlockOn& other) { return other == block_ons.found[i]; };
        if (std::ranges::none_of(after.found, same)) walks[i].reset();
      }
      if (std::ranges::all_of(walks, [](const auto& walk) { return walk.has_value(); })) break;
    }
    for (size_t i = 0; i < walks.size(); ++i) add(block_ons.found[i], walks[i], types, last_id);
  }

  // Nothing: it changed in the meantime.
  std::optional<Walk> look_at(const BlockOn& block_on, DwarfTypes& types) {
    Walk walk;
    if (block_on.is_running) return walk;
    const auto [type, address] = block_on.future;
    FutureWalker walker(types, pages_);
    pages_.forget();
    walk.nodes = walker.walk(type, address);
    walk.chains = chains_of(walk.nodes);
    pages_.forget();
    const bool same = same_places(walk.chains, chains_of(walker.walk(type, address)));
    return same ? std::optional(std::move(walk)) : std::nullopt;
  }

  void add(BlockOn& block_on, const std::optional<Walk>& walk, DwarfTypes& types, uint64_t& last_id) {
    const auto tid = static_cast<uint32_t>(block_on.tid);
    const auto known = std::ranges::find_if(snapshot_.tasks, [&](const Task& task) {
      return task.kind == TaskKind::kBlockOn && task.address == tid && !task.from_census;
    });
    if (known != snapshot_.tasks.end()) {
      block_on.task = known->id;
      return;
    }
    Task task;
    task.id = block_on.task = ++last_id;
    task.address = tid;
    task.kind = TaskKind::kBlockOn;
    task.last_poll_tid = tid;
    task.from_census = true;
    task.state = block_on.is_running ? TaskState::kRunning : TaskState::kWaiting;
    task.torn = !walk;
    if (walk) add_leaves(*walk, &types, task);
    snapshot_.tasks.push_back(std::move(task));
  }

  void add_leaves(const Walk& walk, DwarfTypes* types, Task& task) {
    for (const Chain& chain : walk.chains) {
      if (walk.chains.size() > 1 && is_never(chain)) continue;
      Leaf leaf;
      leaf.stack = stacks_.stack(chain);
      leaf.from_debug_info = true;
      if (!chain.reason.empty()) leaf.label = label(chain.reason);
      else leaf.joins_address = joined_by(*chain.nodes.back(), *types);
      task.leaves.push_back(leaf);
    }
  }

  uint32_t label(std::string_view reason) {
    const auto [entry, is_new] = labels_.try_emplace(reason, static_cast<uint32_t>(snapshot_.labels.size()));
    if (is_new) snapshot_.labels.push_back({fmt::format("leaf unknown ({})", reason), 0});
    return entry->second;
  }

  // A JoinHandle refers to the header of the task that it waits for.
  uint64_t joined_by(const FutureNode& node, DwarfTypes& types) {
    if (!types.type(node.type).name.starts_with("tokio::runtime::task::join::JoinHandle<")) return 0;
    FutureWalker walker(types, pages_);
    const auto raw = walker.find_inside(node.type, node.address, "tokio::runtime::task::raw::RawTask", false);
    return raw ? pages_.number(raw->address).value_or(0) : 0;
  }

  void link_joins(size_t first) {
    std::unordered_map<uint64_t, uint64_t> id_at;
    for (const Task& task : snapshot_.tasks)
      if (task.kind == TaskKind::kTask) id_at.emplace(task.address, task.id);
    for (Task& task : std::span(snapshot_.tasks).subspan(first)) {
      for (Leaf& leaf : task.leaves) {
        const auto joined = id_at.find(leaf.joins_address);
        if (leaf.joins_address != 0 && joined != id_at.end()) leaf.waits_for_task = joined->second;
      }
    }
  }

  const ProcessImage& image_;
  const ThreadsOf& threads_;
  Snapshot& snapshot_;
  Symbolizer& symbols_;
  PageCache pages_;
  StackMaker stacks_;
  CensusScope scope_;
  std::unordered_map<std::string_view, uint32_t> labels_;
};

}  // namespace

CensusScope add_tasks_in_memory(const ProcessImage& image, const ThreadsOf& threads, Snapshot& snapshot,
                                Symbolizer& symbols) {
  return TaskCensus(image, threads, snapshot, symbols).take();
}

}  // namespace asynctrace
