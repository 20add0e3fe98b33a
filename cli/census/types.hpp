// How the values of a program lie in its memory, as plain data: what the future walker needs of debug info.
// Addresses are those in the running process. Not thread-safe. Allocates.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

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
};

}  // namespace asynctrace
