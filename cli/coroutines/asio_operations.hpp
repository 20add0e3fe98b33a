// What an asynchronous operation of Asio or Boost.Asio waits for, from the name of a function or type of
// theirs that carries it out. Pure functions of their arguments.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cli/snapshot.hpp"

namespace asynctrace {

// Whether a function, or a type, is of one of the two.
bool is_asio(std::string_view function);

// Of "..::initiate<asio::basic_stream_socket<..>::initiate_async_receive, ..>" and the like, in plain words.
std::optional<Label> asio_operation(std::string_view function);

}  // namespace asynctrace
