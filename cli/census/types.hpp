// How the values of a program lie in its memory, as plain data: what the future walker needs of debug info.
// Addresses are those in the running process. Not thread-safe. Allocates.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/native/native_stack.hpp"
#include "cli/symbols/dwarf_index.hpp"

namespace asynctrace {

// Of one TypeSource.
using TypeId = uint32_t;
inline constexpr TypeId kNoType = UINT32_MAX;

struct Member {
  std::string name;
  TypeId type = kNoType;
  uint64_t offset = 0;
  // Where it is declared; of a suspended async body's variant: its await. "" and 0: unknown.
  std::string file = {};
  uint32_t line = 0;
};

// One of the shapes that an enum or an async body takes.
struct Variant {
  std::optional<uint64_t> value;  // of the discriminant; none: every value that no other variant has
  Member content;
};

struct Type {
  std::string name;  // with its path: "tokio::sync::mutex::MutexGuard<i32>"
  uint64_t size = 0;
  bool is_pointer = false;
  TypeId target = kNoType;  // of a pointer
  std::vector<Member> members = {};
  std::vector<Variant> variants = {};
  Member discriminant = {};  // of variants
  // The state of an async fn, block or closure.
  bool is_body() const { return !variants.empty() && discriminant.name == "__state"; }
};

// A value, found by its type.
struct Found {
  TypeId type = kNoType;
  uint64_t address = 0;
  bool operator==(const Found&) const = default;
};

// Where a task has its future.
struct TaskShape {
  TypeId cell = kNoType;  // tokio's Cell<T, S>, which starts with the task's header: its stage has the future
  TypeId future = kNoType;  // async-task's, until it has ended
  uint64_t offset = 0;      // of `future`, from the header

  bool is_known() const { return cell != kNoType || future != kNoType; }
};

// A frame as it was left by the call that it is in.
struct FrameState {
  uint64_t pc = 0;  // in the call
  FrameRegisters registers = {};
  std::optional<uint64_t> canonical_address = {};  // the stack pointer before the frame's own call
};

// A function that is on a stack, perhaps inlined.
struct StackedFunction {
  const FunctionName* name = nullptr;
  // Of those called block_on: the futures that they were given, by type; and a pin of one of these, where it
  // was found.
  bool is_block_on = false;
  std::vector<TypeId> futures = {};
  std::optional<Found> pinned = {};
};

class TypeSource {
 public:
  virtual ~TypeSource() = default;
  // Stays valid as long as the source. An unknown id gives an empty type.
  virtual const Type& type(TypeId id) = 0;
  // Implements Future, by a poll function of its own.
  virtual bool is_future(TypeId id) = 0;
  // What stands behind the vtable of a `dyn` pointer; kNoType: unknown.
  virtual TypeId behind_vtable(uint64_t vtable) = 0;
  // The function whose state an async body's type is; null: unknown.
  virtual const FunctionName* function_of(TypeId body) = 0;
  // Of a frame, outermost first. None: they are not known.
  virtual std::vector<StackedFunction> functions_in(const FrameState& frame) = 0;
};

}  // namespace asynctrace
