#include "cli/census/block_on.hpp"

#include <algorithm>

#include "cli/tree/names.hpp"

namespace asynctrace {
namespace {

constexpr char kRuns[] = "holder unsure: a thread that is running may hold it";
constexpr char kNotWalked[] = "holder unsure: a thread whose stack cannot be walked may hold it";
constexpr char kNotLocated[] = "holder unsure: the future of a block_on that was not found may hold it";
constexpr int kMaxPins = 8;

bool is_pin(const Type& type) {
  return type.name.starts_with("core::pin::Pin<&mut ") && type.members.size() == 1;
}

class ThreadSearch {
 public:
  ThreadSearch(const Module& module, TypeSource& types, const Memory& memory, BlockOns& result)
      : module_(module), types_(types), memory_(memory), walker_(types, memory), result_(result) {}

  void search(const NativeThread& thread) {
    if (thread.pcs.empty()) return doubt(kRuns);
    if (!thread.is_whole) doubt(kNotWalked);
    list_functions(thread);
    std::vector<Found> located;
    std::vector<const StackedFunction*> others;
    for (const StackedFunction& function : functions_) {
      if (!function.is_block_on) continue;
      const auto future = function.pinned ? behind_pins(*function.pinned) : std::nullopt;
      if (future && std::ranges::find(located, future->address, &Found::address) != located.end()) continue;
      if (future && add(thread.tid, *future, function)) located.push_back(*future);
      else others.push_back(&function);
    }
    for (const StackedFunction* function : others)
      if (!is_elsewhere(*function, located)) doubt(kNotLocated);
  }

 private:
  void doubt(const char* why) {
    if (result_.unsure == nullptr) result_.unsure = why;
  }

  // Outermost first.
  void list_functions(const NativeThread& thread) {
    functions_.clear();
    for (size_t i = thread.pcs.size(); i-- > 0;) {
      FrameState frame{thread.pcs[i] - 1, {}, {}};
      if (frame.pc < module_.start || frame.pc >= module_.end) continue;
      if (i < thread.registers.size()) frame.registers = thread.registers[i];
      if (i + 1 < thread.registers.size()) frame.canonical_address = thread.registers[i + 1][kStackPointer];
      for (StackedFunction& function : types_.functions_in(frame)) functions_.push_back(std::move(function));
    }
  }

  std::optional<Found> behind_pins(Found found) {
    for (int i = 0; i < kMaxPins && is_pin(types_.type(found.type)); ++i) {
      const Member& pointer = types_.type(found.type).members.front();
      const auto target = memory_.number(found.address + pointer.offset);
      if (!target || !types_.type(pointer.type).is_pointer) return std::nullopt;
      found = {types_.type(pointer.type).target, *target};
    }
    return found;
  }

  // Whether it has given its future to a function further in, which has it, perhaps in a wrapper; or was
  // given a pin of it by one further out.
  bool is_elsewhere(const StackedFunction& function, const std::vector<Found>& located) {
    return std::ranges::any_of(located, [&](const Found& found) {
      const std::string& name = types_.type(found.type).name;
      return std::ranges::any_of(function.futures, [&](TypeId given) {
        return name.find(types_.type(given).name) != std::string::npos ||
               (is_pin(types_.type(given)) && types_.type(given).name.find(name) != std::string::npos);
      });
    });
  }

  // False: what optimized code says of its variables is not always true, and no such future lies there.
  bool add(pid_t tid, const Found& future, const StackedFunction& by) {
    const std::vector<FutureNode> nodes = walker_.walk(future.type, future.address);
    const auto makes_sense = [](const FutureNode& node) {
      return node.reason.empty() && (node.kind != FutureKind::kBody || node.state != BodyState::kUnknown);
    };
    if (!std::ranges::all_of(nodes, makes_sense)) return false;
    const auto polls = [&](const StackedFunction& function) {
      const Frame& frame = nodes.front().frame;
      return frame.raw.empty() ? without_generics(plain_function(function.name->function)) == frame.function
                               : function.name->raw == frame.raw;
    };
    const auto inner = std::span(&by + 1, functions_.data() + functions_.size());
    result_.found.push_back({tid, future, !nodes.empty() && std::ranges::any_of(inner, polls)});
    return true;
  }

  const Module& module_;
  TypeSource& types_;
  const Memory& memory_;
  FutureWalker walker_;
  BlockOns& result_;
  std::vector<StackedFunction> functions_;
};

}  // namespace

BlockOns find_block_ons(std::span<const NativeThread> threads, const Module& module, TypeSource& types,
                        const Memory& memory) {
  BlockOns result;
  ThreadSearch search(module, types, memory, result);
  for (const NativeThread& thread : threads) search.search(thread);
  return result;
}

}  // namespace asynctrace
