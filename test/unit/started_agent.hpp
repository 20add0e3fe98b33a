// The agent's parts as its constructor starts them, without a runtime to look for: once per test program, its
// segment in a file that goes away with it.
#pragma once

#include <gtest/gtest.h>

#include <unistd.h>

#include <string>

#include "agent/capture/capture.hpp"
#include "agent/capture/unwinder.hpp"
#include "agent/leaves.hpp"
#include "agent/live.hpp"
#include "agent/modules.hpp"
#include "agent/tasks.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {

class StartedAgent : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    path_ = "/tmp/asynctrace-test." + std::to_string(getpid());
    g_config.output = path_.c_str();
    g_config.max_size = 64u << 20;
    ASSERT_TRUE(start_modules() && start_live_page() && start_unwinder() && g_segment.create(g_config));
    ASSERT_TRUE(start_threads() && start_tasks() && start_leaves() && start_capture());
    g_generation = 1;
    go_live();
  }
  static void TearDownTestSuite() { unlink(path_.c_str()); }

  static uint64_t lost(segment::Counter counter) { return g_segment.header().counters[counter]; }

 private:
  static inline std::string path_;
};

}  // namespace asynctrace::agent
