// What an operation of Asio's really calls where the type of its handler hides it: std::function, std::bind()
// and boost::bind() keep that in the operation. By the layouts of libstdc++ and Boost. Trusts nothing that it
// reads.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cli/census/memory.hpp"

namespace asynctrace {

// Of the function that begins at exactly that address; "": none does, or it has no name.
using FunctionNames = std::function<std::string(uint64_t address)>;

struct AsioHandler {
  std::string type;
  uint64_t function = 0;  // that it calls; 0: not known, or the type's own operator()
  uint64_t invoker = 0;   // of a std::function: into which that one may have been inlined

  auto operator<=>(const AsioHandler&) const = default;
};

// `type` is the handler's; it lies somewhere in [start, end), which is the operation's.
AsioHandler read_handler(const Memory& memory, uint64_t start, uint64_t end, const std::string& type,
                         const FunctionNames& names);

}  // namespace asynctrace
