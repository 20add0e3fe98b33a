// What the machine code of a coroutine's body tells: where in its frame it keeps the number of the suspension
// that it stands at, and the code around each of them. Compilers begin the body with a jump by that number,
// and store it before each suspension. x86-64, by Capstone. Decodes bytes of the module's file; trusts
// nothing in them. Allocates.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_set>
#include <vector>

#include "cli/coroutines/coroutine_functions.hpp"
#include "cli/symbols/elf_file.hpp"

namespace asynctrace {

// Addresses are those in the process.
struct FrameCode {
  struct Index {
    uint64_t offset = 0;  // in the frame
    uint32_t size = 0;    // bytes
  };
  std::optional<Index> index;  // nothing: the body has one suspension only, or is not understood
  // An instruction, and what it calls, 0: nothing that is known.
  struct Step {
    uint64_t address = 0, callee = 0;
  };
  // By number: the instructions that store it, each with those that follow up to where control goes away.
  std::map<uint64_t, std::vector<std::vector<Step>>> stores;
  // clang only, which leaves out what few suspensions do not need: all of the code.
  std::vector<Step> all;
  std::unordered_set<uint64_t> callees;  // what the body calls or jumps to by address
};

FrameCode read_frame_code(const CoroutineFunction& function, const ElfFile& file, uint64_t bias);

// What a small function calls by address, up to its first return.
std::vector<uint64_t> direct_callees(uint64_t function, const ElfFile& file, uint64_t bias);

}  // namespace asynctrace
