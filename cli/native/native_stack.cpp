#include "cli/native/native_stack.hpp"

#include <fcntl.h>
#include <sys/uio.h>
#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <memory>

#include <elfutils/libdwfl.h>
#include <fmt/format.h>

#include "cli/native/thread_image.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

struct EndDwfl {
  void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
};
using DwflHandle = std::unique_ptr<Dwfl, EndDwfl>;

struct EndElf {
  void operator()(Elf* elf) const { elf_end(elf); }
};

// Unwind tables are in the loaded files themselves; a search for debug info could go to the network.
int no_debug_info(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*, GElf_Word,
                  char**) {
  return -1;
}

// As the process itself sees the path: it may live in another mount namespace.
int find_elf_of_process(Dwfl_Module* module, void** pid, const char* name, Dwarf_Addr base, char** file_name,
                        Elf** elf) {
  if (name[0] == '/' && *pid != nullptr) {
    const std::string path = fmt::format("/proc/{}/root{}", *static_cast<const pid_t*>(*pid), name);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) {
      *file_name = ::strdup(path.c_str());
      return fd;
    }
  }
  return dwfl_linux_proc_find_elf(module, pid, name, base, file_name, elf);
}

// The files that a core file names have been opened, if they are the same, before anyone asks.
int no_other_file(Dwfl_Module*, void**, const char*, Dwarf_Addr, char**, Elf**) {
  return -1;
}

constexpr Dwfl_Callbacks kProcessCallbacks = {find_elf_of_process, no_debug_info, nullptr, nullptr};
constexpr Dwfl_Callbacks kCoreCallbacks = {no_other_file, no_debug_info, nullptr, nullptr};

tl::unexpected<Error> failed(const std::string& what) {
  const char* reason = dwfl_errmsg(-1);
  return fail(fmt::format("{}: {}", what, reason != nullptr ? reason : "no frame"));
}

int add_frame(Dwfl_Frame* frame, void* argument) {
  auto& pcs = *static_cast<std::vector<uint64_t>*>(argument);
  Dwarf_Addr pc = 0;
  bool interrupted = false;
  if (!dwfl_frame_pc(frame, &pc, &interrupted)) return DWARF_CB_ABORT;
  pcs.push_back(interrupted ? pc + 1 : pc);
  return pcs.size() < kMaxNativeFrames ? DWARF_CB_OK : DWARF_CB_ABORT;
}

int add_whole_frame(Dwfl_Frame* frame, void* argument) {
  auto& thread = *static_cast<NativeThread*>(argument);
  const int result = add_frame(frame, &thread.pcs);
  if (thread.registers.size() == thread.pcs.size()) return result;
  FrameRegisters& registers = thread.registers.emplace_back();
  for (size_t i = 0; i < registers.size(); ++i) {
    Dwarf_Word value = 0;
    if (dwfl_frame_reg(frame, static_cast<unsigned>(i), &value) == 0) registers[i] = value;
  }
  return result;
}

int add_thread(Dwfl_Thread* thread, void* threads) {
  NativeThread& added = static_cast<std::vector<NativeThread>*>(threads)->emplace_back();
  added.tid = dwfl_thread_tid(thread);
  added.is_whole = dwfl_thread_getframes(thread, add_whole_frame, &added) == 0;
  return DWARF_CB_OK;
}

// The result of the walk itself is no news: at the end of the tables it is an error.
std::vector<uint64_t> frames_of(Dwfl* dwfl, pid_t tid) {
  std::vector<uint64_t> pcs;
  dwfl_getthread_frames(dwfl, tid, add_frame, &pcs);
  return pcs;
}

// The files that the process maps. `pid` must outlive the handle.
Result<DwflHandle> map_process(const std::string& what, pid_t& pid) {
  DwflHandle dwfl(dwfl_begin(&kProcessCallbacks));
  if (!dwfl) return failed(what);
  if (const int error = dwfl_linux_proc_report(dwfl.get(), pid); error != 0)
    return error > 0 ? fail(fmt::format("{}: {}", what, ::strerror(error))) : failed(what);
  if (dwfl_report_end(dwfl.get(), nullptr, nullptr) != 0) return failed(what);
  dwfl_getmodules(
      dwfl.get(),
      [](Dwfl_Module*, void** userdata, const char*, Dwarf_Addr, void* process) {
        *userdata = process;
        return int{DWARF_CB_OK};
      },
      &pid, 0);
  return dwfl;
}

