// asynctrace.hpp: the native API in C++20. Nothing to link; without an agent every call is one load and one
// predicted branch (see asynctrace.h, whose functions may be mixed with these).
//
//   asynctrace/trace.hpp      events of a runtime, boundaries, Trace::capture and trace_leaf()
//   asynctrace/tree.hpp       traces as a tree, as text
//   asynctrace/coroutine.hpp  who awaits whom, for coroutines
//   asynctrace/dump.hpp       traces of all tasks of a runtime, by polling them
//   asynctrace/meeting.hpp    where its workers come together for that
//   asynctrace/repoll.hpp     the same at the request of `asynctrace dump --repoll`
#pragma once

#include "asynctrace/coroutine.hpp"
#include "asynctrace/dump.hpp"
#include "asynctrace/meeting.hpp"
#include "asynctrace/repoll.hpp"
#include "asynctrace/trace.hpp"
#include "asynctrace/tree.hpp"
