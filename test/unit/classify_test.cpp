#include "cli/tree/classify.hpp"

#include <gtest/gtest.h>

#include "cli/tree/names.hpp"
#include "cli/tree/task_types.hpp"
#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

TEST(Names, AsyncBodiesAreShownAsTheirFunctions) {
  const auto shown = [](std::string function, std::string debug_name) {
    Frame frame;
    frame.function = std::move(function);
    frame.debug_name = std::move(debug_name);
    return display_name(frame, "/opt/app");
  };
  EXPECT_EQ(shown("tgt::joins::{{closure}}", "{async_fn#0}"), "async fn tgt::joins");
  EXPECT_EQ(shown("tgt::joins::{closure#0}", "{async_fn#0}<u32>"), "async fn tgt::joins");
  EXPECT_EQ(shown("tgt::Store<T>::get::{{closure}}", "{async_fn#0}"), "async fn tgt::Store<T>::get");
  EXPECT_EQ(shown("tgt::main::{{closure}}::{{closure}}", "{async_block#0}"), "async block in tgt::main");
  EXPECT_EQ(shown("tgt::main::{{closure}}::{{closure}}", "{async_fn#0}"), "async fn tgt::main::{{closure}}");
  EXPECT_EQ(shown("tgt::joins::{{closure}}::{{closure}}", "{closure#0}"),
            "tgt::joins::{{closure}}::{{closure}}");
  EXPECT_EQ(shown("tgt::joins::{{closure}}", ""), "tgt::joins::{{closure}}");
  EXPECT_EQ(shown("tgt::f::h774cc1e8bbbc1297 (.llvm.113)", ""), "tgt::f");
}

TEST(Names, UnknownFunctionIsAnAddress) {
  Frame frame;
  frame.offset = 0x12ab;
  EXPECT_EQ(display_name(frame, "/opt/app"), "app+0x12ab");
  EXPECT_EQ(display_name(frame, ""), "0x12ab");
}

TEST(Names, PositionsAreShort) {
  const auto at = [](std::string file) {
    return display_position(frame("f", "", 7, 3), file, "/home/me/shop");
  };
  EXPECT_EQ(at("/home/me/shop/lib/a.rs"), "lib/a.rs:7:3");
  EXPECT_EQ(at("/home/me/shopping/src/a.rs"), "src/a.rs:7:3");
  EXPECT_EQ(at("/usr/share/cargo/registry/tokio-1.24.2/src/sync/notify.rs"),
            "tokio-1.24.2/src/sync/notify.rs:7:3");
  EXPECT_EQ(at("/root/.cargo/registry/src/index.crates.io-6f17d22bba15001f/hyper-0.14.19/src/x.rs"),
            "hyper-0.14.19/src/x.rs:7:3");
  EXPECT_EQ(at("/rustc/5980/library/core/src/task/wake.rs"), "library/core/src/task/wake.rs:7:3");
  EXPECT_EQ(at("/elsewhere/a.rs"), "/elsewhere/a.rs:7:3");
  EXPECT_EQ(display_position(frame("f", "", 7), "/a/src/b.rs", ""), "src/b.rs:7");
  EXPECT_EQ(display_position(frame("f", "", 7), "", ""), "");
  EXPECT_EQ(display_position(frame("f", "", 0), "/a/src/b.rs", ""), "");
}

TEST(SourcePaths, PrefixesAreReplacedByWholeComponents) {
  const SourcePaths paths{{{"/build/shop/", "/home/me/shop"}, {"/build", "/other"}, {"/gone", ""}}, ""};
  EXPECT_EQ(map_source("/build/shop/src/a.rs", paths), "/home/me/shop/src/a.rs");
  EXPECT_EQ(map_source("/build/shopping/a.rs", paths), "/other/shopping/a.rs");
  EXPECT_EQ(map_source("/build/./x/../shop/a.rs", paths), "/home/me/shop/a.rs");
  EXPECT_EQ(map_source("/gone/src/a.rs", paths), "src/a.rs");
  EXPECT_EQ(map_source("/elsewhere/a.rs", paths), "/elsewhere/a.rs");
  EXPECT_EQ(map_source("src/a.rs", paths), "src/a.rs");
  EXPECT_EQ(map_source("", paths), "");
}

