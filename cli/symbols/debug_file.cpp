#include "cli/symbols/debug_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <vector>

namespace asynctrace {

std::string hex(std::span<const uint8_t> build_id) {
  std::string text;
  for (uint8_t byte : build_id) fmt::format_to(std::back_inserter(text), "{:02x}", byte);
  return text;
}

std::unique_ptr<ElfFile> find_debug_file(const ElfFile& file, const std::string& root) {
  const auto id = file.build_id();
  if (id.size() < 2) return nullptr;
  const std::string text = hex(id);
  const std::string by_id = fmt::format(".build-id/{}/{}.debug", text.substr(0, 2), text.substr(2));
  std::error_code failed;
  const auto real = std::filesystem::canonical(file.path(), failed);
  const std::string folder = failed ? std::string(".") : real.parent_path().string();
  std::vector<std::string> candidates = {fmt::format("{}/{}", root, by_id),
                                         fmt::format("{}/.debug/{}", folder, by_id)};
  if (!file.debug_link().empty()) {
    candidates.push_back(fmt::format("{}/{}", folder, file.debug_link()));
    candidates.push_back(fmt::format("{}/.debug/{}", folder, file.debug_link()));
    candidates.push_back(fmt::format("{}{}/{}", root, folder, file.debug_link()));
  }
  for (const std::string& path : candidates) {
    auto found = ElfFile::open(path);
    if (found && std::ranges::equal((*found)->build_id(), id)) return std::move(*found);
  }
  return nullptr;
}

}  // namespace asynctrace
