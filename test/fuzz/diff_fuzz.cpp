// Arbitrary bytes as a dump in JSON: whatever is accepted is equal to itself, and nothing in it can drive the
// terminal that its traces are shown on.
#include <algorithm>
#include <sstream>

#include "cli/diff/compare.hpp"
#include "cli/diff/render.hpp"
#include "test/fuzz/memory_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace asynctrace;
  const std::string text(reinterpret_cast<const char*>(data), size);
  auto dump = parse_dump(text, "a file", 0, {});
  if (!dump) return 0;
  const Diff diff = compare(*dump, *dump);
  fuzz::require(diff.added.empty() && diff.gone.empty(), "a dump is equal to itself");
  const DiffInput input{"a file", std::move(*dump)};
  std::ostringstream out;
  render_diff(input, input, out);
  const auto is_control = [](char c) {
    return c != '\n' && (static_cast<unsigned char>(c) < ' ' || c == 0x7f);
  };
  fuzz::require(std::ranges::none_of(out.str(), is_control), "text is printable");
  render_diff_json(input, input, "0.1.0", out);
  return 0;
}
