#include "cli/process/agent_environment.hpp"

#include <algorithm>

namespace asynctrace {
namespace {

bool names_library(const std::string& preload, const std::string& library) {
  for (size_t at = preload.find(library); at != preload.npos; at = preload.find(library, at + 1)) {
    auto separates = [&](size_t i) { return i >= preload.size() || preload[i] == ':' || preload[i] == ' '; };
    if ((at == 0 || separates(at - 1)) && separates(at + library.size())) return true;
  }
  return false;
}

}  // namespace

Variables agent_variables(const AgentSettings& settings, const std::string& preload) {
  Variables variables;
  bool named = names_library(preload, settings.library);
  variables.emplace_back("LD_PRELOAD", named             ? preload
                                       : preload.empty() ? settings.library
                                                         : preload + ":" + settings.library);
  if (!settings.directory.empty()) variables.emplace_back("ASYNCTRACE_DIR", settings.directory);
  if (!settings.output.empty()) variables.emplace_back("ASYNCTRACE_OUTPUT", settings.output);
  if (settings.max_size) variables.emplace_back("ASYNCTRACE_MAX_SIZE", std::to_string(*settings.max_size));
  if (!settings.hook_rows.empty()) variables.emplace_back("ASYNCTRACE_HOOK_ROWS", settings.hook_rows);
  variables.emplace_back("ASYNCTRACE_FOLLOW", settings.follow ? "all" : "none");
  return variables;
}

Variables run_variables(const std::string& run_id, const std::string& report_path) {
  return {{"ASYNCTRACE_RUN_ID", run_id}, {"ASYNCTRACE_REPORT_IN", report_path}};
}

std::vector<std::string> with_variables(std::vector<std::string> environment, const Variables& variables) {
  for (const auto& [name, value] : variables) {
    std::string prefix = name + "=";
    std::erase_if(environment, [&](const std::string& entry) { return entry.starts_with(prefix); });
    environment.push_back(prefix + value);
  }
  return environment;
}

}  // namespace asynctrace
