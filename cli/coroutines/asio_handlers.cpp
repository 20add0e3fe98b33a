#include "cli/coroutines/asio_handlers.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "cli/coroutines/asio_operations.hpp"
#include "cli/coroutines/type_arguments.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kWord = 8, kMaxOperation = 1024;
constexpr uint64_t kMaxAdjustment = 1 << 16;  // of `this`, which follows a pointer to a member function
constexpr std::string_view kErased = "std::function<", kErasing = "std::_Function_handler<";
constexpr std::string_view kInvoke = "::_M_invoke(", kManager = "::_M_manager(";
constexpr std::string_view kBinds[] = {"std::_Bind<", "std::_Bind_front<", "boost::_bi::bind_t<"};
constexpr std::string_view kBoostMember = "boost::_mfi::";

bool binds(std::string_view type) {
  return std::ranges::any_of(kBinds, [&](std::string_view bind) { return type.starts_with(bind); });
}

// "A::B" of "std::_Bind<void (A::B::*(..))(..)>" and of the like; nothing: of a plain function, or not known.
std::optional<std::string_view> bound_class(std::string_view type) {
  if (const size_t member = type.find(kBoostMember); member != std::string_view::npos) {
    const size_t open = type.find('<', member);
    if (open == std::string_view::npos) return std::nullopt;
    const auto arguments = split_arguments(arguments_at(type, open));
    if (arguments.size() < 2) return std::nullopt;
    return arguments[1];
  }
  const size_t end = type.find("::*");
  if (end == std::string_view::npos) return std::nullopt;
  size_t start = end, depth = 0;
  for (; start > 0; --start) {
    const char c = type[start - 1];
    if (c == '>' || c == ')') ++depth;
    if ((c == '<' || c == '(') && depth-- == 0) break;
  }
  return type.substr(start, end - start);
}

bool is_called_by(std::string_view type, std::string_view function) {
  if (function.empty() || is_asio(function) || function.starts_with("std::")) return false;
  const auto owner = bound_class(type);
  return !owner || (function.starts_with(*owner) && function.substr(owner->size()).starts_with("::"));
}

// The first of `words` that is a pointer to the function that `type` binds; 0: none is, as of virtual ones.
uint64_t bound_function(const std::vector<uint64_t>& words, std::string_view type,
                        const FunctionNames& names) {
  const bool is_member = bound_class(type).has_value();
  if (!is_member && type.find("(*(") == std::string_view::npos) return 0;
  for (size_t i = 0; i < words.size(); ++i) {
    if (is_member && (i + 1 == words.size() || words[i + 1] > kMaxAdjustment)) continue;
    if (is_called_by(type, names(words[i]))) return words[i];
  }
  return 0;
}

std::vector<uint64_t> words_at(const Memory& memory, uint64_t start, uint64_t end) {
  std::vector<uint64_t> words;
  end = std::min(end, start + kMaxOperation);
  for (uint64_t at = start; at < end && end - at >= kWord; at += kWord) {
    const auto word = memory.number(at);
    if (!word) break;
    words.push_back(*word);
  }
  return words;
}

// {what it calls or a pointer to it, a second word, what copies it, what calls it}
AsioHandler read_erased(const Memory& memory, const std::vector<uint64_t>& words, const std::string& type,
                        const FunctionNames& names) {
  for (size_t i = 3; i < words.size(); ++i) {
    const std::string invoker = names(words[i]);
    if (!invoker.starts_with(kErasing) || invoker.find(kInvoke) == std::string::npos) continue;
    if (names(words[i - 1]).find(kManager) == std::string::npos) continue;
    const auto arguments = split_arguments(arguments_at(invoker, kErasing.size() - 1));
    if (arguments.size() != 2) continue;
    AsioHandler handler{std::string(arguments[1]), 0, words[i]};
    if (binds(handler.type)) {
      const uint64_t object = words[i - 3];
      handler.function = bound_function(words_at(memory, object, object + 2 * kWord), handler.type, names);
    } else if (handler.type.find("(*)") != std::string::npos && !names(words[i - 3]).empty()) {
      handler.function = words[i - 3];
    }
    return handler;
  }
  return {type};
}

}  // namespace

AsioHandler read_handler(const Memory& memory, uint64_t start, uint64_t end, const std::string& type,
                         const FunctionNames& names) {
  if (type.starts_with(kErased)) return read_erased(memory, words_at(memory, start, end), type, names);
  if (binds(type)) return {type, bound_function(words_at(memory, start, end), type, names)};
  return {type};
}

}  // namespace asynctrace
