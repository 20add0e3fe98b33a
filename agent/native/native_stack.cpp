#include "agent/native/native_stack.hpp"

#include <string.h>

#include <algorithm>

namespace asynctrace::agent {
namespace {

// A poll of a hooked runtime that began inside all boundaries of the native API.
const Frame* innermost_hooked_poll(const ThreadContext& context) {
  const Frame* frame = context.frame;
  return frame != nullptr && frame->boundary == context.boundary ? frame : nullptr;
}

const asynctrace_coroutine* innermost_chain(const ThreadContext& context) {
  const asynctrace_frame* boundary = context.boundary;
  if (innermost_hooked_poll(context) != nullptr || boundary == nullptr) return nullptr;
  if (boundary->kind != ASYNCTRACE_AWAIT) return nullptr;
  return static_cast<const asynctrace_coroutine*>(boundary->subject);
}

// The space that a walk uses is free between walks.
static_assert(sizeof(ThreadContext::unwind_space) == segment::kMaxFrames * sizeof(uint64_t));

}  // namespace

const asynctrace_frame* innermost_root(const ThreadContext& context) {
  const asynctrace_frame* boundary = context.boundary;
  while (boundary != nullptr && boundary->kind == ASYNCTRACE_AWAIT) boundary = boundary->parent;
  return boundary;
}

bool has_root(const ThreadContext& context) {
  return context.frame != nullptr || innermost_root(context) != nullptr;
}

std::optional<NativeStack> native_stack(const HookGuard& guard, const LeafSite& site) {
  ThreadContext& context = guard.context();
  const Frame* hooked = innermost_hooked_poll(context);
  const StackEntry* below = capture_below(
      guard, site, hooked != nullptr ? hooked->root : reinterpret_cast<uintptr_t>(context.boundary));
  if (below == nullptr) return std::nullopt;
  const asynctrace_coroutine* level = innermost_chain(context);
  if (level == nullptr) return NativeStack{{below->pcs, below->count}, below->flags};
  auto* pcs = reinterpret_cast<uint64_t*>(context.unwind_space);
  size_t count = below->count;
  uint16_t flags = below->flags;
  memcpy(pcs, below->pcs, count * sizeof(uint64_t));
  for (; level != nullptr; level = level->awaited_by) {
    if (count == segment::kMaxFrames) {
      flags |= segment::kTruncated;
      break;
    }
    if (level->await_site != nullptr) pcs[count++] = reinterpret_cast<uint64_t>(level->await_site);
  }
  return NativeStack{{pcs, count}, flags};
}

}  // namespace asynctrace::agent
