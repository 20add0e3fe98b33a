#include "cli/census/dwarf_types.hpp"

#include <algorithm>
#include <deque>

#include "cli/census/dwarf_catalog.hpp"
#include "cli/tree/names.hpp"

namespace asynctrace {
namespace {

struct DwarfCloser {
  void operator()(Dwarf* dwarf) const { dwarf_end(dwarf); }
};
using DwarfHandle = std::unique_ptr<Dwarf, DwarfCloser>;

DwarfHandle open_dwarf(const ElfFile& file) {
  DwarfHandle dwarf(dwarf_begin_elf(file.handle(), DWARF_C_READ, nullptr));
  Dwarf_CU* unit = nullptr;
  const bool has_units =
      dwarf && dwarf_get_units(dwarf.get(), nullptr, &unit, nullptr, nullptr, nullptr, nullptr) == 0;
  return has_units ? std::move(dwarf) : nullptr;
}

std::optional<uint64_t> unsigned_value(Dwarf_Die* die, unsigned attribute) {
  Dwarf_Attribute found;
  Dwarf_Word value = 0;
  if (dwarf_attr(die, attribute, &found) == nullptr || dwarf_formudata(&found, &value) != 0)
    return std::nullopt;
  return value;
}

std::optional<Dwarf_Die> reference(Dwarf_Die* die, unsigned attribute) {
  Dwarf_Attribute found;
  Dwarf_Die target;
  if (dwarf_attr_integrate(die, attribute, &found) == nullptr ||
      dwarf_formref_die(&found, &target) == nullptr)
    return std::nullopt;
  return target;
}

uint64_t align_up(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

struct Extent {
  uint64_t size, alignment;
};

// Compilers give the alignment of what has members; of the rest it is the size.
std::optional<Extent> extent_of(Dwarf_Die type) {
  constexpr uint64_t kMaxSize = 1 << 30, kMaxAlignment = 1 << 12;
  const auto size = unsigned_value(&type, DW_AT_byte_size);
  const bool has_members = dwarf_haschildren(&type) > 0;
  const auto alignment = unsigned_value(&type, DW_AT_alignment);
  if (!size || *size > kMaxSize || (has_members && !alignment)) return std::nullopt;
  const Extent extent{*size, alignment.value_or(std::max<uint64_t>(*size, 1))};
  return extent.alignment > 0 && extent.alignment <= kMaxAlignment ? std::optional(extent) : std::nullopt;
}

// async-task/src/raw.rs: the header, then the schedule function, then the future or, later, its output.
// RawTask has a pointer to each.
struct RawTask {
  Dwarf_Die future;
  uint64_t offset;
};
std::optional<RawTask> read_raw_task(Dwarf_Die raw_task) {
  std::optional<Dwarf_Die> header, schedule, future, output;
  for_each_child(&raw_task, [&](Dwarf_Die* child) {
    const char* text = dwarf_tag(child) == DW_TAG_member ? dwarf_diename(child) : nullptr;
    if (text == nullptr) return;
    auto pointer = reference(child, DW_AT_type);
    const auto target = pointer ? reference(&*pointer, DW_AT_type) : std::nullopt;
    const std::string_view name = text;
    if (name == "header") header = target;
    if (name == "schedule") schedule = target;
    if (name == "future") future = target;
    if (name == "output") output = target;
  });
  if (!header || !schedule || !future || !output) return std::nullopt;
  const auto before = extent_of(*header), scheduler = extent_of(*schedule);
  const auto pending = extent_of(*future), ready = extent_of(*output);
  if (!before || !scheduler || !pending || !ready) return std::nullopt;
  const uint64_t end = align_up(before->size, scheduler->alignment) + scheduler->size;
  return RawTask{*future, align_up(end, std::max(pending->alignment, ready->alignment))};
}

// Or a closure in one: optimized code may keep the future in no other place.
bool is_block_on(const FunctionName& name) {
  if (name.debug_name == "block_on" || name.debug_name.starts_with("block_on<")) return true;
  return name.debug_name.starts_with("{closure#") && name.function.find("::block_on::{") != std::string::npos;
}

constexpr std::string_view kEnvironment = "_env#";

}  // namespace

struct DwarfTypes::Impl {
  ModuleFiles files;
  DwarfHandle dwarf;  // of one of them
  uint64_t bias = 0;
  std::unique_ptr<DwarfCatalog> catalog;

