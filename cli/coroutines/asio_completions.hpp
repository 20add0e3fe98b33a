// What an operation of Asio or Boost.Asio waits for, and what it calls then, from the name of the function
// that completes it. Pure; allocates.
#pragma once

#include <optional>
#include <string>

#include "cli/snapshot.hpp"

namespace asynctrace {

struct AsioCompletion {
  Label waits_for;
  bool follows_socket = false;  // its operations begin with a socket, for what they accept
  bool resumes_coroutine = false;
  bool is_posted = false;  // they wait for nothing but a thread
  std::string
      handler;  // the type of what it calls: "Session::read()::{lambda(std::error_code)#1}"; "": hidden
};

// `function` is demangled. Nothing: it completes none that is known.
std::optional<AsioCompletion> asio_completion(const std::string& function);

// Of what was posted to an executor whose type is hidden, and so its own is: what the function that calls it
// tells. Nothing: it is none.
std::optional<AsioCompletion> asio_erased(const std::string& function);

}  // namespace asynctrace