struct ImageOfThread {
  pid_t tid;
  const ThreadImage* image;
};

struct ImagesOfProcess {
  pid_t pid;
  std::vector<ImageOfThread> threads;
  const ThreadImage* current = nullptr;  // of the thread that is being walked
};

pid_t next_thread(Dwfl*, void* argument, void** previous) {
  auto& process = *static_cast<ImagesOfProcess*>(argument);
  auto* next = *previous == nullptr ? process.threads.data() : static_cast<ImageOfThread*>(*previous) + 1;
  if (next == process.threads.data() + process.threads.size()) return 0;
  *previous = next;
  process.current = next->image;
  return next->tid;
}

bool find_thread(Dwfl*, pid_t tid, void* argument, void** found) {
  auto& process = *static_cast<ImagesOfProcess*>(argument);
  const auto thread = std::ranges::find(process.threads, tid, &ImageOfThread::tid);
  if (thread == process.threads.end()) return false;
  *found = &*thread;
  process.current = thread->image;
  return true;
}

// Of the copied stack; what lies elsewhere, say a table in the program, does not change.
bool read_word(Dwfl*, Dwarf_Addr address, Dwarf_Word* result, void* argument) {
  const auto& process = *static_cast<ImagesOfProcess*>(argument);
  const ThreadImage& image = *process.current;
  const uint64_t offset = address - image.stack_start;
  if (address >= image.stack_start && offset + sizeof(*result) <= image.stack.size()) {
    std::memcpy(result, &image.stack[offset], sizeof(*result));
    return true;
  }
  const iovec into{result, sizeof(*result)}, from{reinterpret_cast<void*>(address), sizeof(*result)};
  return ::process_vm_readv(process.pid, &into, 1, &from, 1, 0) == ssize_t{sizeof(*result)};
}

bool set_registers(Dwfl_Thread* thread, void* argument) {
  const ThreadImage& image = *static_cast<ImageOfThread*>(argument)->image;
  for (size_t i = 0; i < image.registers.size(); ++i) {
    const Dwarf_Word value = image.registers[i].value_or(0);
    if (image.registers[i] && !dwfl_thread_state_registers(thread, static_cast<int>(i), 1, &value))
      return false;
  }
  return true;
}

