// Before and after a function of a poll loop's library: what it does to its watchers is done to their
// records.
#include "agent/arch/thunks.hpp"
#include "agent/live.hpp"
#include "agent/loops/calls.hpp"
#include "agent/loops/kinds.hpp"
#include "agent/loops/loops.hpp"
#include "agent/loops/watchers.hpp"
#include "agent/platform.hpp"

namespace asynctrace::agent {
namespace {

ThreadContext* thread_in_loop() {
  ThreadContext* context = current_thread();
  return context != nullptr || g_live.load(std::memory_order_acquire) != nullptr || !begin_tracing()
             ? context
             : current_thread();
}

// One call of a library function.
class Call {
 public:
  Call(CallRegisters& registers, uint64_t* frame) : registers_(registers), stack_(frame + 2) {}

  const LoopFunction& function() const { return loop_function(static_cast<uint32_t>(registers_.number)); }
  const Row& row() const { return *function().row; }
  bool is_from_library(uint64_t return_address) const {
    return return_address >= function().start && return_address < function().end;
  }

  // The watcher that the call is about to arm, kNone. Not inlined: off the stack when that is walked.
  __attribute__((noinline)) uint32_t before(const HookGuard& guard, uintptr_t root) {
    switch (row().role) {
      case LoopRole::kSetCallback: set(guard); break;
      case LoopRole::kArm:
      case LoopRole::kOnce:
        return registers_.watcher = row().callback != kAbsent ? set(guard) : known_watcher();
      case LoopRole::kDisarm: {
        const uint32_t number = find_watcher(key());
        if (number == kNone) break;
        const bool is_meant =
            row().kind_class == 0 || row().kind_class == watcher_entry(number).facts.leaf_class;
        if (is_meant) disarm(guard, number);
        break;
      }
      case LoopRole::kFree: end_all(guard); break;
      case LoopRole::kLoop: begin_loop(guard, root); break;
      case LoopRole::kCallbackOf: break;
    }
    return kNone;
  }

  void after(const HookGuard& guard, uintptr_t root) {
    const uint32_t number = registers_.watcher;
    switch (row().role) {
      case LoopRole::kSetCallback:
      case LoopRole::kArm:
      case LoopRole::kOnce:
        if (number == kNone) break;
        if (row().watcher >= kResult && !failed()) name(guard, number);
        else if (failed()) undo(guard, number);
        break;
      case LoopRole::kFree: give_back_all(guard); break;
      case LoopRole::kLoop:
        if (registers_.is_begun) end_dispatch(guard, root);
        break;
      case LoopRole::kDisarm:
      case LoopRole::kCallbackOf: break;
    }
  }

  // The program asked for its callback: it shall see its own.
  void give_callback_back() {
    void** where = row().callback == kResult
                       ? reinterpret_cast<void**>(&registers_.results[0])
                       : reinterpret_cast<void**>(argument(row().callback - stored_at(0)));
    if (where == nullptr) return;
    const uint32_t number = thunk_number(ThunkArray::kDispatch, *where);
    if (number != UINT32_MAX)
      *where = const_cast<void*>(watcher_entry(number).callback.load(std::memory_order_acquire));
  }

 private:
  uint64_t& argument(int n) {
    return n < kRegisterArguments ? registers_.arguments[n] : stack_[n - kRegisterArguments];
  }

  WatcherKey key() {
    const bool is_argument = row().watcher >= 0 && row().watcher < kResult;
    return {is_argument ? argument(row().watcher) : 0, row().slot};
  }

  bool failed() const {
    const auto result = static_cast<int>(registers_.results[0]);
    return (row().fails_by_result && result != 0) || (row().watcher == kResult && registers_.results[0] == 0);
  }

  bool repeats() {
    if (row().events != kAbsent && function().library->persistent != 0)
      return (argument(row().events) & function().library->persistent) != 0;
    return row().repeats == kAgainAndAgain || (row().repeats >= 0 && argument(row().repeats) != 0);
  }

  uint32_t known_watcher() {
    const uint32_t number = find_watcher(key());
    const bool is_meant =
        number != kNone && (row().repeats != kAgainAndAgain || watcher_entry(number).facts.repeats);
    return is_meant ? number : kNone;
  }

  // Lets the library call our thunk. kNone: it is left as it is.
  uint32_t set(const HookGuard& guard) {
    const void* callback = reinterpret_cast<void*>(argument(row().callback));
    if (callback == nullptr) return kNone;
    // One that the program found in the library's memory.
    if (const uint32_t ours = thunk_number(ThunkArray::kDispatch, callback); ours != UINT32_MAX)
      callback = watcher_entry(ours).callback.load(std::memory_order_acquire);
    const auto events = row().events != kAbsent ? static_cast<uint32_t>(argument(row().events)) : 0;
    const Kind kind = kind_of(function(), events);
    const WatcherFacts facts{
        .callback = callback,
        .descriptor = row().descriptor != kAbsent ? static_cast<int32_t>(argument(row().descriptor)) : -1,
        .library = library_label(*function().library),
        .kind = static_cast<uint16_t>(kind.label + 1),
        .leaf_class = kind.leaf_class,
        .repeats = repeats(),
        .ends = row().role == LoopRole::kOnce,
        .zero_ends = row().zero_ends};
    const uint32_t number = set_watcher(guard, key(), facts);
    if (number == kNone) return kNone;
    argument(row().callback) = reinterpret_cast<uint64_t>(thunk(ThunkArray::kDispatch, number));
    return registers_.watcher = number;
  }

