// One call of a library's function that the agent stands before: what the function's row says of its
// arguments, and what that does to the records of its watcher. On the stack of the call.
#pragma once

#include <cstdint>

#include "agent/loops/calls.hpp"
#include "agent/loops/kinds.hpp"
#include "agent/loops/loops.hpp"
#include "agent/loops/watchers.hpp"

namespace asynctrace::agent {

class Call {
 public:
  Call(CallRegisters& registers, uint64_t* frame) : registers_(registers), stack_(frame + 2) {}

  const LoopFunction& function() const { return loop_function(static_cast<uint32_t>(registers_.number)); }
  const Row& row() const { return *function().row; }
  // A function of the library may end in the call (a tail call).
  bool is_from_library(uint64_t return_address) const {
    if (return_address == reinterpret_cast<uint64_t>(asynctrace_call_return)) return true;
    return return_address >= function().start && return_address < function().end;
  }

  // Row::instead takes one argument more, and one to tell it whom to notify.
  void insert_arguments();
  // Where the call was not recorded and the function itself is called after all.
  void take_arguments_back();

  // The watcher that the call is about to arm, kNone. Not of kLoop.
  uint32_t before(const HookGuard& guard);
  // The same of one that the program makes without a callback, where before() knows none.
  uint32_t before_source(const HookGuard& guard);
  void begin_loop(const HookGuard& guard, uintptr_t root);
  void after(const HookGuard& guard, uintptr_t root);

  // Of io_uring: whether operations begin with the call.
  bool submits(const HookGuard& guard);
  const void* ring() { return reinterpret_cast<const void*>(argument(row().watcher)); }

  // The program asked for its callback: it shall see its own.
  void give_callback_back();

 private:
  uint64_t& argument(Place place) {
    return place < kRegisterArguments ? registers_.arguments[place] : stack_[place - kRegisterArguments];
  }
  // Null: a field of nothing.
  void* field_of(Place place);
  uint64_t word(Place place);
  int32_t number(Place place);

  WatcherKey key();
  bool failed();
  bool is_active() { return row().active != kAbsent && number(row().active) != 0; }
  bool is_in_field() const { return row().callback >= kField; }
  bool repeats();
  bool waits_already();
  Kind kind_of_source();
  WatcherFacts facts(const void* callback);
  uint32_t known_watcher();
  uint32_t set(const HookGuard& guard);
  uint32_t switched(const HookGuard& guard);
  uint32_t changed();
  void tell_due(uint32_t number);
  Due due(const WatcherEntry& entry);
  void name(const HookGuard& guard, uint32_t number);
  void undo(const HookGuard& guard, uint32_t number);
  void end_all(const HookGuard& guard);
  void end_loop(const HookGuard& guard);
  void give_back_all(const HookGuard& guard);

  CallRegisters& registers_;
  uint64_t* stack_;
};

}  // namespace asynctrace::agent
