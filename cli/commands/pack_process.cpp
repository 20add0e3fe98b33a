#include "cli/commands/pack_process.hpp"

#include <unistd.h>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "cli/commands/process_report.hpp"
#include "cli/commands/replaced_file.hpp"
#include "cli/pack/pack.hpp"
#include "cli/read_snapshot.hpp"
#include "cli/segment_file.hpp"

namespace asynctrace {
namespace {

Result<void> write_all(int descriptor, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0)
      return fail(fmt::format("{}: could not be written: {}", path, std::strerror(errno)),
                  "choose another -o FILE");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

}  // namespace

Result<void> pack_process(const TracedProcess& process, const std::string& output,
                          const SymbolOptions& options) {
  if (process.life == Life::kRunning) {
    return fail(fmt::format("{}: process {} still writes to it", process.shown_path, process.pid),
                fmt::format("pack it after its end; until then: asynctrace dump {}", process.pid));
  }
  if (process.life == Life::kCore)
    return fail(process.shown_path + ": a core file is not packed", "asynctrace dump reads it");
  if (process.life == Life::kUntraced) {
    return fail(fmt::format("process {} is not traced: there is nothing to pack", process.pid),
                "start the program with `asynctrace run`");
  }
  const auto file = SegmentFile::open(process.open_path);
  if (!file) return tl::unexpected(file.error());
  const auto snapshot = read_snapshot(process.open_path, {.state = state_of(process.life), .causes = true});
  if (!snapshot) return tl::unexpected(snapshot.error());
  const auto symbols = Symbolizer::open(*snapshot, options);
  if (!symbols) return tl::unexpected(symbols.error());
  return pack::pack(*file, *snapshot, **symbols).and_then([&](const std::string& bytes) -> Result<void> {
    auto replaced = ReplacedFile::open(output);
    if (!replaced) return tl::unexpected(replaced.error());
    return write_all(replaced->descriptor(), bytes, output).and_then([&] { return replaced->commit(); });
  });
}

}  // namespace asynctrace
