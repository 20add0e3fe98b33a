// Frame: one source-level frame of an address, and why there may be none. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace asynctrace {

// One source-level frame. Several come from one address where calls were inlined.
struct Frame {
  std::string function;  // demangled, without the legacy hash; "" if unknown
  std::string raw;       // linkage name as in the file; "" if unknown
  // The name as debug info spells it (DW_AT_name), "" without debug info. rustc names async bodies
  // "{async_fn#0}", "{async_block#0}" and the like, and spells the type arguments out.
  std::string debug_name;
  std::string file;                // absolute where the compilation directory is known; "" if unknown
  uint32_t line = 0;               // 0: unknown
  uint32_t column = 0;             // 0: unknown
  std::optional<uint32_t> module;  // index into Snapshot::modules
  uint64_t offset = 0;  // address inside the module's file; the run-time address where module is unset
  bool inlined = false;
};

enum class MissingReason {
  kNone,
  kNoModule,        // in no module
  kFileGone,        // the module's file cannot be opened
  kBuildIdDiffers,  // the file on disk is another build
  kNoSymbols,       // stripped
  kNoDebugInfo,     // a symbol table only: functions, no lines, no inlined calls
  kNoSplitUnits,    // debug info whose .dwo files are missing, or packed into a .dwp, unknown to libdw 0.188
};
inline constexpr MissingReason kLastMissingReason = MissingReason::kNoSplitUnits;

struct ModuleStatus {
  MissingReason reason = MissingReason::kNone;
  std::string
      detail;  // for a human, without the remedy: "/opt/app: build-id differs (wants ab12.., has 9f..)"
};

}  // namespace asynctrace
