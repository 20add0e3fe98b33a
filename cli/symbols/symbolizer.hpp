// Symbolizer: run-time code addresses -> source frames, inlined calls expanded. Owns all resolved data;
// results stay valid as long as it lives. Not thread-safe. Allocates. A missing symbol is a value with a
// reason, never an error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/snapshot.hpp"

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

struct ModuleStatus {
  MissingReason reason = MissingReason::kNone;
  std::string
      detail;  // for a human, without the remedy: "/opt/app: build-id differs (wants ab12.., has 9f..)"
};

// What the report needs of a symbolizer; tests write the frames by hand.
class FrameSource {
 public:
  virtual ~FrameSource() = default;

  // Frames at a return address (looked up at pc - 1), innermost first; indexes into frames(). Never empty: an
  // unresolved address gives one frame without a name. Each unique address is resolved once.
  virtual std::span<const uint32_t> resolve_return_address(uint64_t pc) = 0;
  // The same for the entry of a function, as in Task::poll_function: always one frame, not inlined.
  virtual uint32_t resolve_function(uint64_t address) = 0;

  virtual const std::vector<Frame>& frames() const = 0;

  // What is missing in module `index`; looked at only for modules that an address fell into.
  virtual ModuleStatus status(uint32_t index) const = 0;
  virtual bool touched(uint32_t index) const = 0;
};

class Symbolizer final : public FrameSource {
 public:
  explicit Symbolizer(std::span<const Module> modules);
  ~Symbolizer() override;
  Symbolizer(const Symbolizer&) = delete;
  Symbolizer& operator=(const Symbolizer&) = delete;

  std::span<const uint32_t> resolve_return_address(uint64_t pc) override;
  uint32_t resolve_function(uint64_t address) override;
  const std::vector<Frame>& frames() const override;
  ModuleStatus status(uint32_t index) const override;
  bool touched(uint32_t index) const override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace asynctrace
