// Maybe<T>: an optional number that takes no more room than the number: its greatest value stands for none.
// For records of which there are millions; used like std::optional, which it converts to and from.
#pragma once

#include <concepts>
#include <limits>
#include <optional>

namespace asynctrace {

template <std::unsigned_integral T>
class Maybe {
 public:
  constexpr Maybe() = default;
  constexpr Maybe(T value) : value_(value) {}
  constexpr Maybe(std::nullopt_t) {}
  constexpr Maybe(std::optional<T> value) : value_(value.value_or(kNone)) {}

  constexpr explicit operator bool() const { return value_ != kNone; }
  constexpr operator std::optional<T>() const { return *this ? std::optional(value_) : std::nullopt; }
  constexpr T operator*() const { return value_; }
  constexpr T value_or(T otherwise) const { return *this ? value_ : otherwise; }
  constexpr void reset() { value_ = kNone; }
  friend constexpr bool operator==(Maybe, Maybe) = default;

 private:
  static constexpr T kNone = std::numeric_limits<T>::max();
  T value_ = kNone;
};

}  // namespace asynctrace
