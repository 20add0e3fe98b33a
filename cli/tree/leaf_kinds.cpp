// What a leaf waits for, from the functions between the waker's clone and the first frame of the user.
//
// The innermost row that matches is the primitive. Frames further out may say it better: a row replaces the
// match so far if it is of the same family and of a higher rank. So tokio's Mutex, which is a semaphore
// inside, reads "Mutex lock", while the read inside a timeout stays a read.
#include <algorithm>
#include <optional>
#include <utility>

#include "cli/tree/classify.hpp"
#include "cli/tree/names.hpp"

namespace asynctrace {
namespace {

enum class Family : uint8_t { kAlone, kIo, kTimer, kNotify, kSemaphore, kJoin, kAsyncIo, kEvent, kPool };

struct LeafRow {
  std::string_view pattern;  // parts of the path without generic arguments, in this order, '*' between them
  std::string_view text;
  LeafClass leaf_class;
  Family family = Family::kAlone;
  uint8_t rank = 0;
  bool combinator = false;
  bool internal = false;  // the executor's own wait for work, whoever's stack it stands on
};

using enum LeafClass;

// Within one frame the first row that may apply wins. Paths differ between versions (tokio's timers moved
// from time::driver to runtime::time in 1.22), so that patterns hold only what has stayed.
constexpr LeafRow kRows[] = {
    // tokio: timers
    {"tokio::time::interval::Interval*", "interval", kTimer, Family::kTimer, 1},
    {"tokio::time::timeout::Timeout*", "timeout", kTimer, Family::kTimer, 1},
    {"tokio_util::time::delay_queue::DelayQueue*", "DelayQueue", kTimer, Family::kTimer, 1},
    {"tokio::time::sleep::Sleep*", "sleep", kTimer, Family::kTimer, 0},
    {"tokio::time::driver::*", "sleep", kTimer, Family::kTimer, 0},
    {"tokio::runtime::time::*", "sleep", kTimer, Family::kTimer, 0},
    // tokio: sockets, pipes, descriptors
    {"tokio::net::tcp::stream::TcpStream*connect", "TcpStream connect", kIo, Family::kIo, 4},
    {"tokio::net::tcp::socket::TcpSocket*connect", "TcpStream connect", kIo, Family::kIo, 4},
    {"tokio::net::tcp::*peek", "TcpStream peek", kIo, Family::kIo, 3},
    {"tokio::net::tcp::*::readable", "TcpStream readable", kIo, Family::kIo, 4},
    {"tokio::net::tcp::*::writable", "TcpStream writable", kIo, Family::kIo, 4},
    {"tokio::net::tcp::*::ready", "TcpStream ready", kIo, Family::kIo, 3},
    {"tokio::net::tcp::listener::TcpListener*accept", "TcpListener accept", kIo, Family::kIo, 3},
    {"tokio::net::tcp::*read", "TcpStream read", kIo, Family::kIo, 3},
    {"tokio::net::tcp::*write", "TcpStream write", kIo, Family::kIo, 3},
    {"tokio::net::udp::UdpSocket*::readable", "UdpSocket readable", kIo, Family::kIo, 4},
    {"tokio::net::udp::UdpSocket*::writable", "UdpSocket writable", kIo, Family::kIo, 4},
    {"tokio::net::udp::UdpSocket*::ready", "UdpSocket ready", kIo, Family::kIo, 3},
    {"tokio::net::udp::UdpSocket*recv", "UdpSocket recv", kIo, Family::kIo, 3},
    {"tokio::net::udp::UdpSocket*peek", "UdpSocket peek", kIo, Family::kIo, 3},
    {"tokio::net::udp::UdpSocket*send", "UdpSocket send", kIo, Family::kIo, 3},
    {"tokio::net::unix::listener::UnixListener*accept", "UnixListener accept", kIo, Family::kIo, 3},
    {"tokio::net::unix::datagram::*recv", "UnixDatagram recv", kIo, Family::kIo, 3},
    {"tokio::net::unix::datagram::*send", "UnixDatagram send", kIo, Family::kIo, 3},
    {"tokio::net::unix::datagram::*::readable", "UnixDatagram readable", kIo, Family::kIo, 4},
    {"tokio::net::unix::datagram::*::writable", "UnixDatagram writable", kIo, Family::kIo, 4},
    {"tokio::net::unix::pipe::Receiver*", "pipe read", kIo, Family::kIo, 3},
    {"tokio::net::unix::pipe::Sender*", "pipe write", kIo, Family::kIo, 3},
    {"tokio::net::unix::*connect", "UnixStream connect", kIo, Family::kIo, 4},
    {"tokio::net::unix::*::readable", "UnixStream readable", kIo, Family::kIo, 4},
    {"tokio::net::unix::*::writable", "UnixStream writable", kIo, Family::kIo, 4},
    {"tokio::net::unix::*::ready", "UnixStream ready", kIo, Family::kIo, 3},
    {"tokio::net::unix::*read", "UnixStream read", kIo, Family::kIo, 3},
    {"tokio::net::unix::*write", "UnixStream write", kIo, Family::kIo, 3},
    {"tokio::io::async_fd::AsyncFd*", "AsyncFd ready", kIo, Family::kIo, 3},
    {"tokio::process::ChildStdin*", "child stdin write", kIo, Family::kIo, 4},
    {"tokio::process::ChildStdout*", "child stdout read", kIo, Family::kIo, 4},
    {"tokio::process::ChildStderr*", "child stderr read", kIo, Family::kIo, 4},
    {"tokio::process::imp::pidfd_reaper::*", "child wait", kSignal, Family::kIo, 4},
    {"tokio::io::poll_evented::PollEvented*::poll_read", "io read", kIo, Family::kIo, 1},
    {"tokio::io::poll_evented::PollEvented*::poll_write", "io write", kIo, Family::kIo, 1},
    {"tokio::runtime::io::*poll_read_", "io read", kIo, Family::kIo, 1},
    {"tokio::runtime::io::*poll_write_", "io write", kIo, Family::kIo, 1},
    {"tokio::runtime::io::*", "io readiness", kIo, Family::kIo, 0},
    {"tokio::io::driver::*", "io readiness", kIo, Family::kIo, 0},
    // tokio: what is a Notify inside
    {"tokio::signal::ctrl_c::*", "ctrl_c", kSignal, Family::kNotify, 3},
    {"tokio::process::*", "child wait", kSignal, Family::kNotify, 3},
    {"tokio::signal::*", "signal", kSignal, Family::kNotify, 2},
    {"tokio::sync::barrier::Barrier*", "Barrier wait", kSync, Family::kNotify, 2},
    {"tokio::sync::watch::Sender*closed", "watch closed", kChannel, Family::kNotify, 1},
    {"tokio::sync::watch::*", "watch changed", kChannel, Family::kNotify, 1},
    {"tokio::sync::mpsc::*closed", "mpsc closed", kChannel, Family::kNotify, 1},
    {"tokio::sync::broadcast::Sender*closed", "broadcast closed", kChannel, Family::kNotify, 1},
    {"tokio::sync::set_once::SetOnce*", "SetOnce wait", kSync, Family::kNotify, 1},
    {"tokio::task::task_tracker::*", "TaskTracker wait", kJoin, Family::kNotify, 1},
    {"tokio_util::task::task_tracker::*", "TaskTracker wait", kJoin, Family::kNotify, 1},
    {"tokio_util::sync::cancellation_token::*", "CancellationToken", kSync, Family::kNotify, 1},
    {"tokio::sync::notify::*", "Notify", kSync, Family::kNotify, 0},
    // tokio: what is a semaphore inside
    {"tokio::sync::mpsc::bounded::Sender*", "mpsc send", kChannel, Family::kSemaphore, 1},
    {"tokio_util::sync::mpsc::PollSender*", "mpsc send", kChannel, Family::kSemaphore, 1},
    {"tokio::sync::mutex::Mutex*", "Mutex lock", kSync, Family::kSemaphore, 1},
    {"tokio::sync::rwlock::RwLock*::read", "RwLock read", kSync, Family::kSemaphore, 1},
    {"tokio::sync::rwlock::RwLock*::write", "RwLock write", kSync, Family::kSemaphore, 1},
    {"tokio::sync::once_cell::OnceCell*", "OnceCell", kSync, Family::kSemaphore, 1},
    {"tokio::sync::batch_semaphore::*", "Semaphore acquire", kSync, Family::kSemaphore, 0},
    // tokio: other channels
    {"tokio::sync::mpsc::chan::Rx*", "mpsc recv", kChannel},
    {"tokio::sync::mpsc::bounded::Receiver*", "mpsc recv", kChannel},
    {"tokio::sync::mpsc::unbounded::UnboundedReceiver*", "mpsc recv", kChannel},
    {"tokio::sync::oneshot::Sender*closed", "oneshot closed", kChannel},
    {"tokio::sync::oneshot::Receiver*", "oneshot recv", kChannel},
    {"tokio::sync::oneshot::Inner*poll_recv", "oneshot recv", kChannel},
    {"tokio::sync::broadcast::Rec*", "broadcast recv", kChannel},
    {"tokio::io::util::mem::*read", "DuplexStream read", kChannel},
    {"tokio::io::util::mem::*write", "DuplexStream write", kChannel},
    // tokio: other tasks
    {"tokio::task::join_set::JoinSet*", "JoinSet join_next", kJoin, Family::kJoin, 1},
    {"tokio::util::idle_notified_set::*", "JoinSet join_next", kJoin, Family::kJoin, 1},
    {"tokio::io::stdin::*", "stdin read", kIo, Family::kJoin, 2},
    {"tokio::io::stdout::*", "stdout write", kIo, Family::kJoin, 2},
    {"tokio::io::stderr::*", "stderr write", kIo, Family::kJoin, 2},
    {"tokio::io::blocking::*", "blocking io", kIo, Family::kJoin, 1},
    {"tokio::fs::*", "file io", kIo, Family::kJoin, 1},
    {"tokio::net::addr::*", "DNS lookup", kIo, Family::kJoin, 1},
    {"tokio::runtime::task::join::JoinHandle*", "JoinHandle", kJoin, Family::kJoin, 0},
    {"tokio::runtime::task::*try_read_output", "JoinHandle", kJoin, Family::kJoin, 0},
    {"tokio::runtime::task::*can_read_output", "JoinHandle", kJoin, Family::kJoin, 0},
    // tokio: itself
    {"tokio::task::yield_now::*", "yield_now", kSync},
    {"tokio::task::local::LocalSet*", "LocalSet", kUnknown},
    {"tokio::task::local::RunUntil*", "LocalSet", kUnknown, Family::kAlone, 0, false, true},
    {"tokio_util::task::spawn_pinned::*", "LocalPool", kJoin},
    // futures
    {"core::future::pending::Pending*", "pending, never ready", kUnknown},
    {"futures_util::future::pending::Pending*", "pending, never ready", kUnknown},
    {"futures_executor::local_pool::LocalPool*", "LocalPool", kUnknown, Family::kPool, 1, false, true},
    {"futures_util::stream::futures_unordered::*", "FuturesUnordered", kUnknown, Family::kPool, 0, true},
    {"futures_util::future::*shared::*", "Shared", kUnknown, Family::kAlone, 0, true},
    {"futures_buffered::*", "FuturesUnordered", kUnknown, Family::kAlone, 0, true},
    {"futures_concurrency::*", "futures-concurrency", kUnknown, Family::kAlone, 0, true},
    {"futures_util::lock::mutex::*", "futures Mutex lock", kSync},
    {"futures_util::lock::bilock::*", "BiLock", kSync},
    {"futures_util::abortable::*", "abort", kSync},
    {"futures_util::future::abortable::*", "abort", kSync},
    {"futures_channel::oneshot::*cancel", "futures oneshot closed", kChannel},
    {"futures_channel::oneshot::*", "futures oneshot recv", kChannel},
    {"futures_channel::mpsc::*Receiver*", "futures mpsc recv", kChannel},
    {"futures_channel::mpsc::*Sender*", "futures mpsc send", kChannel},
    {"futures_timer::*", "sleep", kTimer},
    {"want::*", "want", kChannel},
    // async-io, async-std, smol
    {"async_std::net::tcp::listener::*", "TcpListener accept", kIo, Family::kAsyncIo, 3},
    {"async_io::Async::accept", "accept", kIo, Family::kAsyncIo, 2},
    {"async_std::net::tcp::stream::TcpStream*connect", "TcpStream connect", kIo, Family::kAsyncIo, 4},
    {"async_io::Async::connect", "connect", kIo, Family::kAsyncIo, 2},
    {"async_std::net::tcp::stream::*read", "TcpStream read", kIo, Family::kAsyncIo, 3},
    {"async_std::net::tcp::stream::*write", "TcpStream write", kIo, Family::kAsyncIo, 3},
    {"async_std::net::udp::*recv", "UdpSocket recv", kIo, Family::kAsyncIo, 3},
    {"async_std::net::udp::*send", "UdpSocket send", kIo, Family::kAsyncIo, 3},
    {"async_std::os::unix::net::stream::*read", "UnixStream read", kIo, Family::kAsyncIo, 3},
    {"async_std::os::unix::net::stream::*write", "UnixStream write", kIo, Family::kAsyncIo, 3},
    {"async_std::os::unix::net::listener::*", "UnixListener accept", kIo, Family::kAsyncIo, 3},
    {"async_io::*Async*recv", "socket recv", kIo, Family::kAsyncIo, 2},
    {"async_io::*Async*send", "socket send", kIo, Family::kAsyncIo, 2},
    {"async_io::*Async*read", "io read", kIo, Family::kAsyncIo, 1},
    {"async_io::*Async*write", "io write", kIo, Family::kAsyncIo, 1},
    {"async_io::reactor::Reactor::insert_timer", "sleep", kTimer, Family::kTimer, 0},
    {"async_io::reactor::*", "io readiness", kIo, Family::kAsyncIo, 0},
    {"async_std::future::timeout::*", "timeout", kTimer, Family::kTimer, 1},
    {"async_std::io::timeout::*", "timeout", kTimer, Family::kTimer, 1},
    {"async_std::stream::interval::*", "interval", kTimer, Family::kTimer, 1},
    {"async_std::task::sleep::*", "sleep", kTimer, Family::kTimer, 1},
    {"async_io::Timer*", "sleep", kTimer, Family::kTimer, 0},
    {"async_lock::mutex::*", "Mutex lock", kSync, Family::kEvent, 1},
    {"async_lock::rwlock::*read", "RwLock read", kSync, Family::kEvent, 1},
    {"async_lock::rwlock::*", "RwLock write", kSync, Family::kEvent, 1},
    {"async_lock::semaphore::*", "Semaphore acquire", kSync, Family::kEvent, 1},
    {"async_lock::barrier::*", "Barrier wait", kSync, Family::kEvent, 1},
    {"async_lock::once_cell::*", "OnceCell", kSync, Family::kEvent, 1},
    {"async_channel::*Recv*", "channel recv", kChannel, Family::kEvent, 1},
    {"async_channel::*Send*", "channel send", kChannel, Family::kEvent, 1},
    {"event_listener::*", "event listener", kSync, Family::kEvent, 0},
    {"async_std::task::join_handle::*", "JoinHandle", kJoin, Family::kJoin, 1},
    {"async_task::task::*", "JoinHandle", kJoin, Family::kJoin, 0},
    {"async_executor::*", "executor", kUnknown, Family::kAlone, 0, false, true},
};

// `pattern` parts in order, the first one at the start of a path: after '<' or at the very start.
bool matches(std::string_view function, std::string_view pattern) {
  const size_t star = pattern.find('*');
  const std::string_view first = pattern.substr(0, star);
  size_t at = function.find(first);
  while (at != std::string_view::npos && at != 0 && function[at - 1] != '<' && function[at - 1] != ' ') {
    at = function.find(first, at + 1);
  }
  if (at == std::string_view::npos) return false;
  at += first.size();
  while (!pattern.empty() && pattern.find('*') != std::string_view::npos) {
    pattern = pattern.substr(pattern.find('*') + 1);
    const std::string_view part = pattern.substr(0, pattern.find('*'));
    at = function.find(part, at);
    if (at == std::string_view::npos) return false;
    at += part.size();
  }
  return true;
}

bool may_replace(const LeafRow& row, const LeafRow* match) {
  if (match == nullptr) return true;
  return row.family == match->family && row.family != Family::kAlone && row.rank > match->rank;
}

// tokio's streams often end in a tail call, so that only PollEvented<E> is on the stack. Debug info spells
// out E.
constexpr std::pair<std::string_view, std::string_view> kStreams[] = {
    {"<mio::net::tcp::stream::TcpStream>", "TcpStream"},
    {"<mio::net::uds::stream::UnixStream>", "UnixStream"},
    {"<mio::sys::unix::pipe::Receiver>", "pipe"},
    {"<mio::sys::unix::pipe::Sender>", "pipe"},
};

std::string with_stream(const LeafRow& row, const Frame& frame) {
  constexpr std::string_view kAnyStream = "io ";
  if (row.text.starts_with(kAnyStream) && frame.function.find("PollEvented") != std::string::npos)
    for (const auto& [type, stream] : kStreams)
      if (frame.debug_name.find(type) != std::string::npos)
        return std::string(stream) + std::string(row.text.substr(kAnyStream.size() - 1));
  return std::string(row.text);
}

}  // namespace

std::string_view name(LeafClass leaf_class) {
  constexpr std::string_view kNames[] = {"io", "timer", "signal", "sync", "channel", "join", "unknown"};
  return kNames[static_cast<size_t>(leaf_class)];
}

bool is_outside(LeafClass leaf_class) {
  return leaf_class == kIo || leaf_class == LeafClass::kTimer || leaf_class == kSignal;
}

LeafKind labelled_kind(const Label& label) {
  // In the order of asynctrace_leaf_class.
  constexpr LeafClass kClasses[] = {kUnknown, kIo, kTimer, kSignal, kSync, kChannel, kJoin};
  const bool known = label.leaf_class < std::size(kClasses);
  return {label.text, known ? kClasses[label.leaf_class] : kUnknown, true};
}

bool is_combinator(const Frame& frame) {
  const std::string function = without_generics(plain_function(frame.function));
  return std::any_of(std::begin(kRows), std::end(kRows),
                     [&](const LeafRow& row) { return row.combinator && matches(function, row.pattern); });
}

namespace {

// Inlined from the headers of the native API: what calls the agent, not what waits.
bool is_native_api(const ClassifiedFrame& frame) {
  return frame.frame_class == FrameClass::kRuntime && frame.frame->function.starts_with("asynctrace");
}

}  // namespace

LeafKind classify_leaf(std::span<const ClassifiedFrame> frames) {
  const LeafRow* match = nullptr;
  const Frame* matching = nullptr;
  const Frame* innermost = nullptr;
  for (const ClassifiedFrame& frame : frames) {
    const bool named = !frame.frame->function.empty() || !frame.frame->raw.empty();
    if (innermost == nullptr && named && frame.frame_class != FrameClass::kStd && !is_native_api(frame))
      innermost = frame.frame;
    if (frame.frame_class == FrameClass::kUser) break;
    const std::string function = without_generics(plain_function(frame.frame->function));
    for (const LeafRow& row : kRows) {
      if (!may_replace(row, match) || !matches(function, row.pattern)) continue;
      match = &row;
      matching = frame.frame;
      break;
    }
  }
  if (match != nullptr)
    return {with_stream(*match, *matching), match->leaf_class, true, match->combinator, match->internal};
  if (innermost != nullptr) return {display_name(*innermost, {}), LeafClass::kUnknown, false, false};
  return {};
}

}  // namespace asynctrace
