// Arbitrary bytes as a user's file of hooks: whatever is accepted becomes rows that the agent takes, each as
// it was written, and whatever is not is told with a remedy. And as the rows themselves.
#include "cli/hooks/hooks_file.hpp"
#include "common/loop_hooks.hpp"
#include "test/fuzz/memory_file.hpp"

namespace asynctrace::fuzz {
namespace {

size_t read_rows(std::string_view left) {
  size_t count = 0;
  UserHook hook;
  for (; !left.empty(); ++count) {
    const std::string_view before = left;
    if (!decode(left, hook)) break;
    const std::string_view row = before.substr(0, before.size() - left.size());
    require(encode(hook).size() <= row.size(), "nothing is added to a row");
  }
  return count;
}

void look_at_file(const std::string& text) {
  const auto rows = parse_hooks(text, "hooks.toml");
  if (!rows) {
    require(rows.error().message.starts_with("hooks.toml:"), "an error names the file");
    require(!rows.error().remedy.empty(), "an error has a remedy");
    return;
  }
  require(!rows->empty() && rows->size() <= kMaxUserText, "the rows have room in a call of the agent");
  require(rows->find('\n') == rows->npos && rows->find('\0') == rows->npos, "the rows are one line");
  size_t count = 0;
  UserHook hook;
  for (std::string_view left = *rows; !left.empty(); ++count) {
    const std::string_view before = left;
    require(decode(left, hook), "the agent reads each row");
    require(encode(hook) == before.substr(0, before.size() - left.size()), "as it was written");
    require(wrong_hook(hook).what == nullptr, "it makes sense");
  }
  require(count <= kMaxUserRows, "there are not too many");
}

}  // namespace
}  // namespace asynctrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  asynctrace::fuzz::read_rows(text);
  asynctrace::fuzz::look_at_file(text);
  return 0;
}
