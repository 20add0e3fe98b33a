#include "cli/process/repoll.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "cli/segment_file.hpp"

namespace asynctrace {
namespace {

using namespace std::chrono_literals;
using segment::RepollRuntime;

constexpr auto kTurn = 400ms;  // workers give each other 250 ms
constexpr auto kAnswer = 10s;
constexpr auto kOthers = 15s;
constexpr auto kLook = 1ms;

constexpr size_t kRequest = offsetof(segment::Header, repoll) + offsetof(segment::Repoll, request);
constexpr size_t kDone = offsetof(segment::Header, repoll) + offsetof(segment::Repoll, done);

bool write_word(const FileDescriptor& file, size_t offset, uint32_t word) {
  return ::pwrite(file.get(), &word, sizeof(word), static_cast<off_t>(offset)) == sizeof(word);
}

// Opened anew, a path may lead elsewhere by now: nothing but this segment is ever written.
bool is_segment_of(const FileDescriptor& file, const SegmentSummary& summary) {
  segment::Header header{};
  return ::pread(file.get(), &header, sizeof(header), 0) == sizeof(header) &&
         std::memcmp(header.magic, segment::kMagic, sizeof(segment::kMagic)) == 0 &&
         header.version == segment::kVersion && header.pid == summary.pid &&
         header.start_time == summary.start_time;
}

// The answer to one dump goes with the request of the next. The lock may be held by anyone who can open the
// file, so that it is not waited for without end.
bool lock(const FileDescriptor& file) {
  const auto end = std::chrono::steady_clock::now() + kOthers;
  while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(kLook);
  }
  return true;
}

std::vector<RepollRuntime> able(const SegmentReader& reader) {
  std::vector<RepollRuntime> found;
  const segment::Repoll repoll = reader.header().repoll;
  std::copy_if(std::begin(repoll.runtimes), std::end(repoll.runtimes), std::back_inserter(found),
               [](const RepollRuntime& runtime) { return runtime.open != 0; });
  return found;
}

// Those that are able to answer in the end; some of them may not have done so.
std::vector<RepollRuntime> wait_for_answers(const SegmentReader& reader, uint32_t number, pid_t pid) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    std::vector<RepollRuntime> runtimes = able(reader);
    const auto waited = std::chrono::steady_clock::now() - start;
    const bool over = std::all_of(runtimes.begin(), runtimes.end(), [&](const RepollRuntime& runtime) {
      return runtime.answered == number || waited > (runtime.seen == number ? kAnswer : kTurn);
    });
    if (over || ::access(fmt::format("/proc/{}", pid).c_str(), F_OK) != 0) return runtimes;
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace

Result<RepollRequest> RepollRequest::ask(const TracedProcess& process) {
  if (process.life == Life::kUntraced)
    return fail(fmt::format("process {}: not traced, so nothing in it can be asked", process.pid),
                "leave --repoll out, or start the program with `asynctrace run`");
  if (process.life != Life::kRunning)
    return fail(
        fmt::format("{}: its process does not run, so nothing in it can be polled", process.shown_path),
        "leave --repoll out: what its tasks recorded is shown");
  const auto segment = SegmentFile::open(process.open_path);
  if (!segment) return tl::unexpected(segment.error());
  const SegmentReader& reader = segment->reader();
  if (able(reader).empty())
    return fail(fmt::format("process {}: no runtime in it polls its tasks on request", process.pid),
                "leave --repoll out: what its tasks recorded is shown; runtimes in C and C++ can be made to "
                "answer, see asynctrace/repoll.hpp");
  FileDescriptor file(::open(process.open_path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (file && !is_segment_of(file, process.summary))
    return fail(fmt::format("{}: has become another file", process.shown_path), "dump it again");
  if (!file)
    return fail(fmt::format("{}: {}", process.shown_path, std::strerror(errno)),
                "run this as the user of the process, or as root");
  if (!lock(file))
    return fail(fmt::format("process {}: another dump asks it to poll its tasks", process.pid),
                "try again once that has ended, or leave --repoll out");
  RepollRequest request(std::move(file), reader.header().repoll.request + 1);
  if (!write_word(request.file_, kRequest, request.number_))
    return fail(fmt::format("{}: {}", process.shown_path, std::strerror(errno)), "dump it without --repoll");
  Repoll& answer = request.answer_;
  for (const RepollRuntime& runtime : wait_for_answers(reader, request.number_, process.pid)) {
    answer.runtimes++;
    if (runtime.answered != request.number_) {
      answer.silent_runtimes++;
    } else if (runtime.missing_workers != 0) {
      answer.workers += runtime.workers;
      answer.missing_workers += runtime.missing_workers;
    } else {
      answer.tasks += runtime.tasks;
    }
  }
  return request;
}

RepollRequest::~RepollRequest() {
  if (file_) write_word(file_, kDone, number_);
}

}  // namespace asynctrace
