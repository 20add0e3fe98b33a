// DwarfCatalog: what the types of tokio's tasks and of futures are found by, collected in one pass over debug
// info: linear in its size, made when it is first needed. Not thread-safe. Allocates. Names and DIEs live as
// long as the Dwarf.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cli/symbols/dwarf_die.hpp"
#include "cli/symbols/dwarf_names.hpp"

namespace asynctrace {

// Where `part` stands last in a path, generic arguments left out; npos: nowhere.
size_t last_outside_arguments(std::string_view path, std::string_view part);

class DwarfCatalog {
 public:
  explicit DwarfCatalog(Dwarf* dwarf);

  // tokio's Cell<T, S> of the task whose poll<T, S> starts at this address in the file.
  std::optional<Dwarf_Die> cell_of(uint64_t poll_function) const;
  // async-task's RawTask<F, T, S> of the task whose run() starts at this address in the file.
  std::optional<Dwarf_Die> raw_task_of(uint64_t poll_function) const;
  // The function around this address in the file, what is inlined into it ignored.
  std::optional<Dwarf_Die> function_at(uint64_t address);
  const FunctionName* name_of(Dwarf_Die function) { return names_.name_of(function); }
  // The type that implements the trait whose table is at this address in the file.
  std::optional<Dwarf_Die> behind_vtable(uint64_t address) const;
  // The function whose debug name and scopes are `path`: "shop::main::{async_block#0}".
  const FunctionName* body(const std::string& path);
  // The type of the state of the body whose function has this linkage name.
  std::optional<Dwarf_Die> environment_of(const std::string& linkage_name);
  // By the type's path without generic arguments.
  bool implements_future(const std::string& path) const { return futures_.contains(path); }
  // Scopes and name; of pointers the name that the compiler gives them.
  std::string path_of(Dwarf_Die type) const;

 private:
  struct Scope {
    const char* name;
    uint32_t parent;
  };
  void visit(Dwarf_Die* parent, uint32_t scope, int depth);
  void add_function(Dwarf_Die* parent, Dwarf_Die* function, uint32_t scope);
  void add_variable(Dwarf_Die* variable);
  std::string path(uint32_t scope, const char* name) const;

  std::vector<Scope> scopes_;  // the first is that of no name
  std::unordered_map<const void*, uint32_t> scope_of_;
  std::vector<std::pair<uint64_t, Dwarf_Die>> functions_;  // by entry, once one has been asked for
  bool is_sorted_ = false;
  std::unordered_map<uint64_t, const char*> polls_;
  std::unordered_map<std::string_view, Dwarf_Die> cells_;  // by debug name
  std::unordered_map<uint64_t, const void*> runs_;         // the declaration of a function that starts there
  std::unordered_map<const void*, Dwarf_Die> raw_tasks_;   // by the declarations in them
  std::unordered_map<uint64_t, Dwarf_Die> vtables_;
  std::unordered_map<std::string, Dwarf_Die> bodies_, environments_;
  std::unordered_set<std::string> futures_;
  DwarfNames names_;
};

}  // namespace asynctrace
