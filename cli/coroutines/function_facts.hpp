// What code and debug info tell of each coroutine function, worked out when it is first asked for. Not
// thread-safe. Allocates.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cli/coroutines/asio_callbacks.hpp"
#include "cli/coroutines/coroutine_functions.hpp"
#include "cli/coroutines/frame_code.hpp"
#include "cli/coroutines/frame_types.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

class FunctionFacts {
 public:
  // Of all modules of `snapshot`, whose symbols `symbols` are.
  FunctionFacts(const Snapshot& snapshot, Symbolizer& symbols);

  // By the addresses of their bodies; the numbers below are indexes.
  const std::vector<CoroutineFunction>& functions() const { return functions_; }

  // Whose body the code at this address is part of.
  std::optional<uint32_t> function_at(uint64_t address) const;
  const std::vector<AsioFunction>& asio_functions() const { return asio_functions_; }
  const std::vector<AsioQueueClass>& asio_queue_classes() const { return asio_queue_classes_; }
  // Of the function that begins there; "": none does, or it has no name.
  std::string name_of_start(uint64_t address);
  const FrameCode& code(uint32_t function);
  const FrameType& type(uint32_t function);
  // As a programmer wrote it; of folded ones all.
  std::string name(uint32_t function) const;
  // Whether the body of one calls the other.
  bool calls(uint32_t caller, uint32_t callee);
  // What a small function of that one's module calls.
  std::vector<uint64_t> callees_of(uint64_t address, uint32_t function) const;
  // From the start of a frame; without debug info where it is for all but promises of large alignment.
  uint64_t promise_offset(uint32_t function);
  // Where the program has what marks the innermost of folly's async stack frames; nothing: it has no folly.
  std::optional<uint64_t> folly_cookie();
  // Whether the program's coroutines may be Asio's.
  bool has_asio(uint32_t function) const { return asio_modules_.contains(functions_[function].module); }

 private:
  const Snapshot& snapshot_;
  Symbolizer& symbols_;
  std::vector<CoroutineFunction> functions_;
  std::vector<AsioFunction> asio_functions_;  // by address
  std::vector<AsioQueueClass> asio_queue_classes_;
  std::unordered_map<uint32_t, ModuleFiles> files_;  // by module, of those with coroutines
  std::unordered_map<uint32_t, ModuleFiles> named_;  // by module, of those asked for names
  std::unordered_map<uint32_t, std::unique_ptr<FrameTypes>> types_;
  std::unordered_map<uint32_t, FrameCode> codes_;  // by function
  std::unordered_map<uint32_t, bool> asio_modules_;
  std::optional<std::optional<uint64_t>> folly_cookie_;
};

}  // namespace asynctrace
