// Arbitrary bytes as a segment file: snapshot, report, every renderer. Nothing crashes, and nothing of the
// file reaches the output unescaped.
#include <algorithm>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/read_snapshot.hpp"
#include "cli/render/folded.hpp"
#include "cli/render/json.hpp"
#include "cli/render/jsonl.hpp"
#include "cli/render/text.hpp"
#include "cli/tree/report.hpp"
#include "test/fuzz/memory_file.hpp"

namespace asynctrace::fuzz {
namespace {

// Frames made of the address: names that the tables know, with any byte in them.
class MadeUpFrames final : public FrameSource {
 public:
  explicit MadeUpFrames(size_t modules) : modules_(modules) {}

  std::span<const uint32_t> resolve_return_address(uint64_t pc) override {
    std::vector<uint32_t>& frames = known_[pc];
    for (size_t i = 0; frames.size() <= pc % 3; ++i) frames.push_back(add(pc + i, i < pc % 3));
    return frames;
  }
  uint32_t resolve_function(uint64_t address) override { return add(address, false); }
  const std::vector<Frame>& frames() const override { return frames_; }
  ModuleStatus status(uint32_t index) const override {
    return {static_cast<MissingReason>(index % 6), "detail\x1b\n"};
  }
  bool touched(uint32_t index) const override { return index % 2 == 0; }

 private:
  uint32_t add(uint64_t seed, bool inlined) {
    constexpr std::string_view kNames[] = {
        "",
        "app::serve::{{closure}}",
        "tokio::sync::notify::Notified::poll_notified",
        "tokio::runtime::task::raw::poll",
        "futures_util::future::join_all::JoinAll<F>",
        "<core::task::wake::Waker as core::clone::Clone>::clone",
        "tokio::sync::mpsc::chan::Rx<T,S>::recv",
    };
    const std::string bytes(reinterpret_cast<const char*>(&seed), sizeof(seed));
    Frame frame;
    frame.function = kNames[seed % std::size(kNames)];
    if (seed % 4 == 0) frame.function += bytes;
    frame.raw = bytes.substr(seed % 8);
    if (seed % 2 == 0) frame.debug_name = seed % 5 == 0 ? "poll<" + bytes + ", S>" : "{async_fn#0}";
    if (seed % 3 == 0) frame.file = "/src/" + bytes;
    frame.line = static_cast<uint32_t>(seed % 7);
    frame.column = static_cast<uint32_t>(seed % 2);
    if (modules_ > 0) frame.module = static_cast<uint32_t>(seed % (modules_ + 1));
    frame.offset = seed;
    frame.inlined = inlined;
    frames_.push_back(std::move(frame));
    return static_cast<uint32_t>(frames_.size() - 1);
  }

  size_t modules_;
  std::vector<Frame> frames_;
  std::unordered_map<uint64_t, std::vector<uint32_t>> known_;
};

void check_escaped(const std::string& text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    require(byte >= 0x20 || byte == '\n', "no control characters");
    require(byte != 0x7f, "no DEL");
    const bool is_c1 = byte == 0xc2 && i + 1 < text.size() && static_cast<uint8_t>(text[i + 1]) < 0xa0;
    require(!is_c1, "no C1 control characters");
  }
  require(nlohmann::json::accept(
              nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::strict)),
          "valid UTF-8");
}

void check_lines(const std::string& text) {
  std::istringstream in(text);
  std::string line, last;
  while (std::getline(in, line)) {
    require(nlohmann::json::accept(line), "each line is JSON");
    last = line;
  }
  require(last.starts_with(R"({"end":true)"), "the last line is the end");
}

void check_folded(const std::string& text) {
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    const size_t space = line.rfind(' ');
    require(space != std::string::npos && space > 0, "a stack and a count");
    const std::string_view count = std::string_view(line).substr(space + 1);
    require(!count.empty() &&
                std::all_of(count.begin(), count.end(), [](char c) { return c >= '0' && c <= '9'; }),
            "the count is a number");
  }
}

template <typename Render>
std::string rendered(Render render) {
  std::ostringstream out;
  render(out);
  check_escaped(out.str());
  return out.str();
}

void look_at(const std::string& path, ProcessState state, FrameView view) {
  ReadOptions options{state, 0};
  if (view == FrameView::kAll) options.repoll = Repoll{};
  const auto snapshot = read_snapshot(path, options);
  if (!snapshot) return;
  MadeUpFrames symbols(snapshot->modules.size());
  const Report report = build_report(*snapshot, symbols, {view, {{}, "/src"}});
  rendered([&](std::ostream& out) { render_text(report, {.all = true}, out); });
  rendered([&](std::ostream& out) { render_text(report, {.terminal = true}, out); });
  const JsonOptions json{"request", "0"};
  require(nlohmann::json::accept(rendered([&](std::ostream& out) { render_json(report, json, out); })),
          "the document is JSON");
  check_lines(rendered([&](std::ostream& out) { render_jsonl(report, json, out); }));
  check_folded(rendered([&](std::ostream& out) { render_folded(report, out); }));
}

}  // namespace
}  // namespace asynctrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace asynctrace;
  static fuzz::MemoryFile file;
  file.put(data, size);
  // What does not stand in the file depends on its size, so that an input says all of it.
  fuzz::look_at(file.path(), size & 1 ? ProcessState::kRunning : ProcessState::kUnknown,
                size & 2 ? FrameView::kAll : FrameView::kUser);
  return 0;
}
