#include "test/bench/chain.hpp"

#include <array>
#include <chrono>
#include <utility>

namespace asynctrace::bench::CHAIN {
namespace {

using Clock = std::chrono::steady_clock;
using Step = int (*)(int frames, Loop& loop);

constexpr size_t kSteps = 64;
extern const std::array<Step, kSteps> kTable;

// Distinct functions with frames of different sizes, as on a real stack.
template <size_t K>
__attribute__((noinline)) int step(int frames, Loop& loop) {
  volatile char locals[16 * (1 + K % 7)];
  locals[0] = static_cast<char>(frames);
  if (frames > 1) return kTable[static_cast<size_t>(frames) % kSteps](frames - 1, loop) + locals[0];
  loop.captured = loop.capture();  // the first call of a method may be a thousand times slower than the rest
  const Clock::time_point start = Clock::now();
  for (uint64_t i = 0; i < loop.calls; i++) loop.captured = loop.capture();
  loop.ns_per_call = std::chrono::duration<double, std::nano>(Clock::now() - start).count() /
                     static_cast<double>(loop.calls);
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
