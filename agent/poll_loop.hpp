// The interposed calls in which a poll loop sleeps mark their thread as parked. Public symbols: see
// exports.map.
#pragma once

namespace asynctrace::agent {

// Finds the functions that the interposed ones stand before. From the constructor.
void start_poll_loop();

}  // namespace asynctrace::agent
