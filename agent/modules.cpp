#include "agent/modules.hpp"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>

#include "agent/live.hpp"
#include "agent/platform.hpp"
#include "agent/proc_files.hpp"

namespace asynctrace::agent {
namespace {

constexpr size_t kMaxModules = 1024;
LoadedModule* g_modules = nullptr;
size_t g_count = 0;

int add_module(dl_phdr_info* info, size_t, void*) {
  if (g_count == kMaxModules) return 1;
  LoadedModule& module = g_modules[g_count];
  module = {info->dlpi_addr, UINT64_MAX, 0, info->dlpi_phdr, info->dlpi_phnum, nullptr, info->dlpi_name};
  for (const Elf64_Phdr& header : std::span(info->dlpi_phdr, info->dlpi_phnum)) {
    const uint64_t address = module.bias + header.p_vaddr;
    if (header.p_type == PT_LOAD) {
      module.start = std::min(module.start, address);
      module.end = std::max(module.end, address + header.p_memsz);
    } else if (header.p_type == PT_GNU_EH_FRAME) {
      module.eh_frame_hdr = reinterpret_cast<const unsigned char*>(address);
    }
  }
  if (module.end != 0) g_count++;
  return 0;
}

// Notes of a loaded module lie in its own memory.
void copy_build_id(const LoadedModule& module, segment::Module& out) {
  for (const Elf64_Phdr& header : std::span(module.headers, module.header_count)) {
    if (header.p_type != PT_NOTE) continue;
    const auto* at = reinterpret_cast<const unsigned char*>(module.bias + header.p_vaddr);
    const auto* end = at + header.p_memsz;
    while (at + sizeof(Elf64_Nhdr) <= end) {
      const auto* note = reinterpret_cast<const Elf64_Nhdr*>(at);
      const auto* name = at + sizeof(Elf64_Nhdr);
      const auto* data = name + round_up(note->n_namesz, 4);
      if (data + note->n_descsz > end) break;
      if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(name, "GNU", 4) == 0) {
        out.build_id_size = std::min<uint32_t>(note->n_descsz, sizeof(out.build_id));
        memcpy(out.build_id, data, out.build_id_size);
        return;
      }
      at = data + round_up(note->n_descsz, 4);
    }
  }
}

}  // namespace

bool start_modules() {
  g_modules = reserve_array<LoadedModule>(kMaxModules);
  if (g_modules == nullptr) return false;
  dl_iterate_phdr(add_module, nullptr);
  return g_count != 0;
}

std::span<const LoadedModule> modules() {
  return {g_modules, g_count};
}

const LoadedModule* find_module(uint64_t address) {
  for (const LoadedModule& module : modules())
    if (address >= module.start && address < module.end) return &module;
  return nullptr;
}

// The loader lists the executable first.
const LoadedModule& main_module() {
  return g_modules[0];
}

void publish_modules() {
  for (const LoadedModule& module : modules()) {
    const uint32_t index = g_segment.take(segment::kModules, 1);
    if (index == kNone) return;
    segment::Module& out = g_segment.items<segment::Module>(segment::kModules)[index];
    out.bias = module.bias;
    out.start = module.start;
    out.end = module.end;
    out.path = module.path[0] == '\0' ? g_segment.header().exe
                                      : add_string(g_segment, module.path, strlen(module.path));
    copy_build_id(module, out);
  }
}

int iterate_modules(int (*callback)(dl_phdr_info*, size_t, void*), void* data) {
  for (const LoadedModule& module : modules()) {
    dl_phdr_info info = {};
    info.dlpi_addr = module.bias;
    info.dlpi_name = module.path;
    info.dlpi_phdr = module.headers;
    info.dlpi_phnum = module.header_count;
    const int result = callback(&info, sizeof(info), data);
    if (result != 0) return result;
  }
  return 0;
}

}  // namespace asynctrace::agent
