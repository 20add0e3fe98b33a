// Finding processes and segments, judging targets, and the agent's environment: the parts that need no agent.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <elf.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/commands/messages.hpp"
#include "cli/process/agent_environment.hpp"
#include "cli/process/agent_library.hpp"
#include "cli/process/elf_facts.hpp"
#include "cli/process/file_descriptor.hpp"
#include "cli/process/proc.hpp"
#include "cli/process/report_in.hpp"
#include "cli/process/segment_directory.hpp"
#include "cli/process/supervisor.hpp"
#include "cli/process/target_check.hpp"
#include "cli/process/traced_process.hpp"

namespace asynctrace {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class ProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "process_test.XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string write(const std::string& name, const std::string& bytes, mode_t mode = 0644) {
    std::string path = directory_ / name;
    std::ofstream(path, std::ios::binary) << bytes;
    ::chmod(path.c_str(), mode);
    return path;
  }

  fs::path directory_;
};

TEST(ParseStat, TakesAnyName) {
  auto stat = parse_stat("42 (a) b\n(c)) T 7 42 7 34816 42 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3\n");
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->name, "a) b\n(c)");
  EXPECT_EQ(stat->state, 'T');
  EXPECT_EQ(stat->ppid, 7);
  EXPECT_EQ(stat->start_time, 987654u);
  EXPECT_FALSE(stat->exit_status);
}

TEST(ParseStat, FindsTheExitStatus) {
  const int pid = ::fork();
  if (pid == 0) ::raise(SIGKILL);
  siginfo_t info;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  auto stat = read_stat(pid);
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->state, 'Z');
  EXPECT_EQ(stat->exit_status, SIGKILL);
  EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
  EXPECT_EQ(read_stat(::getpid())->exit_status, 0);
}

TEST(ParseStat, RefusesWhatIsCutOff) {
  for (const char* text : {"", "42", "42 (x", "42 )x(", "42 (x) R", "42 (x) R 7 1 2 3", "42 (x) R seven 1"}) {
    EXPECT_FALSE(parse_stat(text)) << text;
  }
}

TEST(ParseSharedMappings, FirstOfEachSharedFile) {
  auto found = parse_shared_mappings(
      "00400000-00401000 r-xp 00000000 fe:00 11 /usr/bin/app\n"
      "7f00-7f10 rw-s 00000000 00:1a 12 /dev/shm/a\\012b c.1.x.atrace\n"
      "7f10-7f20 rw-s 00010000 00:1a 12 /dev/shm/a\\012b c.1.x.atrace\n"
      "7f20-7f30 rw-p 00000000 00:1a 13 /private.atrace\n"
      "7f30-7f40 rw-s 00000000 00:1a 14 /tmp/gone (deleted)\n"
      "7f40-7f50 rw-s 00000000 00:1a 0\n"
      "7f50-7f60 rw-s 00000000 00:0f 15 anon_inode:[perf_event]\n"
      "garbage\n"
      "7f60-7f70 rw-s 00000000 00:1a sixteen /x.atrace");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].path, "/dev/shm/a\nb c.1.x.atrace");
  EXPECT_EQ(found[0].range, "7f00-7f10");
  EXPECT_EQ(found[0].inode, 12u);
  EXPECT_FALSE(found[0].deleted);
  EXPECT_EQ(found[1].path, "/tmp/gone");
  EXPECT_TRUE(found[1].deleted);
}

TEST(Proc, KnowsThisProcess) {
  auto stat = read_stat(::getpid());
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->ppid, ::getppid());
  EXPECT_EQ(namespaced_pids(::getpid()).front(), static_cast<uint32_t>(::getpid()));
  EXPECT_EQ(boot_id().size(), 36u);
  auto age = age_seconds(stat->start_time);
  ASSERT_TRUE(age);
  EXPECT_LT(*age, 3600);
}

TEST(AgentReportIn, EachStatus) {
  std::string record(64, '\0');
  EXPECT_FALSE(parse_agent_report(record));
  record[4] = 2;
  ASSERT_TRUE(parse_agent_report(record));
  EXPECT_EQ(parse_agent_report(record)->status, AgentStatus::kTracing);
  record[4] = 3;
  record.replace(5, 7, "no room");
  EXPECT_EQ(parse_agent_report(record)->reason, "no room");
  record.replace(5, 59, std::string(59, 'x'));
  EXPECT_EQ(parse_agent_report(record)->reason, std::string(59, 'x'));
  record[4] = 4;
  EXPECT_FALSE(parse_agent_report(record));
  EXPECT_FALSE(parse_agent_report(std::string(63, '\1')));
}

