// DwarfTypes: the types of one loaded module from its DWARF 4 or 5. Trusts nothing in the file: what is
// damaged reads as absent. Not thread-safe. Allocates; types are decoded when they are first asked for.
#pragma once

#include <memory>

#include "cli/census/dwarf_frames.hpp"
#include "cli/census/types.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/module_files.hpp"

namespace asynctrace {

class DwarfTypes final : public TypeSource {
 public:
  // Of `module`, whose files these are. null: they have no types.
  static std::unique_ptr<DwarfTypes> open(const Module& module, ModuleFiles files);
  ~DwarfTypes() override;

  // What the tasks that this function polls hold, by their runtimes' own types; none where those are unknown.
  TaskShape task_shape(uint64_t poll_function);

  // The type of the state of the async body whose function has this linkage name; kNoType: unknown.
  TypeId environment_of(const std::string& linkage_name);

  const Type& type(TypeId id) override;
  bool is_future(TypeId id) override;
  TypeId behind_vtable(uint64_t vtable) override;
  const FunctionName* function_of(TypeId body) override;
  std::vector<StackedFunction> functions_in(const FrameState& frame) override;

 private:
  struct Impl;
  explicit DwarfTypes(std::unique_ptr<Impl> impl);
  void find_pinned(Dwarf_Die variable, Dwarf_Die physical, const FrameState& frame,
                   StackedFunction& function);
  std::unique_ptr<Impl> impl_;
};

}  // namespace asynctrace
