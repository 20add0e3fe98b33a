#include "agent/loops/call.hpp"

#include <string.h>

#include "agent/arch/thunks.hpp"
#include "agent/loops/plain.hpp"
#include "agent/loops/rings.hpp"
#include "agent/native/labels.hpp"
#include "agent/platform.hpp"

namespace asynctrace::agent {
namespace {

// sd-event puts a flag beside the number of a signal.
constexpr uint32_t kDescriptorBits = 0x3fffffff;

constexpr bool is_argument(Place place) {
  return place >= 0 && place < kResult;
}

// Off the stack when that is walked.
#define OFF_THE_STACK __attribute__((noinline))

}  // namespace

void* Call::field_of(Place place) {
  const uint64_t base = argument(static_cast<Place>((place - kField) / 256));
  return base != 0 ? reinterpret_cast<void*>(base + (place - kField) % 256) : nullptr;
}

uint64_t Call::word(Place place) {
  if (place < kField) return argument(place);
  const void* where = field_of(place);
  uint64_t value = 0;
  if (where != nullptr) memcpy(&value, where, sizeof(value));
  return value;
}

int32_t Call::number(Place place) {
  return static_cast<int32_t>(word(place));
}

void Call::insert_arguments() {
  for (int i = kRegisterArguments - 1; i > row().inserted_at; i--) {
    registers_.arguments[i] = registers_.arguments[i - 1];
    asm volatile("" ::: "memory");  // a loop, not a call of memmove()
  }
  registers_.arguments[row().inserted_at] = row().inserted;
  argument(row().notify) = 0;
}

void Call::take_arguments_back() {
  for (int i = row().inserted_at; i < kRegisterArguments - 1; i++) {
    registers_.arguments[i] = registers_.arguments[i + 1];
    asm volatile("" ::: "memory");  // as above
  }
}

OFF_THE_STACK uint32_t Call::before(const HookGuard& guard) {
  switch (row().role) {
    case LoopRole::kSetCallback:
    case LoopRole::kArm:
    case LoopRole::kOnce:
      if (is_in_field() && !row().renews && waits_already()) break;
      registers_.watcher = row().callback != kAbsent ? set(guard) : known_watcher();
      if (registers_.watcher != kNone) tell_due(registers_.watcher);
      return row().role != LoopRole::kSetCallback || is_active() ? registers_.watcher : kNone;
    case LoopRole::kDisarm: {
      const uint32_t known = find_watcher(key());
      if (known == kNone) break;
      const bool is_meant =
          row().kind_class == 0 || row().kind_class == watcher_entry(known).facts.leaf_class;
      if (is_meant) disarm(guard, known);
      else tell_due(known);
      break;
    }
    case LoopRole::kSwitch: return switched(guard);
    case LoopRole::kChange: return changed();
    case LoopRole::kFree: end_all(guard); break;
    case LoopRole::kFreeLoop: end_loop(guard); break;
    case LoopRole::kHold:
      if (const uint32_t known = find_watcher(key()); known != kNone) hold(known);
      break;
    case LoopRole::kEpollControl:
      return registers_.watcher = before_epoll_control(guard, number(0), number(1), number(2),
                                                       reinterpret_cast<const epoll_event*>(argument(3)));
    case LoopRole::kClose: before_close(guard, number(0)); break;
    case LoopRole::kSubmit:
    case LoopRole::kComplete:
    case LoopRole::kEndRing:
    case LoopRole::kLoop:
    case LoopRole::kCallbackOf: break;
  }
  return kNone;
}

OFF_THE_STACK bool Call::submits(const HookGuard& guard) {
  const LoopRole role = row().role;
  if (role != LoopRole::kSubmit && role != LoopRole::kComplete && role != LoopRole::kEndRing) return false;
  look_at_completions(guard, ring());
  if (role == LoopRole::kEndRing) end_ring(guard, ring());
  return role == LoopRole::kSubmit && has_submissions(ring());
}

void Call::after(const HookGuard& guard, uintptr_t root) {
  const uint32_t number = registers_.watcher;
  switch (row().role) {
    case LoopRole::kSetCallback:
    case LoopRole::kArm:
    case LoopRole::kOnce:
      if (number == kNone) break;
      if (failed()) undo(guard, number);
      else if (row().watcher >= kResult && row().notify == kAbsent) name(guard, number);
      if (row().type != kAbsent) set_source_id(number, static_cast<uint32_t>(registers_.results[0]));
      break;
    case LoopRole::kFree:
    case LoopRole::kFreeLoop: give_back_all(guard); break;
    case LoopRole::kEpollControl:
      if (number != kNone && failed()) undo_epoll_control(guard, number, registers_.was_armed);
      break;
    case LoopRole::kLoop:
      if (registers_.is_begun) end_dispatch(guard, root);
      break;
    case LoopRole::kSubmit:
    case LoopRole::kComplete: look_at_completions(guard, ring()); break;
    case LoopRole::kEndRing:
    case LoopRole::kDisarm:
    case LoopRole::kSwitch:
    case LoopRole::kChange:
    case LoopRole::kHold:
    case LoopRole::kClose:
    case LoopRole::kCallbackOf: break;
  }
}

void Call::give_callback_back() {
  void** where = row().callback == kResult
                     ? reinterpret_cast<void**>(&registers_.results[0])
                     : reinterpret_cast<void**>(argument(static_cast<Place>(row().callback - stored_at(0))));
  if (where == nullptr) return;
  const uint32_t number = thunk_number(ThunkArray::kDispatch, *where);
  if (number != UINT32_MAX)
    *where = const_cast<void*>(watcher_entry(number).callback.load(std::memory_order_acquire));
}

WatcherKey Call::key() {
  return {is_argument(row().watcher) ? argument(row().watcher) : 0, row().slot};
}

bool Call::failed() {
  const auto result = static_cast<int>(registers_.results[0]);
  return (row().fails_by_result && result != 0) || (row().fails_below_0 && result < 0) ||
         (row().watcher == kResult && registers_.results[0] == 0) || (is_in_field() && !is_active());
}

bool Call::repeats() {
  if (row().events != kAbsent && function().library->persistent != 0)
    return (word(row().events) & function().library->persistent) != 0;
  return row().repeats == kAgainAndAgain || (row().repeats >= 0 && word(row().repeats) != 0);
}

OFF_THE_STACK Kind Call::kind_of_source() {
  const uint64_t type = word(row().type);
  if (const WatcherType* known = watcher_type(type)) return kind_of(*known);
  const char* name = names_its_sources(type) ? reinterpret_cast<const char*>(word(row().name)) : nullptr;
  const char* text = name != nullptr && *name != '\0' ? name : row().kind;
  return {label_number(text, row().kind_class), row().kind_class};
}

WatcherFacts Call::facts(const void* callback) {
  const auto events = row().events != kAbsent ? static_cast<uint32_t>(word(row().events)) : 0;
  const Kind kind = row().type != kAbsent ? kind_of_source() : kind_of(function(), events);
  int32_t descriptor = row().descriptor != kAbsent ? number(row().descriptor) : -1;
  if (descriptor > 0) descriptor &= kDescriptorBits;
  return {.callback = callback,
          .descriptor = descriptor,
          .library = library_label(*function().library),
          .kind = static_cast<uint16_t>(kind.label + 1),
          .leaf_class = kind.leaf_class,
          .repeats = repeats(),
          .ends = row().role == LoopRole::kOnce,
          .zero_ends = row().zero_ends,
          .error_disarms = row().error_disarms,
          .returns_nothing = row().returns_nothing,
          .callback_field = static_cast<uint8_t>(is_in_field() ? row().callback % 256 : 0),
          .active_field = static_cast<uint8_t>(is_in_field() ? row().active % 256 : 0),
          .again_at = row().due.again_at};
}

// With another callback than it was armed with it does not.
bool Call::waits_already() {
  const uint32_t number = find_watcher(key());
  return number != kNone && is_active() &&
         watcher_entry(number).leaf.load(std::memory_order_acquire) != kNone &&
         word(row().callback) == reinterpret_cast<uint64_t>(thunk(ThunkArray::kDispatch, number));
}

uint32_t Call::known_watcher() {
  const uint32_t number = find_watcher(key());
  const bool is_meant =
      number != kNone && (row().repeats != kAgainAndAgain || watcher_entry(number).facts.repeats);
  return is_meant ? number : kNone;
}

// A GSource without a callback, whose dispatch function does the work. Its address is compared by whoever has
// made the type, so no thunk can stand in its place: that it was dispatched is not seen, nor that it has
// ended by itself.
OFF_THE_STACK uint32_t Call::before_source(const HookGuard& guard) {
  if (row().role != LoopRole::kArm || row().callback != kAbsent || row().type == kAbsent) return kNone;
  constexpr uint64_t kDispatch = 16;  // in GSourceFuncs
  const uint64_t type = word(row().type);
  if (type == 0 || watcher_type(type) != nullptr) return kNone;
  const void* dispatch = nullptr;
  memcpy(&dispatch, reinterpret_cast<const void*>(type + kDispatch), sizeof(dispatch));
  if (dispatch == nullptr) return kNone;
  const Kind kind = kind_of_source();
  const uint32_t number = set_watcher(guard, key(),
                                      {.callback = dispatch,
                                       .library = library_label(*function().library),
                                       .kind = static_cast<uint16_t>(kind.label + 1),
                                       .leaf_class = kind.leaf_class,
                                       .repeats = true});
  if (number != kNone) set_source(number, type);
  return registers_.watcher = number;
}

// Lets the library call our thunk. kNone: it is left as it is.
uint32_t Call::set(const HookGuard& guard) {
  void* where = is_in_field() ? field_of(row().callback) : &argument(row().callback);
  if (where == nullptr) return kNone;
  const void* callback = nullptr;
  memcpy(&callback, where, sizeof(callback));
  if (callback == nullptr) return kNone;
  // One that the program found in the library's memory.
  if (const uint32_t ours = thunk_number(ThunkArray::kDispatch, callback); ours != UINT32_MAX)
    callback = watcher_entry(ours).callback.load(std::memory_order_acquire);
  const bool is_notified = row().notify != kAbsent;
  if (is_notified) leave_to_library(guard, key());
  const uint32_t number = set_watcher(guard, key(), facts(callback));
  if (number == kNone) return kNone;
  if (row().loop != kAbsent) set_loop(number, argument(row().loop));
  const void* thunk_of = thunk(ThunkArray::kDispatch, number);
  memcpy(where, &thunk_of, sizeof(thunk_of));
  if (is_notified) {
    uint64_t& notify = argument(row().notify);
    set_notify(number, reinterpret_cast<void*>(notify));
    notify = reinterpret_cast<uint64_t>(thunk(ThunkArray::kNotify, number));
  }
  return number;
}

uint32_t Call::switched(const HookGuard& guard) {
  const uint32_t number = find_watcher(key());
  if (number == kNone) return kNone;
  const auto wanted = static_cast<int32_t>(argument(row().repeats));
  if (wanted == 0) return disarm(guard, number), kNone;
  WatcherEntry& entry = watcher_entry(number);
  entry.facts.repeats = wanted > 0;
  return entry.leaf.load(std::memory_order_acquire) == kNone ? number : kNone;
}

uint32_t Call::changed() {
  const uint32_t number = find_watcher(key());
  if (number == kNone) return kNone;
  tell_due(number);
  WatcherEntry& entry = watcher_entry(number);
  if (row().descriptor != kAbsent) {
    entry.facts.descriptor = this->number(row().descriptor);
    publish_watcher(number);
  }
  if (row().events != kAbsent) {
    const Kind kind = kind_of(function(), static_cast<uint32_t>(word(row().events)));
    if (kind.label != segment::kNoLabel) entry.facts.kind = static_cast<uint16_t>(kind.label + 1);
  }
  return entry.leaf.load(std::memory_order_acquire) != kNone ? number : kNone;
}

void Call::name(const HookGuard& guard, uint32_t number) {
  uint64_t address = registers_.results[0];
  if (row().watcher > kResult) {
    const auto* where =
        reinterpret_cast<const uint64_t*>(argument(static_cast<Place>(row().watcher - stored_at(0))));
    address = where != nullptr ? *where : 0;
  }
  // It may be over already.
  if (address != 0 && watcher_entry(number).task_id.load(std::memory_order_acquire) != 0)
    name_watcher(guard, number, {address, row().slot});
}

void Call::undo(const HookGuard& guard, uint32_t number) {
  if (is_in_field()) {
    restore_callback(number);
  } else if (is_argument(row().watcher) && row().role == LoopRole::kArm) {
    if (!registers_.was_armed) disarm(guard, number);
    return;
  } else if (is_argument(row().watcher) && row().role == LoopRole::kSetCallback) {
    return;
  }
  end_watcher(guard, number);
  give_back(guard, number);
}

// As long as the library has not freed it, it may still call the thunk: so the numbers stay taken until
// then, in a chain by the word for an address that they no longer have.
OFF_THE_STACK void Call::end_all(const HookGuard& guard) {
  const uint64_t address = key().address;
  for (uint8_t slot = 0; slot < function().library->slots; slot++) {
    const uint32_t number = find_watcher({address, slot});
    if (number == kNone || (row().only_sources && !watcher_entry(number).is_source)) continue;
    if (let_go(number)) {
      if (row().also_disarms) disarm(guard, number);
      continue;
    }
    if (is_in_field()) restore_callback(number);
    end_watcher(guard, number);
    watcher_entry(number).address = registers_.watcher;
    registers_.watcher = number;
  }
}

OFF_THE_STACK void Call::end_loop(const HookGuard& guard) {
  if (row().references != kAbsent && number(row().references) != 1) return;
  const uint64_t loop = argument(row().loop);
  if (loop == 0) return;
  registers_.watcher = asynctrace::agent::end_loop(guard, loop, registers_.watcher);
  if (const uint32_t own = find_watcher({loop, kLoopSlot}); own != kNone) {
    end_watcher(guard, own);
    give_back(guard, own);
  }
}

void Call::give_back_all(const HookGuard& guard) {
  for (uint32_t number = registers_.watcher; number != kNone;) {
    const auto next = static_cast<uint32_t>(watcher_entry(number).address);
    watcher_entry(number).address = 0;
    give_back(guard, number);
    number = next;
  }
}

OFF_THE_STACK void Call::begin_loop(const HookGuard& guard, uintptr_t root) {
  const WatcherFacts facts{.library = library_label(*function().library), .repeats = true};
  const uint32_t number = set_watcher(guard, {key().address, kLoopSlot}, facts);
  if (number == kNone) return;
  const Frame* frame = guard.context().frame;
  // One of its functions has called another.
  if (frame != nullptr && frame->task_id == watcher_entry(number).task_id.load(std::memory_order_relaxed))
    return;
  registers_.is_begun = begin_dispatch(guard, number, root) != nullptr;
}

}  // namespace asynctrace::agent