TEST(AgentEnvironment, KeepsWhatIsPreloadedInFront) {
  auto preload = [](const std::string& present) {
    return agent_variables({"/lib/agent.so", "", "", {}, true}, present).front().second;
  };
  EXPECT_EQ(preload(""), "/lib/agent.so");
  EXPECT_EQ(preload("libasan.so"), "libasan.so:/lib/agent.so");
  EXPECT_EQ(preload("a.so:/lib/agent.so"), "a.so:/lib/agent.so");
  EXPECT_EQ(preload("/my/lib/agent.so"), "/my/lib/agent.so:/lib/agent.so");
}

TEST(AgentEnvironment, ReplacesByWholeName) {
  auto result = with_variables({"A=1", "AB=2", "A=3", "noise"}, {{"A", "4"}});
  EXPECT_THAT(result, ElementsAre("AB=2", "noise", "A=4"));
}

TEST(ShellQuote, SurvivesAShell) {
  EXPECT_EQ(shell_quote("/dev/shm/app.1.x-2.atrace"), "/dev/shm/app.1.x-2.atrace");
  EXPECT_EQ(shell_quote(""), "''");
  EXPECT_EQ(shell_quote("it's $HOME"), "'it'\\''s $HOME'");
  EXPECT_EQ(shell_quote("a\nb'\\"), "$'a\\x0ab\\'\\\\'");
  EXPECT_EQ(shell_quote("\x1b[31m"), "$'\\x1b[31m'");
}

TEST_F(ProcessTest, AgentIsFoundWhereItIsInstalledOrBuilt) {
  fs::create_directories(directory_ / "bin");
  std::string bin = directory_ / "bin";
  auto missing = find_agent_library(bin, nullptr);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().exit_code, 125);
  EXPECT_THAT(missing.error().message, HasSubstr(bin));
  EXPECT_FALSE(missing.error().remedy.empty());

  for (std::string place :
       {"agent", "lib64/asynctrace", "lib/x86_64-linux-gnu/asynctrace", "lib/asynctrace"}) {
    fs::create_directories(directory_ / place);
    std::string path = write(place + "/libasynctrace-agent.so", "");
    EXPECT_EQ(find_agent_library(bin, nullptr).value_or(""), fs::canonical(path))
        << "an installed one comes first";
    EXPECT_EQ(find_agent_library(bin, "").value_or(""), fs::canonical(path));
  }
  std::string other = write("other.so", "");
  EXPECT_EQ(find_agent_library(bin, other.c_str()).value_or(""), fs::canonical(other));
  EXPECT_FALSE(find_agent_library(bin, "/no/such/file"));
  std::string colon = write("a:b.so", "");
  EXPECT_THAT(find_agent_library(bin, colon.c_str()).error().message, HasSubstr("LD_PRELOAD cannot carry"));
}

TEST_F(ProcessTest, SegmentDirectoryMustBeOursAlone) {
  std::string path = directory_ / "segments";
  ::setenv("ASYNCTRACE_DIR", path.c_str(), 1);
  EXPECT_EQ(choose_segment_directory().value_or(""), path);
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_all);

  write("segments/a.1.2.atrace", "");
  write("segments/run.1.2", "");
  EXPECT_THAT(list_segment_files(), ElementsAre(path + "/a.1.2.atrace"));

  ::chmod(path.c_str(), 0750);
  auto open = choose_segment_directory();
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().exit_code, 125);
  EXPECT_THAT(open.error().message, HasSubstr(path));

  fs::create_directory_symlink(directory_, directory_ / "link");
  ::setenv("ASYNCTRACE_DIR", (directory_ / "link").c_str(), 1);
  EXPECT_FALSE(choose_segment_directory());
  EXPECT_THAT(list_segment_files(), ElementsAre());
  ::unsetenv("ASYNCTRACE_DIR");
}

TEST_F(ProcessTest, LifeOfAFile) {
  SegmentSummary summary;
  summary.pid = static_cast<uint32_t>(::getpid());
  summary.start_time = read_stat(::getpid())->start_time;
  summary.boot_id = boot_id();
  std::string path = write("x.atrace", std::string(4096, '\0'));
  EXPECT_EQ(life_of(path, summary), Life::kExeced) << "alive, without a mapping of it";

  FileDescriptor fd(::open(path.c_str(), O_RDWR));
  void* mapped = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_EQ(life_of(path, summary), Life::kRunning);
  ::munmap(mapped, 4096);

  summary.start_time++;
  EXPECT_EQ(life_of(path, summary), Life::kEnded) << "the pid belongs to another process now";
  summary.exited = true;
  EXPECT_EQ(life_of(path, summary), Life::kExited);
  summary.start_time--;
  summary.boot_id = "of another boot";
  EXPECT_EQ(life_of(path, summary), Life::kExited);
}

