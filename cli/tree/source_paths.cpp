#include "cli/tree/source_paths.hpp"

#include <filesystem>

namespace asynctrace {
namespace {

std::string_view without_slashes(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return path;
}

bool lies_below(std::string_view file, std::string_view directory) {
  if (!file.starts_with(directory)) return false;
  return file.size() == directory.size() || directory.ends_with('/') || file[directory.size()] == '/';
}

}  // namespace

std::string map_source(std::string_view file, const SourcePaths& paths) {
  if (file.empty()) return {};
  std::string mapped = std::filesystem::path(file).lexically_normal().string();
  for (const SourcePrefix& prefix : paths.replaced) {
    const std::string_view from = without_slashes(prefix.from);
    if (from.empty() || !lies_below(mapped, from)) continue;
    std::string_view rest = std::string_view(mapped).substr(from.size());
    while (rest.starts_with('/')) rest.remove_prefix(1);
    return (std::filesystem::path(prefix.to) / rest).lexically_normal().string();
  }
  return mapped;
}

std::string_view path_in(std::string_view root, std::string_view file) {
  if (file.starts_with("../")) return {};
  if (!file.starts_with('/')) return file;
  root = without_slashes(root);
  if (root.empty() || !lies_below(file, root) || file.size() <= root.size() + 1) return {};
  return file.substr(root == "/" ? 1 : root.size() + 1);
}

}  // namespace asynctrace
