#include "cli/attach/sleep_mark.hpp"

#include <charconv>
#include <string>

#include <fmt/format.h>

#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

// The digits of "name  :  36145990.871965", the point left out: milliseconds with six places are nanoseconds.
std::optional<uint64_t> value_of(std::string_view text, std::string_view name) {
  for (size_t at = text.find(name); at != text.npos; at = text.find(name, at + 1)) {
    if (at > 0 && text[at - 1] != '\n') continue;
    size_t next = text.find_first_not_of(' ', at + name.size());
    if (next == text.npos || text[next] != ':') continue;
    next = text.find_first_not_of(' ', next + 1);
    if (next == text.npos) return std::nullopt;
    std::string digits;
    for (; next < text.size() && text[next] != '\n'; ++next)
      if (text[next] != '.') digits += text[next];
    uint64_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value);
    return error == std::errc() && stop == end ? std::optional(value) : std::nullopt;
  }
  return std::nullopt;
}

// Field 39 of /proc/PID/stat; the name, field 2, may hold anything.
std::optional<int> processor_of(std::string_view stat) {
  size_t at = stat.rfind(')');
  for (int field = 2; at != stat.npos && field < 39; ++field) at = stat.find(' ', at + 1);
  int processor = -1;
  if (at == stat.npos) return std::nullopt;
  const auto [end, error] = std::from_chars(stat.data() + at + 1, stat.data() + stat.size(), processor);
  return error == std::errc() ? std::optional(processor) : std::nullopt;
}

// What it takes to wake up, to be told to stop and to do so; who has run for longer may have slept anew.
constexpr uint64_t kToStop = 500'000;

}  // namespace

std::optional<SleepMark> parse_sleep_mark(std::string_view sched, std::string_view stat) {
  const auto last_ran = value_of(sched, "se.exec_start"), ran = value_of(sched, "se.sum_exec_runtime");
  const auto sleeps = value_of(sched, "nr_voluntary_switches");
  const auto processor = processor_of(stat);
  if (!last_ran || !ran || !sleeps || !processor) return std::nullopt;
  return SleepMark{*last_ran, *ran, *sleeps, *processor};
}

std::optional<SleepMark> SleepMark::read(pid_t pid, pid_t tid) {
  const std::string thread = fmt::format("/proc/{}/task/{}", pid, tid);
  const auto sched = read_file(thread + "/sched"), stat = read_file(thread + "/stat");
  return sched && stat ? parse_sleep_mark(*sched, *stat) : std::nullopt;
}

std::chrono::nanoseconds time_asleep(const SleepMark& before, const SleepMark& stopped) {
  // The stop itself is a sleep.
  const bool same_sleep = stopped.sleeps == before.sleeps + 1 && stopped.ran_ns - before.ran_ns < kToStop &&
                          stopped.processor == before.processor;
  if (!same_sleep || stopped.last_ran_ns < before.last_ran_ns) return {};
  return std::chrono::nanoseconds(stopped.last_ran_ns - before.last_ran_ns);
}

}  // namespace asynctrace
