// Reading a packed file. Believes none of its bytes. Allocates what pack_format.hpp allows, no more.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "cli/error.hpp"
#include "cli/mapped_bytes.hpp"
#include "cli/symbols/symbol_table.hpp"

namespace asynctrace::pack {

bool is_packed(std::span<const std::byte> file);

// Of a file that is_packed(); the error says what is wrong with it, without its name.
Result<MappedBytes> unpack_segment(std::span<const std::byte> file);
// One for each of `modules`.
Result<std::vector<ModuleSymbols>> unpack_symbols(std::span<const std::byte> file, size_t modules);

}  // namespace asynctrace::pack
