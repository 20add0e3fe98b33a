// Separate debug files: where a distribution or `objcopy --only-keep-debug` puts what it took out of a file.
// Reads the file system; never asks a server.
#pragma once

#include <memory>
#include <string>

#include "cli/symbols/elf_file.hpp"

namespace asynctrace {

inline constexpr const char* kSystemDebugRoot = "/usr/lib/debug";

// .build-id/xx/yyy.debug under ROOT and in .debug/ beside the file, then .gnu_debuglink beside the file, in
// .debug/ and under ROOT. Only a file with the same build-id is taken: without one nothing proves that the
// two belong together. null: none.
std::unique_ptr<ElfFile> find_debug_file(const ElfFile& file, const std::string& root = kSystemDebugRoot);

std::string hex(std::span<const uint8_t> build_id);

}  // namespace asynctrace
