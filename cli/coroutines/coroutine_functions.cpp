#include "cli/coroutines/coroutine_functions.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "cli/symbols/demangle.hpp"

namespace asynctrace {
namespace {

enum class Part : uint8_t { kResume, kDestroy, kCleanup, kMoved };

struct Suffix {
  std::string_view text;
  Part part;
  CoroutineCompiler compiler;
};
using enum CoroutineCompiler;
constexpr Suffix kSuffixes[] = {{".actor", Part::kResume, kGcc},       {".destroy", Part::kDestroy, kGcc},
                                {".actor.cold", Part::kMoved, kGcc},   {".resume", Part::kResume, kClang},
                                {".destroy", Part::kDestroy, kClang},  {".cleanup", Part::kCleanup, kClang},
                                {".resume.cold", Part::kMoved, kClang}};
constexpr std::string_view kGccFrame = ".Frame";

// Optimizers append ".lto_priv.0", ".llvm.123", ".constprop.0".
std::string_view without_copy_suffix(std::string_view name) {
  for (const std::string_view copy : {".lto_priv.", ".llvm.", ".constprop.", ".isra.", ".part."}) {
    const size_t at = name.rfind(copy);
    if (at != std::string_view::npos) name = name.substr(0, at);
  }
  return name;
}

// Functions of one name: in a program there may be several, local to their files.
struct Named {
  CoroutineCompiler compiler = kGcc;
  std::string name;  // of the function that the program calls
  std::vector<AddressRange> resumes, moved;
  std::vector<uint64_t> destroys, cleanups;
};

class Finder {
 public:
  explicit Finder(uint64_t bias) : bias_(bias) {}

  // To be called with every symbol, and then add_ramp() again: which names matter is known by then.
  void add(const ElfSymbol& symbol) {
    if (symbol.name.find('.') == std::string_view::npos) return;
    const std::string_view name = without_copy_suffix(symbol.name);
    for (const Suffix& suffix : kSuffixes) {
      if (!name.ends_with(suffix.text)) continue;
      const std::string_view rest = name.substr(0, name.size() - suffix.text.size());
      const bool is_gcc = rest.ends_with(kGccFrame);
      if (is_gcc != (suffix.compiler == kGcc) || rest.empty()) continue;
      Named& named = named_[std::string(rest)];
      if (named.name.empty()) {
        named.compiler = suffix.compiler;
        named.name = is_gcc ? coroutine_of(std::string(rest)) : rest;
        ramps_.try_emplace(named.name);
      }
      const uint64_t start = symbol.address + bias_;
      const AddressRange range = {start, start + symbol.size};
      switch (suffix.part) {
        case Part::kResume: named.resumes.push_back(range); break;
        case Part::kDestroy: named.destroys.push_back(start); break;
        case Part::kCleanup: named.cleanups.push_back(start); break;
        case Part::kMoved: named.moved.push_back(range); break;
      }
      return;
    }
  }

  void add_ramp(const ElfSymbol& symbol) {
    const auto ramp = ramps_.find(symbol.name);
    if (ramp != ramps_.end()) ramp->second = {symbol.address + bias_, symbol.address + symbol.size + bias_};
  }

  bool empty() const { return named_.empty(); }

  std::vector<CoroutineFunction> take(uint32_t module) {
    std::map<uint64_t, CoroutineFunction> by_resume;
    for (auto& [key, named] : named_) {
      if (named.resumes.empty() || (named.destroys.empty() && named.cleanups.empty())) continue;
      const AddressRange& ramp = ramps_.find(named.name)->second;
      for (const AddressRange& resume : named.resumes) {
        CoroutineFunction& function = by_resume[resume.start];
        function.module = module;
        function.compiler = named.compiler;
        function.resume = resume;
        function.names.push_back(named.name.empty() ? key : named.name);
        function.destroys.insert(function.destroys.end(), named.destroys.begin(), named.destroys.end());
        function.cleanups.insert(function.cleanups.end(), named.cleanups.begin(), named.cleanups.end());
        if (ramp.start != 0 && !function.has_ramp) {
          function.other_code.insert(function.other_code.begin(), ramp);
          function.has_ramp = true;
        }
        function.other_code.insert(function.other_code.end(), named.moved.begin(), named.moved.end());
      }
    }
    std::vector<CoroutineFunction> functions;
    for (auto& [address, function] : by_resume) functions.push_back(std::move(function));
    return functions;
  }

 private:
  uint64_t bias_;
  std::map<std::string, Named> named_;
  std::map<std::string, AddressRange, std::less<>> ramps_;
};

}  // namespace

std::vector<CoroutineFunction> find_coroutine_functions(uint32_t index, const Module& module,
                                                        const ModuleFiles& files) {
  if (!files.file) return {};
  Finder finder(module.bias);
  files.names().for_each_symbol([&](const ElfSymbol& symbol) { finder.add(symbol); });
  if (finder.empty()) return {};
  files.names().for_each_symbol([&](const ElfSymbol& symbol) { finder.add_ramp(symbol); });
  return finder.take(index);
}

}  // namespace asynctrace
