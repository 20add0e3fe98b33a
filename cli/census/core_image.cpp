#include "cli/census/core_image.hpp"

#include <elf.h>
#include <fcntl.h>
#include <gelf.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "cli/crash_reader.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

constexpr size_t kStackPointer = 19;  // in elf_gregset_t
constexpr size_t kMaxNotes = size_t{256} << 20;

struct ElfEnd {
  void operator()(Elf* elf) const { elf_end(elf); }
};

// What the file holds of one range of addresses.
struct Part {
  uint64_t start, size, offset;
  bool writable;
};

class CoreMemory final : public Memory {
 public:
  CoreMemory(FileDescriptor file, std::vector<Part> parts)
      : file_(std::move(file)), parts_(std::move(parts)) {}

  bool read(uint64_t address, std::span<std::byte> into) const override {
    while (!into.empty()) {
      const auto next = std::ranges::upper_bound(parts_, address, {}, &Part::start);
      if (next == parts_.begin()) return false;
      const Part& part = *std::prev(next);
      const uint64_t skipped = address - part.start;
      if (skipped >= part.size) return false;
      const size_t size = std::min<uint64_t>(into.size(), part.size - skipped);
      if (::pread(file_.get(), into.data(), size, static_cast<off_t>(part.offset + skipped)) !=
          static_cast<ssize_t>(size))
        return false;
      address += size;
      into = into.subspan(size);
    }
    return true;
  }

 private:
  FileDescriptor file_;
  std::vector<Part> parts_;  // by start
};

template <typename T>
std::optional<T> value_at(std::string_view bytes, size_t at) {
  T value;
  if (at > bytes.size() || bytes.size() - at < sizeof value) return std::nullopt;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::string text_of(const char* bytes, size_t size) {
  return {bytes, ::strnlen(bytes, size)};
}

class Notes {
 public:
  void read(Elf_Data* data) {
    GElf_Nhdr note;
    size_t name = 0, content = 0;
    for (size_t at = 0; (at = gelf_getnote(data, at, &note, &name, &content)) > 0;)
      add(note.n_type, {static_cast<const char*>(data->d_buf) + content, note.n_descsz});
  }

  std::vector<Mapping> mappings;  // of files
  std::vector<uint64_t> stack_pointers;
  uint32_t pid = 0, first_tid = 0;
  int signal = 0;
  std::string arguments;
  uint64_t entry = 0;

 private:
  void add(uint32_t type, std::string_view bytes) {
    if (type == NT_FILE) add_files(bytes);
    if (type == NT_AUXV) add_auxv(bytes);
    if (type == NT_PRPSINFO) {
      const auto info = value_at<prpsinfo_t>(bytes, 0);
      if (!info) return;
      pid = static_cast<uint32_t>(info->pr_pid);
      arguments = text_of(info->pr_psargs, sizeof info->pr_psargs);
      while (arguments.ends_with(' ')) arguments.pop_back();
    }
    if (type == NT_PRSTATUS) {
      const auto status = value_at<prstatus_t>(bytes, 0);
      if (!status) return;
      stack_pointers.push_back(status->pr_reg[kStackPointer]);
      if (first_tid != 0) return;  // the kernel writes the thread that the signal killed first
      first_tid = static_cast<uint32_t>(status->pr_pid);
      signal = status->pr_cursig;
    }
  }

  // count, page size, {start, end, offset in pages}.., names that end with a zero.
  void add_files(std::string_view bytes) {
    constexpr size_t kEntry = 3 * sizeof(uint64_t), kFirst = 2 * sizeof(uint64_t);
    const auto count = value_at<uint64_t>(bytes, 0), page = value_at<uint64_t>(bytes, 8);
    if (!count || !page || *count > (bytes.size() - kFirst) / kEntry) return;
    std::string_view names = bytes.substr(kFirst + *count * kEntry);
    for (size_t i = 0; i < *count; ++i) {
      Mapping mapping;
      mapping.start = *value_at<uint64_t>(bytes, kFirst + i * kEntry);
      mapping.end = *value_at<uint64_t>(bytes, kFirst + i * kEntry + 8);
      mapping.offset = *value_at<uint64_t>(bytes, kFirst + i * kEntry + 16) * *page;
      mapping.path = names.substr(0, names.find('\0'));
      names.remove_prefix(std::min(names.size(), mapping.path.size() + 1));
      mappings.push_back(std::move(mapping));
    }
    std::ranges::sort(mappings, {}, &Mapping::start);
  }

  void add_auxv(std::string_view bytes) {
    for (size_t at = 0; const auto pair = value_at<Elf64_auxv_t>(bytes, at); at += sizeof *pair)
      if (pair->a_type == AT_ENTRY) entry = pair->a_un.a_val;
  }
};

std::vector<MemoryRange> writable_ranges(const std::vector<Part>& parts, const Notes& notes) {
  std::vector<MemoryRange> ranges;
  for (const Part& part : parts) {
    if (!part.writable) continue;
    const bool is_stack = std::ranges::any_of(
        notes.stack_pointers, [&](uint64_t pointer) { return pointer - part.start < part.size; });
    ranges.push_back({part.start, part.start + part.size, is_stack});
  }
  return ranges;
}

}  // namespace

