#include "cli/census/polled_others.hpp"

#include <algorithm>
#include <iterator>

namespace asynctrace {
namespace {

constexpr std::string_view kPollRead = "tokio::io::async_read::AsyncRead>::poll_read";
constexpr std::string_view kPollWrite = "tokio::io::async_write::AsyncWrite>::poll_write";
constexpr std::string_view kPollReadOfFutures = "futures_io::if_std::AsyncRead>::poll_read";
constexpr std::string_view kPollWriteOfFutures = "futures_io::if_std::AsyncWrite>::poll_write";
constexpr PollsOther kPollsOther[] = {
    {"tokio::io::util::read", "reader", kPollRead},
    {"tokio::io::util::fill_buf", "reader", kPollRead},
    {"tokio::io::util::write", "writer", kPollWrite},
    {"async_std::io::read::", "reader", kPollReadOfFutures},
    {"async_std::io::write::", "writer", kPollWriteOfFutures},
    {"futures_lite::io::Read", "reader", kPollReadOfFutures},
    {"futures_lite::io::Write", "writer", kPollWriteOfFutures},
    {"futures_util::stream::stream::next::Next<", "stream", "futures_core::stream::Stream>::poll_next"},
    {"tokio_stream::stream_ext::next::Next<", "stream", "futures_core::stream::Stream>::poll_next"},
};

constexpr std::string_view kPollsAll[] = {
    "tokio::time::timeout::Timeout<",    "tokio::future::poll_fn::PollFn<",
    "core::future::poll_fn::PollFn<",    "futures_util::future::poll_fn::PollFn<",
    "futures_util::future::join::",      "futures_util::future::try_join::",
    "futures_util::future::select::",    "futures_util::future::try_select::",
    "futures_lite::future::Or<",         "futures_lite::future::Race<",
    "futures_lite::future::Zip<",        "futures_lite::future::TryZip<",
    "async_std::future::future::join::", "async_std::future::future::try_join::",
    "async_std::future::future::race::", "async_std::future::future::try_race::"};

}  // namespace

bool polls_all(std::string_view future) {
  return std::ranges::any_of(kPollsAll, [&](auto prefix) { return future.starts_with(prefix); });
}

const PollsOther* polls_other(std::string_view future) {
  const auto* row = std::ranges::find_if(
      kPollsOther, [&](const PollsOther& known) { return future.starts_with(known.future); });
  return row == std::end(kPollsOther) ? nullptr : row;
}

}  // namespace asynctrace
