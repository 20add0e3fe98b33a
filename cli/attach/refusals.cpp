#include "cli/attach/refusals.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "cli/attach/status_file.hpp"
#include "cli/process/elf_facts.hpp"
#include "cli/process/proc.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kKernelThread = 0x00200000;  // PF_KTHREAD
constexpr int kPtraceCapability = 19;

tl::unexpected<Error> refuse(const PinnedProcess& process, std::string_view reason, std::string remedy) {
  return fail(fmt::format("cannot attach to process {} ({}): {}", process.pid(), process.name(), reason),
              std::move(remedy));
}

bool has_capability(const StatusFile& status, int number) {
  return (status.hex("CapEff") >> number & 1) != 0;
}

Result<void> check_life(const PinnedProcess& process, const StatusFile& status) {
  const pid_t pid = process.pid();
  const auto stat = read_stat(pid);
  if (!stat) return refuse(process, "it has ended", "`asynctrace ps` lists the traced processes");
  if ((stat->flags & kKernelThread) != 0)
    return refuse(process, "it is a thread of the kernel", "name a process of a program");
  if (stat->state == 'Z')
    return refuse(process, fmt::format("it has ended, and waits for its parent, process {}", stat->ppid),
                  "there is nothing left to look at");
  const std::string tracer = status.text("TracerPid");
  if (!tracer.empty() && tracer != "0") {
    const auto by = read_stat(std::atoi(tracer.c_str()));
    return refuse(process,
                  fmt::format("process {} ({}) traces it already", tracer, by ? by->name : "unknown"),
                  "end that debugger first, or let it go on");
  }
  if (stat->state == 'T') return refuse(process, "it is stopped", fmt::format("kill -CONT {}", pid));
  if (stat->state == 'D' && status.text("Threads") == "1") {
    const std::string place = read_file(fmt::format("/proc/{}/wchan", pid)).value_or("");
    const bool known = !place.empty() && place != "0";
    return refuse(process,
                  fmt::format("it sleeps in the kernel{}, where nothing can interrupt it",
                              known ? fmt::format(" ({})", place) : ""),
                  "try again when it goes on");
  }
  return {};
}

// Told apart in the order of the kernel's __ptrace_may_access() and of Yama.
Result<void> check_permission(const PinnedProcess& process, const StatusFile& status) {
  const pid_t pid = process.pid();
  const StatusFile self = StatusFile::read(::getpid());
  const bool privileged = has_capability(self, kPtraceCapability);
  const std::string yama = read_file("/proc/sys/kernel/yama/ptrace_scope").value_or("0");
  if (yama.starts_with('3'))
    return refuse(process, "kernel.yama.ptrace_scope is 3: nobody may trace until the next boot",
                  "start it with: asynctrace run");
  if (privileged && (::access(fmt::format("/proc/{}/ns/user", pid).c_str(), F_OK) == 0 || errno == ENOENT))
    return {};
  const std::string owner = status.first_id("Uid");
  if (owner != std::to_string(::geteuid()))
    return refuse(process, fmt::format("it belongs to another user (uid {})", owner),
                  "run asynctrace as that user, or as root");
  struct stat directory {};
  const bool hidden =
      ::stat(fmt::format("/proc/{}/mem", pid).c_str(), &directory) == 0 && directory.st_uid != ::geteuid();
  if (hidden)
    return refuse(process,
                  "it has protected itself or was started with privileges (setuid, file capabilities, "
                  "PR_SET_DUMPABLE)",
                  "run asynctrace as root");
  if ((status.hex("CapPrm") & ~self.hex("CapPrm")) != 0)
    return refuse(process, "it has capabilities that asynctrace has not", "run asynctrace as root");
  if (yama.starts_with('1'))
    return refuse(process, "kernel.yama.ptrace_scope is 1: only root and its own ancestors may trace it",
                  "run asynctrace as root; or: sysctl kernel.yama.ptrace_scope=0");
  if (yama.starts_with('2'))
    return refuse(process, "kernel.yama.ptrace_scope is 2: only root may trace", "run asynctrace as root");
  return {};
}

