// The rows of a user's file of hooks as they reach the agent: in a variable of the environment, which anybody
// may have written.
#include <gtest/gtest.h>

#include <string>

#include "agent/loops/table.hpp"

namespace asynctrace::agent {
namespace {

UserHook hook(std::string_view soname, std::string_view function, int watcher = 0) {
  UserHook hook;
  hook.texts[UserHook::kLibrary] = "drum";
  hook.texts[UserHook::kSoname] = soname;
  hook.texts[UserHook::kFunction] = function;
  hook.texts[UserHook::kKind] = "beat; \"loud\"";
  hook.numbers[UserHook::kRole] = static_cast<int>(LoopRole::kArm);
  hook.numbers[UserHook::kWatcher] = watcher;
  hook.numbers[UserHook::kCallback] = 13;
  hook.numbers[UserHook::kDescriptor] = kAbsent;
  hook.numbers[UserHook::kRepeats] = kAgainAndAgain;
  hook.numbers[UserHook::kClass] = 2;
  return hook;
}

std::string rows(size_t count, std::string_view soname = "libdrum.so") {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += encode(hook(soname, "drum_" + std::to_string(i)));
  return all;
}

TEST(HookRows, AreReadAsTheyWereWritten) {
  const std::string text = rows(2);
  std::string_view left = text;
  UserHook read;
  for (const char* name : {"drum_0", "drum_1"}) {
    ASSERT_TRUE(decode(left, read));
    const UserHook written = hook("libdrum.so", name);
    EXPECT_TRUE(std::equal(std::begin(read.texts), std::end(read.texts), written.texts));
    EXPECT_TRUE(std::equal(std::begin(read.numbers), std::end(read.numbers), written.numbers));
  }
  EXPECT_TRUE(left.empty());
  EXPECT_FALSE(decode(left, read));
}

TEST(HookRows, NoPieceOfARowIsOne) {
  const std::string text = rows(1);
  for (size_t length = 1; length < text.size(); ++length)
    EXPECT_FALSE(add_user_rows(text.substr(0, length).c_str())) << length;
}

// A name may become another name; whatever else changes is told or still holds what rows hold.
TEST(HookRows, AnyByteMayBeAnother) {
  const std::string text = rows(1);
  for (size_t at = 0; at < text.size(); ++at) {
    for (const char byte : {'\x01', ',', ';', '-', '0', '9', 'x', '\x80'}) {
      std::string damaged = text;
      damaged[at] = byte;
      std::string_view left = damaged;
      UserHook read;
      if (!decode(left, read)) continue;
      for (const std::string_view part : read.texts) {
        EXPECT_GE(part.data(), damaged.data());
        EXPECT_LE(part.data() + part.size(), damaged.data() + damaged.size());
        EXPECT_EQ(part.find(','), part.npos);
      }
      for (const int number : read.numbers) EXPECT_LT(std::abs(number), 1'000'000);
    }
  }
}

TEST(HookRows, NumbersThatAreNoPlacesAreRefused) {
  for (const int watcher : {14, 99, int{stored_at(14)}, -2, -999999, int{kField}, 999999})
    EXPECT_FALSE(add_user_rows(encode(hook("libdrum.so", "drum_0", watcher)).c_str())) << watcher;
  for (const auto number : {UserHook::kRole, UserHook::kCallback, UserHook::kDescriptor, UserHook::kRepeats,
                            UserHook::kClass, UserHook::kSlot}) {
    UserHook bad = hook("libdrum.so", "drum_0");
    for (const int value : {-100, 500}) {
      bad.numbers[number] = value;
      EXPECT_FALSE(add_user_rows(encode(bad).c_str())) << number << ": " << value;
    }
  }
}

// The agent would look for an argument that there is none of.
TEST(HookRows, WhatTheRoleNeedsMustBeThere) {
  const auto with = [](LoopRole role, int watcher, int callback) {
    UserHook row = hook("libdrum.so", "drum_0", watcher);
    row.numbers[UserHook::kRole] = static_cast<int>(role);
    row.numbers[UserHook::kCallback] = callback;
    return encode(row);
  };
  for (const LoopRole role : {LoopRole::kSwitch, LoopRole::kChange, LoopRole::kHold, LoopRole::kEpollControl})
    EXPECT_FALSE(add_user_rows(with(role, 0, 1).c_str()));
  for (const LoopRole role : {LoopRole::kSetCallback, LoopRole::kOnce, LoopRole::kCallbackOf})
    EXPECT_FALSE(add_user_rows(with(role, 0, kAbsent).c_str()));
  for (const LoopRole role : {LoopRole::kSetCallback, LoopRole::kArm, LoopRole::kOnce, LoopRole::kLoop})
    EXPECT_FALSE(add_user_rows(with(role, 0, kResult).c_str()));
  for (const LoopRole role : {LoopRole::kDisarm, LoopRole::kFree, LoopRole::kLoop})
    for (const int watcher : {int{kAbsent}, int{kResult}, int{stored_at(0)}})
      EXPECT_FALSE(add_user_rows(with(role, watcher, kAbsent).c_str()));
  EXPECT_FALSE(add_user_rows(with(LoopRole::kCallbackOf, kAbsent, 3).c_str()));
}

TEST(HookRows, TooManyAreRefused) {
  EXPECT_FALSE(add_user_rows(rows(kMaxUserRows + 1).c_str()));
  std::string libraries;
  for (size_t i = 0; i <= kMaxUserLibraries; ++i) libraries += rows(1, "lib" + std::to_string(i));
  EXPECT_FALSE(add_user_rows(libraries.c_str()));
  EXPECT_TRUE(user_rows().empty()) << "of what was refused nothing counts";
}

TEST(HookRows, AreAddedBesideEarlierOnes) {
  const size_t built_in = libraries().size();
  const std::string first = rows(1) + rows(2, "libhorn.so");
  for (int times = 0; times < 3; ++times) {
    ASSERT_TRUE(add_user_rows(first.c_str()));
    EXPECT_EQ(libraries().size(), built_in + 2) << "the same once more adds nothing";
  }
  ASSERT_EQ(user_rows().size(), 3u);
  const Library& horn = *libraries().back();
  EXPECT_STREQ(horn.sonames[0], "libhorn.so");
  ASSERT_EQ(horn.rows.size(), 2u);
  EXPECT_STREQ(horn.rows[1].function, "drum_1");
  EXPECT_STREQ(horn.rows[1].kind, "beat; \"loud\"");
  EXPECT_EQ(horn.rows[1].callback, 13);

  ASSERT_TRUE(add_user_rows(rows(kMaxUserRows).c_str()));
  EXPECT_EQ(user_rows().size(), kMaxUserRows);
  EXPECT_EQ(libraries().size(), built_in + 3);
  EXPECT_STREQ(horn.rows[1].function, "drum_1");
  std::string too_many;
  for (size_t i = 0; i < kMaxUserLibraries - 2; ++i) too_many += rows(1, "lib" + std::to_string(i));
  EXPECT_FALSE(add_user_rows(too_many.c_str()));
  EXPECT_EQ(libraries().size(), built_in + 3);
}

}  // namespace
}  // namespace asynctrace::agent