TEST_F(ProcessTest, ElfFactsOfThisTest) {
  FileDescriptor fd(::open("/proc/self/exe", O_RDONLY));
  auto facts = read_elf_facts(fd.get());
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->bits, 64);
  EXPECT_EQ(facts->machine, native_machine());
  EXPECT_THAT(facts->loader.value_or(""), HasSubstr("ld-linux"));
  EXPECT_THAT(facts->needed, testing::Contains("libc.so.6"));
}

// Whatever the bytes say, reading ends and stays inside the file.
TEST_F(ProcessTest, DamagedElfFiles) {
  std::string good = read_file("/proc/self/exe", 4096).value();
  auto read = [&](const std::string& bytes) {
    FileDescriptor fd(::open(write("damaged", bytes).c_str(), O_RDONLY));
    return read_elf_facts(fd.get());
  };
  EXPECT_FALSE(read(""));
  EXPECT_FALSE(
      read("\x7f"
           "ELF"));
  for (size_t size = 0; size < 1024; size += 7) read(good.substr(0, size));
  for (size_t at = 0; at < sizeof(Elf64_Ehdr) + 16 * sizeof(Elf64_Phdr); at++) {
    for (char value : {'\0', '\x7f', '\xff'}) {
      std::string bad = good;
      bad[at] = value;
      read(bad);
    }
  }
}

TEST_F(ProcessTest, CommandsAreFoundAsExecvpFindsThem) {
  fs::create_directories(directory_ / "a");
  fs::create_directories(directory_ / "b");
  write("a/tool", "", 0644);
  std::string tool = write("b/tool", "", 0755);
  const char* path_variable = std::getenv("PATH");
  std::string old_path = path_variable == nullptr ? "" : path_variable;
  auto find = [&](const std::string& command) { return find_command(command); };

  ::setenv("PATH", fmt::format("{0}/a:{0}/b", directory_.string()).c_str(), 1);
  EXPECT_EQ(find("tool").value_or(""), tool) << "one that cannot be executed is passed over";
  EXPECT_EQ(find("none").error().exit_code, 127);
  EXPECT_EQ(find("").error().exit_code, 127);
  ::setenv("PATH", (directory_ / "a").c_str(), 1);
  EXPECT_EQ(find("tool").error().exit_code, 126);
  EXPECT_EQ(find(directory_ / "b").error().exit_code, 126) << "a directory";
  EXPECT_EQ(find(tool).value_or(""), tool);
  EXPECT_EQ(find(tool + "/x").error().exit_code, 127);
  ::setenv("PATH", old_path.c_str(), 1);
}

TEST_F(ProcessTest, ScriptsThatEndNowhere) {
  std::string script = write("script", "#!\n", 0755);
  EXPECT_TRUE(check_target(script));
  script = write("script", "#!   ", 0755);
  EXPECT_TRUE(check_target(script));
  // Its own interpreter: the kernel gives up after a few levels, and so do we.
  script = write("script", fmt::format("#!{}/script\n", directory_.string()), 0755);
  EXPECT_TRUE(check_target(script));
  EXPECT_TRUE(check_target(write("empty", "", 0755)));
}

TEST(SupervisorTest, StatusDeadlineAndFailedExec) {
  auto never = [](pid_t) {};
  {
    Supervisor supervisor;
    pid_t announced = 0;
    ASSERT_TRUE(
        supervisor.start({"/bin/sh", {"sh", "-c", "exit $((ASYNCTRACE_RUN_PID == $$ ? 9 : 1))"}, {}, true},
                         [&](pid_t pid) { announced = pid; }));
    EXPECT_EQ(announced, supervisor.target());
    EXPECT_EQ(supervisor.wait(std::nullopt), Supervisor::Event::kTargetEnded);
    EXPECT_EQ(supervisor.exit_code(), 9);
  }
  {
    Supervisor supervisor;
    ASSERT_TRUE(supervisor.start({"/bin/sh", {"sh", "-c", "kill -STOP $$"}, {}, true}, never));
    EXPECT_EQ(supervisor.wait(Supervisor::Clock::now()), Supervisor::Event::kDeadline);
    supervisor.end_tree(std::chrono::seconds(60));
    EXPECT_EQ(supervisor.exit_code(), 128 + SIGTERM) << "a stopped one is continued, so that it can end";
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "nothing is left";
  }
  {
    Supervisor supervisor;
    ASSERT_TRUE(supervisor.start({"/bin/true", {"true"}, {}, true}, never));
    // Ends only if an end is seen under a deadline that is always due.
    while (supervisor.wait(Supervisor::Clock::now()) != Supervisor::Event::kTargetEnded) {
    }
    EXPECT_EQ(supervisor.exit_code(), 0);
  }
  {
    Supervisor supervisor;
    auto started = supervisor.start({"/no/such/program", {"x"}, {}, true}, never);
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().exit_code, 127);
  }
}

}  // namespace
}  // namespace asynctrace
