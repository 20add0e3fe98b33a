#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "cli/descriptors/descriptors.hpp"
#include "cli/descriptors/epoll_lists.hpp"

namespace asynctrace {
namespace {

using ::testing::HasSubstr;

constexpr char kTcp[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 0100007F:0050 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 10 1 0 100\n"
    "   1: 0100007F:0050 0100007F:1267 01 00000000:00000003 00:00000000 00000000     0        0 11 1 0\n"
    "   2: 0100007F:1267 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 12 1 0\n"
    "   3: 0100007F:1268 0200000A:0050 02 00000000:00000000 01:00000000 00000000     0        0 13 1 0\n"
    "   4: 0100007F:0050 0100007F:1269 08 00000000:00000000 00:00000000 00000000     0        0 14 1 0\n"
    "   5: 0100007F:0050 0100007F:126A 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0\n"
    "   6: 0100007F:126B 0100007F:0050 04 00000000:00000000 03:00000000 00000000     0        0 16 3 0\n";
constexpr char kTcp6[] =
    "  sl  local_address rem_address st\n"
    "   0: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 20 "
    "1\n"
    "   1: 0000000000000000FFFF00000100007F:01BB 0000000000000000FFFF00000100007F:D431 01 0:0 0:0 0 0 0 21 "
    "1\n";
constexpr char kUnix[] =
    "Num       RefCount Protocol Flags    Type St Inode Path\n"
    "0000000029858c91: 00000002 00000000 00010000 0001 01 30 /run/my app.sock\n"
    "00000000f797b502: 00000003 00000000 00000000 0001 03 31\n"
    "00000000f797b503: 00000003 00000000 00000000 0002 01 32 @abstract\n";

std::string text_of(const Sockets& sockets, uint64_t inode) {
  const auto socket = sockets.find(inode);
  return socket ? socket->text : "none";
}

Sockets all_sockets() {
  Sockets sockets;
  sockets.add_inet(kTcp, "tcp");
  sockets.add_inet(kTcp6, "tcp6");
  sockets.add_inet("header\n 7: 0100007F:0035 00000000:0000 07 0:80 0:0 0 0 0 40 2 0 0\n", "udp");
  sockets.add_unix(kUnix);
  return sockets;
}

TEST(Sockets, AreToldWithBothEnds) {
  const Sockets sockets = all_sockets();
  EXPECT_EQ(text_of(sockets, 10), "tcp 127.0.0.1:80, listening");
  EXPECT_EQ(text_of(sockets, 11), "tcp 127.0.0.1:80 <- 127.0.0.1:4711");
  EXPECT_EQ(text_of(sockets, 12), "tcp 127.0.0.1:4711 <-> 127.0.0.1:80");
  EXPECT_EQ(text_of(sockets, 13), "tcp 127.0.0.1:4712 -> 10.0.0.2:80, connecting");
  EXPECT_EQ(text_of(sockets, 14), "tcp 127.0.0.1:80 <- 127.0.0.1:4713, closed by the peer");
  EXPECT_EQ(text_of(sockets, 16), "tcp 127.0.0.1:4715 <-> 127.0.0.1:80, closing");
  EXPECT_EQ(text_of(sockets, 20), "tcp6 [::1]:443, listening");
  EXPECT_EQ(text_of(sockets, 21), "tcp6 [::ffff:127.0.0.1]:443 <- [::ffff:127.0.0.1]:54321");
  EXPECT_EQ(text_of(sockets, 40), "udp 127.0.0.1:53");
  EXPECT_EQ(text_of(sockets, 30), "unix stream /run/my app.sock, listening");
  EXPECT_EQ(text_of(sockets, 31), "unix stream, connected");
  EXPECT_EQ(text_of(sockets, 32), "unix datagram @abstract");
  EXPECT_EQ(text_of(sockets, 0), "none");  // TIME_WAIT: nobody's
  EXPECT_EQ(text_of(sockets, 99), "none");
}

TEST(Sockets, AreReadableByTheirQueues) {
  const Sockets sockets = all_sockets();
  for (const uint64_t readable : {10, 11, 14, 40})
    EXPECT_EQ(sockets.find(readable)->events, POLLIN) << readable;
  for (const uint64_t idle : {12, 20, 21}) {
    EXPECT_EQ(sockets.find(idle)->events, 0) << idle;
    EXPECT_EQ(sockets.find(idle)->known_events, POLLIN) << idle;
  }
  // In these states, and of these protocols, an empty queue tells nothing.
  for (const uint64_t unknown : {13, 16, 30, 31})
    EXPECT_EQ(sockets.find(unknown)->known_events, 0) << unknown;
}

TEST(Sockets, LinesThatAreNotUnderstoodAreLeftOut) {
  const std::string good = std::string(kTcp) +
                           "   7: zz\n\n   8: 0100007F 0100007F:0050 01 0:0 0:0 0 0 0 50\n"
                           "   9: 0100007F:10050 0100007F:0050 01 0:0 0:0 0 0 0 51\n"
                           "  10: 0100007F:0050 0100007F:0050 01 0:0 0:0 0 0 0 99999999999999999999999\n"
                           "  11: 0100007F:0050 0100007F:0050 01 0:0 0:0 0 0 0 52x\n"
                           "  12: 0100007F:0050 0100007F:0050 01";
  Sockets sockets;
  sockets.add_inet(good, "tcp");
  EXPECT_EQ(text_of(sockets, 12), "tcp 127.0.0.1:4711 <-> 127.0.0.1:80");
  for (const uint64_t none : {50, 51, 52}) EXPECT_EQ(text_of(sockets, none), "none");
}

TEST(Sockets, AnyBytes) {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string table = round % 2 == 0 ? kTcp : kUnix;
    for (int change = 0; change < 8; ++change) table[random() % table.size()] = static_cast<char>(random());
    table.resize(random() % table.size());
    Sockets sockets;
    sockets.add_inet(table, "tcp");
    sockets.add_unix(table);
    for (uint64_t inode = 0; inode < 50; ++inode) sockets.find(inode);
  }
}

std::string timer_info(const std::string& ticks, const std::string& left, const std::string& interval) {
  return "pos:\t0\nflags:\t02\nclockid: 1\nticks: " + ticks + "\nsettime flags: 01\nit_value: " + left +
         "\nit_interval: " + interval + "\n";
}

TEST(Describe, KindsOfDescriptors) {
  const auto text = [](std::string_view link, std::string_view info = "") {
    return describe_descriptor(link, info).text;
  };
  EXPECT_EQ(text("anon_inode:[timerfd]", timer_info("0", "(3, 200000000)", "(0, 0)")), "timer, in 3.2s");
  EXPECT_EQ(text("anon_inode:[timerfd]", timer_info("0", "(0, 0)", "(0, 0)")), "timer, not set");
  EXPECT_EQ(text("anon_inode:[timerfd]", timer_info("2", "(0, 5)", "(60, 0)")),
            "timer, expired and not read, every 1m00s");
  EXPECT_EQ(text("anon_inode:[eventfd]", "eventfd-count:               1f\n"), "eventfd, count 31");
  EXPECT_EQ(text("anon_inode:[signalfd]", "sigmask:\t0000000000004201\n"),
            "signalfd of SIGHUP, SIGUSR1, SIGTERM");
  EXPECT_EQ(text("anon_inode:inotify", "inotify wd:1 ino:1\ninotify wd:2 ino:2\n"), "inotify, 2 watched");
  EXPECT_EQ(text("anon_inode:[pidfd]", "Pid:\t42\nNSpid:\t42\n"), "pidfd of 42");
  EXPECT_EQ(text("anon_inode:[eventpoll]", "tfd:        7 events: 1\n"), "epoll of 1 descriptor");
  EXPECT_EQ(text("anon_inode:[io_uring]"), "io_uring");
  EXPECT_EQ(text("pipe:[77]", "pos:\t0\nflags:\t0100001\n"), "pipe, write end");
  EXPECT_EQ(text("pipe:[77]"), "pipe");
  EXPECT_EQ(text("/var/log/shop.log (deleted)"), "/var/log/shop.log (deleted)");
  EXPECT_EQ(text(""), "");
}

TEST(Describe, WhatIsReady) {
  EXPECT_EQ(describe_descriptor("anon_inode:[timerfd]", timer_info("1", "(0, 0)", "(0, 0)")).events, POLLIN);
  EXPECT_EQ(describe_descriptor("anon_inode:[timerfd]", timer_info("0", "(0, 1)", "(0, 0)")).events, 0);
  EXPECT_EQ(describe_descriptor("anon_inode:[eventfd]", "eventfd-count: 1\n").events, POLLIN);
  EXPECT_EQ(describe_descriptor("pipe:[77]", "").known_events, 0);
  // It would tell of the signals of whoever polls it; and devices may do anything.
  for (const char* never : {"anon_inode:[signalfd]", "/dev/fuse", "anon_inode:[eventpoll]"})
    EXPECT_FALSE(describe_descriptor(never, "").may_be_polled) << never;
}

TEST(Describe, FactsThatAreNotUnderstoodAreUnknown) {
  for (const std::string& info :
       {timer_info("x", "(1, 0)", "(0, 0)"), timer_info("1", "(1 0)", "(0, 0)"),
        timer_info("1", "1, 0", "(0, 0)"), timer_info("1", "(99999999999999999999, 0)", "(0, 0)"),
        timer_info("1", "(18446744073709551615, 0)", "(0, 0)"), timer_info("1", "(1, 1000000000)", "(0, 0)"),
        std::string("ticks"), std::string()}) {
    const DescriptorFacts facts = describe_descriptor("anon_inode:[timerfd]", info);
    EXPECT_EQ(facts.text, "timer") << info;
    EXPECT_EQ(facts.known_events, 0) << info;
  }
  EXPECT_EQ(describe_descriptor("anon_inode:[eventfd]", "eventfd-count: no\n").text, "eventfd");
  EXPECT_EQ(describe_descriptor("anon_inode:[signalfd]", "sigmask:\tno\n").text, "signalfd");
  EXPECT_EQ(describe_descriptor("anon_inode:[", "").text, "[");
}

TEST(EpollLists, DescriptorsOfAnEpoll) {
  const auto found = parse_epoll_list(
      "pos:\t0\nflags:\t02\n"
      "tfd:        7 events: 8000001d data:               1f  pos:0 ino:61af sdev:7\n"
      "tfd:        8 events:       1d data: ffffffffffffffff  pos:0 ino:61b0 sdev:7\n"
      "tfd:        9 events: 80000001\ntfd: x events: 80000001\ntfd: 10 80000001\ntfd: 11 events: 180000001\n"
      "tfd: 12 events: 1 data: 1 pos:0\ntfd: 12 events: 1 data: 1 pos:0 ino:x\ntfd: 12 events:");
  EXPECT_EQ(found, (std::vector<EpollEntry>{{7, 0x8000001d, 0x1f, 0x61af}, {8, 0x1d, UINT64_MAX, 0x61b0}}));
}

// A directory that looks like one of /proc.
class MadeUpProcess {
 public:
  MadeUpProcess() {
    std::string path = "/tmp/asynctrace-test-XXXXXX";
    path_ = ::mkdtemp(path.data());
    for (const char* part : {"fd", "fdinfo", "net"}) std::filesystem::create_directory(path_ / part);
  }
  ~MadeUpProcess() { std::filesystem::remove_all(path_); }

