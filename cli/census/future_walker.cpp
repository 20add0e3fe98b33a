#include "cli/census/future_walker.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "cli/census/polled_others.hpp"
#include "cli/tree/names.hpp"

namespace asynctrace {
namespace {

// Real trees stay far below; only damaged memory and endless recursion do not.
constexpr int kMaxDepth = 200;
constexpr int kMaxTypeDepth = 24;
constexpr size_t kMaxNodes = 20'000;
constexpr size_t kMaxSiblings = 10'000;
constexpr size_t kMaxLooks = 200'000;

bool is_dyn_future(std::string_view name) {
  const size_t dyn = name.find("dyn ");
  return dyn != std::string_view::npos && (name.find("::Future", dyn) != std::string_view::npos ||
                                           name.find("::Stream", dyn) != std::string_view::npos);
}

// Pointers through which a future is polled: whoever has one has the future for himself.
bool is_exclusive(const Type& pointer) {
  return pointer.name.starts_with("&mut ") || pointer.name.starts_with("alloc::boxed::Box<");
}

bool is_unordered(const Type& type) {
  return type.name.starts_with("futures_util::stream::futures_unordered::FuturesUnordered<");
}

bool is_tuple(const Type& type) {
  return type.name.starts_with('(');
}

std::string_view last_part(std::string_view path) {
  return path.substr(path.rfind(':') + 1);
}

BodyState state_of(std::string_view variant) {
  if (variant.starts_with("Suspend")) return BodyState::kSuspended;
  if (variant == "Unresumed") return BodyState::kUnresumed;
  if (variant == "Returned") return BodyState::kReturned;
  if (variant == "Panicked") return BodyState::kPanicked;
  return BodyState::kUnknown;
}

}  // namespace

const Member* FutureWalker::member(TypeId type, std::string_view name) {
  const std::vector<Member>& members = types_.type(type).members;
  const auto found = std::ranges::find(members, name, &Member::name);
  return found == members.end() ? nullptr : &*found;
}

std::vector<FutureNode> FutureWalker::walk_task(const TaskShape& shape, uint64_t header) {
  if (shape.future != kNoType) return walk(shape.future, header + shape.offset);
  const TypeId cell = shape.cell;
  // The stages of a task: Running(T), Finished, Consumed.
  const auto stage = find_inside(cell, header, "tokio::runtime::task::core::Stage", false);
  reset();
  Nodes nodes;
  if (!stage) {
    unknown(cell, header, "no type information for the task", nodes);
    return nodes;
  }
  const Variant* active = active_variant(types_.type(stage->type), stage->address);
  if (active == nullptr || active->content.name != "Running") {
    unknown(cell, header, active == nullptr ? "its memory cannot be read" : "the task has ended", nodes);
    return nodes;
  }
  const Member* future = member(active->content.type, "__0");
  if (future == nullptr) return nodes;
  return walk(future->type, stage->address + active->content.offset + future->offset);
}

void FutureWalker::reset() {
  visited_.clear();
  kept_.clear();
  nodes_ = 0;
  looks_ = 0;
  incomplete_ = false;
}

std::vector<FutureNode> FutureWalker::walk(TypeId type, uint64_t address) {
  reset();
  Nodes nodes;
  follow(type, address, 0, nodes);
  return nodes;
}

void FutureWalker::unknown(TypeId type, uint64_t address, std::string_view reason, Nodes& nodes) {
  incomplete_ = true;
  FutureNode node;
  node.frame.function = types_.type(type).name;
  node.type = type;
  node.address = address;
  node.reason = reason;
  nodes.push_back(std::move(node));
}

const Variant* FutureWalker::active_variant(const Type& type, uint64_t address) {
  const uint64_t size = types_.type(type.discriminant.type).size;
  std::optional<uint64_t> value = 0;
  // An enum of one shape has no discriminant.
  if (type.discriminant.type != kNoType) value = memory_.number(address + type.discriminant.offset, size);
  if (!value) return nullptr;
  const uint64_t mask = size >= 8 ? ~uint64_t{0} : (uint64_t{1} << (size * 8)) - 1;
  const Variant* otherwise = nullptr;
  for (const Variant& variant : type.variants) {
    if (!variant.value) otherwise = &variant;
    if (variant.value && (*variant.value & mask) == *value) return &variant;
  }
  return otherwise;
}

bool FutureWalker::holds_future(TypeId id, int depth) {
  const auto [entry, is_new] = holds_future_.try_emplace(id, false);  // of itself no type holds a value
  if (!is_new) return entry->second;
  const Type& type = types_.type(id);
  bool holds = type.is_body() || types_.is_future(id) || is_dyn_future(type.name) || is_unordered(type);
  if (!holds && depth < kMaxTypeDepth) {
    const auto inside = [&](const Member& member) { return holds_future(member.type, depth + 1); };
    holds = type.is_pointer ? is_exclusive(type) && holds_future(type.target, depth + 1)
                            : std::ranges::any_of(type.members, inside) ||
                                  std::ranges::any_of(type.variants, inside, &Variant::content);
  }
  return holds_future_[id] = holds;
}

void FutureWalker::follow(TypeId id, uint64_t address, int depth, Nodes& nodes) {
  if (depth > kMaxDepth || ++nodes_ > kMaxNodes) return unknown(id, address, "too many futures", nodes);
  const Type& type = types_.type(id);
  if (type.name.empty()) return unknown(id, address, "no type information", nodes);
  if (type.size > 0 && !visited_.insert({id, address}).second)
    return unknown(id, address, "it has been reached before", nodes);
  if (type.is_body()) return follow_body(id, address, depth, nodes);
  if (type.is_pointer) {
    const auto target = memory_.number(address);
    if (!target) return unknown(id, address, "its memory cannot be read", nodes);
    return follow(type.target, *target, depth + 1, nodes);
  }
  if (is_dyn_future(type.name) && member(id, "vtable") != nullptr)
    return follow_dyn(type, address, depth, nodes);
  if (is_unordered(type)) return follow_unordered(id, address, depth, nodes);
  if (!type.variants.empty()) {
    const Variant* active = active_variant(type, address);
    if (active == nullptr) return unknown(id, address, "its memory cannot be read", nodes);
    collect_kept(id, address, 0);
    if (holds_future(active->content.type))
      follow(active->content.type, address + active->content.offset, depth + 1, nodes);
    return;
  }
  // A pin and rustc 1.63's wrapper of async bodies stand for what they hold.
  const bool wraps = type.name.starts_with("core::pin::Pin<") ||
                     type.name.starts_with("core::future::from_generator::GenFuture<");
  if (types_.is_future(id) && !wraps) return follow_future(id, address, depth, nodes);
  follow_members(id, address, depth, nodes);
}

void FutureWalker::follow_body(TypeId id, uint64_t address, int depth, Nodes& nodes) {
  const Type& type = types_.type(id);
  FutureNode node;
  node.kind = FutureKind::kBody;
  node.type = id;
  node.address = address;
  if (const FunctionName* name = types_.function_of(id)) {
    node.frame.function = name->function;
    node.frame.raw = name->raw;
    node.frame.debug_name = name->debug_name;
  } else {
    node.frame.function = type.name;
  }
  const Variant* active = active_variant(type, address);
  if (active == nullptr) {
    node.state = BodyState::kUnknown;
    node.reason = "its memory cannot be read";
    incomplete_ = true;
    nodes.push_back(std::move(node));
    return;
  }
  // The first variant stands at the function itself: an await in another file is one inside a macro.
  const Member& at = active->content;
  const bool in_macro = at.file != type.variants.front().content.file;
  node.state = state_of(last_part(types_.type(at.type).name));
  node.frame.file = type.variants.front().content.file;
  node.frame.line = in_macro ? 0 : at.line;
  collect_kept(id, address, 0);
  if (node.state == BodyState::kSuspended) {
    if (const Member* awaitee = member(at.type, "__awaitee")) {
      follow(awaitee->type, address + at.offset + awaitee->offset, depth + 1, node.children);
    } else {
      node.reason = "what it awaits has no type information";
      incomplete_ = true;
    }
  }
  nodes.push_back(std::move(node));
}

void FutureWalker::follow_future(TypeId id, uint64_t address, int depth, Nodes& nodes) {
  const Type& type = types_.type(id);
  FutureNode node;
  node.type = id;
  node.address = address;
  node.frame.function =
      fmt::format("<{} as core::future::future::Future>::poll", without_generics(type.name));
  collect_kept(id, address, 0);
  const auto inner =
      std::ranges::count_if(type.members, [&](const Member& member) { return holds_future(member.type); });
  if (inner > 1 && !polls_all(type.name)) {
    node.reason = "it holds several futures: which of them it polls is not known";
  } else if (inner > 0) {
    follow_members(id, address, depth, node.children);
  } else {
    add_polled(type, node.children);
  }
  nodes.push_back(std::move(node));
}

// What a future of this kind polls, where that is no future itself but a reader, a writer or a stream.
void FutureWalker::add_polled(const Type& future, Nodes& nodes) {
  const PollsOther* row = polls_other(future.name);
  if (row == nullptr) return;
  const auto polled = std::ranges::find(future.members, row->member, &Member::name);
  if (polled == future.members.end()) return;
  TypeId id = polled->type;
  // Readers around readers: a reference, a buffer.
  for (int depth = 0; depth < kMaxTypeDepth; ++depth) {
    const Type& type = types_.type(id);
    const Member* inner = type.name.starts_with("tokio::io::util::buf_") ? member(id, "inner") : nullptr;
    if (!type.is_pointer && inner == nullptr) break;
    id = type.is_pointer ? type.target : inner->type;
  }
  if (types_.type(id).name.empty()) return;
  FutureNode node;
  node.type = id;
  node.frame.function = fmt::format("<{} as {}", without_generics(types_.type(id).name), row->method);
  nodes.push_back(std::move(node));
}

void FutureWalker::follow_members(TypeId id, uint64_t address, int depth, Nodes& nodes) {
  const Type& type = types_.type(id);
  const uint64_t disabled = disabled_branches(type, address);
  for (const Member& member : type.members) {
    if (!holds_future(member.type)) continue;
    const uint64_t at = address + member.offset;
    const Type& pointer = types_.type(member.type);
    const auto tuple = disabled != 0 && pointer.is_pointer ? memory_.number(at) : std::nullopt;
    if (!tuple || !is_tuple(types_.type(pointer.target))) {
      follow(member.type, at, depth + 1, nodes);
      continue;
    }
    const std::vector<Member>& branches = types_.type(pointer.target).members;
    for (const Member& branch : branches) {
      const auto index = static_cast<size_t>(&branch - branches.data());
      if (index < 64 && (disabled >> index & 1) != 0) continue;
      if (holds_future(branch.type)) follow(branch.type, *tuple + branch.offset, depth + 1, nodes);
    }
  }
}

// tokio's select! keeps one bit for each branch that has ended or was never to run; its closure refers to
// them and to the tuple of all branches.
uint64_t FutureWalker::disabled_branches(const Type& closure, uint64_t address) {
  if (closure.name.find("{closure_env#") == std::string::npos) return 0;
  const auto bits = std::ranges::find_if(
      closure.members, [](const Member& member) { return member.name.ends_with("disabled"); });
  if (bits == closure.members.end()) return 0;
  const Type& pointer = types_.type(bits->type);
  const uint64_t size = types_.type(pointer.target).size;
  const auto target = pointer.is_pointer ? memory_.number(address + bits->offset) : std::nullopt;
  return target ? memory_.number(*target, size).value_or(0) : 0;
}

void FutureWalker::follow_dyn(const Type& type, uint64_t address, int depth, Nodes& nodes) {
  const auto at = [&](std::string_view name) -> std::optional<uint64_t> {
    const auto found = std::ranges::find(type.members, name, &Member::name);
    return found == type.members.end() ? std::nullopt : memory_.number(address + found->offset);
  };
  auto data = at("pointer");
  if (!data) data = at("data_ptr");
  const auto vtable = at("vtable");
  const TypeId concrete = vtable ? types_.behind_vtable(*vtable) : kNoType;
  const auto pointer = std::ranges::find_if(type.members, [](const Member& member) {
    return member.name == "pointer" || member.name == "data_ptr";
  });
  const TypeId shown = pointer == type.members.end() ? kNoType : pointer->type;
  if (!data || !vtable) return unknown(shown, address, "its memory cannot be read", nodes);
  if (concrete == kNoType) return unknown(shown, *data, "no type information behind its vtable", nodes);
  follow(concrete, *data, depth + 1, nodes);
}

// Its children are linked: head_all -> Task { future: UnsafeCell<Option<F>>, next_all }.
void FutureWalker::follow_unordered(TypeId id, uint64_t address, int depth, Nodes& nodes) {
  const Member* head = member(id, "head_all");
  FutureNode node;
  node.type = id;
  node.address = address;
  node.frame.function =
      fmt::format("<{} as futures_core::stream::Stream>::poll_next", without_generics(types_.type(id).name));
  // AtomicPtr<T> is a word; its first pointer by value tells T.
  TypeId word = head == nullptr ? kNoType : head->type;
  for (int i = 0; i < kMaxTypeDepth && !types_.type(word).is_pointer && !types_.type(word).members.empty();
       ++i)
    word = types_.type(word).members.front().type;
  const TypeId task = types_.type(word).target;
  const Member* future = member(task, "future");
  const Member* next = member(task, "next_all");
  auto at = head == nullptr ? std::nullopt : memory_.number(address + head->offset);
  if (!at || future == nullptr || next == nullptr) {
    node.reason = "its children have no type information";
    incomplete_ = true;
  } else {
    for (size_t count = 0; at && *at != 0 && count < kMaxSiblings; ++count) {
      if (holds_future(future->type)) follow(future->type, *at + future->offset, depth + 1, node.children);
      at = memory_.number(*at + next->offset);
    }
  }
  nodes.push_back(std::move(node));
}

bool FutureWalker::may_keep(TypeId id, int depth) {
  const auto [entry, is_new] = may_keep_.try_emplace(id, false);
  if (!is_new) return entry->second;
  const Type& type = types_.type(id);
  bool keeps = std::ranges::find(collected_, without_generics(type.name)) != collected_.end();
  if (!keeps && depth < kMaxTypeDepth) {
    const auto inside = [&](const Member& member) { return may_keep(member.type, depth + 1); };
    const bool boxed = type.is_pointer && type.name.starts_with("alloc::boxed::Box<");
    keeps = (boxed && may_keep(type.target, depth + 1)) || std::ranges::any_of(type.members, inside) ||
            std::ranges::any_of(type.variants, inside, &Variant::content);
  }
  return may_keep_[id] = keeps;
}

bool FutureWalker::may_keep_at(TypeId body, uint32_t line) {
  const std::vector<Variant>& variants = types_.type(body).variants;
  const auto is_there = [&](const Variant& variant) { return variant.content.line == line; };
  const bool any_line = std::ranges::none_of(variants, is_there);
  return std::ranges::any_of(variants, [&](const Variant& variant) {
    return (any_line || is_there(variant)) && may_keep(variant.content.type);
  });
}

void FutureWalker::collect_kept(TypeId id, uint64_t address, int depth) {
  if (collected_.empty() || depth > kMaxTypeDepth || !may_keep(id, 0)) return;
  if (++looks_ > kMaxLooks) {
    incomplete_ = true;
    return;
  }
  const Type& type = types_.type(id);
  if (std::ranges::find(collected_, without_generics(type.name)) != collected_.end()) {
    const auto same = [&](const Found& found) { return found.type == id && found.address == address; };
    if (std::ranges::none_of(kept_, same) && kept_.size() < kMaxNodes) kept_.push_back({id, address});
    return;
  }
  if (type.is_pointer) {
    if (const auto target = memory_.number(address)) collect_kept(type.target, *target, depth + 1);
    return;
  }
  for (const Member& member : type.members) collect_kept(member.type, address + member.offset, depth + 1);
  if (type.variants.empty()) return;
  const Variant* active = active_variant(type, address);
  if (active != nullptr) collect_kept(active->content.type, address + active->content.offset, depth + 1);
}

std::optional<Found> FutureWalker::find_inside(TypeId id, uint64_t address, std::string_view path,
                                               bool through_pointers, int depth) {
  if (depth == 0) looks_ = 0;
  if (depth > kMaxTypeDepth / 2 || ++looks_ > kMaxLooks) return std::nullopt;
  const Type& type = types_.type(id);
  if (without_generics(type.name) == path) return Found{id, address};
  if (type.is_pointer) {
    const auto target = through_pointers ? memory_.number(address) : std::nullopt;
    return target ? find_inside(type.target, *target, path, true, depth + 1) : std::nullopt;
  }
  for (const Member& member : type.members) {
    auto found = find_inside(member.type, address + member.offset, path, through_pointers, depth + 1);
    if (found) return found;
  }
  return std::nullopt;
}

}  // namespace asynctrace
