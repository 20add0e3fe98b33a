// Where a leaf of the native API stands: the native frames below the innermost boundary, and where that is a
// coroutine's await, the logical chain above it. Any thread; allocates from private memory only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "agent/capture/capture.hpp"
#include "agent/thread_context.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace::agent {

// Traces end at a root or at a poll; an await only says where the chain begins.
bool has_root(const ThreadContext& context);
const asynctrace_frame* innermost_root(const ThreadContext& context);

// Return addresses, innermost first, and segment::StackFlags. They lie in scratch memory of the context, good
// until the next capture. Nothing: no room for a new stack (counted). Only where there is a root.
struct NativeStack {
  std::span<const uint64_t> pcs;
  uint16_t flags;
};
std::optional<NativeStack> native_stack(const HookGuard& guard, const LeafSite& site);

}  // namespace asynctrace::agent