TEST(SourcePaths, OnlyWhatLiesBelowTheRootIsRelative) {
  EXPECT_EQ(path_in("/home/me/shop", "/home/me/shop/src/a.rs"), "src/a.rs");
  EXPECT_EQ(path_in("/home/me/shop/", "/home/me/shop/src/a.rs"), "src/a.rs");
  EXPECT_EQ(path_in("/", "/src/a.rs"), "src/a.rs");
  EXPECT_EQ(path_in("/home/me/shop", "/home/me/shopping/a.rs"), "");
  EXPECT_EQ(path_in("/home/me/shop", "/home/me/shop"), "");
  EXPECT_EQ(path_in("/home/me/shop", "../a.rs"), "");
  EXPECT_EQ(path_in("/home/me/shop", "src/a.rs"), "src/a.rs");
  EXPECT_EQ(path_in("", "/src/a.rs"), "");
}

TEST(Names, GenericArgumentsAreNoPartOfAPath) {
  EXPECT_EQ(without_generics("<a::B<C, D<E>> as d::E<F>>::g::<H>"), "<a::B as d::E>::g");
  EXPECT_EQ(without_generics("tokio::sync::mpsc::chan::Rx<T,S>::recv::{{closure}}"),
            "tokio::sync::mpsc::chan::Rx::recv::{{closure}}");
  EXPECT_EQ(without_generics("a::b::<fn(u8) -> c::D>::e"), "a::b::e");
  EXPECT_EQ(without_generics("a::b<unbalanced"), "a::b");
}

TEST(Crate, IsThatOfTheImplementingType) {
  EXPECT_EQ(crate_of("tokio::sync::notify::Notified::poll_notified"), "tokio");
  EXPECT_EQ(crate_of("<tokio::time::sleep::Sleep as core::future::future::Future>::poll"), "tokio");
  EXPECT_EQ(crate_of("<shop::Wait<F> as core::future::future::Future>::poll"), "shop");
  EXPECT_EQ(crate_of("<&mut F as core::future::future::Future>::poll"), "core");
  EXPECT_EQ(crate_of("<&mut T as tokio::io::async_read::AsyncRead>::poll_read"), "tokio");
  EXPECT_EQ(crate_of("<core::pin::Pin<P> as core::future::future::Future>::poll"), "core");
  EXPECT_EQ(crate_of("<<shop::A as shop::B>::C as core::clone::Clone>::clone"), "shop");
  EXPECT_EQ(crate_of("std::vector<int>::push_back(int const&)"), "std");
  EXPECT_EQ(crate_of("main"), "");
  EXPECT_EQ(crate_of("<"), "");
  EXPECT_EQ(crate_of(""), "");
}

struct FrameCase {
  const char *function, *file, *module;
  FrameClass expected;
};

