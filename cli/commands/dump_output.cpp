#include "cli/commands/dump_output.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ext/stdio_filebuf.h>

#include <fmt/format.h>

#include "cli/commands/messages.hpp"
#include "cli/commands/version.hpp"
#include "cli/render/folded.hpp"
#include "cli/render/json.hpp"
#include "cli/render/jsonl.hpp"
#include "cli/render/text.hpp"

namespace asynctrace {
namespace {

bool use_colour(ColourMode mode, bool terminal) {
  if (mode != ColourMode::kAuto) return mode == ColourMode::kAlways;
  const char* no_colour = std::getenv("NO_COLOR");
  return terminal && (no_colour == nullptr || *no_colour == '\0');
}

}  // namespace

DumpOutput::DumpOutput(int owned_fd, std::string name, const DumpForm& form)
    : buffer_(std::make_unique<__gnu_cxx::stdio_filebuf<char>>(owned_fd, std::ios::out)),
      name_(std::move(name)),
      form_(form),
      terminal_(::isatty(owned_fd) == 1),
      colour_(use_colour(form.colour, terminal_)) {}

DumpOutput::~DumpOutput() = default;

Result<DumpOutput> DumpOutput::to_descriptor(int fd, std::string name, const DumpForm& form) {
  int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return fail(fmt::format("{}: {}", name, std::strerror(errno)), "", 1);
  return DumpOutput(copy, std::move(name), form);
}

Result<DumpOutput> DumpOutput::to_file(const std::string& path, const DumpForm& form) {
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0)
    return fail(fmt::format("{}: {}", path, std::strerror(errno)), "choose another --dump-file", 125);
  return DumpOutput(fd, path, form);
}

void DumpOutput::render(const Report& report, const std::string& reason, std::ostream& out) {
  switch (form_.format) {
    case DumpFormat::kJson: return render_json(report, {reason, kToolVersion}, out);
    case DumpFormat::kJsonl: return render_jsonl(report, {reason, kToolVersion}, out);
    case DumpFormat::kFolded:
      // The format has no place for what limits it.
      for (const Diagnostic& diagnostic : report.diagnostics)
        print_error({"note: " + diagnostic.message, diagnostic.remedy});
      return render_folded(report, out);
    case DumpFormat::kText: break;
  }
  if (written_++ > 0) out << '\n';
  const bool hung = reason == "timeout" || reason == "hang" || reason == "cancel";
  render_text(report, {colour_, form_.all, terminal_, hung}, out);
}

Result<void> DumpOutput::write(const ProcessReport& process) {
  std::ostream out(buffer_.get());
  render(process.report, process.reason, out);
  out.flush();
  if (!out)
    return fail(fmt::format("{}: the dump could not be written: {}", name_, std::strerror(errno)), "", 1);
  return {};
}

Result<void> DumpOutput::write(const TracedProcess& process, const std::string& reason) {
  return read_report(process, report_options(form_), reason).and_then([this](const OwnedReport& read) {
    return write(*read);
  });
}

}  // namespace asynctrace
