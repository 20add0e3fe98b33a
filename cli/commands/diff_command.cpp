#include <charconv>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include <fmt/format.h>

#include "cli/commands/commands.hpp"
#include "cli/commands/process_report.hpp"
#include "cli/commands/targets.hpp"
#include "cli/commands/version.hpp"
#include "cli/diff/render.hpp"
#include "cli/render/json.hpp"

namespace asynctrace {
namespace {

// "dumps.json#2": the second dump in the file.
struct NumberedFile {
  std::string path;
  size_t number = 0;  // 0: the only one
};

NumberedFile numbered_file(const std::string& name) {
  std::error_code error;
  const size_t at = name.rfind('#');
  if (at == std::string::npos || std::filesystem::exists(name, error)) return {name, 0};
  size_t number = 0;
  const auto [end, failure] = std::from_chars(name.data() + at + 1, name.data() + name.size(), number);
  if (failure != std::errc() || end != name.data() + name.size() || number == 0) return {name, 0};
  return {name.substr(0, at), number};
}

Result<DiffInput> read_input(const std::string& name, const ReadingOptions& options) {
  const auto with_name = [&](DumpTraces dump) { return DiffInput{name, std::move(dump)}; };
  const NumberedFile numbered = numbered_file(name);
  std::ifstream file(numbered.path, std::ios::binary);
  if (file && (file >> std::ws).peek() == '{') {
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return parse_dump(text, numbered.path, numbered.number, options.report.sources).map(with_name);
  }
  auto report = find_target(name).and_then(
      [&](const TracedProcess& found) { return read_report(found, options, "request"); });
  if (!report) return tl::unexpected(report.error());
  std::ostringstream json;
  render_json((*report)->report, {(*report)->reason, kToolVersion}, json);
  // Its prefixes have been replaced by then.
  return parse_dump(json.str(), name, 1, {{}, options.report.sources.root}).map(with_name);
}

}  // namespace

Result<int> diff_command(const DiffOptions& options) {
  give_way();
  const ReadingOptions reading = report_options(options.form);
  auto before = read_input(options.before, reading);
  if (!before) return tl::unexpected(before.error());
  auto after = read_input(options.after, reading);
  if (!after) return tl::unexpected(after.error());
  if (options.form.format == DumpFormat::kJson) render_diff_json(*before, *after, kToolVersion, std::cout);
  else render_diff(*before, *after, std::cout);
  if (!std::cout.flush()) return fail("stdout: the difference could not be written");
  return 0;
}

}  // namespace asynctrace
