#include "agent/loops/table.hpp"

#include <string.h>

#include "agent/loops/libraries.hpp"
#include "agent/platform.hpp"

namespace asynctrace::agent {
namespace {

constexpr size_t kBuiltIn = 6;
constinit const Library* g_libraries[kBuiltIn + kMaxUserLibraries] = {&kLibevent, &kLibuv,   &kLibev,
                                                                      &kGlib,     &kSdEvent, &kLibc};
size_t g_count = kBuiltIn;

// The texts live in the copy of the rows, where each comma has become the end of one.
struct UserLibrary {
  Library library;
  const char* sonames[1];
};

struct UserTable {
  UserLibrary libraries[kMaxUserLibraries];
  Row rows[kMaxUserRows];
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
         is_place(numbers[UserHook::kWatcher]) && is_place(numbers[UserHook::kCallback]) &&
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

}  // namespace

std::span<const Library* const> libraries() {
  return {g_libraries, g_count};
}

bool add_user_rows(const char* rows) {
  const size_t size = strlen(rows);
  auto* table = static_cast<UserTable*>(reserve_private(sizeof(UserTable) + size + 1));
  if (table == nullptr) return false;
  memcpy(table->text, rows, size);
  std::string_view left(table->text, size);
  size_t libraries = 0, count = 0;
  for (UserHook hook; !left.empty(); count++) {
    if (count == kMaxUserRows || !decode(left, hook) || !is_sound(hook)) return false;
    const bool is_another =
        libraries == 0 || hook.texts[UserHook::kSoname] != table->libraries[libraries - 1].sonames[0];
    for (const std::string_view text : hook.texts)
      table->text[text.data() + text.size() - table->text] = '\0';
    table->rows[count] = row_of(hook);
    if (is_another) {
      if (libraries == kMaxUserLibraries) return false;
      UserLibrary& added = table->libraries[libraries++];
      added.sonames[0] = hook.texts[UserHook::kSoname].data();
      added.library.name = hook.texts[UserHook::kLibrary].data();
      added.library.sonames = added.sonames;
      added.library.slots = 16;
      added.library.rows = {&table->rows[count], 0};
    }
    Library& library = table->libraries[libraries - 1].library;
    library.rows = {library.rows.data(), library.rows.size() + 1};
  }
  for (size_t i = 0; i < libraries; i++) g_libraries[g_count++] = &table->libraries[i].library;
  return true;
}

}  // namespace asynctrace::agent
