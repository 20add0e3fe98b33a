#include "cli/process/target_check.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "cli/process/elf_facts.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

constexpr int kRefused = 125;
constexpr int kMaxScriptLevels = 4;  // as the kernel
constexpr size_t kScriptLine = 256;  // BINPRM_BUF_SIZE: the kernel reads no more
constexpr const char* kShell = "/bin/sh";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

Result<void> refuse(const std::string& path, std::string_view reason, std::string remedy) {
  return fail(fmt::format("cannot trace {}: {}", path, reason), std::move(remedy), kRefused);
}

// Would exec make the dynamic loader drop LD_PRELOAD (AT_SECURE)? Follows the kernel: only ids that really
// change count, root gains nothing by capabilities, and nosuid mounts and no_new_privs switch all of it off.
Result<void> check_privileges(const std::string& path, int fd) {
  struct statvfs mount {};
  if (::fstatvfs(fd, &mount) == 0 && (mount.f_flag & ST_NOSUID) != 0) return {};
  if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return {};
  struct stat info {};
  if (::fstat(fd, &info) != 0) return {};
  if ((info.st_mode & S_ISUID) != 0 && info.st_uid != ::getuid()) {
    return refuse(path, "it is setuid, and the dynamic loader ignores LD_PRELOAD in setuid programs",
                  "run asynctrace as the user who owns it, or trace a copy without the setuid bit");
  }
  if ((info.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && info.st_gid != ::getgid()) {
    return refuse(path, "it is setgid, and the dynamic loader ignores LD_PRELOAD in setgid programs",
                  "run asynctrace as a member of its group (newgrp), or trace a copy without the setgid bit");
  }
  if (::getuid() != 0 && ::fgetxattr(fd, "security.capability", nullptr, 0) > 0) {
    return refuse(path,
                  "it has file capabilities, and the dynamic loader ignores LD_PRELOAD in such programs",
                  "run asynctrace as root, or trace a copy without them (setcap -r)");
  }
  return {};
}

// gcc's AddressSanitizer ends a program in which another preloaded library comes before it.
bool asan_tolerates_agent() {
  if (environment("ASAN_OPTIONS").find("verify_asan_link_order=0") != std::string::npos) return true;
  std::string preload = environment("LD_PRELOAD");
  preload.resize(std::min(preload.find_first_of(" :"), preload.size()));
  return base_name(preload).starts_with("libasan.so");
}

Result<void> check_elf(const std::string& path, const ElfFacts& facts) {
  if (facts.machine != native_machine() || facts.bits != 64) {
    return refuse(path, fmt::format("it is a {} program, and the agent is not", architecture_name(facts)),
                  fmt::format("build it for {}", architecture_name({64, native_machine(), {}, {}})));
  }
  if (!facts.loader) {
    return refuse(
        path, "it is statically linked, so no library can be preloaded into it",
        "link it dynamically (Rust: a -gnu target without -C target-feature=+crt-static; Go, C: no -static)");
  }
  if (base_name(*facts.loader).starts_with("ld-musl")) {
    return refuse(path, "it is linked against musl, and the agent needs the GNU C library",
                  "build it for a -gnu target (Rust: --target x86_64-unknown-linux-gnu)");
  }
  bool asan = std::any_of(facts.needed.begin(), facts.needed.end(),
                          [](const std::string& name) { return name.starts_with("libasan.so"); });
  if (asan && !asan_tolerates_agent()) {
    return refuse(path,
                  "its AddressSanitizer (gcc) must come first and would end it when the agent is preloaded",
                  "set ASAN_OPTIONS=verify_asan_link_order=0 and run it again");
  }
  return {};
}

// The interpreter of a script's first line, then, for `env NAME`, the program that env will start.
struct Interpreters {
  std::string path;
  std::string started_by_env;
};

Interpreters parse_first_line(std::string_view head) {
  constexpr std::string_view kBlank = " \t";
  std::string_view line = head.substr(2, std::min(head.find('\n'), head.size()) - 2);
  std::vector<std::string> words;
  while (words.size() < 3) {
    line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
    if (line.empty()) break;
    words.emplace_back(line.substr(0, line.find_first_of(kBlank)));
    line.remove_prefix(words.back().size());
  }
  if (words.empty()) return {};
  Interpreters result{words[0], ""};
  size_t name = words.size() > 1 && words[1] == "-S" ? 2 : 1;
  if (base_name(words[0]) == "env" && words.size() > name && words[name][0] != '-' &&
      words[name].find('=') == std::string::npos) {
    result.started_by_env = words[name];
  }
  return result;
}

Result<void> check_level(const std::string& path, int level) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  // Executable but not readable: nothing can be said before the start; the agent reports in or does not.
  if (!fd) return {};
  char head[kScriptLine];
  ssize_t size = ::pread(fd.get(), head, sizeof head, 0);
  std::string_view start(head, size > 0 ? static_cast<size_t>(size) : 0);

  if (start.starts_with("#!")) {
    Interpreters interpreters = parse_first_line(start);
    if (interpreters.path.empty() || level >= kMaxScriptLevels) return {};
    auto in_script = [&](Error error) {
      error.message += fmt::format(" (it interprets the script {})", path);
      return error;
    };
    if (auto direct = check_level(interpreters.path, level + 1).map_error(in_script); !direct) return direct;
    if (interpreters.started_by_env.empty()) return {};
    auto by_env = find_command(interpreters.started_by_env);
    // Not there: env itself says so best.
    return by_env ? check_level(*by_env, level + 1).map_error(in_script) : Result<void>{};
  }
  if (auto privileges = check_privileges(path, fd.get()); !privileges) return privileges;
  if (auto facts = read_elf_facts(fd.get())) return check_elf(path, *facts);
  // Neither ELF nor "#!": execvp hands it to the shell.
  return level < kMaxScriptLevels && path != kShell ? check_level(kShell, level + 1) : Result<void>{};
}

// 0 or the errno of trying to execute `path`.
int execution_error(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return errno;
  if (!S_ISREG(info.st_mode)) return EACCES;
  return ::access(path.c_str(), X_OK) == 0 ? 0 : errno;
}

}  // namespace

Result<std::string> find_command(const std::string& command) {
  auto not_executable = [&] {
    return fail(fmt::format("{}: cannot be executed: {}", command, std::strerror(EACCES)),
                "make it executable (chmod +x), or name the program that runs it", 126);
  };
  int error = ENOENT;
  if (command.find('/') != std::string::npos) {
    error = execution_error(command);
    if (error == 0) return command;
  } else if (!command.empty()) {
    const char* variable = std::getenv("PATH");
    std::string_view path = variable == nullptr ? "/bin:/usr/bin" : variable;
    for (bool last = false; !last;) {
      size_t end = path.find(':');
      last = end == path.npos;
      std::string directory(path.substr(0, end));
      if (!last) path.remove_prefix(end + 1);
      std::string candidate = directory.empty() ? command : fmt::format("{}/{}", directory, command);
      int candidate_error = execution_error(candidate);
      // An empty PATH element is the working directory; with its slash it is never searched for again.
      if (candidate_error == 0) return directory.empty() ? "./" + candidate : candidate;
      if (candidate_error == EACCES) error = EACCES;
    }
  }
  if (error == EACCES) return not_executable();
  return fail(fmt::format("{}: {}", command, error == ENOENT ? "command not found" : std::strerror(error)),
              "check the spelling, or give its path", 127);
}

Result<void> check_target(const std::string& path) {
  return check_level(path, 0);
}

}  // namespace asynctrace
