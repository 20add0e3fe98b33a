#include "cli/coroutines/asio_completions.hpp"

#include <algorithm>
#include <string_view>

#include "cli/coroutines/asio_operations.hpp"
#include "cli/coroutines/type_arguments.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace {
namespace {

struct OperationRow {
  std::string_view type;  // of the operation, without namespaces and arguments
  std::string_view text;
  asynctrace_leaf_class leaf_class;
};
constexpr std::string_view kPosted = "posted handler, not yet run";
constexpr std::string_view kMoveAccept = "reactive_socket_move_accept_op";
constexpr OperationRow kOperations[] = {
    {"reactive_socket_recv_op", "async_read_some", ASYNCTRACE_IO},
    {"reactive_socket_send_op", "async_write_some", ASYNCTRACE_IO},
    {"reactive_socket_recvfrom_op", "async_receive_from", ASYNCTRACE_IO},
    {"reactive_socket_recvmsg_op", "async_receive", ASYNCTRACE_IO},
    {"reactive_socket_sendto_op", "async_send_to", ASYNCTRACE_IO},
    {"reactive_socket_accept_op", "async_accept", ASYNCTRACE_IO},
    {kMoveAccept, "async_accept", ASYNCTRACE_IO},
    {"reactive_socket_connect_op", "async_connect", ASYNCTRACE_IO},
    {"reactive_wait_op", "async_wait", ASYNCTRACE_IO},
    {"reactive_null_buffers_op", "async_wait", ASYNCTRACE_IO},
    {"descriptor_read_op", "async_read_some", ASYNCTRACE_IO},
    {"descriptor_write_op", "async_write_some", ASYNCTRACE_IO},
    {"resolve_query_op", "async_resolve", ASYNCTRACE_IO},
    {"resolve_endpoint_op", "async_resolve", ASYNCTRACE_IO},
    {"signal_handler", "signal_set", ASYNCTRACE_SIGNAL},
    {"wait_handler", "timer", ASYNCTRACE_TIMER},
    {"channel_receive_op", "channel receive", ASYNCTRACE_CHANNEL},
    {"channel_send_op", "channel send", ASYNCTRACE_CHANNEL},
    {"executor_op", kPosted, ASYNCTRACE_SYNC},
    {"completion_handler", kPosted, ASYNCTRACE_SYNC},
};
// What stands around the handler of one that is posted.
constexpr std::string_view kWrappers[] = {"work_dispatcher<", "binder0<", "binder1<", "binder2<"};
// Posted by Asio itself, to run what was posted to a strand.
constexpr std::string_view kStrand = "strand_executor_service::invoker<";
constexpr std::string_view kErased = "executor_function::complete<";
// Operations that are made of several others, which the handler of each of these names.
constexpr OperationRow kComposed[] = {
    {"detail::write_op<", "async_write", ASYNCTRACE_IO},
    {"detail::read_op<", "async_read", ASYNCTRACE_IO},
    {"detail::read_until_", "async_read_until", ASYNCTRACE_IO},
    {"range_connect_op<", "async_connect", ASYNCTRACE_IO},
    {"ssl::detail::io_op<", "ssl", ASYNCTRACE_IO},
};
constexpr std::string_view kCoroutine = "detail::awaitable_handler<";
constexpr std::string_view kLambda = "::{lambda(";

// The innermost type argument that is not of a library: what the program gave to be called.
std::string handler_in(std::string_view arguments) {
  const auto parts = split_arguments(arguments);
  std::string_view last;
  for (const std::string_view part : parts) {
    if (is_asio(part)) {
      const size_t open = part.find('<');
      if (open == std::string_view::npos) continue;
      const auto stands_around = [&](std::string_view one) {
        return part.substr(0, open + 1).ends_with(one);
      };
      if (part.find("_op<") == std::string_view::npos && std::ranges::none_of(kWrappers, stands_around))
        continue;
      if (std::string inner = handler_in(arguments_at(part, open)); !inner.empty()) return inner;
    } else if (!part.starts_with("std::allocator<")) {
      last = part;
      if (part.find(kLambda) != std::string_view::npos) break;
    }
  }
  return std::string(last);
}

}  // namespace

std::optional<AsioCompletion> asio_completion(const std::string& function) {
  const size_t open = function.find('<');
  if (!is_asio(function) || open == std::string::npos) return std::nullopt;
  const size_t start = function.rfind(':', open) + 1;
  const auto* row = std::ranges::find(kOperations, std::string_view(function).substr(start, open - start),
                                      &OperationRow::type);
  const std::string_view arguments = arguments_at(function, open);
  const std::string_view member = std::string_view(function).substr(open + 1 + arguments.size());
  const bool completes = member.starts_with(">::do_complete(") || member.starts_with(">::do_action(");
  if (row == std::end(kOperations) || !completes || arguments.find(kStrand) != std::string_view::npos)
    return std::nullopt;
  AsioCompletion completion;
  completion.waits_for = {std::string(row->text), row->leaf_class};
  completion.follows_socket = row->type == kMoveAccept;
  completion.resumes_coroutine = arguments.find(kCoroutine) != std::string_view::npos;
  completion.is_posted = row->text == kPosted;
  completion.handler = handler_in(arguments);
  for (const OperationRow& composed : kComposed) {
    if (arguments.find(composed.type) == std::string_view::npos) continue;
    completion.waits_for.text = composed.text;
    break;
  }
  return completion;
}

std::optional<AsioCompletion> asio_erased(const std::string& function) {
  const size_t at = function.find(kErased);
  if (at == std::string::npos) return std::nullopt;
  const std::string_view arguments = arguments_at(function, at + kErased.size() - 1);
  AsioCompletion completion;
  completion.resumes_coroutine = arguments.find(kCoroutine) != std::string_view::npos;
  completion.handler = handler_in(arguments);
  return completion;
}

}  // namespace asynctrace
