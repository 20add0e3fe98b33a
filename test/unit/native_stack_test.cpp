// Stacks of other processes by libdw: a child that is held by ptrace, and the core file of one that aborted.
#include <link.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/native/native_stack.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// The empty statements keep the calls from becoming jumps.
[[gnu::noinline]] void innermost(int signal) {
  ::raise(signal);
  asm volatile("");
}

[[gnu::noinline]] void middle(int signal) {
  innermost(signal);
  asm volatile("");
}

[[gnu::noinline]] void outermost(int signal) {
  middle(signal);
  asm volatile("");
}

// This executable, mapped in a forked child where it is mapped here.
Module own_module() {
  Module module{fs::read_symlink("/proc/self/exe").string(), {}, 0, 0, 0};
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        auto& own = *static_cast<Module*>(result);
        own.bias = info->dlpi_addr;
        own.start = UINT64_MAX;
        for (int i = 0; i < info->dlpi_phnum; i++) {
          const auto& header = info->dlpi_phdr[i];
          if (header.p_type != PT_LOAD) continue;
          own.start = std::min<uint64_t>(own.start, own.bias + header.p_vaddr);
          own.end = std::max<uint64_t>(own.end, own.bias + header.p_vaddr + header.p_memsz);
        }
        return 1;  // the executable comes first
      },
      &module);
  return module;
}

// The test's own functions on the stack, innermost first.
std::vector<std::string> own_functions(const std::vector<uint64_t>& pcs) {
  const std::vector<Module> modules = {own_module()};
  Symbolizer symbols(modules);
  std::vector<std::string> found;
  for (const uint64_t pc : pcs) {
    for (const uint32_t index : symbols.resolve_return_address(pc)) {
      const std::string& name = symbols.frames()[index].function;
      for (const char* own : {"innermost", "middle", "outermost"}) {
        if (name.find(std::string("::") + own) != name.npos) found.emplace_back(own);
      }
    }
  }
  return found;
}

TEST(NativeStack, OfAStoppedThread) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, 0, 0);
    outermost(SIGUSR1);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  const auto pcs = native_stack_of_stopped_thread(child, child);
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(pcs) << pcs.error().message;
  EXPECT_THAT(own_functions(*pcs), testing::ElementsAre("innermost", "middle", "outermost"));
}

TEST(NativeStack, OfAProcessThatIsGoneOrNotHeld) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  const auto running = native_stack_of_stopped_thread(child, child);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(running);
  const auto gone = native_stack_of_stopped_thread(child, child);
  ASSERT_FALSE(gone);
  EXPECT_THAT(gone.error().message, HasSubstr(std::to_string(child)));
}

class CoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "native_stack_test.XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(directory_); }
  fs::path directory_;
};

TEST_F(CoreTest, OfTheThreadThatWasKilled) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
    if (::chdir(directory_.c_str()) != 0 || ::setrlimit(RLIMIT_CORE, &all) != 0) ::_exit(1);
    outermost(SIGSEGV);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (!WCOREDUMP(status)) GTEST_SKIP() << "this system writes no core files";
  const fs::directory_iterator written(directory_);
  if (written == fs::directory_iterator()) GTEST_SKIP() << "core files go elsewhere here";
  const auto stack =
      native_stack_of_core(written->path().string(), fs::read_symlink("/proc/self/exe").string());
  ASSERT_TRUE(stack) << stack.error().message;
  EXPECT_EQ(stack->pid, child);
  EXPECT_EQ(stack->tid, child);
  EXPECT_THAT(own_functions(stack->pcs), testing::ElementsAre("innermost", "middle", "outermost"));
}

TEST_F(CoreTest, WhatIsNoCoreIsAnError) {
  const std::string path = directory_ / "core";
  EXPECT_FALSE(native_stack_of_core(path, "/bin/true"));
  fs::copy_file("/proc/self/exe", path);
  EXPECT_FALSE(native_stack_of_core(path, "/bin/true"));
  fs::resize_file(path, 0);
  EXPECT_FALSE(native_stack_of_core(path, "/bin/true"));
  fs::resize_file(path, 1000);
  EXPECT_FALSE(native_stack_of_core(path, "/bin/true"));
}

}  // namespace
}  // namespace asynctrace