bool is_core_file(const std::string& path) {
  const auto bytes = read_file(path, sizeof(Elf64_Ehdr));
  const auto header = bytes ? value_at<Elf64_Ehdr>(*bytes, 0) : std::nullopt;
  return header && std::memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_type == ET_CORE;
}

Result<CoreImage> open_core_image(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) return fail(fmt::format("{}: {}", path, ::strerror(errno)));
  elf_version(EV_CURRENT);
  const std::unique_ptr<Elf, ElfEnd> elf(elf_begin(file.get(), ELF_C_READ, nullptr));
  GElf_Ehdr header;
  size_t count = 0;
  if (!elf || gelf_getehdr(elf.get(), &header) == nullptr || header.e_type != ET_CORE ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      elf_getphdrnum(elf.get(), &count) != 0)
    return fail(path + ": not a core file of a 64-bit program", "name a core file, a segment or a pid");
  const auto size = static_cast<uint64_t>(status.st_size);
  std::vector<Part> parts;
  Notes notes;
  bool is_cut = false;
  for (size_t i = 0; i < count; ++i) {
    GElf_Phdr part;
    if (gelf_getphdr(elf.get(), static_cast<int>(i), &part) == nullptr) continue;
    if (part.p_offset > size) {
      is_cut = true;
      continue;
    }
    const uint64_t here = std::min(part.p_filesz, size - part.p_offset);
    is_cut |= here < part.p_filesz;
    if (part.p_type == PT_LOAD && here > 0 && here <= UINT64_MAX - part.p_vaddr)
      parts.push_back({part.p_vaddr, here, part.p_offset, (part.p_flags & PF_W) != 0});
    if (part.p_type != PT_NOTE || here > kMaxNotes) continue;
    Elf_Data* data = elf_getdata_rawchunk(elf.get(), static_cast<int64_t>(part.p_offset), here, ELF_T_NHDR);
    if (data != nullptr) notes.read(data);
  }
  std::ranges::sort(parts, {}, &Part::start);
  if (parts.empty() || notes.mappings.empty())
    return fail(fmt::format("{}: a core file that {}", path, is_cut ? "was cut short" : "names no files"));

  CoreImage image;
  image.process.writable = writable_ranges(parts, notes);
  image.process.memory = std::make_unique<CoreMemory>(std::move(file), std::move(parts));
  image.process.modules = modules_of(notes.mappings, *image.process.memory);
  image.pid = notes.pid;
  image.arguments = notes.arguments;
  for (size_t i = 0; i < image.process.modules.size(); ++i) {
    const Module& module = image.process.modules[i];
    if (notes.entry >= module.start && notes.entry < module.end) image.program = i;
  }
  if (is_crash_signal(notes.signal) && notes.first_tid != 0) {
    image.signal = notes.signal;
    image.crashed_tid = notes.first_tid;
  }
  image.written_realtime_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
  image.is_cut = is_cut;
  return image;
}

}  // namespace asynctrace
