// native_bench METHOD CALLS: prints the nanoseconds that one call takes: of an empty function (empty), of
// trace_leaf() outside (leaf) and inside a capture (traced). Whether an agent is there is the caller's
// choice.
#include <asynctrace.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

__attribute__((noinline)) void empty() {
  asm volatile("");
}
__attribute__((noinline)) void leaf() {
  asynctrace::trace_leaf();
  asm volatile("");
}

double measure(void (*function)(), long calls) {
  const auto start = std::chrono::steady_clock::now();
  for (long i = 0; i < calls; i++) function();
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
  return taken.count() / static_cast<double>(calls);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const long calls = std::atol(argv[2]);
  double ns = 0;
  if (std::strcmp(argv[1], "traced") == 0) {
    // A collector that keeps nothing: what the backtrace itself costs.
    const void* pcs[64];
    auto root = asynctrace::Trace::root([&] { return measure(leaf, calls); });
    ns = asynctrace::trace_with(
        root, [&](const asynctrace::TraceMeta& meta) { asynctrace_backtrace(&meta, pcs, 64); });
  } else {
    ns = measure(std::strcmp(argv[1], "leaf") == 0 ? leaf : empty, calls);
  }
  std::printf("%.3f\n", ns);
}
