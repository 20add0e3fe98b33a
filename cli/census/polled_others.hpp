// What futures poll: all that they hold, or what is no future itself, a reader, a writer, a stream. Pure.
#pragma once

#include <string_view>

namespace asynctrace {

struct PollsOther {
  std::string_view future;  // beginning of its type's name
  std::string_view member;  // that holds the other
  std::string_view method;  // "trait>::method", by which it polls
};

// Whether a future with this name of its type polls every future that it holds.
bool polls_all(std::string_view future);

// null: such a future is not known.
const PollsOther* polls_other(std::string_view future);

}  // namespace asynctrace