  struct Entry {
    Dwarf_Die die;
    std::optional<Type> type;
    std::optional<bool> is_future;
  };
  std::deque<Entry> entries;
  std::unordered_map<const void*, TypeId> ids;
  const Type nothing;

  DwarfCatalog& names() {
    if (!catalog) catalog = std::make_unique<DwarfCatalog>(dwarf.get());
    return *catalog;
  }

  TypeId id_of(std::optional<Dwarf_Die> die) {
    if (!die) return kNoType;
    const auto [entry, added] = ids.try_emplace(die->addr, static_cast<TypeId>(entries.size()));
    if (added) entries.push_back({*die, {}, {}});
    return entry->second;
  }

  Member member(Dwarf_Die* die) {
    const char* name = dwarf_diename(die);
    return {name == nullptr ? "" : name, id_of(reference(die, DW_AT_type)),
            unsigned_value(die, DW_AT_data_member_location).value_or(0), file_of(die, DW_AT_decl_file),
            number(die, DW_AT_decl_line)};
  }

  void add_variants(Dwarf_Die* part, Type& type) {
    if (auto discriminant = reference(part, DW_AT_discr)) type.discriminant = member(&*discriminant);
    for_each_child(part, [&](Dwarf_Die* child) {
      if (dwarf_tag(child) != DW_TAG_variant) return;
      Variant& variant = type.variants.emplace_back();
      variant.value = unsigned_value(child, DW_AT_discr_value);
      for_each_child(child, [&](Dwarf_Die* content) {
        if (dwarf_tag(content) == DW_TAG_member) variant.content = member(content);
      });
    });
  }

  Type decode(Dwarf_Die die) {
    Type type;
    type.name = names().path_of(die);
    type.size = unsigned_value(&die, DW_AT_byte_size).value_or(0);
    const int tag = dwarf_tag(&die);
    type.is_pointer = tag == DW_TAG_pointer_type || tag == DW_TAG_reference_type;
    if (type.is_pointer) type.target = id_of(reference(&die, DW_AT_type));
    if (tag != DW_TAG_structure_type && tag != DW_TAG_union_type) return type;
    for_each_child(&die, [&](Dwarf_Die* child) {
      if (dwarf_tag(child) == DW_TAG_member) type.members.push_back(member(child));
      if (dwarf_tag(child) == DW_TAG_variant_part) add_variants(child, type);
    });
    return type;
  }

