// A dead process's segment as a packed file: cli/pack/pack_format.hpp.
#pragma once

#include <string>

#include "cli/error.hpp"
#include "cli/process/traced_process.hpp"
#include "cli/symbols/symbol_options.hpp"

namespace asynctrace {

// `output` appears whole or not at all; it may be the segment itself. A process that still runs is refused:
// its records change while they are copied.
Result<void> pack_process(const TracedProcess& process, const std::string& output,
                          const SymbolOptions& options);

}  // namespace asynctrace
