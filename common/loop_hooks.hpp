// How functions of poll loops' libraries are described, by the agent's own table and by a user's file of
// hooks; and the text in which `--hooks` hands the latter to the agent (ASYNCTRACE_HOOK_ROWS, AttachCall):
// one line, for the files of services have no other. Plain data; decoding allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace asynctrace {

enum class LoopRole : uint8_t {
  kSetCallback,   // names the watcher's callback: nothing is armed yet
  kArm,           // from now on the watcher waits; may name its callback, too
  kDisarm,        // it waits no more
  kSwitch,        // arms or disarms, as an argument says
  kChange,        // it waits for something else from now on
  kOnce,          // arms a watcher that ends with its first dispatch
  kFree,          // the watcher is gone
  kHold,          // it takes one more kFree
  kLoop,          // waits and dispatches until it returns; its watcher is the loop
  kCallbackOf,    // gives the program its callback back
  kEpollControl,  // epoll_ctl
  kClose,         // close
  kFreeLoop,      // a loop is gone, and with it what is armed in it
  kSubmit,        // of io_uring: operations begin, and may end
  kComplete,      // the same: they may end
  kEndRing,       // the same: the ring is gone
};

// Where a call has something. Arguments are numbered from 0; those from 6 on lie on the stack.
using Place = int16_t;
inline constexpr Place kAbsent = -1;
inline constexpr Place kResult = 100;  // what the function returns
// What the function stores where argument `n` points.
constexpr Place stored_at(int n) {
  return static_cast<Place>(kResult + 1 + n);
}
// What lies at this offset, up to 255, behind where argument `n` points.
inline constexpr Place kField = 0x1000;
constexpr Place field(int n, int offset) {
  return static_cast<Place>(kField + n * 256 + offset);
}

// How often an armed watcher is dispatched before it waits no more.
inline constexpr Place kAgainAndAgain = -2;
inline constexpr Place kOneTime = -1;  // an argument: one time where that is 0

inline constexpr size_t kMaxUserLibraries = 8;
inline constexpr size_t kMaxUserRows = 64;
inline constexpr size_t kMaxUserText = 8191;  // bytes of all rows
inline constexpr int kMaxUserArgument = 13;

// One row of a user's file. Texts hold neither a comma nor a control character.
struct UserHook {
  enum Number {
    kRole,
    kWatcher,
    kCallback,
    kDescriptor,
    kRepeats,
    kClass,
    kFails,
    kZeroEnds,
    kSlot,
    kNumbers
  };
  enum Text { kLibrary, kSoname, kFunction, kKind, kTexts };
  int numbers[kNumbers] = {};
  std::string_view texts[kTexts];
};

// Why a row makes no sense, for whoever wrote it. Null: it does.
struct WrongHook {
  const char* what = nullptr;
  const char* remedy = nullptr;
};
constexpr WrongHook wrong_hook(const UserHook& hook) {
  const auto role = static_cast<LoopRole>(hook.numbers[UserHook::kRole]);
  const int watcher = hook.numbers[UserHook::kWatcher], callback = hook.numbers[UserHook::kCallback];
  constexpr WrongHook kNoCallback{"no callback, which this role needs", "write callback = ..."};
  const bool is_told = callback != kAbsent;
  if (role == LoopRole::kCallbackOf) {
    if (!is_told) return kNoCallback;
    if (callback < kResult) return {"the callback is given back, not passed", "\"result\" or \"*N\""};
    return {};
  }
  if (callback >= kResult) return {"the callback is passed, not given back", "a number of an argument"};
  const bool names_callback = role == LoopRole::kSetCallback || role == LoopRole::kOnce;
  if (names_callback && !is_told) return kNoCallback;
  const bool may_have_no_name = role == LoopRole::kOnce || (role == LoopRole::kArm && is_told);
  if (watcher == kAbsent && !may_have_no_name)
    return {"no watcher, which this role needs", "write watcher = ..."};
  const bool makes = names_callback || (role == LoopRole::kArm && is_told);
  if (watcher >= kResult && !makes) return {"the watcher is there already", "a number of an argument"};
  const bool is_role = makes || role == LoopRole::kArm || role == LoopRole::kDisarm ||
                       role == LoopRole::kFree || role == LoopRole::kLoop;
  return is_role ? WrongHook{} : WrongHook{"a role that files of hooks do not have", "another one"};
}

inline std::string encode(const UserHook& hook) {
  std::string line;
  for (const std::string_view text : hook.texts) line.append(text).append(",");
  for (const int number : hook.numbers) line.append(std::to_string(number)).append(",");
  return line + ";";
}

// Takes the next row off `rows`. False: none is left, or what is left is no row.
inline bool decode(std::string_view& rows, UserHook& hook) {
  const auto next = [&rows](std::string_view& out) {
    const size_t end = rows.find(',');
    if (end == std::string_view::npos) return false;
    out = std::string_view(rows.data(), end);  // substr() may throw, which an agent cannot
    rows.remove_prefix(end + 1);
    return true;
  };
  for (std::string_view& text : hook.texts)
    if (!next(text)) return false;
  for (int& number : hook.numbers) {
    std::string_view digits;
    if (!next(digits) || digits.empty() || digits.size() > 6) return false;
    const bool is_negative = digits.front() == '-';
    if (is_negative) digits.remove_prefix(1);
    number = 0;
    for (const char digit : digits) {
      if (digit < '0' || digit > '9') return false;
      number = number * 10 + (digit - '0');
    }
    if (is_negative) number = -number;
  }
  if (rows.empty() || rows.front() != ';') return false;
  rows.remove_prefix(1);
  return true;
}

// What came of a row.
enum class HookState : uint8_t {
  kNotThere = 0,   // no library in the process has this function
  kNotCalled = 1,  // no module calls it through the dynamic linker
  kTaken = 2,      // from now on the agent stands before it
  kKept = 3,       // it did before, and what it was told then still counts
};

}  // namespace asynctrace