  // Of a function, those of its generic arguments that are types.
  std::vector<TypeId> arguments(Dwarf_Die function) {
    std::vector<TypeId> found;
    Dwarf_Die named = declaration_of(function);
    for_each_child(&named, [&](Dwarf_Die* child) {
      if (dwarf_tag(child) == DW_TAG_template_type_parameter)
        found.push_back(id_of(reference(child, DW_AT_type)));
    });
    return found;
  }
};

DwarfTypes::DwarfTypes(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DwarfTypes::~DwarfTypes() = default;

std::unique_ptr<DwarfTypes> DwarfTypes::open(const Module& module, ModuleFiles files) {
  auto impl = std::make_unique<Impl>();
  impl->bias = module.bias;
  impl->files = std::move(files);
  if (impl->files.file) impl->dwarf = open_dwarf(*impl->files.file);
  if (!impl->dwarf && impl->files.debug_file) impl->dwarf = open_dwarf(*impl->files.debug_file);
  if (!impl->dwarf) return nullptr;
  return std::unique_ptr<DwarfTypes>(new DwarfTypes(std::move(impl)));
}

TaskShape DwarfTypes::task_shape(uint64_t poll_function) {
  const uint64_t entry = poll_function - impl_->bias;
  TaskShape shape;
  shape.cell = impl_->id_of(impl_->names().cell_of(entry));
  const auto raw_task = impl_->names().raw_task_of(entry);
  if (const auto task = raw_task ? read_raw_task(*raw_task) : std::nullopt) {
    shape.future = impl_->id_of(task->future);
    shape.offset = task->offset;
  }
  return shape;
}

std::vector<StackedFunction> DwarfTypes::functions_in(const FrameState& in_process) {
  FrameState frame = in_process;
  frame.pc -= impl_->bias;
  const auto physical = impl_->names().function_at(frame.pc);
  if (!physical) return {};
  std::vector<StackedFunction> functions;
  for (const Scope& scope : scopes_at(*physical, frame.pc)) {
    StackedFunction& function = functions.emplace_back();
    function.name = impl_->names().name_of(scope.function);
    function.is_block_on = is_block_on(*function.name);
    if (!function.is_block_on) continue;
    for (const TypeId argument : impl_->arguments(scope.function))
      if (type(argument).is_body() || is_future(argument) ||
          type(argument).name.starts_with("core::pin::Pin<"))
        function.futures.push_back(argument);
    for (Dwarf_Die block : scope.blocks) {
      for_each_child(&block, [&](Dwarf_Die* child) {
        if (dwarf_tag(child) == DW_TAG_variable || dwarf_tag(child) == DW_TAG_formal_parameter)
          find_pinned(*child, *physical, frame, function);
      });
    }
  }
  return functions;
}

// Whether the variable is a Pin<&mut F> of one of the function's futures.
void DwarfTypes::find_pinned(Dwarf_Die variable, Dwarf_Die physical, const FrameState& frame,
                             StackedFunction& function) {
  const TypeId id = impl_->id_of(reference(&variable, DW_AT_type));
  const Type& pin = type(id);
  if (!pin.name.starts_with("core::pin::Pin<&mut ") || pin.members.size() != 1) return;
  const Type& pointer = type(pin.members.front().type);
  if (!pointer.is_pointer || std::ranges::find(function.futures, pointer.target) == function.futures.end())
    return;
  const auto location = location_of(variable, physical, frame);
  if (!location) return;
  function.pinned =
      location->is_address ? Found{id, location->value} : Found{pointer.target, location->value};
}

const Type& DwarfTypes::type(TypeId id) {
  if (id >= impl_->entries.size()) return impl_->nothing;
  Impl::Entry& entry = impl_->entries[id];
  if (!entry.type) entry.type = impl_->decode(entry.die);
  return *entry.type;
}

bool DwarfTypes::is_future(TypeId id) {
  if (id >= impl_->entries.size()) return false;
  Impl::Entry& entry = impl_->entries[id];
  if (!entry.is_future) entry.is_future = impl_->names().implements_future(without_generics(type(id).name));
  return *entry.is_future;
}

TypeId DwarfTypes::behind_vtable(uint64_t vtable) {
  return impl_->id_of(impl_->names().behind_vtable(vtable - impl_->bias));
}

TypeId DwarfTypes::environment_of(const std::string& linkage_name) {
  return impl_->id_of(impl_->names().environment_of(linkage_name));
}

const FunctionName* DwarfTypes::function_of(TypeId body) {
  // The type of a body is called as the function, but for "_env".
  std::string path = type(body).name;
  const size_t environment = last_outside_arguments(path, kEnvironment);
  if (environment == std::string::npos) return nullptr;
  path.erase(environment, kEnvironment.size() - 1);
  return impl_->names().body(path);
}

}  // namespace asynctrace
