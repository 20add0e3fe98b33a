// The libraries of the table, each with its rows in a file of its own.
#pragma once

#include "agent/loops/table.hpp"

namespace asynctrace::agent {

extern const Library kLibevent;
extern const Library kLibuv;
extern const Library kLibev;
extern const Library kGlib;
extern const Library kSdEvent;
extern const Library kLibc;
extern const Library kLiburing;

}  // namespace asynctrace::agent
