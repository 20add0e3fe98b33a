// What debug info tells of the frames of a module's coroutines: their promise, and what they await. Reads the
// units that have such code, once for each coroutine that is asked for. Trusts nothing in the file: what is
// damaged reads as absent. Not thread-safe. Allocates.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/symbols/module_files.hpp"

namespace asynctrace {

// A member of a promise that can refer to another coroutine.
struct PromiseMember {
  std::string name;
  uint64_t offset = 0;     // in the frame
  bool is_handle = false;  // a std::coroutine_handle; else a pointer to a promise
};

struct FrameType {
  bool known = false;
  uint64_t promise_offset = 0;
  bool yields = false;      // its promise has a yield_value: a generator
  std::string begins_with;  // what its promise's initial_suspend() returns: "suspend_always"
  std::vector<PromiseMember> references;
  // gcc only: the type of what is awaited at each suspension, by the number that the frame keeps then.
  std::map<uint64_t, std::string> awaited;
};

class FrameTypes {
 public:
  // Of a module whose files these are. Null: they have no types.
  static std::unique_ptr<FrameTypes> open(ModuleFiles files);
  ~FrameTypes();

  // Of the coroutine whose body begins at this address in the file.
  const FrameType& of(uint64_t resume);

 private:
  struct Impl;
  explicit FrameTypes(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace asynctrace
