#include "agent/loops/kinds.hpp"

#include <string.h>

#include <algorithm>

#include "agent/native/labels.hpp"
#include "common/segment.hpp"

namespace asynctrace::agent {
namespace {

// "read or write"
class Words {
 public:
  void add(const char* word) {
    if (length_ != 0) append(" or ");
    append(word);
  }
  const char* text() const { return text_; }

 private:
  void append(const char* part) {
    const size_t length = std::min(strnlen(part, sizeof(text_)), sizeof(text_) - 1 - length_);
    memcpy(text_ + length_, part, length);
    length_ += length;
  }
  char text_[32] = {};  // short, for it lies on the stack of a hook; what is longer is cut
  size_t length_ = 0;
};

}  // namespace

Kind kind_of(const LoopFunction& function, uint32_t events) {
  Words words;
  uint32_t leaf_class = 0;
  for (const EventWord& event : function.library->events) {
    if ((events & event.bit) == 0) continue;
    words.add(event.word);
    leaf_class =
        (leaf_class & ~kLeafClassMask) | event.leaf_class | uint32_t{event.poll_events} << kPollEventsShift;
  }
  const bool by_events = leaf_class != 0;
  if (!by_events)
    leaf_class = function.row->kind_class | uint32_t{function.row->poll_events} << kPollEventsShift;
  return {label_number(by_events ? words.text() : function.row->kind, leaf_class),
          static_cast<uint8_t>(leaf_class & kLeafClassMask)};
}

Kind kind_of(const WatcherType& type) {
  return {label_number(type.kind, type.leaf_class), type.leaf_class};
}

uint16_t library_label(const Library& library) {
  return label_number(library.name, 0);
}

}  // namespace asynctrace::agent
