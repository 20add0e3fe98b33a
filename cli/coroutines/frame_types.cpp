#include "cli/coroutines/frame_types.hpp"

#include <charconv>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "cli/symbols/dwarf_die.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kPromiseOffset = 16;  // where its alignment asks for no more
constexpr int kMaxNesting = 8;           // of members and bases
constexpr int kMaxTypedefs = 16;
constexpr std::string_view kHandle = "coroutine_handle";

struct DwarfCloser {
  void operator()(Dwarf* dwarf) const { dwarf_end(dwarf); }
};
using DwarfHandle = std::unique_ptr<Dwarf, DwarfCloser>;

std::optional<Dwarf_Die> type_of(Dwarf_Die* die) {
  Dwarf_Attribute found;
  Dwarf_Die type;
  if (dwarf_attr_integrate(die, DW_AT_type, &found) == nullptr || dwarf_formref_die(&found, &type) == nullptr)
    return std::nullopt;
  return type;
}

// Without typedefs and qualifiers.
std::optional<Dwarf_Die> plain_type(std::optional<Dwarf_Die> type) {
  for (int i = 0; type && i < kMaxTypedefs; ++i) {
    switch (dwarf_tag(&*type)) {
      case DW_TAG_typedef:
      case DW_TAG_const_type:
      case DW_TAG_volatile_type: type = type_of(&*type); break;
      default: return type;
    }
  }
  return type;
}

std::string_view name_of(Dwarf_Die* die) {
  const char* name = text(die, DW_AT_name);
  return name == nullptr ? "" : name;
}

uint64_t offset_of(Dwarf_Die* member) {
  Dwarf_Attribute found;
  Dwarf_Word offset = 0;
  if (dwarf_attr_integrate(member, DW_AT_data_member_location, &found) == nullptr ||
      dwarf_formudata(&found, &offset) != 0)
    return 0;
  return offset;
}

bool is_class(Dwarf_Die* die) {
  const int tag = dwarf_tag(die);
  return tag == DW_TAG_structure_type || tag == DW_TAG_class_type;
}

bool is_handle(Dwarf_Die* type) {
  return is_class(type) && (name_of(type) == kHandle || name_of(type).starts_with("coroutine_handle<"));
}

void add_function(Dwarf_Die* function, FrameType& frame) {
  const std::string_view name = name_of(function);
  if (name == "yield_value") frame.yields = true;
  if (name != "initial_suspend" || !frame.begins_with.empty()) return;
  auto type = plain_type(type_of(function));
  if (type) frame.begins_with = name_of(&*type);
}

void add_references(Dwarf_Die promise, uint64_t offset, int depth, FrameType& frame) {
  if (depth > kMaxNesting) return;
  for_each_child(&promise, [&](Dwarf_Die* child) {
    const int tag = dwarf_tag(child);
    if (tag == DW_TAG_subprogram) add_function(child, frame);
    if ((tag != DW_TAG_member && tag != DW_TAG_inheritance) || dwarf_hasattr(child, DW_AT_external)) return;
    auto type = plain_type(type_of(child));
    if (!type) return;
    const uint64_t at = offset + offset_of(child);
    const std::string_view name = name_of(child);
    if (is_handle(&*type)) {
      frame.references.push_back({std::string(name), at, true});
    } else if (is_class(&*type)) {
      add_references(*type, at, depth + 1, frame);
    } else if (dwarf_tag(&*type) == DW_TAG_pointer_type) {
      auto target = plain_type(type_of(&*type));
      if (target && is_class(&*target)) frame.references.push_back({std::string(name), at, false});
    }
  });
}

// gcc calls what is awaited "Aw0_1_2", or "Yd0_1_2" at a co_yield, counted up from 0; the frame keeps twice
// the number of the suspension, of which the first is the one before the body begins, with number 1.
std::optional<uint64_t> awaited_index(std::string_view member) {
  if (!member.starts_with("Aw") && !member.starts_with("Yd")) return std::nullopt;
  uint64_t count = 0;
  const auto [end, error] = std::from_chars(member.data() + 2, member.data() + member.size(), count);
  if (error != std::errc() || end == member.data() + member.size() || *end != '_') return std::nullopt;
  return 2 * (count + 2);
}

}  // namespace

struct FrameTypes::Impl {
  ModuleFiles files;
  DwarfHandle dwarf;
  std::unordered_map<uint64_t, FrameType> known;
  std::unordered_map<const void*, std::string> scopes;  // of types: "a::b::"
  std::unordered_map<uint64_t, Dwarf_Die> functions;    // by where they begin
  std::unordered_map<const void*, bool> listed;         // units

