// Durations as users write and read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "cli/error.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

// "0.4ms", "57ms", "0.3s", "31.2s", "2m05s", "3h07m", "4d03h". Cut, never rounded up: a wait is not claimed
// to be longer than it was.
std::string format_duration(uint64_t ns);

// "31.0s..31.2s"; with `summary` "0.1s..31s, median 4s"; one duration where both ends read the same.
std::string format_spread(const Spread& spread, bool summary);

// "500ms", "30s", "5m", "1h", "2d", "1.5s". A unit is required, except for 0.
Result<std::chrono::nanoseconds> parse_duration(std::string_view text);

}  // namespace asynctrace
