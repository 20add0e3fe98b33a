// Escaping and durations.
#include <gtest/gtest.h>

#include "cli/render/duration.hpp"
#include "cli/render/escape.hpp"
#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

TEST(Escape, LeavesOrdinaryTextAlone) {
  EXPECT_EQ(escape("async fn shop::<é as 日本>::f 🦀"), "async fn shop::<é as 日本>::f 🦀");
  EXPECT_EQ(escape(""), "");
}

TEST(Escape, ShowsWhatWouldActOrHide) {
  EXPECT_EQ(escape("a\x1b[2J\n\r\t\x7f"), "a\\x1b[2J\\x0a\\x0d\\x09\\x7f");
  EXPECT_EQ(escape(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(escape("\xc2\x9b"
                   "31m"),
            "\\xc2\\x9b31m");  // CSI as one character
  EXPECT_EQ(escape("a\xe2\x80\xae"
                   "b"),
            "a\\xe2\\x80\\xaeb");                        // right-to-left override
  EXPECT_EQ(escape("\xe2\x81\xa6"), "\\xe2\\x81\\xa6");  // isolate
  EXPECT_EQ(escape("\xe2\x80\xa8"), "\\xe2\\x80\\xa8");  // line separator
  EXPECT_EQ(escape("\xef\xbb\xbf"), "\\xef\\xbb\\xbf");  // byte order mark
}

TEST(Escape, ShowsBytesThatAreNoText) {
  EXPECT_EQ(escape("\xff"), "\\xff");
  EXPECT_EQ(escape("\xc3("), "\\xc3(");                           // cut sequence
  EXPECT_EQ(escape("\xe2\x82"), "\\xe2\\x82");                    // cut at the end
  EXPECT_EQ(escape("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(escape("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // surrogate
  EXPECT_EQ(escape("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond Unicode
}

TEST(Escape, IsUnambiguous) {
  EXPECT_EQ(escape("\\x41"), "\\\\x41");
}

TEST(FormatDuration, IsCutNotRounded) {
  EXPECT_EQ(format_duration(0), "0.0ms");
  EXPECT_EQ(format_duration(999'999), "0.9ms");
  EXPECT_EQ(format_duration(57'900'000), "57ms");
  EXPECT_EQ(format_duration(99'999'999), "99ms");
  EXPECT_EQ(format_duration(300 * kMs), "0.3s");
  EXPECT_EQ(format_duration(31'299 * kMs), "31.2s");
  EXPECT_EQ(format_duration(60 * kSec - 1), "59.9s");
  EXPECT_EQ(format_duration(125 * kSec), "2m05s");
  EXPECT_EQ(format_duration(11'220 * kSec), "3h07m");
  EXPECT_EQ(format_duration((4 * 24 + 3) * 3600 * kSec), "4d03h");
  EXPECT_EQ(format_duration(UINT64_MAX), "213503d23h");
}

TEST(FormatSpread, ExactForAFewSummaryForMany) {
  const Spread spread{100 * kMs, 4 * kSec, 31'700 * kMs};
  EXPECT_EQ(format_spread(spread, false), "0.1s..31.7s");
  EXPECT_EQ(format_spread(spread, true), "0.1s..31s, median 4s");
  EXPECT_EQ(format_spread({31 * kSec, 31 * kSec, 31 * kSec}, false), "31.0s");
  EXPECT_EQ(format_spread({31'100 * kMs, 31'200 * kMs, 31'900 * kMs}, true), "31.9s");
}

TEST(ParseDuration, TakesNumberAndUnit) {
  using namespace std::chrono_literals;
  EXPECT_EQ(parse_duration("500ms").value(), 500ms);
  EXPECT_EQ(parse_duration("30s").value(), 30s);
  EXPECT_EQ(parse_duration("1.5s").value(), 1500ms);
  EXPECT_EQ(parse_duration("5m").value(), 5min);
  EXPECT_EQ(parse_duration("2h").value(), 2h);
  EXPECT_EQ(parse_duration("1d").value(), 24h);
  EXPECT_EQ(parse_duration("0").value(), 0s);
}

TEST(ParseDuration, RefusesTheRestAsUsageError) {
  for (const char* text :
       {"", "s", "5", "-5s", "5 s", "5x", "1.2.3s", ".", "1e3s", "999999999d", "nan", "infs", "5ss"}) {
    const auto result = parse_duration(text);
    ASSERT_FALSE(result.has_value()) << text;
    EXPECT_EQ(result.error().exit_code, 2);
    EXPECT_FALSE(result.error().remedy.empty());
  }
}

}  // namespace
}  // namespace asynctrace::testing