TEST(FrameClass, FollowsPathsThenNames) {
  const FrameCase cases[] = {
      {"shop::main::{{closure}}", "/home/me/shop/src/main.rs", "/opt/shop", FrameClass::kUser},
      {"<shop::Wait as core::future::future::Future>::poll", "", "/opt/shop", FrameClass::kUser},
      {"main", "/home/me/loop.c", "/opt/loop", FrameClass::kUser},
      {"hyper::client::dispatch::f", "/usr/share/cargo/registry/hyper-0.14.19/src/x.rs", "/opt/shop",
       FrameClass::kLibrary},
      {"mine::f", "/work/shop/vendor/mine/src/lib.rs", "/opt/shop", FrameClass::kLibrary},
      {"tokio::runtime::task::raw::poll", "/usr/share/cargo/registry/tokio-1.24.2/src/x.rs", "/opt/shop",
       FrameClass::kRuntime},
      {"tokio::runtime::task::raw::poll", "", "/opt/shop", FrameClass::kRuntime},
      {"core::ops::function::FnOnce::call_once", "/rustc/59/library/core/src/ops/function.rs", "/opt/shop",
       FrameClass::kStd},
      {"hashbrown::raw::f", "/rust/deps/hashbrown-0.16.1/src/raw.rs", "/opt/shop", FrameClass::kStd},
      {"<alloc::boxed::Box<F> as core::ops::function::FnOnce<A>>::call_once", "", "/opt/shop",
       FrameClass::kStd},
      {"main", "", "/opt/shop", FrameClass::kStd},
      {"__rust_try", "", "/opt/shop", FrameClass::kStd},
      {"__libc_start_call_main", "", "/lib/x86_64-linux-gnu/libc.so.6", FrameClass::kStd},
      {"__libc_start_call_main", "./csu/../sysdeps/x86/libc-start.h", "/lib/x86_64-linux-gnu/libc.so.6",
       FrameClass::kStd},
      {"uv_run", "", "/usr/lib/x86_64-linux-gnu/libuv.so.1", FrameClass::kLibrary},
      {"", "", "/opt/shop", FrameClass::kLibrary},
  };
  for (const FrameCase& c : cases) {
    EXPECT_EQ(classify_frame(frame(c.function, c.file, 1), c.module), c.expected)
        << c.function << " " << c.file;
  }
}

// Functions as the symbolizer gives them for one leaf, innermost first, up to the user's own.
LeafKind kind(const std::vector<std::string>& functions) {
  std::vector<Frame> frames;
  for (const std::string& function : functions) {
    frames.push_back(frame(function));
    frames.back().raw = frames.back().function;
  }
  std::vector<ClassifiedFrame> classified;
  for (const Frame& frame : frames) classified.push_back({&frame, classify_frame(frame, "/opt/app")});
  return classify_leaf(classified);
}

struct KindCase {
  const char* text;
  LeafClass leaf_class;
  std::vector<std::string> functions;
};