// Opens a core file with the files that it names, and has `read` look at its threads.
template <typename Read>
auto with_core(const std::string& core, const std::string& executable, Read read)
    -> decltype(read(nullptr, pid_t{})) {
  const FileDescriptor file(::open(core.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail(fmt::format("{}: {}", core, ::strerror(errno)));
  elf_version(EV_CURRENT);
  const std::unique_ptr<Elf, EndElf> elf(elf_begin(file.get(), ELF_C_READ_MMAP, nullptr));
  if (!elf) return fail(fmt::format("{}: {}", core, elf_errmsg(-1)));
  const DwflHandle dwfl(dwfl_begin(&kCoreCallbacks));
  const char* program = executable.empty() ? nullptr : executable.c_str();
  if (!dwfl || dwfl_core_file_report(dwfl.get(), elf.get(), program) < 0 ||
      dwfl_report_end(dwfl.get(), nullptr, nullptr) != 0)
    return failed(core);
  const pid_t pid = dwfl_core_file_attach(dwfl.get(), elf.get());
  if (pid < 0) return failed(core);
  return read(dwfl.get(), pid);
}

constexpr Dwfl_Thread_Callbacks kImageCallbacks = {next_thread,   find_thread, read_word,
                                                   set_registers, nullptr,     nullptr};

// One for each of the images.
std::vector<NativeThread> walk_images(pid_t pid, const std::vector<std::pair<pid_t, ThreadImage>>& images) {
  ImagesOfProcess process{pid, {}, nullptr};
  for (const auto& [tid, image] : images) process.threads.push_back({tid, &image});
  std::vector<NativeThread> threads;
  const auto dwfl = map_process(fmt::format("process {}", pid), pid);
  if (dwfl && dwfl_attach_state(dwfl->get(), nullptr, pid, &kImageCallbacks, &process))
    dwfl_getthreads(dwfl->get(), add_thread, &threads);
  for (size_t i = threads.size(); i < images.size(); ++i)
    threads.push_back({images[i].first, {}, {}, false, 0, "its stack could not be walked"});
  for (size_t i = 0; i < images.size(); ++i) threads[i].stopped_ns = images[i].second.stopped_ns;
  return threads;
}

}  // namespace

Result<std::vector<uint64_t>> native_stack_of_stopped_thread(pid_t pid, pid_t tid) {
  const std::string what = fmt::format("stack of thread {} of process {}", tid, pid);
  auto dwfl = map_process(what, pid);
  if (!dwfl) return tl::unexpected(dwfl.error());
  if (const int error = dwfl_linux_proc_attach(dwfl->get(), pid, true); error != 0)
    return error > 0 ? fail(fmt::format("{}: {}", what, ::strerror(error))) : failed(what);
  std::vector<uint64_t> pcs = frames_of(dwfl->get(), tid);
  if (pcs.empty()) return failed(what);
  return pcs;
}

Result<std::vector<uint64_t>> native_stack_of_image(pid_t pid, pid_t tid, const ThreadImage& image) {
  const std::string what = fmt::format("stack of thread {} of process {}", tid, pid);
  ImagesOfProcess process{pid, {{tid, &image}}, &image};
  auto dwfl = map_process(what, pid);
  if (!dwfl) return tl::unexpected(dwfl.error());
  if (!dwfl_attach_state(dwfl->get(), nullptr, pid, &kImageCallbacks, &process)) return failed(what);
  std::vector<uint64_t> pcs = frames_of(dwfl->get(), tid);
  if (pcs.empty()) return failed(what);
  return pcs;
}

Result<CoreStack> native_stack_of_core(const std::string& core, const std::string& executable) {
  return with_core(core, executable, [&](Dwfl* dwfl, pid_t pid) -> Result<CoreStack> {
    CoreStack stack{pid, 0, {}};
    // The kernel writes the thread that it killed first.
    dwfl_getthreads(
        dwfl,
        [](Dwfl_Thread* thread, void* tid) {
          *static_cast<pid_t*>(tid) = dwfl_thread_tid(thread);
          return int{DWARF_CB_ABORT};
        },
        &stack.tid);
    stack.pcs = frames_of(dwfl, stack.tid);
    if (stack.pcs.empty()) return failed(core);
    return stack;
  });
}

Result<std::vector<NativeThread>> native_stacks_of_core(const std::string& core,
                                                        const std::string& executable) {
  return with_core(core, executable, [](Dwfl* dwfl, pid_t) -> Result<std::vector<NativeThread>> {
    std::vector<NativeThread> threads;
    dwfl_getthreads(dwfl, add_thread, &threads);
    return threads;
  });
}

std::vector<NativeThread> native_stacks_of_process(pid_t pid, bool may_stop) {
  std::vector<std::pair<pid_t, ThreadImage>> read;
  std::vector<NativeThread> unread;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), gone)) {
    const std::string name = entry.path().filename();
    pid_t tid = 0;
    std::from_chars(name.data(), name.data() + name.size(), tid);
    if (auto image = copy_thread(pid, tid, may_stop)) {
      image->stack.shrink_to_fit();  // room was made for the largest, and there may be thousands
      if (image->registers[kStackPointer] != 0) read.emplace_back(tid, std::move(*image));
    } else if (std::filesystem::exists(entry.path(), gone)) {
      unread.push_back({tid, {}, {}, false, 0, image.error().message});
    }
  }
  std::vector<NativeThread> threads = walk_images(pid, read);
  threads.insert(threads.end(), unread.begin(), unread.end());
  return threads;
}

Result<NativeThread> native_stack_of_held_thread(pid_t pid, pid_t tid) {
  auto image = copy_stopped_thread(pid, tid);
  if (!image) return tl::unexpected(image.error());
  return walk_images(pid, {{tid, std::move(*image)}}).front();
}

}  // namespace asynctrace
