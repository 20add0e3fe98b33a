#include "cli/census/dwarf_catalog.hpp"

#include <algorithm>

#include "cli/tree/names.hpp"

namespace asynctrace {
namespace {

constexpr std::string_view kPoll = "poll<";
constexpr std::string_view kRun = "run<";
constexpr std::string_view kRawTask = "RawTask<";
constexpr std::string_view kFuture = " as core::future::future::Future>::poll";

// Demangling every poll function would take longer than the whole pass.
bool may_poll_a_future(std::string_view linkage_name) {
  return linkage_name.find("Future$GT$4poll") != std::string_view::npos ||
         linkage_name.find("6Future4poll") != std::string_view::npos;
}

}  // namespace

size_t last_outside_arguments(std::string_view path, std::string_view part) {
  size_t found = std::string_view::npos;
  int depth = 0;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '<') ++depth;
    if (path[i] == '>' && (i == 0 || path[i - 1] != '-')) --depth;
    if (depth == 0 && path.substr(i).starts_with(part)) found = i;
  }
  return found;
}

DwarfCatalog::DwarfCatalog(Dwarf* dwarf) : scopes_{{"", 0}} {
  for_each_unit(dwarf, [&](uint8_t type, Dwarf_Die* unit, Dwarf_Die* split) {
    const bool is_split = type == DW_UT_skeleton && dwarf_tag(split) == DW_TAG_compile_unit;
    Dwarf_Die* whole = is_split ? split : unit;
    if (dwarf_srclang(whole) == DW_LANG_Rust) visit(whole, 0, 0);
  });
}

void DwarfCatalog::visit(Dwarf_Die* parent, uint32_t scope, int depth) {
  if (depth > kMaxDieDepth) return;
  for_each_child(parent, [&](Dwarf_Die* child) {
    const int tag = dwarf_tag(child);
    if (tag == DW_TAG_subprogram) return add_function(parent, child, scope);
    if (tag == DW_TAG_variable && depth == 0) return add_variable(child);
    if (!is_scope(tag)) return;
    const char* name = dwarf_diename(child);
    if (name == nullptr) return;
    if (tag != DW_TAG_namespace) {
      scope_of_.emplace(child->addr, scope);
      if (std::string_view(name).starts_with("Cell<")) cells_.emplace(name, *child);
      if (is_async_body(name)) environments_.emplace(path(scope, name), *child);
    }
    if (dwarf_haschildren(child) <= 0) return;
    const auto added = static_cast<uint32_t>(scopes_.size());
    scopes_.push_back({name, scope});
    visit(child, added, depth + 1);
  });
}

void DwarfCatalog::add_function(Dwarf_Die* parent, Dwarf_Die* function, uint32_t scope) {
  Dwarf_Addr entry = 0;
  const bool has_code = dwarf_lowpc(function, &entry) == 0 && entry != 0;
  if (has_code) functions_.emplace_back(entry, *function);
  const char* text = dwarf_diename(function);
  if (text == nullptr) return;
  const std::string_view name = text;
  // Only declarations stand in their scopes.
  if (is_async_body(name) && dwarf_hasattr(function, DW_AT_name)) {
    bodies_.emplace(path(scope, text), *function);
    return;
  }
  if (name.starts_with(kRun)) {
    const char* owner = is_scope(dwarf_tag(parent)) ? dwarf_diename(parent) : nullptr;
    if (owner != nullptr && std::string_view(owner).starts_with(kRawTask))
      raw_tasks_.emplace(function->addr, *parent);
    if (has_code) runs_.emplace(entry, declaration_of(*function).addr);
    return;
  }
  if (name != "poll" && !name.starts_with(kPoll)) return;
  if (has_code && name.starts_with(kPoll)) polls_.emplace(entry, text);
  const char* linkage = asynctrace::text(function, DW_AT_linkage_name);
  if (linkage == nullptr || !may_poll_a_future(linkage)) return;
  const std::string plain = without_generics(plain_function(names_.name_of(*function)->function));
  if (plain.starts_with('<') && plain.ends_with(kFuture))
    futures_.insert(plain.substr(1, plain.size() - 1 - kFuture.size()));
}