const KindCase kKinds[] = {
    {"Notify",
     LeafClass::kSync,
     {"<core::task::wake::Waker as core::clone::Clone>::clone",
      "tokio::sync::notify::Notified::poll_notified",
      "<tokio::sync::notify::Notified as core::future::future::Future>::poll", "app::f::{{closure}}"}},
    {"sleep",
     LeafClass::kTimer,
     {"tokio::runtime::time::entry::TimerEntry::poll_elapsed",
      "<tokio::time::sleep::Sleep as core::future::future::Future>::poll"}},
    {"sleep", LeafClass::kTimer, {"tokio::time::driver::entry::TimerEntry::poll_elapsed"}},
    {"interval",
     LeafClass::kTimer,
     {"tokio::runtime::time::entry::StateCell::poll", "tokio::time::sleep::Sleep::poll_elapsed",
      "tokio::time::interval::Interval::poll_tick", "tokio::time::interval::Interval::tick::{{closure}}"}},
    {"timeout",
     LeafClass::kTimer,
     {"<tokio::time::sleep::Sleep as core::future::future::Future>::poll",
      "<tokio::time::timeout::Timeout<T> as core::future::future::Future>::poll"}},
    {"TcpStream read",
     LeafClass::kIo,
     {"tokio::runtime::io::scheduled_io::ScheduledIo::poll_readiness",
      "tokio::runtime::io::registration::Registration::poll_read_ready",
      "tokio::io::poll_evented::PollEvented<E>::poll_read",
      "tokio::net::tcp::stream::TcpStream::poll_read_priv",
      "<tokio::io::util::read::Read<R> as core::future::future::Future>::poll",
      "<tokio::time::timeout::Timeout<T> as core::future::future::Future>::poll"}},
    {"TcpStream write",
     LeafClass::kIo,
     {"tokio::runtime::io::registration::Registration::poll_write_ready",
      "<tokio::net::tcp::split_owned::OwnedWriteHalf as tokio::io::async_write::AsyncWrite>::poll_write"}},
    {"TcpStream connect",
     LeafClass::kIo,
     {"tokio::runtime::io::registration::Registration::poll_write_ready",
      "tokio::net::tcp::stream::TcpStream::connect_mio::{{closure}}",
      "tokio::net::tcp::stream::TcpStream::connect::{{closure}}"}},
    {"TcpListener accept",
     LeafClass::kIo,
     {"<tokio::runtime::io::scheduled_io::Readiness as core::future::future::Future>::poll",
      "tokio::runtime::io::registration::Registration::async_io::{{closure}}",
      "tokio::net::tcp::listener::TcpListener::accept::{{closure}}"}},
    {"UdpSocket recv",
     LeafClass::kIo,
     {"tokio::runtime::io::scheduled_io::ScheduledIo::readiness::{{closure}}",
      "tokio::net::udp::UdpSocket::recv_from::{{closure}}"}},
    {"UnixStream readable",
     LeafClass::kIo,
     {"tokio::runtime::io::registration::Registration::readiness::{{closure}}",
      "tokio::net::unix::stream::UnixStream::ready::{{closure}}",
      "tokio::net::unix::stream::UnixStream::readable::{{closure}}"}},
    {"io read", LeafClass::kIo, {"tokio::runtime::io::registration::Registration::poll_read_ready"}},
    {"io write",
     LeafClass::kIo,
     {"tokio::runtime::io::scheduled_io::ScheduledIo::poll_readiness",
      "tokio::runtime::io::registration::Registration::poll_ready",
      "tokio::io::poll_evented::PollEvented<E>::poll_write"}},
    {"mpsc recv",
     LeafClass::kChannel,
     {"tokio::sync::task::atomic_waker::AtomicWaker::register_by_ref",
      "tokio::sync::mpsc::chan::Rx<T,S>::recv",
      "tokio::sync::mpsc::bounded::Receiver<T>::recv::{{closure}}"}},
    {"mpsc send",
     LeafClass::kChannel,
     {"<tokio::sync::batch_semaphore::Acquire as core::future::future::Future>::poll",
      "tokio::sync::mpsc::bounded::Sender<T>::reserve_inner::{{closure}}"}},
    {"mpsc closed",
     LeafClass::kChannel,
     {"tokio::sync::notify::Notified::poll_notified",
      "tokio::sync::mpsc::chan::Tx<T,S>::closed::{{closure}}"}},
    {"oneshot recv",
     LeafClass::kChannel,
     {"tokio::sync::oneshot::Task::set_task", "tokio::sync::oneshot::Inner<T>::poll_recv",
      "<tokio::sync::oneshot::Receiver<T> as core::future::future::Future>::poll"}},
    {"broadcast recv", LeafClass::kChannel, {"tokio::sync::broadcast::Receiver<T>::recv_ref"}},
    {"watch changed",
     LeafClass::kChannel,
     {"tokio::sync::notify::Notified::poll_notified",
      "tokio::sync::watch::Receiver<T>::changed::{{closure}}"}},
    {"Mutex lock",
     LeafClass::kSync,
     {"tokio::sync::batch_semaphore::Semaphore::poll_acquire",
      "tokio::sync::mutex::Mutex<T>::lock::{{closure}}"}},
    {"RwLock write",
     LeafClass::kSync,
     {"tokio::sync::batch_semaphore::Semaphore::poll_acquire",
      "tokio::sync::rwlock::RwLock<T>::write::{{closure}}"}},
    {"Semaphore acquire",
     LeafClass::kSync,
     {"tokio::sync::batch_semaphore::Semaphore::poll_acquire",
      "tokio::sync::semaphore::Semaphore::acquire::{{closure}}"}},
    {"Barrier wait",
     LeafClass::kSync,
     {"tokio::sync::notify::Notified::poll_notified", "tokio::sync::watch::Receiver<T>::changed::{{closure}}",
      "tokio::sync::barrier::Barrier::wait::{{closure}}"}},
    {"OnceCell",
     LeafClass::kSync,
     {"tokio::sync::batch_semaphore::Semaphore::poll_acquire",
      "tokio::sync::once_cell::OnceCell<T>::get_or_init::{{closure}}"}},
    {"JoinHandle",
     LeafClass::kJoin,
     {"<tokio::runtime::task::join::JoinHandle<T> as core::future::future::Future>::poll"}},
    {"JoinSet join_next",
     LeafClass::kJoin,
     {"tokio::util::idle_notified_set::IdleNotifiedSet<T>::pop_notified",
      "tokio::task::join_set::JoinSet<T>::poll_join_next"}},
    {"ctrl_c",
     LeafClass::kSignal,
     {"tokio::sync::notify::Notified::poll_notified", "tokio::sync::watch::Receiver<T>::changed::{{closure}}",
      "tokio::signal::RxFuture::recv::{{closure}}", "tokio::signal::unix::Signal::recv::{{closure}}",
      "tokio::signal::ctrl_c::ctrl_c::{{closure}}"}},
    {"child wait",
     LeafClass::kSignal,
     {"tokio::sync::notify::Notified::poll_notified", "tokio::signal::unix::Signal::poll_recv",
      "<tokio::process::imp::reap::Reaper<W,Q,S> as core::future::future::Future>::poll"}},
    {"file io",
     LeafClass::kIo,
     {"<tokio::runtime::task::join::JoinHandle<T> as core::future::future::Future>::poll",
      "tokio::fs::asyncify::{{closure}}", "tokio::fs::read::read::{{closure}}"}},
    {"FuturesUnordered",
     LeafClass::kUnknown,
     {"futures_core::task::__internal::atomic_waker::AtomicWaker::register",
      "<futures_util::stream::futures_unordered::FuturesUnordered<Fut> as "
      "futures_core::stream::Stream>::poll_next"}},
    {"futures mpsc recv",
     LeafClass::kChannel,
     {"futures_core::task::__internal::atomic_waker::AtomicWaker::register",
      "<futures_channel::mpsc::Receiver<T> as futures_core::stream::Stream>::poll_next"}},
    {"TcpStream read",
     LeafClass::kIo,
     {"async_io::reactor::Source::poll_ready", "async_io::Async<T>::poll_readable",
      "<async_std::net::tcp::stream::TcpStream as futures_io::if_std::AsyncRead>::poll_read"}},
    {"Mutex lock",
     LeafClass::kSync,
     {"<event_listener::EventListener as core::future::future::Future>::poll",
      "async_lock::mutex::Mutex<T>::acquire_slow::{{closure}}"}},
    {"sleep",
     LeafClass::kTimer,
     {"<async_io::Timer as futures_core::stream::Stream>::poll_next",
      "<async_io::Timer as core::future::future::Future>::poll"}},
};

