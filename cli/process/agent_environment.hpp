// The environment by which the agent is loaded and told what to do: the one place that knows the variables'
// names. agent/ reads the same ones. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace asynctrace {

struct AgentSettings {
  std::string library;               // for LD_PRELOAD
  std::string directory;             // for segment files; "": the agent chooses
  std::string output;                // pattern with %e and %p, absolute; "": a file in `directory`
  std::optional<uint64_t> max_size;  // bytes of one segment
  bool follow = true;                // trace children as well
  std::string hook_rows = {};        // of common/loop_hooks.hpp; "": none
};

using Variables = std::vector<std::pair<std::string, std::string>>;

// LD_PRELOAD keeps what `preload` names already, in front: a sanitizer's runtime has to be first.
Variables agent_variables(const AgentSettings& settings, const std::string& preload);

// What `run` adds, so that it can tell its own processes and see whether the agent came up in its direct
// child. ASYNCTRACE_RUN_PID is only known in that child, see Supervisor.
Variables run_variables(const std::string& run_id, const std::string& report_path);
inline constexpr const char* kRunPidVariable = "ASYNCTRACE_RUN_PID";

// `environment` ("NAME=value" each) with `variables` in place of any of the same name.
std::vector<std::string> with_variables(std::vector<std::string> environment, const Variables& variables);

}  // namespace asynctrace
