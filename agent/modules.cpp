#include "agent/modules.hpp"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>

#include "agent/arena.hpp"
#include "agent/interpose.hpp"
#include "agent/live.hpp"
#include "agent/platform.hpp"
#include "agent/proc_files.hpp"

namespace asynctrace::agent {
namespace {

constexpr size_t kMaxModules = 8192;
constexpr size_t kCopySpace = size_t{12} << 20;
LoadedModule* g_modules = nullptr;
std::atomic<size_t> g_count{0};
Arena g_copies;  // of paths and headers: the loader's own go with their modules, at any moment
uint32_t g_published = 0;
uint64_t g_loads = 0;  // of the loader's own counters, as of the last look
uint64_t g_unloads = 0;

// Notes of a loaded module lie in its own memory.
void copy_build_id(LoadedModule& module) {
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
        module.build_id_size = std::min<uint32_t>(note->n_descsz, sizeof(module.build_id));
        memcpy(module.build_id, data, module.build_id_size);
        return;
      }
      at = data + round_up(note->n_descsz, 4);
    }
  }
}

// False: it has no memory of its own.
bool describe(const dl_phdr_info& info, LoadedModule& module) {
  module.bias = info.dlpi_addr;
  module.start = UINT64_MAX;
  module.end = 0;
  module.headers = info.dlpi_phdr;
  module.header_count = info.dlpi_phnum;
  module.eh_frame_hdr = nullptr;
  module.path = info.dlpi_name;
  module.build_id_size = 0;
  for (const Elf64_Phdr& header : std::span(module.headers, module.header_count)) {
    const uint64_t address = module.bias + header.p_vaddr;
    if (header.p_type == PT_LOAD) {
      module.start = std::min(module.start, address);
      module.end = std::max(module.end, address + header.p_memsz);
    } else if (header.p_type == PT_GNU_EH_FRAME) {
      module.eh_frame_hdr = reinterpret_cast<const unsigned char*>(address);
    }
  }
  if (module.end == 0) return false;
  copy_build_id(module);
  return true;
}

// Whether addresses inside mean the same code. Only a build-id vouches for that where one of them may have
// been unloaded since.
bool is_same_file(const LoadedModule& a, const LoadedModule& b, bool stayed) {
  return a.bias == b.bias && a.start == b.start && a.end == b.end && (a.build_id_size != 0 || stayed) &&
         a.build_id_size == b.build_id_size && memcmp(a.build_id, b.build_id, a.build_id_size) == 0 &&
         strcmp(a.path, b.path) == 0;
}

// Null: no room.
LoadedModule* append(const LoadedModule& found, bool late) {
  const size_t count = g_count.load(std::memory_order_relaxed);
  const size_t length = strlen(found.path) + 1;
  auto* headers = count < kMaxModules ? g_copies.make<Elf64_Phdr>(found.header_count) : nullptr;
  char* path = headers != nullptr ? g_copies.make<char>(length) : nullptr;
  if (path == nullptr) return nullptr;
  memcpy(headers, found.headers, found.header_count * sizeof(Elf64_Phdr));
  memcpy(path, found.path, length);
  LoadedModule& module = g_modules[count];
  module.bias = found.bias;
  module.start = found.start;
  module.end = found.end;
  module.headers = headers;
  module.header_count = found.header_count;
  module.eh_frame_hdr = found.eh_frame_hdr;
  module.path = path;
  module.build_id_size = found.build_id_size;
  memcpy(module.build_id, found.build_id, sizeof(module.build_id));
  module.late = late;
  g_count.store(count + 1, std::memory_order_release);  // acquired in modules()
  return &module;
}

void note_counters(const dl_phdr_info& info) {
  g_loads = info.dlpi_adds;
  g_unloads = info.dlpi_subs;
}

int add_at_start(dl_phdr_info* info, size_t, void*) {
  LoadedModule found{};
  // A process that runs already may close again whatever it has opened.
  const bool may_go = came_late() && !modules().empty();
  if (describe(*info, found)) append(found, may_go);
  return note_counters(*info), 0;
}

// One look at the loader's list, by number of module: which ones are there, and which of them were not
// before.
struct Look {
  bool any_unloaded;  // since the last one
  bool is_there[kMaxModules];
  bool has_come[kMaxModules];
};

int look_at(dl_phdr_info* info, size_t, void* data) {
  auto& look = *static_cast<Look*>(data);
  LoadedModule found{};
  if (!describe(*info, found)) return 0;
  LoadedModule* known = nullptr;
  for (LoadedModule& module : modules()) {
    const bool stayed =
        !module.late || (!look.any_unloaded && !module.unloaded.load(std::memory_order_relaxed));
    if (is_same_file(module, found, stayed)) known = &module;
  }
  const bool is_new = known == nullptr;
  if (is_new) known = append(found, true);
  if (known == nullptr) return 0;
  look.is_there[known - g_modules] = true;
  look.has_come[known - g_modules] = is_new || known->unloaded.load(std::memory_order_relaxed);
  return note_counters(*info), 0;
}