TEST(LeafKind, IsWhatTheUserAwaits) {
  for (const KindCase& c : kKinds) {
    const LeafKind found = kind(c.functions);
    EXPECT_EQ(found.text, c.text) << c.functions.front();
    EXPECT_EQ(found.leaf_class, c.leaf_class) << c.text;
    EXPECT_TRUE(found.known) << c.text;
  }
}

TEST(LeafKind, FramesBeyondTheUsersDoNotMatter) {
  EXPECT_EQ(kind({"tokio::sync::batch_semaphore::Semaphore::poll_acquire", "app::f::{{closure}}",
                  "tokio::sync::mutex::Mutex<T>::lock::{{closure}}"})
                .text,
            "Semaphore acquire");
}

TEST(LeafKind, TypeArgumentsDoNotMatter) {
  EXPECT_EQ(kind({"<app::Wait<tokio::sync::notify::Notified> as core::future::future::Future>::poll"}).known,
            false);
  EXPECT_EQ(kind({"<tokio::time::timeout::Timeout<tokio::sync::notify::Notified> as "
                  "core::future::future::Future>::poll"})
                .text,
            "timeout");
}

TEST(LeafKind, UnknownIsNamedByItsInnermostFunction) {
  const LeafKind found = kind({"<core::task::wake::Waker as core::clone::Clone>::clone",
                               "<app::Wait as core::future::future::Future>::poll", "app::f::{{closure}}"});
  EXPECT_EQ(found.text, "<app::Wait as core::future::future::Future>::poll");
  EXPECT_EQ(found.leaf_class, LeafClass::kUnknown);
  EXPECT_FALSE(found.known);
  EXPECT_EQ(kind({"", ""}).text, "unknown");
}

