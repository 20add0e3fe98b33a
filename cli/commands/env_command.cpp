#include <cstdio>
#include <cstdlib>
#include <string>

#include <fmt/format.h>

#include "cli/commands/commands.hpp"
#include "cli/commands/messages.hpp"
#include "cli/hooks/hooks_file.hpp"
#include "cli/process/agent_environment.hpp"
#include "cli/process/agent_library.hpp"
#include "cli/process/segment_directory.hpp"

namespace asynctrace {
namespace {

// In double quotes, as systemd, Dockerfiles and YAML all read them: backslash escapes; `literal` are
// characters with a meaning of their own there that are written twice or with a backslash.
std::string double_quote(const std::string& text, char special, char escape_with) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (c == special) quoted += escape_with;
    quoted += c;
  }
  return quoted + "\"";
}

std::string shell_lines(const Variables& variables) {
  std::string text;
  for (const auto& [name, value] : variables) text += fmt::format("export {}={}\n", name, shell_quote(value));
  return text;
}

// The service runs as its own user: systemd makes it a directory that is kept for a post-mortem.
std::string systemd_lines(const Variables& variables) {
  std::string text = "[Service]\n";
  for (const auto& [name, value] : variables) {
    text += fmt::format("Environment={}\n", double_quote(fmt::format("{}={}", name, value), '%', '%'));
  }
  return text +
         "Environment=\"ASYNCTRACE_DIR=%t/asynctrace-%N\"\n"
         "RuntimeDirectory=asynctrace-%N\n"
         "RuntimeDirectoryMode=0700\n"
         "RuntimeDirectoryPreserve=yes\n";
}

std::string docker_lines(const Variables& variables, const std::string& library) {
  std::string text =
      fmt::format("# The image must hold the agent: copy {} into the build context.\nCOPY {} {}\n", library,
                  library.substr(library.rfind('/') + 1), library);
  for (const auto& [name, value] : variables)
    text += fmt::format("ENV {}={}\n", name, double_quote(value, '$', '\\'));
  return text;
}

std::string kubernetes_lines(const Variables& variables, const std::string& library) {
  std::string text = fmt::format("# The image must hold the agent as {}.\nenv:\n", library);
  for (const auto& [name, value] : variables) {
    // "$(" would be a reference to another variable.
    text += fmt::format("  - name: {}\n    value: {}\n", name, double_quote(value, '$', '$'));
  }
  return text;
}

std::string lines(EnvFormat format, const Variables& variables, const std::string& library) {
  switch (format) {
    case EnvFormat::kSystemd: return systemd_lines(variables);
    case EnvFormat::kDocker: return docker_lines(variables, library);
    case EnvFormat::kKubernetes: return kubernetes_lines(variables, library);
    case EnvFormat::kShell: break;
  }
  return shell_lines(variables);
}

}  // namespace

Result<int> env_command(const EnvOptions& options) {
  auto library = find_agent_library();
  if (!library) return tl::unexpected(library.error());
  auto hook_rows = read_hooks(options.hooks);
  if (!hook_rows) return tl::unexpected(hook_rows.error());
  AgentSettings settings{*library, "", options.output, options.max_size, options.follow, *hook_rows};
  const char* preload = "";
  if (options.format == EnvFormat::kShell) {
    // The others describe a process that starts elsewhere, with directories and a preload of its own.
    auto directory = choose_segment_directory();
    if (!directory) return tl::unexpected(directory.error());
    settings.directory = *directory;
    if (const char* value = std::getenv("LD_PRELOAD")) preload = value;
  }
  fmt::print("{}", lines(options.format, agent_variables(settings, preload), *library));
  if (std::fflush(stdout) != 0) return fail("stdout: the lines could not be written");
  return 0;
}

}  // namespace asynctrace
