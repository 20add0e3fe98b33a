#include "cli/descriptors/descriptors.hpp"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <vector>

#include <fmt/format.h>

#include "cli/descriptors/words.hpp"
#include "cli/process/file_descriptor.hpp"
#include "cli/render/duration.hpp"

namespace asynctrace {
namespace {

constexpr std::string_view kAnonymous = "anon_inode:";

// The rest of the line that begins with `key` and a colon.
std::optional<std::string_view> field(std::string_view info, std::string_view key) {
  while (!info.empty()) {
    std::string_view line = cut(info, '\n');
    if (cut(line, ':') != key) continue;
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    return line;
  }
  return std::nullopt;
}

size_t count_lines(std::string_view info, std::string_view beginning) {
  size_t lines = 0;
  while (!info.empty()) lines += cut(info, '\n').starts_with(beginning);
  return lines;
}

// "(3, 200000000)", in ns.
std::optional<uint64_t> time_field(std::string_view info, std::string_view key) {
  constexpr uint64_t kSecond = 1'000'000'000;
  std::string_view text = field(info, key).value_or("");
  if (!text.starts_with('(') || !text.ends_with(')')) return std::nullopt;
  text = text.substr(1, text.size() - 2);
  const auto seconds = whole_number<uint64_t>(cut(text, ','));
  const auto ns = whole_number<uint64_t>(cut_word(text));
  if (!seconds || !ns || *seconds > UINT64_MAX / kSecond - 1 || *ns >= kSecond) return std::nullopt;
  return *seconds * kSecond + *ns;
}

DescriptorFacts readable_if(bool ready, std::string text, std::string_view known_by) {
  return {std::move(text), static_cast<uint16_t>(ready ? POLLIN : 0), POLLIN, known_by, true};
}

DescriptorFacts timer(std::string_view info) {
  const auto ticks = whole_number<uint64_t>(field(info, "ticks").value_or(""));
  const auto left = time_field(info, "it_value");
  const auto interval = time_field(info, "it_interval");
  if (!ticks || !left || !interval) return {.text = "timer", .may_be_polled = true};
  std::string text = *ticks > 0   ? "timer, expired and not read"
                     : *left == 0 ? "timer, not set"
                                  : fmt::format("timer, in {}", format_duration(*left));
  if (*interval > 0) text += fmt::format(", every {}", format_duration(*interval));
  return readable_if(*ticks > 0, std::move(text), "the ticks in its fdinfo");
}

DescriptorFacts counter(std::string_view info) {
  const auto count = whole_number<uint64_t>(field(info, "eventfd-count").value_or(""), 16);
  DescriptorFacts facts = {.text = "eventfd", .may_be_polled = true};
  if (count)
    facts = readable_if(*count > 0, fmt::format("eventfd, count {}", *count), "the count in its fdinfo");
  facts.is_counter = true;
  return facts;
}

std::string signals(std::string_view info) {
  const auto mask = whole_number<uint64_t>(field(info, "sigmask").value_or(""), 16);
  std::vector<std::string> names;
  for (int signal = 1; mask && signal <= 64; ++signal) {
    if ((*mask >> (signal - 1) & 1) == 0) continue;
    const char* name = ::sigabbrev_np(signal);
    names.push_back(name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal));
  }
  return names.empty() ? "signalfd" : fmt::format("signalfd of {}", fmt::join(names, ", "));
}

std::string pipe(std::string_view info) {
  const auto flags = whole_number<unsigned>(field(info, "flags").value_or(""), 8);
  if (!flags) return "pipe";
  constexpr std::string_view kEnds[] = {"pipe, read end", "pipe, write end", "pipe, both ends", "pipe"};
  return std::string(kEnds[*flags & 3]);
}

std::string counted(size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

DescriptorFacts describe_descriptor(std::string_view link, std::string_view info) {
  if (link.starts_with("pipe:[")) return {.text = pipe(info), .may_be_polled = true};
  if (!link.starts_with(kAnonymous)) return {.text = std::string(link)};
  std::string_view kind = link.substr(kAnonymous.size());
  if (kind.starts_with('[') && kind.ends_with(']')) kind = kind.substr(1, kind.size() - 2);
  if (kind == "timerfd") return timer(info);
  if (kind == "eventfd") return counter(info);
  // Polled from outside it would tell of the signals of whoever polls it.
  if (kind == "signalfd") return {.text = signals(info)};
  if (kind == "inotify")
    return {.text = fmt::format("inotify, {} watched", count_lines(info, "inotify wd:")),
            .may_be_polled = true};
  if (kind == "pidfd")
    return {.text = fmt::format("pidfd of {}", field(info, "Pid").value_or("a process")),
            .may_be_polled = true};
  if (kind == "eventpoll")
    return {.text = fmt::format("epoll of {}", counted(count_lines(info, "tfd:"), "descriptor"))};
  return {.text = std::string(kind)};
}

const Sockets& Descriptors::sockets() {
  if (sockets_) return *sockets_;
  sockets_.emplace();
  for (const char* protocol : {"tcp", "tcp6", "udp", "udp6"})
    sockets_->add_inet(read_file(fmt::format("{}/net/{}", process_, protocol)).value_or(""), protocol);
  sockets_->add_unix(read_file(process_ + "/net/unix").value_or(""));
  return *sockets_;
}

Result<DescriptorFacts> Descriptors::describe(int descriptor) {
  char target[PATH_MAX];
  const std::string path = fmt::format("{}/fd/{}", process_, descriptor);
  const ssize_t length = ::readlink(path.c_str(), target, sizeof(target));
  if (length < 0 && errno == ENOENT && ::access((process_ + "/fd").c_str(), F_OK) == 0)
    return DescriptorFacts{.text = "not open"};
  if (length < 0) return fail(fmt::format("{}/fd: {}", process_, ::strerror(errno)));
  const std::string_view link(target, static_cast<size_t>(length));
  constexpr std::string_view kSocket = "socket:[";
  if (link.starts_with(kSocket) && link.ends_with(']')) {
    const auto inode = whole_number<uint64_t>(link.substr(kSocket.size(), link.size() - kSocket.size() - 1));
    const auto socket = inode ? sockets().find(*inode) : std::nullopt;
    if (!socket) return DescriptorFacts{.text = "socket, not listed in /proc/net", .may_be_polled = true};
    return DescriptorFacts{socket->text, socket->events, socket->known_events, "the queue in /proc/net",
                           true};
  }
  return describe_descriptor(link, read_file(fmt::format("{}/fdinfo/{}", process_, descriptor)).value_or(""));
}

}  // namespace asynctrace
