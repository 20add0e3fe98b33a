#include "cli/coroutines/frame_places.hpp"

#include <algorithm>

namespace asynctrace {
namespace {

constexpr uint64_t kGccInitial = 2;  // and 0 before it is reached
constexpr std::string_view kAwaitSuspend = "::await_suspend";
constexpr std::string_view kClangWrapper = ".__await_suspend_wrapper__";
constexpr std::string_view kClangFinal = ".__await_suspend_wrapper__final";

// Of what completes an operation: where a line of the handler is looked for, and how closely.
constexpr uint64_t kMaxHandlerCode = 2048, kHandlerStep = 8;

// "Event::Awaiter" of "Event::Awaiter::await_suspend(std::coroutine_handle<void>)". Templates come with what
// they return.
std::string awaiter_of(const std::string& function) {
  size_t depth = 0, start = 0;
  for (size_t i = 0; i < function.size(); ++i) {
    const char c = function[i];
    if (c == '<' || c == '(') ++depth;
    if ((c == '>' && function[i - 1] != '-') || c == ')') depth -= depth > 0;
    if (depth > 0) continue;
    if (c == ' ') start = i + 1;
    const char next = i + kAwaitSuspend.size() < function.size() ? function[i + kAwaitSuspend.size()] : '\0';
    if (function.compare(i, kAwaitSuspend.size(), kAwaitSuspend) == 0 && (next == '(' || next == '<'))
      return function.substr(start, i - start);
  }
  return {};
}

// As a programmer wrote it: libstdc++ keeps some types in a namespace of its own, and the native API wraps
// what is awaited.
std::string plain_type(std::string name) {
  constexpr std::string_view kInline = "__n4861::", kTraced = "asynctrace::detail::TracedAwaiter<";
  for (size_t at = 0; (at = name.find(kInline, at)) != std::string::npos;) name.erase(at, kInline.size());
  if (!name.starts_with(kTraced) || !name.ends_with('>')) return name;
  name = name.substr(kTraced.size(), name.size() - kTraced.size() - 1);
  while (name.ends_with('&')) name.pop_back();
  return name;
}

}  // namespace

PlacedFrame FramePlaces::place(const Memory& memory, const CoroutineFrame& frame) {
  PlacedFrame placed{frame};
  if (frame.has_ended) {
    placed.state = CoroutineState::kEnded;
    return placed;
  }
  const FrameCode& code = facts_.code(frame.function);
  if (code.index) placed.number = memory.number(frame.address + code.index->offset, code.index->size);
  if (!placed.number) return placed;
  const bool is_gcc = facts_.functions()[frame.function].compiler == CoroutineCompiler::kGcc;
  const bool is_first =
      is_gcc ? *placed.number == 0 || *placed.number == kGccInitial
             : *placed.number == 0 && facts_.type(frame.function).begins_with == "suspend_always";
  if (is_first) placed.state = CoroutineState::kNotStarted;
  return placed;
}

bool FramePlaces::makes_sense(const PlacedFrame& placed) {
  const FrameCode& code = facts_.code(placed.frame.function);
  const bool is_gcc = facts_.functions()[placed.frame.function].compiler == CoroutineCompiler::kGcc;
  if (is_gcc && placed.number && *placed.number % 2 != 0) return false;  // it is being destroyed, or was
  return placed.frame.verified || !placed.number || *placed.number == 0 || code.stores.empty() ||
         code.stores.contains(*placed.number);
}

bool FramePlaces::yields(const PlacedFrame& placed) {
  return facts_.type(placed.frame.function).yields && awaited(placed).ends_with("suspend_always");
}

bool FramePlaces::may_be_not_started(const PlacedFrame& placed) {
  const bool is_clang = facts_.functions()[placed.frame.function].compiler == CoroutineCompiler::kClang;
  return is_clang && placed.number == 0 && placed.state == CoroutineState::kSuspended &&
         facts_.type(placed.frame.function).begins_with != "suspend_never";
}

const Frame& FramePlaces::handler(const AsioFunction& function, const AsioHandler& handler) {
  const auto [entry, is_new] = handlers_.try_emplace({function.address, handler});
  if (is_new) entry->second = look_up_handler(function, handler);
  return entry->second;
}

Frame FramePlaces::look_up_handler(const AsioFunction& function, const AsioHandler& handler) {
  if (handler.function != 0) return symbols_.frames()[symbols_.resolve_function(handler.function)];
  const uint64_t caller = handler.invoker != 0 ? handler.invoker : function.address;
  Frame frame = symbols_.frames()[symbols_.resolve_function(caller)];
  frame.file.clear();
  frame.line = frame.column = 0;
  find_body(caller, handler.invoker != 0 ? kMaxHandlerCode : function.size, handler.type, frame);
  frame.function = handler.type;
  frame.raw.clear();
  frame.debug_name.clear();
  frame.inlined = false;
  return frame;
}

// Most handlers are inlined into what calls them.
void FramePlaces::find_body(uint64_t address, uint64_t size, const std::string& type, Frame& frame) {
  const std::string body = type + "::operator()";
  size = std::min(size, kMaxHandlerCode);
  for (uint64_t at = 0; at < size && frame.line == 0; at += kHandlerStep) {
    for (const uint32_t index : symbols_.resolve_return_address(address + at + 1)) {
      const Frame& inner = symbols_.frames()[index];
      if (!inner.function.starts_with(body)) continue;
      frame.file = inner.file;
      frame.line = inner.line;
      frame.column = inner.column;
    }
  }
}

const FramePlaces::Place& FramePlaces::find(const PlacedFrame& placed) {
  const bool is_suspended = placed.state == CoroutineState::kSuspended;
  const auto number = is_suspended ? placed.number : std::nullopt;
  const auto [entry, is_new] = places_.try_emplace({placed.frame.function, is_suspended, number});
  if (is_new) entry->second = look_up(placed);
  return entry->second;
}

// The step at which what is awaited gets the coroutine's handle: compilers give that call the line of the
// co_await, which cannot be said of the code around it.
std::optional<size_t> FramePlaces::find_await(std::span<const FrameCode::Step> steps, uint32_t function,
                                              Place& place) {
  const auto callee = [&](uint64_t address) { return symbols_.resolve_function(address); };
  for (size_t i = 0; i < steps.size(); ++i) {
    std::vector<uint32_t> frames;
    for (const uint32_t frame : symbols_.resolve_return_address(steps[i].address + 1))
      frames.push_back(frame);
    if (steps[i].callee != 0) {
      frames.push_back(callee(steps[i].callee));
      if (symbols_.frames()[frames.back()].raw.find(kClangWrapper) != std::string::npos)
        for (const uint64_t next : facts_.callees_of(steps[i].callee, function))
          frames.push_back(callee(next));
    }
    const auto is_final = [&](uint32_t index) {
      return symbols_.frames()[index].raw.find(kClangFinal) != std::string::npos;
    };
    if (std::ranges::any_of(frames, is_final)) continue;
    for (const uint32_t index : frames) {
      const std::string awaiter = awaiter_of(symbols_.frames()[index].function);
      if (awaiter.empty()) continue;
      place.awaited = plain_type(awaiter);
      return i;
    }
  }
  return std::nullopt;
}

const Frame& FramePlaces::position(uint64_t address) {
  return symbols_.frames()[symbols_.resolve_return_address(address + 1).back()];
}

// False: no code that is the coroutine's own stores its number.
bool FramePlaces::find_await_of_number(const FrameCode& code, const PlacedFrame& placed, Place& place) {
  const auto stores = placed.number ? code.stores.find(*placed.number) : code.stores.end();
  if (stores == code.stores.end()) return false;
  std::optional<uint64_t> shown;
  for (const auto& steps : stores->second) {
    // What clang has inlined is another coroutine, whose frame lies in this one's.
    if (symbols_.resolve_return_address(steps.front().address + 1).size() > 1) continue;
    if (!shown) shown = steps.front().address;
    const auto found = find_await(steps, placed.frame.function, place);
    if (!found) continue;
    shown = steps[*found].address;
    break;
  }
  if (!shown) return false;
  place.frame = position(*shown);
  const auto& awaited = facts_.type(placed.frame.function).awaited;
  const auto known = awaited.find(*placed.number);
  // What is no temporary has no member: then the members cannot be told apart.
  const bool has_all = code.stores.rbegin()->first == 2 * (awaited.size() + 2);
  if (place.awaited.empty() && known != awaited.end() && has_all) place.awaited = plain_type(known->second);
  return true;
}

// A body that has one suspension only, or one line with suspensions.
void FramePlaces::find_only_await(const FrameCode& code, const PlacedFrame& placed, Place& place) {
  std::optional<Frame> only;
  std::string awaited;
  std::span<const FrameCode::Step> rest = code.all;
  while (const auto found = find_await(rest, placed.frame.function, place)) {
    const uint64_t address = rest[*found].address;
    rest = rest.subspan(*found + 1);
    const Frame& frame = position(address);
    if (only && only->line != frame.line) {
      place.awaited.clear();
      return;
    }
    only = frame;
    awaited = place.awaited;
  }
  place.awaited = awaited;
  if (only) place.frame = *only;
}

FramePlaces::Place FramePlaces::look_up(const PlacedFrame& placed) {
  const CoroutineFunction& function = facts_.functions()[placed.frame.function];
  const uint64_t entry = function.has_ramp ? function.other_code.front().start : function.resume.start;
  Place place;
  place.frame = symbols_.frames()[symbols_.resolve_function(entry)];
  if (function.names.size() > 1) {
    place.frame.file.clear();
    place.frame.line = 0;
  }
  const FrameCode& code = facts_.code(placed.frame.function);
  if (placed.state == CoroutineState::kSuspended) place.frame.line = place.frame.column = 0;
  if (placed.state == CoroutineState::kSuspended && !find_await_of_number(code, placed, place))
    find_only_await(code, placed, place);
  place.frame.function = facts_.name(placed.frame.function);
  place.frame.raw = function.names.front();
  place.frame.debug_name.clear();
  place.frame.inlined = false;
  return place;
}

}  // namespace asynctrace
