// What a watcher waits for, in words, as labels of the segment. Any thread.
#pragma once

#include <cstdint>

#include "agent/loops/loops.hpp"

namespace asynctrace::agent {

struct Kind {
  uint16_t label;  // number, segment::kNoLabel
  uint8_t leaf_class;
};

// Of a watcher that this function has made; `events` as Row::events has them.
Kind kind_of(const LoopFunction& function, uint32_t events);

Kind kind_of(const WatcherType& type);

uint16_t library_label(const Library& library);

}  // namespace asynctrace::agent
