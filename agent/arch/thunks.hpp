// The thunk arrays of <arch>_thunks.S and the hooks they jump to. Counts must agree with the assembly.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asynctrace::agent {

// The registers of a return value of up to two words, whatever it means.
struct Words {
  uint64_t first;
  uint64_t second;
};

inline constexpr size_t kThunkSize = 16;

enum class ThunkArray { kPoll, kShutdown, kDealloc, kSchedule, kOutput, kClone, kCall, kDispatch, kNotify };
inline constexpr uint32_t kThunkCounts[] = {4096, 4096, 4096, 1024, 4096, 1024, 255, 65536, 65536};

void* thunk(ThunkArray array, uint32_t number);
// The number of the thunk at this address; UINT32_MAX: it is none of this array.
uint32_t thunk_number(ThunkArray array, const void* address);

}  // namespace asynctrace::agent

extern "C" {
// The last argument is the thunk's number; those before it are the original function's.
asynctrace::agent::Words asynctrace_poll_hook(void* header, uint32_t number);
asynctrace::agent::Words asynctrace_shutdown_hook(void* header, uint32_t number);
void asynctrace_dealloc_hook(void* header, uint32_t number);
void asynctrace_schedule_hook(void* header, uint32_t number);
void asynctrace_output_hook(void* header, void* output, void* waker, uint32_t number);
asynctrace::agent::Words asynctrace_clone_hook(const void* data, uint32_t number);
void asynctrace_notify_hook(void* data, uint32_t number);
}
