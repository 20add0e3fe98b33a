#include "agent/loops/table.hpp"

#include "agent/loops/libraries.hpp"

namespace asynctrace::agent {
namespace {

constexpr const Library* kLibraries[] = {&kLibevent, &kLibuv, &kLibev, &kGlib, &kSdEvent, &kLibc};

}  // namespace

std::span<const Library* const> libraries() {
  return kLibraries;
}

}  // namespace asynctrace::agent
