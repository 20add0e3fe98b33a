#include "agent/arch/thunks.hpp"

extern "C" {
extern char asynctrace_poll_thunks[];
extern char asynctrace_shutdown_thunks[];
extern char asynctrace_dealloc_thunks[];
extern char asynctrace_schedule_thunks[];
extern char asynctrace_output_thunks[];
extern char asynctrace_clone_thunks[];
}

namespace asynctrace::agent {

void* thunk(ThunkArray array, uint32_t number) {
  char* const arrays[] = {asynctrace_poll_thunks,     asynctrace_shutdown_thunks, asynctrace_dealloc_thunks,
                          asynctrace_schedule_thunks, asynctrace_output_thunks,   asynctrace_clone_thunks};
  return arrays[static_cast<size_t>(array)] + number * kThunkSize;
}

}  // namespace asynctrace::agent
