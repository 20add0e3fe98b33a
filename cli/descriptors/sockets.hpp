// Sockets: what the tables of /proc/PID/net tell of the sockets of one network namespace, by inode. Any
// program may have put what it likes into the names that stand there: lines that are not understood are left
// out, and names are not escaped. Allocates; reads no files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace asynctrace {

struct Socket {
  std::string text;           // "tcp 127.0.0.1:80 <- 127.0.0.1:4711"
  uint16_t events = 0;        // of poll(2) that it has, among `known_events`
  uint16_t known_events = 0;  // those that the table tells of
};

class Sockets {
 public:
  // The text of tcp, tcp6, udp, udp6. `protocol` is what these are called.
  void add_inet(std::string_view table, std::string_view protocol);
  // Of unix.
  void add_unix(std::string_view table);

  // Nothing: it stands in no table. Who has connected whom is told where the one that listens is there.
  std::optional<Socket> find(uint64_t inode) const;

 private:
  struct Inet {
    std::string_view protocol;
    std::string local, peer;
    bool has_peer = false;
    unsigned state = 0;
    uint64_t receive_queue = 0;
  };
  Socket describe(const Inet& socket) const;

  std::unordered_map<uint64_t, Inet> inet_;
  std::unordered_map<uint64_t, Socket> unix_;
  std::unordered_set<std::string> listening_;  // protocol and port
};

}  // namespace asynctrace
