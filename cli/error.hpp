// Errors of the CLI: values with context, told once, at the top, with what to do next.
#pragma once

#include <string>
#include <utility>

#include <tl/expected.hpp>

namespace asynctrace {

struct Error {
  std::string message;  // names the thing: "/run/x.atrace: not a segment file"
  std::string remedy;   // what to do next; may be empty
  int exit_code = 1;    // see CLI exit codes: 1 gone, unreadable or refused; 2 usage; 125 internal
};

template <typename T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(std::string message, std::string remedy = {}, int exit_code = 1) {
  return tl::unexpected<Error>({std::move(message), std::move(remedy), exit_code});
}

}  // namespace asynctrace
