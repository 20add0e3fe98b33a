// Tells the coroutines that threads are executing from those that are suspended: a frame in memory still
// shows the suspension before. Reads the stacks of the process's threads. Allocates.
#pragma once

#include <functional>
#include <span>
#include <string>

#include <sys/types.h>

#include "cli/census/census.hpp"
#include "cli/census/process_image.hpp"
#include "cli/coroutines/frame_links.hpp"
#include "cli/coroutines/function_facts.hpp"

namespace asynctrace {

// The threads of the process, asked only where there are coroutines.
struct ThreadReader {
  ThreadsOf threads;
  // One of them with all of its registers, where its frames do not tell enough. Empty: they have told all.
  std::function<Result<NativeThread>(pid_t tid)> hold;
  bool shares_clocks = false;  // the process lives, and its clocks are ours
};

// Sets the state of those of `frames`, which are by address, that a thread executes, and may_run of those of
// which that is not known. Returns why it is not, "" where it is known of all.
std::string mark_running_frames(const ProcessImage& image, const ThreadReader& reader,
                                const FunctionFacts& facts, std::span<PlacedFrame> frames);

}  // namespace asynctrace
