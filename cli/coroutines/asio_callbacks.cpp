#include "cli/coroutines/asio_callbacks.hpp"

#include <algorithm>
#include <optional>
#include <unordered_set>

#include "cli/census/memory_scan.hpp"
#include "cli/coroutines/asio_operations.hpp"
#include "cli/coroutines/glibc_heaps.hpp"
#include "cli/coroutines/type_arguments.hpp"
#include "cli/symbols/demangle.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace {
namespace {

constexpr uint64_t kAllocatedAlignment = 16, kMaxSocket = 512;
constexpr uint64_t kFunctionOffset = 8;  // in an operation; before it the next one in a queue

struct OperationRow {
  std::string_view type;  // of the operation, without namespaces and arguments
  std::string_view text;
  asynctrace_leaf_class leaf_class;
};
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
};
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
      if (open == std::string_view::npos || part.find("_op<") == std::string_view::npos) continue;
      if (std::string inner = handler_in(arguments_at(part, open)); !inner.empty()) return inner;
    } else if (!part.starts_with("std::allocator<")) {
      last = part;
      if (part.find(kLambda) != std::string_view::npos) break;
    }
  }
  return std::string(last);
}

std::optional<AsioFunction> read_function(const ElfSymbol& symbol, uint64_t bias) {
  if (symbol.name.find("4asio") == std::string_view::npos ||
      symbol.name.find('.') != std::string_view::npos ||
      (symbol.name.find("11do_complete") == std::string_view::npos &&
       symbol.name.find("9do_action") == std::string_view::npos))
    return std::nullopt;
  const std::string name = demangle(std::string(symbol.name));
  const size_t open = name.find('<');
  if (open == std::string::npos || name.find(kCoroutine) != std::string::npos) return std::nullopt;
  const size_t start = name.rfind(':', open) + 1;
  const auto* row =
      std::ranges::find(kOperations, std::string_view(name).substr(start, open - start), &OperationRow::type);
  if (row == std::end(kOperations)) return std::nullopt;
  const std::string_view arguments = arguments_at(name, open);
  AsioFunction function;
  function.address = symbol.address + bias;
  function.size = symbol.size;
  function.waits_for = {std::string(row->text), row->leaf_class};
  function.follows_socket = row->type == kMoveAccept;
  function.handler = handler_in(arguments);
  for (const OperationRow& composed : kComposed) {
    if (arguments.find(composed.type) == std::string_view::npos) continue;
    function.waits_for.text = composed.text;
    break;
  }
  return function;
}

}  // namespace

std::vector<AsioFunction> find_asio_functions(const Module& module, const ModuleFiles& files) {
  std::vector<AsioFunction> functions;
  if (!files.file) return functions;
  files.names().for_each_symbol([&](const ElfSymbol& symbol) {
    auto function = read_function(symbol, module.bias);
    if (!function) return;
    // Functions of equal code may have been folded into one.
    if (!functions.empty() && functions.back().address == function->address)
      functions.back().handler += " or " + function->handler;
    else functions.push_back(std::move(*function));
  });
  return functions;
}

std::vector<AsioOperation> scan_for_operations(const ProcessImage& image,
                                               const std::vector<AsioFunction>& functions) {
  std::vector<uint64_t> values;
  for (const AsioFunction& function : functions) values.push_back(function.address);
  std::vector<AsioOperation> found;
  for (const Hit& hit : scan_for_words(*image.memory, image.writable, values))
    if (!hit.on_stack && hit.address >= kFunctionOffset)
      found.push_back({hit.address - kFunctionOffset, static_cast<uint32_t>(hit.value)});
  std::ranges::sort(found, {}, &AsioOperation::address);
  std::vector<uint64_t> addresses;
  for (const AsioOperation& operation : found) addresses.push_back(operation.address);
  const std::vector<Block> blocks = find_blocks(image, addresses);
  size_t i = 0;
  std::erase_if(found, [&](AsioOperation& operation) {
    const Block& block = blocks[i++];
    const bool follows_socket = functions[operation.function].follows_socket;
    const bool begins = block.state == (follows_socket ? BlockState::kInside : BlockState::kInUse);
    operation.verified = begins;
    if (begins) operation.end = block.start + block.size;
    if (block.state != BlockState::kUnknown && !begins) return true;
    // Asio keeps what it freed for the next operation, with a size in the first byte: of the next one's
    // address in a queue, or of that of the socket's service.
    if (follows_socket && begins) {
      const auto service = image.memory->number(block.start);
      return !service || *service == 0 || *service % kAllocatedAlignment != 0 ||
             operation.address - block.start > kMaxSocket;
    }
    const auto next = image.memory->number(operation.address);
    return !next || (*next != 0 && !std::ranges::binary_search(addresses, *next));
  });
  return found;
}

}  // namespace asynctrace
