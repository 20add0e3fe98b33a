// Symbolizer: run-time code addresses -> source frames, inlined calls expanded. Owns all resolved data;
// results stay valid as long as it lives. Not thread-safe. Allocates. A missing symbol is a value with a
// reason, never an error.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cli/error.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/frame.hpp"
#include "cli/symbols/module_files.hpp"
#include "cli/symbols/symbol_options.hpp"
#include "cli/symbols/symbol_table.hpp"

namespace asynctrace {

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
  // With what a packed file says, else with what options allow. Errors: those of DebuginfodClient::open().
  static Result<std::unique_ptr<Symbolizer>> open(const Snapshot& snapshot, const SymbolOptions& options);
  // `packed`: what is known of each module; nothing is looked for then.
  explicit Symbolizer(std::span<const Module> modules, const SymbolOptions& options = {},
                      std::span<const ModuleSymbols> packed = {});
  ~Symbolizer() override;
  Symbolizer(const Symbolizer&) = delete;
  Symbolizer& operator=(const Symbolizer&) = delete;

  std::span<const uint32_t> resolve_return_address(uint64_t pc) override;
  uint32_t resolve_function(uint64_t address) override;
  const std::vector<Frame>& frames() const override;
  ModuleStatus status(uint32_t index) const override;
  bool touched(uint32_t index) const override;
  // Gives frames, innermost first, to an address that is in no module: what resolve_return_address() answers.
  // The function that begins before it is the outermost of them.
  void define(uint64_t address, std::vector<Frame> frames);
  // The files of module `index`, opened anew: for whoever reads more of them than symbols.
  ModuleFiles find_files(uint32_t index);
  // All that was worked out of module `index`, to be packed.
  const ModuleSymbols& symbols(uint32_t index) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace asynctrace