Result<void> check_program(const PinnedProcess& process) {
  const FileDescriptor exe(
      ::open(fmt::format("/proc/{}/exe", process.pid()).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const auto facts = exe ? read_elf_facts(exe.get()) : std::nullopt;
  if (!facts) return refuse(process, "its program cannot be read", "run asynctrace as root");
  if (facts->machine != native_machine() || facts->bits != 64)
    return refuse(process, fmt::format("it is a {} program, and the agent is not", architecture_name(*facts)),
                  fmt::format("build it for {}", architecture_name({64, native_machine(), {}, {}})));
  if (!facts->loader)
    return refuse(process, "it is statically linked, so it can load no library",
                  "link it dynamically (Rust: a -gnu target without -C target-feature=+crt-static)");
  if (facts->loader->find("ld-musl") != std::string::npos)
    return refuse(process, "it is linked against musl, and the agent needs the GNU C library",
                  "build it for a -gnu target (Rust: --target x86_64-unknown-linux-gnu)");
  return {};
}

Result<void> check_hardening(const PinnedProcess& process, const StatusFile& status, bool force) {
  if (status.text("x86_Thread_features").find("shstk") != std::string::npos)
    return refuse(process, "it has a shadow stack, which forbids the way in",
                  "start it with: asynctrace run, or without GLIBC_TUNABLES=glibc.cpu.x86_shstk=on");
  const std::string seccomp = status.text("Seccomp");
  if (seccomp == "1")
    return refuse(process, "seccomp allows it nothing but to read, write and end", "there is no way in");
  if (seccomp == "2" && !force)
    return refuse(process,
                  "it has a seccomp filter, which may end it for a system call of the agent (openat, mmap, "
                  "mprotect, madvise)",
                  "--force, if its filter allows these");
  return {};
}

bool is_same_file(const std::string& a, const std::string& b) {
  struct stat first {
  }, second{};
  if (::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 && first.st_dev == second.st_dev &&
      first.st_ino == second.st_ino)
    return true;
  const auto x = read_file(a), y = read_file(b);
  return x && x == y;
}

}  // namespace

Result<PinnedProcess> PinnedProcess::pin(pid_t pid) {
  FileDescriptor fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const auto stat = read_stat(pid);
  if (!stat) return fail(fmt::format("process {} does not exist", pid), "`ps -e` lists processes");
  const StatusFile status = StatusFile::read(pid);
  if (status.text("Tgid") != std::to_string(pid))
    return fail(fmt::format("{} is a thread of process {}", pid, status.text("Tgid")),
                fmt::format("asynctrace attach {}", status.text("Tgid")));
  return PinnedProcess(pid, std::move(fd), stat->start_time, stat->name);
}

bool PinnedProcess::still_there() const {
  const auto stat = read_stat(pid_);
  const bool ended = fd_ && ::syscall(SYS_pidfd_send_signal, fd_.get(), 0, nullptr, 0) != 0 && errno == ESRCH;
  return !ended && stat && stat->start_time == start_time_;
}

Result<void> check_process(const PinnedProcess& process, bool force) {
  const StatusFile status = StatusFile::read(process.pid());
  return check_life(process, status)
      .and_then([&] { return check_permission(process, status); })
      .and_then([&] { return check_program(process); })
      .and_then([&] { return check_hardening(process, status, force); });
}

Result<std::string> path_in_target(const PinnedProcess& process, const std::string& library) {
  const std::string seen = fmt::format("/proc/{}/root{}", process.pid(), library);
  if (is_same_file(library, seen)) return library;
  return refuse(process, fmt::format("it lives in another mount namespace, and does not see {}", library),
                fmt::format("put the library there: mkdir -p {} && cp {} {}", seen.substr(0, seen.rfind('/')),
                            library, seen));
}

}  // namespace asynctrace
