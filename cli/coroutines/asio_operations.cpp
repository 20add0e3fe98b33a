#include "cli/coroutines/asio_operations.hpp"

#include <cctype>

#include "common/include/asynctrace/abi.h"

namespace asynctrace {
namespace {

struct OperationRow {
  std::string_view object;      // part of the class's name, "" for a free function
  std::string_view initiation;  // what follows "initiate_"
  std::string_view text;
  asynctrace_leaf_class leaf_class;
};

// The first row that fits wins.
constexpr OperationRow kOperations[] = {
    {"basic_waitable_timer<std::chrono::_V2::steady_clock", "async_wait", "steady_timer", ASYNCTRACE_TIMER},
    {"basic_waitable_timer<std::chrono::_V2::system_clock", "async_wait", "system_timer", ASYNCTRACE_TIMER},
    {"basic_waitable_timer<", "async_wait", "timer", ASYNCTRACE_TIMER},
    {"basic_deadline_timer<", "async_wait", "deadline_timer", ASYNCTRACE_TIMER},
    {"channel<", "async_receive", "channel receive", ASYNCTRACE_CHANNEL},
    {"channel<", "async_send", "channel send", ASYNCTRACE_CHANNEL},
    {"basic_signal_set<", "async_wait", "signal_set", ASYNCTRACE_SIGNAL},
    {"basic_stream_socket<", "async_receive", "async_read_some", ASYNCTRACE_IO},
    {"basic_stream_socket<", "async_send", "async_write_some", ASYNCTRACE_IO},
    {"basic_socket_acceptor<", "async_move_accept", "async_accept", ASYNCTRACE_IO},
    {"basic_socket_acceptor<", "async_wait", "acceptor async_wait", ASYNCTRACE_IO},
    {"socket<", "async_wait", "socket async_wait", ASYNCTRACE_IO},
    {"descriptor<", "async_wait", "descriptor async_wait", ASYNCTRACE_IO},
};
// Of whatever is not above: begun by these, it waits for something outside of the program.
constexpr std::string_view kOutside[] = {"async_accept",  "async_connect",   "async_receive",
                                         "async_send",    "async_read",      "async_write",
                                         "async_resolve", "async_handshake", "async_shutdown"};
constexpr std::string_view kInitiate = "initiate_";

}  // namespace

bool is_asio(std::string_view function) {
  return function.starts_with("asio::") || function.starts_with("boost::asio::");
}

std::optional<Label> asio_operation(std::string_view function) {
  const size_t at = function.find(kInitiate);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view name = function.substr(at + kInitiate.size());
  size_t length = 0;
  while (length < name.size() &&
         (std::isalnum(static_cast<unsigned char>(name[length])) != 0 || name[length] == '_'))
    ++length;
  name = name.substr(0, length);
  // The class whose member it is stands before it; that of the result comes even before "initiate<".
  std::string_view object = function.substr(0, at);
  if (const size_t result = object.rfind("::initiate<"); result != std::string_view::npos)
    object = object.substr(result);
  for (const OperationRow& row : kOperations)
    if (row.initiation == name && object.find(row.object) != std::string_view::npos)
      return Label{std::string(row.text), static_cast<uint32_t>(row.leaf_class)};
  for (const std::string_view outside : kOutside)
    if (name.starts_with(outside)) return Label{std::string(name), ASYNCTRACE_IO};
  return Label{std::string(name), ASYNCTRACE_UNKNOWN};
}

}  // namespace asynctrace
