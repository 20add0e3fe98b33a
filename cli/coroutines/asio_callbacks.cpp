#include "cli/coroutines/asio_callbacks.hpp"

#include <algorithm>
#include <optional>

#include "cli/census/memory_scan.hpp"
#include "cli/coroutines/glibc_heaps.hpp"
#include "cli/symbols/demangle.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kAllocatedAlignment = 16, kMaxSocket = 512;
constexpr uint64_t kFunctionOffset = 8;  // in an operation; before it the next one in a queue

std::optional<AsioFunction> read_function(const ElfSymbol& symbol, uint64_t bias) {
  if (symbol.name.find("4asio") == std::string_view::npos) return std::nullopt;
  if (symbol.name.find("11do_complete") == std::string_view::npos &&
      symbol.name.find("9do_action") == std::string_view::npos)
    return std::nullopt;
  if (symbol.name.find('.') != std::string_view::npos) return std::nullopt;
  auto completion = asio_completion(demangle(std::string(symbol.name)));
  if (!completion) return std::nullopt;
  return AsioFunction{symbol.address + bias, symbol.size, std::move(*completion)};
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
      functions.back().completion.handler += " or " + function->completion.handler;
    else functions.push_back(std::move(*function));
  });
  return functions;
}

AsioOperations scan_for_operations(const ProcessImage& image, const std::vector<AsioFunction>& functions,
                                   const std::vector<AsioQueueClass>& classes) {
  std::vector<std::pair<uint64_t, size_t>> wanted;  // word -> function, or behind them a class
  for (const AsioFunction& function : functions) wanted.emplace_back(function.address, wanted.size());
  for (const AsioQueueClass& one : classes) wanted.emplace_back(one.vtable, wanted.size());
  std::ranges::sort(wanted);
  std::vector<uint64_t> values;
  for (const auto& [value, index] : wanted) values.push_back(value);
  std::vector<AsioOperation> found;
  AsioQueues queues;
  for (const Hit& hit : scan_for_words(*image.memory, image.writable, values)) {
    const size_t index = wanted[hit.value].second;
    if (index >= functions.size())
      read_asio_queues(*image.memory, hit.address, classes[index - functions.size()].kind, queues);
    else if (!hit.on_stack && hit.address >= kFunctionOffset)
      found.push_back({hit.address - kFunctionOffset, static_cast<uint32_t>(index)});
  }
  std::ranges::sort(found, {}, &AsioOperation::address);
  std::vector<uint64_t> addresses;
  for (const AsioOperation& operation : found) addresses.push_back(operation.address);
  const std::vector<Block> blocks = find_blocks(image, addresses);
  size_t i = 0;
  std::erase_if(found, [&](AsioOperation& operation) {
    const Block& block = blocks[i++];
    const bool follows_socket = functions[operation.function].completion.follows_socket;
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
    return !next || (*next != 0 && !std::ranges::binary_search(addresses, *next) &&
                     !queues.posted.contains(operation.address));
  });
  return {std::move(found), std::move(queues)};
}

}  // namespace asynctrace
