#include "cli/render/duration.hpp"

#include <charconv>
#include <limits>

#include <fmt/format.h>

namespace asynctrace {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kSecond = 1000 * kMillisecond;
constexpr uint64_t kMinute = 60 * kSecond;
constexpr uint64_t kHour = 60 * kMinute;
constexpr uint64_t kDay = 24 * kHour;

struct Unit {
  std::string_view name;
  uint64_t ns;
};
constexpr Unit kUnits[] = {{"ns", 1},      {"us", 1000}, {"ms", kMillisecond}, {"s", kSecond},
                           {"m", kMinute}, {"h", kHour}, {"d", kDay}};

// As format_duration, with whole seconds from one second on: an overview of many.
std::string format_summary(uint64_t ns) {
  return ns >= kSecond && ns < kMinute ? fmt::format("{}s", ns / kSecond) : format_duration(ns);
}

Result<std::chrono::nanoseconds> invalid(std::string_view text) {
  return fail(fmt::format("\"{}\" is not a duration", text), "write 500ms, 30s, 5m or 1h", 2);
}

}  // namespace

std::string format_duration(uint64_t ns) {
  if (ns >= kDay) return fmt::format("{}d{:02}h", ns / kDay, ns % kDay / kHour);
  if (ns >= kHour) return fmt::format("{}h{:02}m", ns / kHour, ns % kHour / kMinute);
  if (ns >= kMinute) return fmt::format("{}m{:02}s", ns / kMinute, ns % kMinute / kSecond);
  const uint64_t tenth = kSecond / 10;
  if (ns >= tenth) return fmt::format("{}.{}s", ns / kSecond, ns % kSecond / tenth);
  if (ns >= kMillisecond) return fmt::format("{}ms", ns / kMillisecond);
  return fmt::format("0.{}ms", ns / (kMillisecond / 10));
}

std::string format_spread(const Spread& spread, bool summary) {
  if (!spread.known) return {};
  const auto format = summary ? format_summary : format_duration;
  const std::string min = format(spread.min_ns), max = format(spread.max_ns);
  if (min == max) return format_duration(spread.max_ns);
  if (!summary) return fmt::format("{}..{}", min, max);
  return fmt::format("{}..{}, median {}", min, max, format(spread.median_ns));
}

Result<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  const size_t digits = text.find_first_not_of("0123456789.");
  const std::string_view number = text.substr(0, digits);
  const std::string_view unit = digits == std::string_view::npos ? "" : text.substr(digits);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size()) return invalid(text);
  if (unit.empty() && value == 0 && !text.empty()) return std::chrono::nanoseconds(0);
  for (const Unit& known : kUnits) {
    if (unit != known.name) continue;
    const double ns = value * static_cast<double>(known.ns);
    // The largest double below 2^63: what is beyond cannot be counted in nanoseconds.
    if (ns >= static_cast<double>(std::numeric_limits<int64_t>::max())) return invalid(text);
    return std::chrono::nanoseconds(static_cast<int64_t>(ns));
  }
  return invalid(text);
}

}  // namespace asynctrace
