#include "cli/process/agent_library.hpp"

#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

namespace asynctrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAgentName = "libasynctrace-agent.so";
constexpr const char* kAgentDirs[] = {
    "../lib/asynctrace",
    "../lib/x86_64-linux-gnu/asynctrace",
    "../lib/aarch64-linux-gnu/asynctrace",
    "../lib64/asynctrace",
    "../agent",
};

Result<std::string> checked(const fs::path& path) {
  std::string text = path.string();
  if (text.find_first_of(" :\t\n") != text.npos) {
    return fail(fmt::format("{}: LD_PRELOAD cannot carry a path with a space or a colon", text),
                "install asynctrace elsewhere, or point ASYNCTRACE_AGENT at a copy of the library", 125);
  }
  return text;
}

}  // namespace

Result<std::string> find_agent_library(const std::string& executable_dir, const char* override_path) {
  std::error_code error;
  if (override_path != nullptr && *override_path != '\0') {
    fs::path path = fs::canonical(override_path, error);
    if (error || !fs::is_regular_file(path, error)) {
      return fail(fmt::format("ASYNCTRACE_AGENT={}: there is no such file", override_path),
                  "unset it, or give the path of libasynctrace-agent.so", 125);
    }
    return checked(path);
  }
  for (const char* dir : kAgentDirs) {
    fs::path path = fs::canonical(fs::path(executable_dir) / dir / kAgentName, error);
    if (!error && fs::is_regular_file(path, error)) return checked(path);
  }
  return fail(fmt::format("the agent library {} is missing: looked in {}/../lib*/asynctrace and {}/../agent",
                          kAgentName, executable_dir, executable_dir),
              "install asynctrace again, or set ASYNCTRACE_AGENT to the path of the library", 125);
}

Result<std::string> find_agent_library() {
  std::error_code error;
  fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (error) {
    return fail(fmt::format("/proc/self/exe: {}", error.message()),
                "mount /proc, or set ASYNCTRACE_AGENT to the path of libasynctrace-agent.so", 125);
  }
  return find_agent_library(self.parent_path().string(), std::getenv("ASYNCTRACE_AGENT"));
}

}  // namespace asynctrace