  void add(int descriptor, const std::string& link, const std::string& info = "") {
    std::filesystem::create_symlink(link, path_ / "fd" / std::to_string(descriptor));
    write("fdinfo/" + std::to_string(descriptor), info);
  }
  void write(const std::string& name, const std::string& text) { std::ofstream(path_ / name) << text; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST(Descriptors, OfAProcess) {
  MadeUpProcess process;
  process.write("net/tcp", kTcp);
  process.write("net/unix", kUnix);
  process.add(3, "socket:[11]");
  process.add(4, "socket:[30]");
  process.add(5, "socket:[999]");
  process.add(6, "socket:[x]");
  process.add(7, "pipe:[1]", "flags:\t00\n");
  Descriptors descriptors(process.path());
  EXPECT_EQ(descriptors.describe(3)->text, "tcp 127.0.0.1:80 <- 127.0.0.1:4711");
  EXPECT_EQ(descriptors.describe(4)->text, "unix stream /run/my app.sock, listening");
  process.write("net/tcp", "");  // each table is read once
  EXPECT_EQ(descriptors.describe(3)->text, "tcp 127.0.0.1:80 <- 127.0.0.1:4711");
  EXPECT_EQ(descriptors.describe(5)->text, "socket, not listed in /proc/net");
  EXPECT_EQ(descriptors.describe(6)->text, "socket, not listed in /proc/net");
  EXPECT_EQ(descriptors.describe(7)->text, "pipe, read end");
  EXPECT_EQ(descriptors.describe(8)->text, "not open");
}

TEST(EpollLists, OfAProcess) {
  MadeUpProcess process;
  process.add(3, "anon_inode:[eventpoll]", "tfd: 7 events: 1 data: 7 pos:0 ino:1 sdev:7\n");
  process.add(4, "anon_inode:[eventfd]", "tfd: 8 events: 1 data: 8 pos:0 ino:1 sdev:7\n");
  process.add(5, "anon_inode:[eventpoll]", "");
  EXPECT_EQ(epoll_lists(process.path()), (EpollLists{{3, {{7, 1, 7, 1}}}, {5, {}}}));
  EXPECT_FALSE(epoll_lists("/proc/0"));
}

TEST(Descriptors, OfAProcessThatIsGone) {
  Descriptors descriptors("/proc/0");
  const auto facts = descriptors.describe(3);
  ASSERT_FALSE(facts);
  EXPECT_THAT(facts.error().message, HasSubstr("/proc/0/fd"));
}

}  // namespace
}  // namespace asynctrace