TEST(LeafClass, OutsideIsWhatTheProgramCannotEndItself) {
  EXPECT_TRUE(is_outside(LeafClass::kIo) && is_outside(LeafClass::kTimer) && is_outside(LeafClass::kSignal));
  EXPECT_FALSE(is_outside(LeafClass::kSync) || is_outside(LeafClass::kChannel) ||
               is_outside(LeafClass::kJoin) || is_outside(LeafClass::kUnknown));
}

TEST(TaskType, ComesFromDebugNameOrV0Symbol) {
  Frame poll =
      poll_function("core::future::from_generator::GenFuture<t::f::{async_fn_env#0}<(u8, fn(u8) -> u8)>>");
  EXPECT_EQ(task_type(poll).future,
            "core::future::from_generator::GenFuture<t::f::{async_fn_env#0}<(u8, fn(u8) -> u8)>>");
  poll = frame("tokio::runtime::task::raw::poll::<t::f::{closure#0}, alloc::sync::Arc<H>>");
  EXPECT_EQ(task_type(poll).future, "t::f::{closure#0}");
  EXPECT_EQ(task_type(poll).kind, ReportTaskKind::kTask);
  EXPECT_EQ(task_type(frame("tokio::runtime::task::raw::poll")).future, "");
  EXPECT_EQ(task_type(frame("a::poll::<unbalanced")).future, "");
}

TEST(TaskType, TellsWorkersFromBlockingClosures) {
  const auto kind_of = [](const char* future) { return task_type(poll_function(future)).kind; };
  EXPECT_EQ(
      kind_of("tokio::runtime::blocking::task::BlockingTask<tokio::runtime::scheduler::multi_thread::worker::"
              "{impl#0}::launch::{closure_env#0}>"),
      ReportTaskKind::kWorker);
  EXPECT_EQ(kind_of("tokio::runtime::blocking::task::BlockingTask<tokio::fs::file::{impl#1}::poll_read::{"
                    "closure_env#0}>"),
            ReportTaskKind::kBlocking);
  EXPECT_EQ(kind_of("shop::worker::launch::{async_fn_env#0}"), ReportTaskKind::kTask);
}

TEST(TaskType, IsShownAsTheFunction) {
  EXPECT_EQ(display_type("core::future::from_generator::GenFuture<t::f::{async_fn_env#0}>"), "async fn t::f");
  EXPECT_EQ(display_type("t::main::{async_block#0}::{async_block_env#0}"), "async block in t::main");
  EXPECT_EQ(display_type("t::Wait<u8>"), "t::Wait<u8>");
}

TEST(CrateVersion, IsThatOfTheSourceDirectory) {
  EXPECT_EQ(crate_version("/usr/share/cargo/registry/tokio-1.24.2/src/x.rs", "tokio"), "1.24.2");
  EXPECT_EQ(crate_version("/c/tokio-util-0.7.3/src/x.rs", "tokio"), "");
  EXPECT_EQ(crate_version("", "tokio"), "");
}

TEST(LeafKinds, StreamIsNamedByThePollEventedThatReadsIt) {
  Frame ready = frame("tokio::runtime::io::registration::Registration::poll_ready");
  Frame poll = frame("tokio::io::poll_evented::PollEvented<E>::poll_read");
  poll.debug_name = "poll_read<mio::net::tcp::stream::TcpStream>";
  const ClassifiedFrame frames[] = {{&ready, FrameClass::kRuntime}, {&poll, FrameClass::kRuntime}};
  EXPECT_EQ(classify_leaf(frames).text, "TcpStream read");
  poll.debug_name = "poll_read<app::Stream>";
  EXPECT_EQ(classify_leaf(frames).text, "io read");
}

}  // namespace
}  // namespace asynctrace::testing
