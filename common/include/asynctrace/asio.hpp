// Asio and Boost.Asio tell of each operation where it began: a dump shows the stack of that call, for how
// long it has waited, and so it does after the program is dead. Nothing to change in the program; build all
// of it with
//
//   -DASIO_CUSTOM_HANDLER_TRACKING='<asynctrace/asio.hpp>'
//   -DBOOST_ASIO_CUSTOM_HANDLER_TRACKING='<asynctrace/asio.hpp>'
//
// Operations stay as large as they are, so that libraries that were built without it may be linked. Without
// an agent each operation costs two loads and two predicted branches. What was posted waits for nothing and
// is not told of. 65,536 operations are recorded at a time, the dump counts those beyond. C++11; Asio 1.18,
// which is Boost 1.74, or newer.
#pragma once

#include <asynctrace.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace asynctrace {
namespace asio_tracking {

// Base of every operation. Empty, and so without an address of its own.
struct TrackedHandler {};

struct Kind {
  const char* object;  // whose operation it is, and which, as Asio calls it; nullptr: any
  const char* operation;
  const char* text;  // nullptr: `operation`
  asynctrace_leaf_class leaf_class;
};

inline Kind kind_of(const char* object, const char* operation) {
  static const Kind kKinds[] = {
      {"socket", "async_receive", "async_read_some", ASYNCTRACE_IO},
      {"socket", "async_send", "async_write_some", ASYNCTRACE_IO},
      {"socket", "async_receive_with_flags", "async_receive", ASYNCTRACE_IO},
      {"deadline_timer", nullptr, "timer", ASYNCTRACE_TIMER},
      {"signal_set", nullptr, "signal_set", ASYNCTRACE_SIGNAL},
      {"channel", "async_receive", "channel receive", ASYNCTRACE_CHANNEL},
      {"channel", "async_send", "channel send", ASYNCTRACE_CHANNEL},
      {nullptr, nullptr, nullptr, ASYNCTRACE_IO},
  };
  const Kind* kind = kKinds;
  while ((kind->object != nullptr && std::strcmp(kind->object, object) != 0) ||
         (kind->operation != nullptr && std::strcmp(kind->operation, operation) != 0))
    ++kind;
  return {object, operation, kind->text != nullptr ? kind->text : operation, kind->leaf_class};
}

// Only with an agent. Not inlined, so that the program's own frames are the same everywhere.
__attribute__((noinline)) inline void begun(const TrackedHandler& handler, const char* object,
                                            std::uintmax_t native_handle, const char* operation) {
  if (std::strncmp(operation, "async_", 6) != 0) return;  // posted
  const Kind kind = kind_of(object, operation);
  const bool has_descriptor = kind.leaf_class == ASYNCTRACE_IO && native_handle != 0;
  // Behind the link of a queue stands the function that completes it.
  const void* calls = nullptr;
  std::memcpy(&calls, reinterpret_cast<const char*>(&handler) + sizeof(void*), sizeof(calls));
  const asynctrace_operation facts = {"asio", kind.text, static_cast<std::uint32_t>(kind.leaf_class),
                                      has_descriptor ? static_cast<int>(native_handle) : -1, calls};
  asynctrace_operation_begun(&handler, &facts);
}

template <typename Context>
inline void creation(Context&, const TrackedHandler& handler, const char* object, void*,
                     std::uintmax_t native_handle, const char* operation) {
  if (asynctrace_hooks_since_(3) != nullptr) begun(handler, object, native_handle, operation);
}

// Made when an operation has been done, was cancelled, or is destroyed.
struct Completion {
  explicit Completion(const TrackedHandler& handler) { asynctrace_operation_ended(&handler); }
};

}  // namespace asio_tracking
}  // namespace asynctrace

#if defined(ASIO_CUSTOM_HANDLER_TRACKING)
#define ASIO_INHERIT_TRACKED_HANDLER : public ::asynctrace::asio_tracking::TrackedHandler
#define ASIO_ALSO_INHERIT_TRACKED_HANDLER , public ::asynctrace::asio_tracking::TrackedHandler
#define ASIO_HANDLER_TRACKING_INIT (void)0
#define ASIO_HANDLER_LOCATION(args) (void)0
#define ASIO_HANDLER_CREATION(args) ::asynctrace::asio_tracking::creation args
#define ASIO_HANDLER_COMPLETION(args) ::asynctrace::asio_tracking::Completion tracked_completion args
#define ASIO_HANDLER_INVOCATION_BEGIN(args) (void)tracked_completion
#define ASIO_HANDLER_INVOCATION_END (void)0
#define ASIO_HANDLER_OPERATION(args) (void)0
#define ASIO_HANDLER_REACTOR_REGISTRATION(args) (void)0
#define ASIO_HANDLER_REACTOR_DEREGISTRATION(args) (void)0
#define ASIO_HANDLER_REACTOR_READ_EVENT 0
#define ASIO_HANDLER_REACTOR_WRITE_EVENT 0
#define ASIO_HANDLER_REACTOR_ERROR_EVENT 0
#define ASIO_HANDLER_REACTOR_EVENTS(args) (void)0
#define ASIO_HANDLER_REACTOR_OPERATION(args) (void)0
#endif

#if defined(BOOST_ASIO_CUSTOM_HANDLER_TRACKING)
#define BOOST_ASIO_INHERIT_TRACKED_HANDLER : public ::asynctrace::asio_tracking::TrackedHandler
#define BOOST_ASIO_ALSO_INHERIT_TRACKED_HANDLER , public ::asynctrace::asio_tracking::TrackedHandler
#define BOOST_ASIO_HANDLER_TRACKING_INIT (void)0
#define BOOST_ASIO_HANDLER_LOCATION(args) (void)0
#define BOOST_ASIO_HANDLER_CREATION(args) ::asynctrace::asio_tracking::creation args
#define BOOST_ASIO_HANDLER_COMPLETION(args) ::asynctrace::asio_tracking::Completion tracked_completion args
#define BOOST_ASIO_HANDLER_INVOCATION_BEGIN(args) (void)tracked_completion
#define BOOST_ASIO_HANDLER_INVOCATION_END (void)0
#define BOOST_ASIO_HANDLER_OPERATION(args) (void)0
#define BOOST_ASIO_HANDLER_REACTOR_REGISTRATION(args) (void)0
#define BOOST_ASIO_HANDLER_REACTOR_DEREGISTRATION(args) (void)0
#define BOOST_ASIO_HANDLER_REACTOR_READ_EVENT 0
#define BOOST_ASIO_HANDLER_REACTOR_WRITE_EVENT 0
#define BOOST_ASIO_HANDLER_REACTOR_ERROR_EVENT 0
#define BOOST_ASIO_HANDLER_REACTOR_EVENTS(args) (void)0
#define BOOST_ASIO_HANDLER_REACTOR_OPERATION(args) (void)0
#endif
