#include "cli/commands/targets.hpp"

#include <sys/resource.h>
#include <charconv>
#include <filesystem>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "cli/census/core_image.hpp"
#include "cli/commands/messages.hpp"
#include "cli/render/escape.hpp"

namespace asynctrace {
namespace {

std::optional<pid_t> as_pid(const std::string& text) {
  pid_t pid = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc() || end != text.data() + text.size() || pid <= 0) return std::nullopt;
  return pid;
}

}  // namespace

Result<TracedProcess> find_target(const std::string& text) {
  if (auto pid = as_pid(text)) return find_traced(*pid);
  std::error_code error;
  if (!std::filesystem::exists(text, error)) {
    return fail(fmt::format("{}: there is no such file or process id", text),
                "`asynctrace ps` lists the traced processes");
  }
  if (is_core_file(text)) return TracedProcess{0, Life::kCore, text, text, {}};
  auto summary = read_summary(text);
  if (!summary) return tl::unexpected(summary.error());
  Life life = life_of(text, *summary);
  return TracedProcess{static_cast<pid_t>(summary->pid), life, text, text, std::move(*summary)};
}

Result<TracedProcess> only_live_one(std::string_view verb) {
  std::vector<TracedProcess> live = list_live();
  if (live.size() == 1) return std::move(live.front());
  if (live.empty()) {
    return fail("no traced process is running",
                "name a segment file, or start one: asynctrace run PROGRAM; `asynctrace ps` lists the dead",
                2);
  }
  print_message("several traced processes are running:");
  for (const TracedProcess& process : live)
    print_message(fmt::format("  {}  {}", process.pid, escape(process.summary.exe)));
  return fail("which one is meant?", fmt::format("asynctrace {} {}", verb, live.front().pid), 2);
}

void give_way() {
  constexpr int kNice = 10;
  if (getpriority(PRIO_PROCESS, 0) < kNice) setpriority(PRIO_PROCESS, 0, kNice);
}

}  // namespace asynctrace