  void list(Dwarf_Die* parent, const std::string& scope, int depth) {
    if (depth > kMaxDieDepth) return;
    for_each_child(parent, [&](Dwarf_Die* child) {
      const int tag = dwarf_tag(child);
      if (tag == DW_TAG_subprogram) {
        for (const CodeRange& range : ranges_of(child)) functions.emplace(range.begin, *child);
      } else if (!is_scope(tag)) {
        return;
      }
      if (tag != DW_TAG_namespace && tag != DW_TAG_subprogram) scopes.emplace(child->addr, scope);
      const std::string_view name = name_of(child);
      const bool is_named = tag != DW_TAG_subprogram && !name.empty();
      list(child, is_named ? scope + std::string(name) + "::" : scope, depth + 1);
    });
  }

  std::string full_name(std::optional<Dwarf_Die> type) {
    type = plain_type(type);
    if (type &&
        (dwarf_tag(&*type) == DW_TAG_reference_type || dwarf_tag(&*type) == DW_TAG_rvalue_reference_type ||
         dwarf_tag(&*type) == DW_TAG_pointer_type))
      type = plain_type(type_of(&*type));
    if (!type) return {};
    const auto scope = scopes.find(type->addr);
    return (scope == scopes.end() ? "" : scope->second) + std::string(name_of(&*type));
  }

  std::optional<Dwarf_Die> function_at(uint64_t address) {
    for_each_unit(dwarf.get(), [&](uint8_t type, Dwarf_Die* unit, Dwarf_Die* split) {
      if (dwarf_haspc(unit, address) <= 0) return;
      const bool is_split = type == DW_UT_skeleton && dwarf_tag(split) == DW_TAG_compile_unit;
      Dwarf_Die* whole = is_split ? split : unit;
      if (listed.emplace(whole->addr, true).second) list(whole, "", 0);
    });
    const auto found = functions.find(address);
    return found == functions.end() ? std::nullopt : std::optional(found->second);
  }

  FrameType read(uint64_t resume) {
    FrameType frame;
    auto function = function_at(resume);
    if (!function) return frame;
    for_each_child(&*function, [&](Dwarf_Die* child) {
      const int tag = dwarf_tag(child);
      if (tag == DW_TAG_formal_parameter && name_of(child) == "frame_ptr") {
        auto pointer = plain_type(type_of(child));
        auto type = pointer ? plain_type(type_of(&*pointer)) : std::nullopt;
        if (type) read_gcc_frame(*type, frame);
      }
      if (tag == DW_TAG_variable && name_of(child) == "__promise" && !frame.known) {
        frame.promise_offset = kPromiseOffset;
        add_promise(type_of(child), frame);
      }
    });
    return frame;
  }

  void add_promise(std::optional<Dwarf_Die> type, FrameType& frame) {
    type = plain_type(type);
    if (!type) return;
    frame.known = true;
    add_references(*type, frame.promise_offset, 0, frame);
  }

  void read_gcc_frame(Dwarf_Die type, FrameType& frame) {
    for_each_child(&type, [&](Dwarf_Die* member) {
      if (dwarf_tag(member) != DW_TAG_member) return;
      const std::string_view name = name_of(member);
      if (name == "_Coro_promise") {
        frame.promise_offset = offset_of(member);
        add_promise(type_of(member), frame);
      }
      if (const auto index = awaited_index(name)) frame.awaited.emplace(*index, full_name(type_of(member)));
    });
  }
};

FrameTypes::FrameTypes(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FrameTypes::~FrameTypes() = default;

std::unique_ptr<FrameTypes> FrameTypes::open(ModuleFiles files) {
  auto impl = std::make_unique<Impl>();
  impl->files = std::move(files);
  for (const auto* file : {impl->files.file.get(), impl->files.debug_file.get()}) {
    if (file == nullptr || !file->has_debug_info()) continue;
    impl->dwarf.reset(dwarf_begin_elf(file->handle(), DWARF_C_READ, nullptr));
    if (impl->dwarf) break;
  }
  if (!impl->dwarf) return nullptr;
  return std::unique_ptr<FrameTypes>(new FrameTypes(std::move(impl)));
}

const FrameType& FrameTypes::of(uint64_t resume) {
  const auto [entry, is_new] = impl_->known.try_emplace(resume);
  if (is_new) entry->second = impl_->read(resume);
  return entry->second;
}

}  // namespace asynctrace
