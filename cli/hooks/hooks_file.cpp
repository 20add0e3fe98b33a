#include "cli/hooks/hooks_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml.hpp>

#include "common/include/asynctrace/abi.h"
#include "common/loop_hooks.hpp"

namespace asynctrace {
namespace {

const std::map<std::string, LoopRole> kRoles = {{"set-callback", LoopRole::kSetCallback},
                                                {"arm", LoopRole::kArm},
                                                {"disarm", LoopRole::kDisarm},
                                                {"once", LoopRole::kOnce},
                                                {"free", LoopRole::kFree},
                                                {"loop", LoopRole::kLoop},
                                                {"callback-of", LoopRole::kCallbackOf}};
const std::map<std::string, int> kClasses = {{"io", ASYNCTRACE_IO},           {"timer", ASYNCTRACE_TIMER},
                                             {"signal", ASYNCTRACE_SIGNAL},   {"sync", ASYNCTRACE_SYNC},
                                             {"channel", ASYNCTRACE_CHANNEL}, {"join", ASYNCTRACE_JOIN},
                                             {"unknown", ASYNCTRACE_UNKNOWN}};
constexpr const char* kPlaces =
    "a number of an argument, from 0 to 13, \"result\", or \"*N\" for what the function stores where "
    "argument N points";

template <typename Value>
std::string names(const std::map<std::string, Value>& map) {
  std::vector<std::string> all;
  for (const auto& [name, value] : map) all.push_back(name);
  return fmt::format("one of {}", fmt::join(all, ", "));
}

constexpr size_t kMaxFile = 64 << 10;
constexpr ptrdiff_t kMaxBrackets = 512;  // the library's stack grows with those that are open

// What is wrong, found deep inside; told as an Error by parse_hooks().
struct Wrong {
  Error error;
};

class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {}

  std::string read(const toml::value& file) {
    only(file, {"library"});
    std::string rows;
    size_t libraries = 0;
    for (const toml::value& library : tables(file, "library")) {
      if (++libraries > kMaxUserLibraries)
        wrong(library, "too many libraries", fmt::format("{} at most", kMaxUserLibraries));
      only(library, {"name", "soname", "function"});
      rows += library_rows(library);
    }
    if (rows.size() > kMaxUserText)
      wrong(file, fmt::format("too much text: {} bytes", rows.size()),
            fmt::format("{} at most", kMaxUserText));
    if (count_ > kMaxUserRows) wrong(file, "too many functions", fmt::format("{} at most", kMaxUserRows));
    return rows;
  }

 private:
  [[noreturn]] void wrong(const toml::value& at, const std::string& what, const std::string& remedy) const {
    throw Wrong{{fmt::format("{}:{}: {}", name_, at.location().line(), what), remedy}};
  }

  void only(const toml::value& table, const std::vector<std::string>& keys) const {
    for (const auto& [key, value] : table.as_table())
      if (std::ranges::find(keys, key) == keys.end())
        wrong(value, fmt::format("unknown key \"{}\"", key), fmt::format("one of {}", fmt::join(keys, ", ")));
  }

  const toml::value* find(const toml::value& table, const std::string& key) const {
    const auto found = table.as_table().find(key);
    return found != table.as_table().end() ? &found->second : nullptr;
  }

  std::vector<toml::value> tables(const toml::value& table, const std::string& key) const {
    const toml::value* found = find(table, key);
    if (found == nullptr) wrong(table, fmt::format("no {}", key), fmt::format("at least one [[{}]]", key));
    const bool are_tables =
        found->is_array() && std::ranges::all_of(found->as_array(), &toml::value::is_table);
    if (!are_tables)
      wrong(*found, fmt::format("{} is no array of tables", key), "write [[...]] in front of each");
    return found->as_array();
  }

  std::string text(const toml::value& table, const std::string& key) const {
    const toml::value* found = find(table, key);
    if (found == nullptr) wrong(table, fmt::format("no {}", key), fmt::format("write {} = \"...\"", key));
    const auto is_bad = [](unsigned char c) { return c == ',' || c < ' ' || c == 0x7f; };
    const bool is_text = found->is_string() && !found->as_string().str.empty() &&
                         std::ranges::none_of(found->as_string().str, is_bad);
    if (!is_text)
      wrong(*found, fmt::format("{} is no name", key), "a text without commas and control characters");
    return found->as_string().str;
  }

  bool flag(const toml::value& table, const std::string& key) const {
    const toml::value* found = find(table, key);
    if (found != nullptr && !found->is_boolean())
      wrong(*found, fmt::format("{} is no yes or no", key), "true or false");
    return found != nullptr && found->as_boolean();
  }

