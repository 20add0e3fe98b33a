#include "common/rust_symbols.hpp"

#include <string.h>

namespace asynctrace {
namespace {

// Both manglings write a path as length-prefixed names side by side.
struct PathRole {
  const char* path;
  const char* last;  // the last component, "": whatever it is
  uint32_t role;
};
constexpr const char* kTokioPoll = "5tokio7runtime4task3raw4poll";
constexpr const char* kAsyncTask =
    "10async_task3raw";  // async-std, smol; generic, so the path has more parts
constexpr PathRole kPathRoles[] = {
    {kTokioPoll, "", kPollRole},
    {"5tokio7runtime4task3raw8schedule", "", kScheduleRole},
    {"5tokio7runtime4task3raw7dealloc", "", kDeallocRole},
    {"5tokio7runtime4task3raw15try_read_output", "", kOutputRole},
    {"5tokio7runtime4task3raw8shutdown", "", kShutdownRole},
    {"5tokio7runtime4task5waker", "", kTokioWaker},
    {"5tokio7runtime4park", "", kBlockOnWaker},  // multi-thread
    {"5tokio4util4wake", "", kBlockOnWaker},     // current-thread
    {kAsyncTask, "3run", kPollRole},
    {kAsyncTask, "8schedule", kTableStartRole},
    {kAsyncTask, "11drop_future", kTableStartRole},
    {kAsyncTask, "10get_output", kTableStartRole},
    {kAsyncTask, "8drop_ref", kTableStartRole},
    {kAsyncTask, "7destroy", kDeallocRole | kTableStartRole},
    {kAsyncTask, "11clone_waker", kAsyncTaskWaker},
    {"8waker_fn", "", kBlockOnWaker},  // block_on of async-io and futures-lite
};

uint32_t role_of_component(const char* name, size_t length) {
  struct Prefix {
    const char* text;
    size_t length;
    uint32_t role;
  };
  constexpr Prefix kPrefixes[] = {{"clone", 5, kCloneRole}, {"wake", 4, kWakeRole}, {"drop", 4, kDropRole}};
  for (const Prefix& prefix : kPrefixes)
    if (length >= prefix.length && memcmp(name, prefix.text, prefix.length) == 0) return prefix.role;
  return 0;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_legacy_hash(const char* name, size_t length) {
  return length == 17 && name[0] == 'h';
}

// _ZN followed by <length><name> .. E; the last is the hash.
uint32_t legacy_role(const char* at) {
  uint32_t role = 0;
  while (is_digit(*at)) {
    size_t length = 0;
    for (; is_digit(*at); at++) length = length * 10 + static_cast<size_t>(*at - '0');
    if (strnlen(at, length) < length) return 0;
    if (!is_legacy_hash(at, length)) role = role_of_component(at, length);
    at += length;
  }
  return role;
}

// A v0 name nests its components; any whole one that fits is taken. A table needs four fitting names in a
// row, and the hook checks what the clone returns, so this may be generous.
uint32_t v0_role(const char* name) {
  uint32_t roles = 0;
  for (const char* at = name; *at != '\0'; at++) {
    if (!is_digit(*at) || is_digit(at[-1]) || *at == '0') continue;
    size_t length = 0;
    const char* text = at;
    for (; is_digit(*text) && length < 1000; text++) length = length * 10 + static_cast<size_t>(*text - '0');
    if (*text == '_') text++;
    if (strnlen(text, length) == length) roles |= role_of_component(text, length);
  }
  return roles;
}

// Whether a component follows, `component` being its length and text; what comes before it may not end in a
// digit.
bool has_component(const char* after, const char* component) {
  if (*component == '\0') return true;
  for (const char* at = strstr(after, component); at != nullptr; at = strstr(at + 1, component)) {
    const char next = at[strlen(component)];
    if (!is_digit(at[-1]) && (next == 'E' || next == '1' || next == 'B'))
      return true;  // end, hash, v0 argument
  }
  return false;
}

}  // namespace

bool names_a_runtime(const char* names, size_t size) {
  return memmem(names, size, kTokioPoll, strlen(kTokioPoll)) != nullptr ||
         memmem(names, size, kAsyncTask, strlen(kAsyncTask)) != nullptr;
}

bool names_rust(const char* names, size_t size) {
  constexpr const char* kPersonality = "rust_eh_personality";
  return memmem(names, size, kPersonality, strlen(kPersonality)) != nullptr;
}

uint32_t roles_of(const char* mangled) {
  uint32_t roles = 0;
  if (strncmp(mangled, "_ZN", 3) == 0) roles = legacy_role(mangled + 3);
  else if (strncmp(mangled, "_R", 2) == 0) roles = v0_role(mangled + 2);
  else return 0;
  // Few names have any of these, and a large program has a hundred thousand names.
  if (strstr(mangled, "5tokio") == nullptr && strstr(mangled, kAsyncTask) == nullptr &&
      strstr(mangled, "8waker_fn") == nullptr)
    return roles;
  for (const PathRole& row : kPathRoles) {
    const char* path = strstr(mangled, row.path);
    if (path != nullptr && has_component(path + strlen(row.path), row.last)) roles |= row.role;
  }
  return roles;
}

}  // namespace asynctrace
