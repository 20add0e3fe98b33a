#include "agent/arch/thunks.hpp"

extern "C" {
extern char asynctrace_poll_thunks[];
extern char asynctrace_shutdown_thunks[];
extern char asynctrace_dealloc_thunks[];
extern char asynctrace_schedule_thunks[];
extern char asynctrace_output_thunks[];
extern char asynctrace_clone_thunks[];
extern char asynctrace_call_thunks[];
extern char asynctrace_dispatch_thunks[];
extern char asynctrace_notify_thunks[];
}

namespace asynctrace::agent {

void* thunk(ThunkArray array, uint32_t number) {
  char* const arrays[] = {asynctrace_poll_thunks,     asynctrace_shutdown_thunks, asynctrace_dealloc_thunks,
                          asynctrace_schedule_thunks, asynctrace_output_thunks,   asynctrace_clone_thunks,
                          asynctrace_call_thunks,     asynctrace_dispatch_thunks, asynctrace_notify_thunks};
  return arrays[static_cast<size_t>(array)] + number * kThunkSize;
}

uint32_t thunk_number(ThunkArray array, const void* address) {
  const auto offset =
      static_cast<uint64_t>(static_cast<const char*>(address) - static_cast<char*>(thunk(array, 0)));
  const bool is_one =
      offset < kThunkCounts[static_cast<size_t>(array)] * kThunkSize && offset % kThunkSize == 0;
  return is_one ? static_cast<uint32_t>(offset / kThunkSize) : UINT32_MAX;
}

}  // namespace asynctrace::agent