  template <typename Value>
  Value choice(const toml::value& table, const std::string& key,
               const std::map<std::string, Value>& map) const {
    const auto found = map.find(text(table, key));
    if (found == map.end())
      wrong(*find(table, key), fmt::format("unknown {} \"{}\"", key, text(table, key)), names(map));
    return found->second;
  }

  int argument(const toml::value& table, const std::string& key) const {
    const toml::value* found = find(table, key);
    if (found == nullptr) return kAbsent;
    if (!found->is_integer() || found->as_integer() < 0 || found->as_integer() > kMaxUserArgument)
      wrong(*found, fmt::format("{} is no argument", key),
            fmt::format("a number from 0 to {}", kMaxUserArgument));
    return static_cast<int>(found->as_integer());
  }

  int place(const toml::value& table, const std::string& key) const {
    const toml::value* found = find(table, key);
    if (found == nullptr || found->is_integer()) return argument(table, key);
    const std::string where = found->is_string() ? found->as_string().str : "";
    if (where == "result") return kResult;
    const bool is_stored = where.size() >= 2 && where.size() <= 3 && where[0] == '*' &&
                           where.find_first_not_of("0123456789", 1) == std::string::npos &&
                           std::stoi(where.substr(1)) <= kMaxUserArgument;
    if (!is_stored) wrong(*found, fmt::format("{} is no place", key), kPlaces);
    return stored_at(std::stoi(where.substr(1)));
  }

  std::string library_rows(const toml::value& library) {
    const std::string name = text(library, "name"), soname = text(library, "soname");
    std::string rows;
    for (const toml::value& function : tables(library, "function")) {
      only(function, {"name", "role", "watcher", "callback", "descriptor", "repeats", "kind", "class", "slot",
                      "fails_by_result", "zero_ends"});
      const std::string symbol = text(function, "name");
      const std::string kind = find(function, "kind") != nullptr ? text(function, "kind") : "callback";
      UserHook hook;
      hook.texts[UserHook::kLibrary] = name;
      hook.texts[UserHook::kSoname] = soname;
      hook.texts[UserHook::kFunction] = symbol;
      hook.texts[UserHook::kKind] = kind;
      hook.numbers[UserHook::kRole] = static_cast<int>(choice(function, "role", kRoles));
      hook.numbers[UserHook::kWatcher] = place(function, "watcher");
      hook.numbers[UserHook::kCallback] = place(function, "callback");
      hook.numbers[UserHook::kDescriptor] = argument(function, "descriptor");
      hook.numbers[UserHook::kRepeats] = flag(function, "repeats") ? kAgainAndAgain : kOneTime;
      hook.numbers[UserHook::kClass] =
          find(function, "class") != nullptr ? choice(function, "class", kClasses) : int{ASYNCTRACE_UNKNOWN};
      hook.numbers[UserHook::kFails] = flag(function, "fails_by_result");
      hook.numbers[UserHook::kZeroEnds] = flag(function, "zero_ends");
      hook.numbers[UserHook::kSlot] = std::max(0, argument(function, "slot"));
      if (const WrongHook bad = wrong_hook(hook); bad.what != nullptr) wrong(function, bad.what, bad.remedy);
      rows += encode(hook);
      count_++;
    }
    return rows;
  }

  std::string name_;
  size_t count_ = 0;
};

}  // namespace

Result<std::string> parse_hooks(const std::string& text, const std::string& name) {
  const auto is_bracket = [](char c) { return c == '[' || c == '{'; };
  if (text.size() > kMaxFile || std::ranges::count_if(text, is_bracket) > kMaxBrackets)
    return fail(fmt::format("{}: too long", name),
                fmt::format("{} KiB and {} brackets at most", kMaxFile >> 10, kMaxBrackets));
  // The parser reads past its end when it comes to tell of such a place itself.
  if (const auto at = toml::detail::check_utf8_validity(text); at >= 0)
    return fail(fmt::format("{}:{}: not UTF-8", name, 1 + std::count(text.begin(), text.begin() + at, '\n')),
                "save it as UTF-8");
  try {
    std::istringstream stream(text);
    return Reader(name).read(toml::parse(stream, name));
  } catch (const Wrong& wrong) {
    return tl::unexpected(wrong.error);
  } catch (const toml::exception& error) {
    return fail(fmt::format("{}:{}: not TOML", name, error.location().line()), "see https://toml.io");
  } catch (const std::exception& error) {  // what the library throws beside its own
    return fail(fmt::format("{}: not TOML: {}", name, error.what()), "see https://toml.io");
  }
}

Result<std::string> read_hooks(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFile + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad())
    return fail(fmt::format("{}: {}", path, std::strerror(errno)), "name a file of hooks, see README");
  text.resize(static_cast<size_t>(file.gcount()));
  return parse_hooks(text, path);
}

}  // namespace asynctrace
