#include "agent/loops/table.hpp"

#include <string.h>

#include "agent/loops/libraries.hpp"
#include "agent/platform.hpp"

namespace asynctrace::agent {
namespace {

constexpr size_t kBuiltIn = 7;
constinit const Library* g_libraries[kBuiltIn + kMaxUserLibraries] = {&kLibevent, &kLibuv,    &kLibev, &kGlib,
                                                                      &kSdEvent,  &kLiburing, &kLibc};
size_t g_count = kBuiltIn;
std::span<const Row> g_user_rows;
const char* g_user_text = "";

// The texts live in the copy of the rows, where each comma has become the end of one.
struct UserLibrary {
  Library library;
  const char* sonames[1];
};

struct UserTable {
  UserLibrary libraries[kMaxUserLibraries];
  Row rows[kMaxUserRows];
  size_t library_count, count;  // of rows
  char text[];
};

bool is_argument(int number) {
  return number >= 0 && number <= kMaxUserArgument;
}
bool is_place(int number) {
  return number == kAbsent || is_argument(number) || number == kResult || is_argument(number - stored_at(0));
}

bool is_sound(const UserHook& hook) {
  const auto& numbers = hook.numbers;
  return numbers[UserHook::kRole] >= 0 &&
         numbers[UserHook::kRole] <= static_cast<int>(LoopRole::kCallbackOf) &&
         wrong_hook(hook).what == nullptr && is_place(numbers[UserHook::kWatcher]) &&
         is_place(numbers[UserHook::kCallback]) &&
         (numbers[UserHook::kDescriptor] == kAbsent || is_argument(numbers[UserHook::kDescriptor])) &&
         (numbers[UserHook::kRepeats] == kAgainAndAgain || numbers[UserHook::kRepeats] == kOneTime ||
          is_argument(numbers[UserHook::kRepeats])) &&
         numbers[UserHook::kClass] >= 0 && numbers[UserHook::kClass] <= 255 &&
         numbers[UserHook::kSlot] >= 0 && numbers[UserHook::kSlot] < 16;
}

Row row_of(const UserHook& hook) {
  const auto place = [&](UserHook::Number number) { return static_cast<Place>(hook.numbers[number]); };
  // All that may lie on the stack is passed on.
  constexpr uint8_t kStackWords = kMaxUserArgument + 1 - 6;
  return {.function = hook.texts[UserHook::kFunction].data(),
          .role = static_cast<LoopRole>(hook.numbers[UserHook::kRole]),
          .watcher = place(UserHook::kWatcher),
          .callback = place(UserHook::kCallback),
          .descriptor = place(UserHook::kDescriptor),
          .repeats = place(UserHook::kRepeats),
          .slot = static_cast<uint8_t>(hook.numbers[UserHook::kSlot]),
          .stack_words = kStackWords,
          .kind = hook.texts[UserHook::kKind].data(),
          .kind_class = static_cast<uint8_t>(hook.numbers[UserHook::kClass]),
          .fails_by_result = hook.numbers[UserHook::kFails] != 0,
          .zero_ends = hook.numbers[UserHook::kZeroEnds] != 0};
}

// From the rows in its text, of this size.
bool fill(UserTable& table, size_t size) {
  std::string_view left(table.text, size);
  for (UserHook hook; !left.empty(); table.count++) {
    if (table.count == kMaxUserRows || !decode(left, hook) || !is_sound(hook)) return false;
    size_t& libraries = table.library_count;
    const bool is_another =
        libraries == 0 || hook.texts[UserHook::kSoname] != table.libraries[libraries - 1].sonames[0];
    for (const std::string_view text : hook.texts) table.text[text.data() + text.size() - table.text] = '\0';
    table.rows[table.count] = row_of(hook);
    if (is_another) {
      if (libraries == kMaxUserLibraries) return false;
      UserLibrary& added = table.libraries[libraries++];
      added.sonames[0] = hook.texts[UserHook::kSoname].data();
      added.library.name = hook.texts[UserHook::kLibrary].data();
      added.library.sonames = added.sonames;
      added.library.slots = 16;
      added.library.rows = {&table.rows[table.count], 0};
    }
    Library& library = table.libraries[libraries - 1].library;
    library.rows = {library.rows.data(), library.rows.size() + 1};
  }
  return true;
}

}  // namespace

std::span<const Library* const> libraries() {
  return {g_libraries, g_count};
}

bool add_user_rows(const char* rows) {
  if (strcmp(rows, g_user_text) == 0) return true;
  const size_t size = strlen(rows);
  const size_t room = sizeof(UserTable) + 2 * (size + 1);
  auto* table = static_cast<UserTable*>(reserve_private(room));
  if (table == nullptr) return false;
  memcpy(table->text, rows, size);
  if (!fill(*table, size) || g_count + table->library_count > std::size(g_libraries)) {
    munmap(table, room);
    return false;
  }
  for (size_t i = 0; i < table->library_count; i++) g_libraries[g_count++] = &table->libraries[i].library;
  g_user_text = static_cast<const char*>(memcpy(table->text + size + 1, rows, size + 1));
  g_user_rows = {table->rows, table->count};
  return true;
}

std::span<const Row> user_rows() {
  return g_user_rows;
}

}  // namespace asynctrace::agent
