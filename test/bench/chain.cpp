#include "test/bench/chain.hpp"

#include <time.h>

#include <array>
#include <utility>

namespace asynctrace::bench::CHAIN {
namespace {

using Step = int (*)(int frames, Loop& loop);

constexpr size_t kSteps = 64;
extern const std::array<Step, kSteps> kTable;

double cpu_ns() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// Distinct functions with frames of different sizes, as on a real stack.
template <size_t K>
__attribute__((noinline)) int step(int frames, Loop& loop) {
  volatile char locals[16 * (1 + K % 7)];
  locals[0] = static_cast<char>(frames);
  if (frames > 1) return kTable[static_cast<size_t>(frames) % kSteps](frames - 1, loop) + locals[0];
  loop.captured = loop.capture();  // the first call of a method may be a thousand times slower than the rest
  const double start = cpu_ns();
  for (uint64_t i = 0; i < loop.calls; i++) loop.captured = loop.capture();
  loop.ns_per_call = (cpu_ns() - start) / static_cast<double>(loop.calls);
  return locals[0];
}

template <size_t... K>
constexpr std::array<Step, kSteps> make_table(std::index_sequence<K...>) {
  return {step<K>...};
}
const std::array<Step, kSteps> kTable = make_table(std::make_index_sequence<kSteps>());

}  // namespace

void run_below(int frames, Loop& loop) {
  kTable[0](frames - 1, loop);
}

}  // namespace asynctrace::bench::CHAIN
