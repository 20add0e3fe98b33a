#include "cli/census/process_image.hpp"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "cli/process/file_descriptor.hpp"
#include "cli/process/proc.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kMaxHeaders = 64;
constexpr uint64_t kMaxNotes = 4096;
constexpr uint64_t kMaxGuard = 1 << 20;  // below a thread's stack; what a heap has not used yet is larger

template <typename T>
bool read_value(const Memory& memory, uint64_t address, T& value) {
  return memory.read(address, std::as_writable_bytes(std::span(&value, 1)));
}

std::vector<uint8_t> find_build_id(const Memory& memory, uint64_t address, uint64_t size) {
  std::vector<std::byte> notes(std::min(size, kMaxNotes));
  if (!memory.read(address, notes)) return {};
  const auto padded = [](uint64_t length) { return (length + 3) / 4 * 4; };
  for (uint64_t at = 0; notes.size() - at >= sizeof(Elf64_Nhdr);) {
    Elf64_Nhdr note;
    std::memcpy(&note, &notes[at], sizeof note);
    const uint64_t content = at + sizeof note + padded(note.n_namesz);
    const uint64_t next = content + padded(note.n_descsz);
    if (next > notes.size() || next <= at) break;
    const auto* bytes = reinterpret_cast<const uint8_t*>(notes.data());
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof ELF_NOTE_GNU &&
        std::memcmp(bytes + at + sizeof note, ELF_NOTE_GNU, sizeof ELF_NOTE_GNU) == 0)
      return {bytes + content, bytes + content + note.n_descsz};
    at = next;
  }
  return {};
}

// Of the file whose first page lies at `start`.
std::optional<Module> read_module(const Memory& memory, uint64_t start) {
  Elf64_Ehdr header;
  if (!read_value(memory, start, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr))
    return std::nullopt;
  std::array<Elf64_Phdr, kMaxHeaders> all;
  const auto headers = std::span(all).first(std::min<size_t>(header.e_phnum, kMaxHeaders));
  if (!memory.read(start + header.e_phoff, std::as_writable_bytes(headers))) return std::nullopt;
  Module module;
  bool is_first = true;
  for (const Elf64_Phdr& part : headers) {
    if (part.p_type != PT_LOAD) continue;
    if (is_first) {
      module.bias = start - (part.p_vaddr - part.p_offset);
      module.start = start;
      is_first = false;
    }
    module.end = std::max(module.end, module.bias + part.p_vaddr + part.p_memsz);
  }
  if (module.end <= module.start) return std::nullopt;
  for (const Elf64_Phdr& part : headers) {
    if (part.p_type == PT_NOTE && module.build_id.empty())
      module.build_id = find_build_id(memory, module.bias + part.p_vaddr, part.p_filesz);
  }
  return module;
}

// Adds the parts of [start, end) that have pages; reading others would only make the process larger.
void add_resident(const FileDescriptor& pagemap, const MemoryRange& range, std::vector<MemoryRange>& found) {
  constexpr uint64_t kHasPage = uint64_t{3} << 62;  // in memory, or in swap
  std::array<uint64_t, 4096> entries;
  for (uint64_t at = range.start; at < range.end;) {
    const size_t count = std::min<uint64_t>(entries.size(), (range.end - at) / kPage);
    const ssize_t size = ::pread(pagemap.get(), entries.data(), count * sizeof(uint64_t),
                                 static_cast<off_t>(at / kPage * sizeof(uint64_t)));
    if (size < ssize_t{sizeof(uint64_t)}) {
      found.push_back({at, range.end, range.is_stack});
      return;
    }
    for (size_t i = 0; i < static_cast<size_t>(size) / sizeof(uint64_t); ++i, at += kPage) {
      if ((entries[i] & kHasPage) == 0) continue;
      if (!found.empty() && found.back().end == at && found.back().start >= range.start)
        found.back().end = at + kPage;
      else found.push_back({at, at + kPage, range.is_stack});
    }
  }
}

std::vector<MemoryRange> writable_parts(pid_t pid, std::span<const Mapping> mappings) {
  const FileDescriptor pagemap(::open(fmt::format("/proc/{}/pagemap", pid).c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<MemoryRange> found;
  const Mapping* before = nullptr;
  for (const Mapping& mapping : mappings) {
    const bool has_guard = before != nullptr && before->end == mapping.start && !before->readable &&
                           before->path.empty() && before->end - before->start <= kMaxGuard;
    before = &mapping;
    if (!mapping.readable || !mapping.writable || mapping.shared || mapping.path.starts_with("[v")) continue;
    const bool is_stack = mapping.path == "[stack]" || (has_guard && mapping.path.empty());
    add_resident(pagemap, {mapping.start, mapping.end, is_stack}, found);
  }
  return found;
}

std::string why_not_readable() {
  const std::string scope = read_file("/proc/sys/kernel/yama/ptrace_scope").value_or("");
  if (scope.starts_with('1')) return "the kernel lets only its parent do so (kernel.yama.ptrace_scope is 1)";
  if (scope.starts_with('2')) return "the kernel lets only root do so (kernel.yama.ptrace_scope is 2)";
  if (scope.starts_with('3')) return "the kernel lets nobody do so (kernel.yama.ptrace_scope is 3)";
  return std::strerror(EPERM);
}

}  // namespace

std::vector<Module> modules_of(std::span<const Mapping> mappings, const Memory& memory) {
  std::vector<Module> modules;
  for (const Mapping& mapping : mappings) {
    if (mapping.offset != 0 || !mapping.path.starts_with('/')) continue;
    // A file can be mapped as data besides, and its first page twice.
    if (!modules.empty() && mapping.start < modules.back().end) continue;
    auto module = read_module(memory, mapping.start);
    if (!module) continue;
    module->path = mapping.path;
    modules.push_back(std::move(*module));
  }
  return modules;
}

Result<ProcessImage> open_process_image(pid_t pid) {
  const auto maps = read_file(fmt::format("/proc/{}/maps", pid));
  if (!maps) return fail(fmt::format("/proc/{}/maps: {}", pid, std::strerror(errno)));
  const std::vector<Mapping> mappings = parse_mappings(*maps);
  ProcessImage image;
  image.memory = std::make_unique<ProcessMemory>(pid);
  const auto readable = std::ranges::find_if(mappings, &Mapping::readable);
  if (readable == mappings.end() || !image.memory->number(readable->start)) {
    return fail(fmt::format("process {}: its memory may not be read: {}", pid, why_not_readable()),
                "run this as root");
  }
  image.writable = writable_parts(pid, mappings);
  image.modules = modules_of(mappings, *image.memory);
  return image;
}

}  // namespace asynctrace
