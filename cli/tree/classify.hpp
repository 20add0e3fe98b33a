// Which code a frame belongs to, and what a leaf waits for, from names and paths alone. The knowledge is in
// tables (frame_classes.cpp, leaf_kinds.cpp); a new crate or primitive is a new row.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

enum class FrameClass : uint8_t { kUser, kLibrary, kRuntime, kStd };
enum class LeafClass : uint8_t { kIo, kTimer, kSignal, kSync, kChannel, kJoin, kUnknown };
std::string_view name(FrameClass frame_class);
std::string_view name(LeafClass leaf_class);

// Waits on something beyond this program: a socket, a timer, a signal.
bool is_outside(LeafClass leaf_class);

FrameClass classify_frame(const Frame& frame, std::string_view module_path);

// The first path component of the function, or of the type that implements it: "tokio" for
// "<tokio::time::Sleep as core::future::Future>::poll". "" where there is none.
std::string_view crate_of(std::string_view function);

struct LeafKind {
  std::string text = "unknown";  // "mpsc recv"
  LeafClass leaf_class = LeafClass::kUnknown;
  bool known = false;       // a row of the table; else `text` names the innermost function, if there is one
  bool combinator = false;  // waits for child futures that have wakers of their own
  bool internal = false;    // an executor that waits for work
};

// Whether it belongs to a combinator that gives its children wakers of their own.
bool is_combinator(const Frame& frame);

// A frame as the leaf table sees it.
struct ClassifiedFrame {
  const Frame* frame;
  FrameClass frame_class;
};

// What the program itself says of a leaf.
LeafKind labelled_kind(const Label& label);

// `frames` are innermost first.
LeafKind classify_leaf(std::span<const ClassifiedFrame> frames);

}  // namespace asynctrace
