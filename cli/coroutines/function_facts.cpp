#include "cli/coroutines/function_facts.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "cli/symbols/demangle.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kPromiseOffset = 16;
constexpr size_t kShownNames = 3;
constexpr std::string_view kFollyCookie = "__folly_suspended_frame_cookie";
// The outermost coroutine of whatever was spawned; with boost:: before it or not.
constexpr std::string_view kAsioEntry = "4asio6detail20co_spawn_entry_point";

}  // namespace

FunctionFacts::FunctionFacts(const Snapshot& snapshot, Symbolizer& symbols)
    : snapshot_(snapshot), symbols_(symbols) {
  for (uint32_t i = 0; i < snapshot.modules.size(); ++i) {
    ModuleFiles files = symbols.find_files(i);
    auto operations = find_asio_functions(snapshot.modules[i], files);
    if (!operations.empty()) {
      const auto classes = find_asio_queue_classes(snapshot.modules[i], files);
      asio_queue_classes_.insert(asio_queue_classes_.end(), classes.begin(), classes.end());
    }
    std::ranges::move(operations, std::back_inserter(asio_functions_));
    auto found = find_coroutine_functions(i, snapshot.modules[i], files);
    if (found.empty()) continue;
    files_.emplace(i, std::move(files));
    if (std::ranges::any_of(found, [](const CoroutineFunction& function) {
          return function.names.front().find(kAsioEntry) != std::string::npos;
        }))
      asio_modules_.emplace(i, true);
    std::ranges::move(found, std::back_inserter(functions_));
  }
  std::ranges::sort(asio_functions_, {}, &AsioFunction::address);
  std::ranges::sort(functions_, {}, [](const CoroutineFunction& function) { return function.resume.start; });
}

std::optional<uint32_t> FunctionFacts::function_at(uint64_t address) const {
  const auto found = std::ranges::find_if(functions_, [&](const CoroutineFunction& function) {
    const bool is_clang = function.compiler == CoroutineCompiler::kClang;
    // gcc's ramp calls the body; clang's may be the first part of it.
    const std::span<const AddressRange> others =
        std::span(function.other_code).subspan(function.has_ramp && !is_clang ? 1 : 0);
    return function.resume.contains(address) ||
           std::ranges::any_of(others, [&](const AddressRange& part) { return part.contains(address); });
  });
  if (found == functions_.end()) return std::nullopt;
  return static_cast<uint32_t>(found - functions_.begin());
}

const FrameCode& FunctionFacts::code(uint32_t function) {
  const auto [entry, is_new] = codes_.try_emplace(function);
  if (is_new) {
    const CoroutineFunction& known = functions_[function];
    entry->second =
        read_frame_code(known, *files_.at(known.module).file, snapshot_.modules[known.module].bias);
  }
  return entry->second;
}

const FrameType& FunctionFacts::type(uint32_t function) {
  static const FrameType kUnknown;
  const CoroutineFunction& known = functions_[function];
  const auto [entry, is_new] = types_.try_emplace(known.module);
  if (is_new) entry->second = FrameTypes::open(symbols_.find_files(known.module));
  // Which of several functions of one code a frame belongs to, and so its types, nobody knows.
  if (!entry->second || known.names.size() > 1) return kUnknown;
  return entry->second->of(known.resume.start - snapshot_.modules[known.module].bias);
}

std::string FunctionFacts::name(uint32_t function) const {
  const std::vector<std::string>& names = functions_[function].names;
  std::vector<std::string> shown;
  for (size_t i = 0; i < std::min(names.size(), kShownNames); ++i) shown.push_back(demangle(names[i]));
  if (names.size() > kShownNames) shown.push_back(fmt::format("{} more", names.size() - kShownNames));
  return fmt::format("{}", fmt::join(shown, " or "));
}

std::string FunctionFacts::name_of_start(uint64_t address) {
  const auto module = module_at(address, snapshot_);
  if (!module) return {};
  const auto [entry, is_new] = named_.try_emplace(*module);
  if (is_new) entry->second = symbols_.find_files(*module);
  if (!entry->second.file) return {};
  const uint64_t start = address - snapshot_.modules[*module].bias;
  const auto symbol = entry->second.names().symbol_at(start);
  return symbol && symbol->address == start ? demangle(std::string(symbol->name)) : std::string();
}

bool FunctionFacts::calls(uint32_t caller, uint32_t callee) {
  const CoroutineFunction& called = functions_[callee];
  return called.has_ramp && code(caller).callees.contains(called.other_code.front().start);
}

std::vector<uint64_t> FunctionFacts::callees_of(uint64_t address, uint32_t function) const {
  const uint32_t module = functions_[function].module;
  return direct_callees(address, *files_.at(module).file, snapshot_.modules[module].bias);
}

std::optional<uint64_t> FunctionFacts::folly_cookie() {
  if (folly_cookie_) return *folly_cookie_;
  folly_cookie_.emplace();
  for (uint32_t i = 0; i < snapshot_.modules.size() && !*folly_cookie_; ++i) {
    const ModuleFiles files = symbols_.find_files(i);
    const auto found = files.file ? files.names().variable(kFollyCookie) : std::nullopt;
    if (found) *folly_cookie_ = *found + snapshot_.modules[i].bias;
  }
  return *folly_cookie_;
}

uint64_t FunctionFacts::promise_offset(uint32_t function) {
  const FrameType& known = type(function);
  return known.known ? known.promise_offset : kPromiseOffset;
}

}  // namespace asynctrace