  void name(const HookGuard& guard, uint32_t number) {
    uint64_t address = registers_.results[0];
    if (row().watcher > kResult) {
      const auto* where = reinterpret_cast<const uint64_t*>(argument(row().watcher - stored_at(0)));
      address = where != nullptr ? *where : 0;
    }
    // It may be over already.
    if (address != 0 && watcher_entry(number).task_id.load(std::memory_order_acquire) != 0)
      name_watcher(guard, number, {address, row().slot});
  }

  void undo(const HookGuard& guard, uint32_t number) {
    const bool is_known = row().watcher >= 0 && row().watcher < kResult;
    if (row().role == LoopRole::kArm && is_known) {
      if (!registers_.was_armed) disarm(guard, number);
    } else if (!is_known || row().role == LoopRole::kOnce) {
      end_watcher(guard, number);
      give_back(guard, number);
    }
  }

  // As long as the library has not freed it, it may still call the thunk: so the numbers stay taken until
  // then, in a chain by the word for an address that they no longer have.
  void end_all(const HookGuard& guard) {
    const uint64_t address = key().address;
    for (uint8_t slot = 0; slot < function().library->slots; slot++) {
      const uint32_t number = find_watcher({address, slot});
      if (number == kNone) continue;
      end_watcher(guard, number);
      watcher_entry(number).address = registers_.watcher;
      registers_.watcher = number;
    }
  }

  void give_back_all(const HookGuard& guard) {
    for (uint32_t number = registers_.watcher; number != kNone;) {
      const auto next = static_cast<uint32_t>(watcher_entry(number).address);
      watcher_entry(number).address = 0;
      give_back(guard, number);
      number = next;
    }
  }

  void begin_loop(const HookGuard& guard, uintptr_t root) {
    const WatcherFacts facts{.callback = nullptr,
                             .descriptor = -1,
                             .library = library_label(*function().library),
                             .kind = 0,
                             .leaf_class = 0,
                             .repeats = true,
                             .ends = false,
                             .zero_ends = false};
    const uint32_t number = set_watcher(guard, {key().address, kLoopSlot}, facts);
    if (number == kNone) return;
    const Frame* frame = guard.context().frame;
    // One of its functions has called another.
    if (frame != nullptr && frame->task_id == watcher_entry(number).task_id.load(std::memory_order_relaxed))
      return;
    registers_.is_begun = begin_dispatch(guard, number, root) != nullptr;
  }

  CallRegisters& registers_;
  uint64_t* stack_;
};

}  // namespace
}  // namespace asynctrace::agent

using namespace asynctrace::agent;

namespace {

// A callback that ends in the call (a tail call) has left the stack: its function is all that is known.
const StackEntry* stack_of_call(const HookGuard& guard, uint64_t* frame) {
  const LeafSite site = LeafSite::of_hook(frame);
  const Frame* dispatch = guard.context().frame;
  if (site.return_address != reinterpret_cast<uint64_t>(asynctrace_dispatch_return) || dispatch == nullptr)
    return capture(guard, site);
  const uint64_t callback[] = {dispatch->callback + 1};
  return intern_stack(callback, asynctrace::segment::kIncomplete);
}

// What a hook does while the guard is held, on as little stack as may be: below it stacks are walked.
void record(CallRegisters* registers, uint64_t* frame) {
  const ErrnoKeeper errno_keeper;
  const HookGuard guard(thread_in_loop());
  if (!guard) return;
  const auto root = reinterpret_cast<uintptr_t>(frame);
  drop_dead_frames(guard, root);
  ThreadContext& context = guard.context();
  if (context.library_call <= root) context.library_call = 0;  // left by longjmp
  Call call(*registers, frame);
  const uint64_t return_address = frame[1];
  const bool is_librarys = call.is_from_library(return_address);
  if (context.library_call != 0 && is_librarys) return;
  registers->is_recorded = true;
  registers->outer_call = context.library_call;
  if (call.row().role != LoopRole::kLoop) context.library_call = root;
  if (is_librarys && call.row().only_programs) return;
  if (const uint32_t number = call.before(guard, root); number != kNone)
    registers->was_armed = arm(guard, number, stack_of_call(guard, frame));
}

}  // namespace

CallTarget asynctrace_before_call(CallRegisters* registers, uint64_t* frame) {
  registers->watcher = kNone;
  registers->is_recorded = registers->is_begun = registers->was_armed = false;
  record(registers, frame);
  const LoopFunction& function = loop_function(static_cast<uint32_t>(registers->number));
  return {function.real, function.row->stack_words};
}

void asynctrace_after_call(CallRegisters* registers, uint64_t* frame) {
  const ErrnoKeeper errno_keeper;
  Call call(*registers, frame);
  if (call.row().role == LoopRole::kCallbackOf) call.give_callback_back();
  if (!registers->is_recorded) return;
  const HookGuard guard(current_thread());
  if (!guard) return;
  const auto root = reinterpret_cast<uintptr_t>(frame);
  if (guard.context().library_call == root) guard.context().library_call = registers->outer_call;
  call.after(guard, root);
  g_segment.reserve_ahead(asynctrace::segment::kLeaves);
  g_segment.reserve_ahead(asynctrace::segment::kTasks);
  g_segment.reserve_ahead(asynctrace::segment::kWatchers);
}
