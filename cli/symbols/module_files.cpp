#include "cli/symbols/module_files.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace asynctrace {
namespace {

std::unique_ptr<ElfFile> open_same_build(const std::string& path, std::span<const uint8_t> build_id) {
  if (path.empty()) return nullptr;
  auto file = ElfFile::open(path);
  return file && std::ranges::equal((*file)->build_id(), build_id) ? std::move(*file) : nullptr;
}

// The module under its own path, or why not.
ModuleFiles open_own(const Module& module, const std::string& path) {
  ModuleFiles files;
  auto opened = ElfFile::open(path);
  if (!opened) {
    files.refused = {MissingReason::kFileGone, fmt::format("{}: {}", path, opened.error())};
    return files;
  }
  const auto id = (*opened)->build_id();
  if (!module.build_id.empty() && !std::ranges::equal(id, module.build_id)) {
    files.refused = {MissingReason::kBuildIdDiffers,
                     fmt::format("{}: build-id differs (wants {}, has {})", path, hex(module.build_id),
                                 id.empty() ? "none" : hex(id))};
    return files;
  }
  files.file = std::move(*opened);
  return files;
}

}  // namespace

ModuleFiles find_module_files(const Module& module, const SymbolOptions& options, DebugDirectories& dirs,
                              DebuginfodClient* server) {
  ModuleFiles files = open_own(module, options.sysroot + module.path);
  const std::span<const uint8_t> id = module.build_id;
  if (!files.file && !id.empty()) files.file = dirs.find(id);
  if (!files.file && !id.empty() && server != nullptr) {
    files.file = open_same_build(server->find_debug_file(id), id);
    // Debug files of a distribution have everything; where a server knows none, the program itself has names.
    if (!files.file) files.file = open_same_build(server->find_executable(id), id);
  }
  if (!files.file) return files;
  files.refused = {};
  if (files.file->has_debug_info() && files.file->has_symtab()) return files;
  files.debug_file = dirs.find_debug_file(*files.file);
  if (!files.debug_file && server != nullptr && !files.file->has_debug_info() &&
      !files.file->build_id().empty()) {
    files.debug_file =
        open_same_build(server->find_debug_file(files.file->build_id()), files.file->build_id());
  }
  return files;
}

}  // namespace asynctrace
