// Where a suspended coroutine stands, in words and lines. Each place is worked out once. Not thread-safe.
// Allocates.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "cli/coroutines/asio_handlers.hpp"
#include "cli/coroutines/frame_links.hpp"
#include "cli/coroutines/function_facts.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

class FramePlaces {
 public:
  FramePlaces(FunctionFacts& facts, Symbolizer& symbols) : facts_(facts), symbols_(symbols) {}

  // What its frame says; whether it runs meanwhile is not known here.
  PlacedFrame place(const Memory& memory, const CoroutineFrame& frame);

  // Whether its number is that of a suspension, as far as its code tells.
  bool makes_sense(const PlacedFrame& placed);
  // With the line of its suspension, where that is known.
  const Frame& frame(const PlacedFrame& placed) { return find(placed).frame; }
  // What an operation of Asio's calls at its end, with a line of its body, where that is known.
  const Frame& handler(const AsioFunction& function, const AsioHandler& handler);
  // The type of what it awaits there; "" unknown.
  const std::string& awaited(const PlacedFrame& placed) { return find(placed).awaited; }
  bool yields(const PlacedFrame& placed);
  // Without debug info clang's first suspension may be the one before the body begins.
  bool may_be_not_started(const PlacedFrame& placed);

 private:
  Frame look_up_handler(const AsioFunction& function, const AsioHandler& handler);
  void find_body(uint64_t address, uint64_t size, const std::string& type, Frame& frame);

  struct Place {
    Frame frame;
    std::string awaited;
  };
  const Place& find(const PlacedFrame& placed);
  Place look_up(const PlacedFrame& placed);
  std::optional<size_t> find_await(std::span<const FrameCode::Step> steps, uint32_t function, Place& place);
  const Frame& position(uint64_t address);
  bool find_await_of_number(const FrameCode& code, const PlacedFrame& placed, Place& place);
  void find_only_await(const FrameCode& code, const PlacedFrame& placed, Place& place);

  FunctionFacts& facts_;
  Symbolizer& symbols_;
  std::map<std::pair<uint64_t, AsioHandler>, Frame> handlers_;  // by what completes the operation
  std::map<std::tuple<uint32_t, bool, std::optional<uint64_t>>, Place> places_;  // by function and suspension
};

}  // namespace asynctrace
