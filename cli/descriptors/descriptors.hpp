// What the descriptors of a living process are, as /proc tells without touching them. Each table of sockets
// is read once, at the first socket. May block for file reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cli/descriptors/sockets.hpp"
#include "cli/error.hpp"

namespace asynctrace {

struct DescriptorFacts {
  std::string text;  // "timer, in 3.2s"; "not open"; not escaped
  // Events of poll(2) that it has, among `known_events`.
  uint16_t events = 0;
  uint16_t known_events = 0;
  std::string_view known_by = {};  // what in /proc tells of them
  // To poll a copy of it is known to change nothing, and tells of its own process.
  bool may_be_polled = false;
  // An eventfd: who is told of each event need not read it.
  bool is_counter = false;
};

// Of the target of /proc/PID/fd/N, where that is no socket, and the text of /proc/PID/fdinfo/N.
DescriptorFacts describe_descriptor(std::string_view link, std::string_view info);

class Descriptors {
 public:
  // `process`: "/proc/42", or a directory that looks like it.
  explicit Descriptors(std::string process) : process_(std::move(process)) {}

  // The error: why nothing can be known of the process's descriptors.
  Result<DescriptorFacts> describe(int descriptor);

 private:
  const Sockets& sockets();

  std::string process_;
  std::optional<Sockets> sockets_;
};

}  // namespace asynctrace