enum Changes : int { kNoChange = 1, kLoads = 2, kUnloads = 3 };

int changes(dl_phdr_info* info, size_t, void*) {
  return info->dlpi_subs != g_unloads ? kUnloads : info->dlpi_adds != g_loads ? kLoads : kNoChange;
}

// False: no room.
bool publish(const LoadedModule& module) {
  const uint32_t index = g_segment.take(segment::kModules, 1);
  if (index == kNone) return false;
  segment::Module& out = g_segment.items<segment::Module>(segment::kModules)[index];
  out.bias = module.bias;
  out.start = module.start;
  out.path = module.path[0] == '\0' ? g_segment.header().exe
                                    : add_string(g_segment, module.path, strlen(module.path));
  out.build_id_size = module.build_id_size;
  memcpy(out.build_id, module.build_id, sizeof(out.build_id));
  out.unloaded = module.unloaded.load(std::memory_order_relaxed) ? 1 : 0;
  const bool has_own_loop = module.has_own_loop.load(std::memory_order_relaxed);
  out.loop = has_own_loop ? segment::ModuleLoop::kOwn : segment::ModuleLoop::kNone;
  // Acquired by SegmentReader::module().
  std::atomic_ref<uint64_t>(out.end).store(module.end, std::memory_order_release);
  return true;
}

void publish_unloaded(const LoadedModule& module) {
  const auto index = static_cast<uint32_t>(&module - g_modules);
  if (index >= g_published) return;
  std::atomic_ref<uint32_t>(g_segment.items<segment::Module>(segment::kModules)[index].unloaded)
      .store(module.unloaded.load(std::memory_order_relaxed) ? 1 : 0, std::memory_order_release);
}

}  // namespace

bool start_modules() {
  g_modules = reserve_array<LoadedModule>(kMaxModules);
  if (g_modules == nullptr || !g_copies.start(kCopySpace)) return false;
  dl_iterate_phdr(add_at_start, nullptr);
  return !modules().empty();
}

std::span<LoadedModule> modules() {
  return {g_modules, g_count.load(std::memory_order_acquire)};
}

const LoadedModule* find_module(uint64_t address) {
  for (const LoadedModule& module : modules())
    if (address >= module.start && address < module.end && !module.unloaded.load(std::memory_order_acquire))
      return &module;
  return nullptr;
}

// The loader lists the executable first.
const LoadedModule& main_module() {
  return g_modules[0];
}

const LoadedModule* agent_module() {
  return find_module(reinterpret_cast<uint64_t>(&agent_module));
}

bool is_mapped(const LoadedModule& module) {
  if (!module.late || module.eh_frame_hdr == nullptr) return true;
  const auto address = reinterpret_cast<uint64_t>(module.eh_frame_hdr);
  unsigned char resident;
  return mincore(reinterpret_cast<void*>(address & ~(segment::kPage - 1)), segment::kPage, &resident) == 0;
}

void refresh_modules(void (*gone)(LoadedModule&), void (*come)(LoadedModule&)) {
  static Look* look = nullptr;
  const int since = dl_iterate_phdr(changes, nullptr);
  if (since == kNoChange) return;
  if (look == nullptr) look = reserve_array<Look>(1);
  if (look == nullptr) return;
  const size_t known = modules().size();
  memset(look, 0, sizeof(Look));
  look->any_unloaded = since == kUnloads;
  dl_iterate_phdr(look_at, look);
  for (LoadedModule& module : modules().first(known)) {
    if (look->is_there[&module - g_modules] || module.unloaded.load(std::memory_order_relaxed)) continue;
    module.unloaded.store(true, std::memory_order_release);
    publish_unloaded(module);
    gone(module);
  }
  for (LoadedModule& module : modules()) {
    if (!look->has_come[&module - g_modules]) continue;
    module.unloaded.store(false, std::memory_order_release);
    publish_unloaded(module);
    come(module);
  }
}

void publish_modules() {
  const auto all = modules();
  while (g_published < all.size() && publish(all[g_published])) g_published++;
}

void republish_modules() {
  g_published = 0;
  publish_modules();
}

int iterate_modules(int (*callback)(dl_phdr_info*, size_t, void*), void* data) {
  for (const LoadedModule& module : modules()) {
    if (module.unloaded.load(std::memory_order_acquire) || !is_mapped(module)) continue;
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
