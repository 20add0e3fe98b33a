#include "cli/symbols/debug_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

namespace asynctrace {
namespace {

namespace fs = std::filesystem;

std::string by_id(std::span<const uint8_t> build_id) {
  const std::string text = hex(build_id);
  return fmt::format(".build-id/{}/{}", text.substr(0, 2), text.substr(2));
}

// Of several the first with debug info: a stripped program may lie beside its debug file.
std::unique_ptr<ElfFile> best_of(const std::vector<std::string>& candidates, std::span<const uint8_t> id) {
  std::unique_ptr<ElfFile> best;
  for (const std::string& path : candidates) {
    auto found = ElfFile::open(path);
    if (!found || !std::ranges::equal((*found)->build_id(), id)) continue;
    if ((*found)->has_debug_info()) return std::move(*found);
    if (!best) best = std::move(*found);
  }
  return best;
}

}  // namespace

std::string hex(std::span<const uint8_t> build_id) {
  std::string text;
  for (uint8_t byte : build_id) fmt::format_to(std::back_inserter(text), "{:02x}", byte);
  return text;
}

DebugDirectories::DebugDirectories(std::vector<std::string> given, std::string system_root)
    : given_(std::move(given)), system_root_(std::move(system_root)) {}

const std::vector<DebugDirectories::Plain>& DebugDirectories::plain_files() {
  if (plain_) return *plain_;
  plain_.emplace();
  for (const std::string& directory : given_) {
    std::vector<std::string> paths;
    std::error_code failed;
    for (fs::directory_iterator entry(directory, failed), end; !failed && entry != end;
         entry.increment(failed)) {
      paths.push_back(entry->path().string());
    }
    std::ranges::sort(paths);
    for (std::string& path : paths) {
      const auto file = ElfFile::open(path);
      if (!file || (*file)->build_id().empty()) continue;
      const auto id = (*file)->build_id();
      plain_->push_back({{id.begin(), id.end()}, std::move(path)});
    }
  }
  return *plain_;
}

std::unique_ptr<ElfFile> DebugDirectories::find(std::span<const uint8_t> id) {
  if (id.size() < 2 || given_.empty()) return nullptr;
  std::vector<std::string> candidates;
  for (const std::string& directory : given_) {
    candidates.push_back(fmt::format("{}/{}.debug", directory, by_id(id)));
    candidates.push_back(fmt::format("{}/{}", directory, by_id(id)));
  }
  for (const Plain& plain : plain_files())
    if (std::ranges::equal(plain.build_id, id)) candidates.push_back(plain.path);
  return best_of(candidates, id);
}

std::unique_ptr<ElfFile> DebugDirectories::find_debug_file(const ElfFile& file) {
  const auto id = file.build_id();
  if (id.size() < 2) return nullptr;
  if (auto given = find(id); given && (given->has_debug_info() || given->has_symtab())) return given;
  std::error_code failed;
  const auto real = fs::canonical(file.path(), failed);
  const std::string folder = failed ? std::string(".") : real.parent_path().string();
  std::vector<std::string> candidates = {fmt::format("{}/{}.debug", system_root_, by_id(id)),
                                         fmt::format("{}/.debug/{}.debug", folder, by_id(id))};
  if (!file.debug_link().empty()) {
    candidates.push_back(fmt::format("{}/{}", folder, file.debug_link()));
    candidates.push_back(fmt::format("{}/.debug/{}", folder, file.debug_link()));
    candidates.push_back(fmt::format("{}{}/{}", system_root_, folder, file.debug_link()));
  }
  return best_of(candidates, id);
}

std::unique_ptr<ElfFile> find_debug_file(const ElfFile& file, const std::string& root) {
  return DebugDirectories({}, root).find_debug_file(file);
}

}  // namespace asynctrace