void DwarfCatalog::add_variable(Dwarf_Die* variable) {
  const char* name = dwarf_diename(variable);
  if (name == nullptr || !std::string_view(name).ends_with("{vtable}")) return;
  Dwarf_Attribute found;
  Dwarf_Op* operations = nullptr;
  size_t count = 0;
  Dwarf_Die table;
  Dwarf_Die type;
  if (dwarf_attr(variable, DW_AT_location, &found) == nullptr ||
      dwarf_getlocation(&found, &operations, &count) != 0 || count != 1 || operations[0].atom != DW_OP_addr ||
      operations[0].number == 0 ||
      dwarf_formref_die(dwarf_attr(variable, DW_AT_type, &found), &table) == nullptr ||
      dwarf_formref_die(dwarf_attr(&table, DW_AT_containing_type, &found), &type) == nullptr) {
    return;
  }
  vtables_.emplace(operations[0].number, type);
}

std::optional<Dwarf_Die> DwarfCatalog::cell_of(uint64_t poll_function) const {
  const auto poll = polls_.find(poll_function);
  if (poll == polls_.end()) return std::nullopt;
  // Both have the arguments <T, S>, spelled alike.
  const auto cell = cells_.find("Cell<" + std::string(poll->second + kPoll.size()));
  return cell == cells_.end() ? std::nullopt : std::optional(cell->second);
}

std::optional<Dwarf_Die> DwarfCatalog::raw_task_of(uint64_t poll_function) const {
  const auto run = runs_.find(poll_function);
  const auto task = run == runs_.end() ? raw_tasks_.end() : raw_tasks_.find(run->second);
  return task == raw_tasks_.end() ? std::nullopt : std::optional(task->second);
}

std::optional<Dwarf_Die> DwarfCatalog::function_at(uint64_t address) {
  const auto entry = [](const auto& function) { return function.first; };
  if (!std::exchange(is_sorted_, true)) std::ranges::sort(functions_, {}, entry);
  const auto after = std::ranges::upper_bound(functions_, address, {}, entry);
  if (after == functions_.begin()) return std::nullopt;
  Dwarf_Die function = std::prev(after)->second;
  return dwarf_haspc(&function, address) > 0 ? std::optional(function) : std::nullopt;
}

std::optional<Dwarf_Die> DwarfCatalog::behind_vtable(uint64_t address) const {
  const auto found = vtables_.find(address);
  return found == vtables_.end() ? std::nullopt : std::optional(found->second);
}

const FunctionName* DwarfCatalog::body(const std::string& path) {
  const auto found = bodies_.find(path);
  return found == bodies_.end() ? nullptr : names_.name_of(found->second);
}

std::optional<Dwarf_Die> DwarfCatalog::environment_of(const std::string& linkage_name) {
  const auto body = std::ranges::find_if(
      bodies_, [&](const auto& entry) { return names_.name_of(entry.second)->raw == linkage_name; });
  if (linkage_name.empty() || body == bodies_.end()) return std::nullopt;
  std::string path = body->first;
  const size_t number = last_outside_arguments(path, "#");
  if (number == std::string::npos) return std::nullopt;
  const auto found = environments_.find(path.insert(number, "_env"));
  return found == environments_.end() ? std::nullopt : std::optional(found->second);
}

std::string DwarfCatalog::path(uint32_t scope, const char* name) const {
  std::vector<const char*> parts = {name};
  for (; scope != 0; scope = scopes_[scope].parent) parts.push_back(scopes_[scope].name);
  std::string path;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (!path.empty()) path += "::";
    path += *part;
  }
  return path;
}

std::string DwarfCatalog::path_of(Dwarf_Die type) const {
  const char* name = dwarf_diename(&type);
  if (name == nullptr) return {};
  const auto scope = scope_of_.find(type.addr);
  return path(scope == scope_of_.end() ? 0 : scope->second, name);
}

}  // namespace asynctrace
