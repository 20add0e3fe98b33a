#include "cli/tree/task_types.hpp"

#include <cctype>

#include <fmt/format.h>

#include "cli/tree/names.hpp"

namespace asynctrace {
namespace {

// The first type argument of "poll<T, S>" or "..::poll::<T, S>"; async-task's function is called run.
std::string_view first_argument(std::string_view function) {
  size_t poll =
      function.starts_with("poll<") || function.starts_with("run<") ? 0 : function.rfind("::poll::<");
  if (poll == std::string_view::npos) return {};
  const size_t start = function.find('<', poll) + 1;
  size_t depth = 0;
  for (size_t i = start; i < function.size(); ++i) {
    const char c = function[i];
    if (c == '<' || c == '(' || c == '[' || c == '{') ++depth;
    if (c == ',' && depth == 0) return function.substr(start, i - start);
    if (c == '>' && function[i - 1] == '-') continue;
    if (c == '>' || c == ')' || c == ']' || c == '}') {
      if (depth == 0) return function.substr(start, i - start);
      --depth;
    }
  }
  return {};
}

struct KindRow {
  std::string_view first, second, third;  // parts of the type, in this order
  ReportTaskKind kind;
};
// A worker is a blocking task that runs tokio's scheduler.
constexpr KindRow kKinds[] = {
    {"blocking::task::BlockingTask<", "::worker::", "launch", ReportTaskKind::kWorker},
    {"blocking::task::BlockingTask<", "", "", ReportTaskKind::kBlocking},
};

bool matches(std::string_view type, const KindRow& row) {
  size_t at = 0;
  for (const std::string_view part : {row.first, row.second, row.third}) {
    at = type.find(part, at);
    if (at == std::string_view::npos) return false;
    at += part.size();
  }
  return true;
}

// Before 1.67 every async body was wrapped.
constexpr std::string_view kWrapper = "core::future::from_generator::GenFuture<";

}  // namespace

TaskType task_type(const Frame& poll) {
  std::string_view future = first_argument(poll.debug_name);
  if (future.empty()) future = first_argument(plain_function(poll.function));
  for (const KindRow& row : kKinds) {
    if (matches(future, row)) return {std::string(future), row.kind};
  }
  return {std::string(future), ReportTaskKind::kTask};
}

std::string display_type(std::string_view future) {
  if (future.starts_with(kWrapper) && future.ends_with('>')) {
    future = future.substr(kWrapper.size(), future.size() - kWrapper.size() - 1);
  }
  const size_t last = future.rfind("::{async_");
  if (last == std::string_view::npos) return std::string(future);
  // The type of a body is called as the body itself, but for "_env".
  std::string body(future.substr(last + 2));
  if (const size_t environment = body.find("_env"); environment != std::string::npos)
    body.erase(environment, 4);
  Frame frame;
  frame.function = fmt::format("{}::{}", future.substr(0, last), body);
  frame.debug_name = body;
  return display_name(frame, {});
}

std::string crate_version(std::string_view file, std::string_view crate) {
  const std::string prefix = fmt::format("/{}-", crate);
  const size_t at = file.find(prefix);
  if (at == std::string_view::npos) return {};
  const std::string_view version =
      file.substr(at + prefix.size(), file.find('/', at + 1) - at - prefix.size());
  return version.empty() || std::isdigit(static_cast<unsigned char>(version.front())) == 0
             ? ""
             : std::string(version);
}

}  // namespace asynctrace
