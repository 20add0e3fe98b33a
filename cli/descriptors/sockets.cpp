#include "cli/descriptors/sockets.hpp"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <cstring>

#include <fmt/format.h>

#include "cli/descriptors/words.hpp"

namespace asynctrace {
namespace {

// The states of include/net/tcp_states.h.
enum TcpState : unsigned {
  kEstablished = 1,
  kSynSent = 2,
  kSynReceived = 3,
  kClosed = 7,
  kCloseWait = 8,
  kLastAck = 9,
  kListen = 10,
  kNewSynReceived = 12,
};

struct Address {
  std::string text;
  std::string_view port;  // as the table has it
  bool is_any = false;    // no port
};

// "0100007F:1F90": words of the address as numbers of this machine, in hexadecimal, and the port.
std::optional<Address> parse_address(std::string_view word) {
  const std::string_view digits = cut(word, ':');
  const auto port = whole_number<uint16_t>(word, 16);
  if (!port || (digits.size() != 8 && digits.size() != 32)) return std::nullopt;
  unsigned char bytes[16];
  for (size_t at = 0; at < digits.size(); at += 8) {
    const auto part = whole_number<uint32_t>(digits.substr(at, 8), 16);
    if (!part) return std::nullopt;
    memcpy(bytes + at / 2, &*part, sizeof(*part));
  }
  const bool is_4 = digits.size() == 8;
  char name[INET6_ADDRSTRLEN];
  if (::inet_ntop(is_4 ? AF_INET : AF_INET6, bytes, name, sizeof(name)) == nullptr) return std::nullopt;
  return Address{fmt::format("{}{}{}:{}", is_4 ? "" : "[", name, is_4 ? "" : "]", *port), word, *port == 0};
}

std::string listener(std::string_view protocol, std::string_view port) {
  return fmt::format("{} {}", protocol, port);
}

std::string_view port_of(std::string_view address) {
  return address.substr(address.rfind(':') + 1);
}

std::string_view unix_type(unsigned type) {
  switch (type) {
    case SOCK_STREAM: return "unix stream";
    case SOCK_DGRAM: return "unix datagram";
    case SOCK_SEQPACKET: return "unix seqpacket";
    default: return "unix";
  }
}

}  // namespace

void Sockets::add_inet(std::string_view table, std::string_view protocol) {
  for (cut(table, '\n'); !table.empty();) {
    std::string_view line = cut(table, '\n');
    cut_word(line);  // its number
    const auto local = parse_address(cut_word(line));
    const auto peer = parse_address(cut_word(line));
    const auto state = whole_number<unsigned>(cut_word(line), 16);
    std::string_view queues = cut_word(line);
    cut(queues, ':');
    const auto receive_queue = whole_number<uint64_t>(queues, 16);
    for (int skipped = 0; skipped < 4; skipped++) cut_word(line);  // timer, retransmits, user, probes
    const auto inode = whole_number<uint64_t>(cut_word(line));
    if (!local || !peer || !state || !receive_queue || !inode) continue;
    if (*state == kListen) listening_.insert(listener(protocol, port_of(local->text)));
    if (*inode == 0) continue;  // that the kernel keeps for itself
    inet_.try_emplace(*inode, Inet{protocol, local->text, peer->text, !peer->is_any, *state, *receive_queue});
  }
}

void Sockets::add_unix(std::string_view table) {
  constexpr unsigned kAccepts = 1 << 16;  // of the flags: __SO_ACCEPTCON
  constexpr unsigned kConnected = 3;
  for (cut(table, '\n'); !table.empty();) {
    std::string_view line = cut(table, '\n');
    for (int skipped = 0; skipped < 3; skipped++) cut_word(line);  // number, references, protocol
    const auto flags = whole_number<unsigned>(cut_word(line), 16);
    const auto type = whole_number<unsigned>(cut_word(line), 16);
    const auto state = whole_number<unsigned>(cut_word(line), 16);
    const auto inode = whole_number<uint64_t>(cut_word(line));
    if (!flags || !type || !state || !inode || *inode == 0) continue;
    if (line.starts_with(' ')) line.remove_prefix(1);
    std::string text(unix_type(*type));
    if (!line.empty()) text += fmt::format(" {}", line);
    if ((*flags & kAccepts) != 0) text += ", listening";
    else if (*state == kConnected) text += ", connected";
    unix_.try_emplace(*inode, Socket{std::move(text)});
  }
}

Socket Sockets::describe(const Inet& socket) const {
  Socket result;
  result.known_events = POLLIN;
  if (socket.receive_queue > 0) result.events = POLLIN;
  const bool is_tcp = socket.protocol.starts_with("tcp");
  const bool is_listener = is_tcp && socket.state == kListen;
  std::string_view between = "<->";
  if (is_tcp && socket.state == kSynSent) between = "->";
  else if (is_tcp && listening_.contains(listener(socket.protocol, port_of(socket.local)))) between = "<-";
  result.text = fmt::format("{} {}", socket.protocol, socket.local);
  if (socket.has_peer) result.text += fmt::format(" {} {}", between, socket.peer);
  if (!is_tcp) return result;
  switch (socket.state) {
    case kEstablished: break;
    case kSynSent: result.text += ", connecting"; break;
    case kSynReceived:
    case kNewSynReceived: result.text += ", accepting"; break;
    case kListen: result.text += ", listening"; break;
    case kCloseWait: result.text += ", closed by the peer"; break;
    case kClosed: result.text += ", closed"; break;
    default: result.text += ", closing"; break;
  }
  // The end of the stream can be read.
  if (socket.state == kCloseWait || socket.state == kLastAck) result.events = POLLIN;
  else if (!is_listener && socket.state != kEstablished) result.known_events = result.events;
  return result;
}

std::optional<Socket> Sockets::find(uint64_t inode) const {
  if (const auto inet = inet_.find(inode); inet != inet_.end()) return describe(inet->second);
  const auto known = unix_.find(inode);
  return known != unix_.end() ? std::optional(known->second) : std::nullopt;
}

}  // namespace asynctrace
