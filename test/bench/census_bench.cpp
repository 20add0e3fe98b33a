// census_bench MIB: prints the milliseconds in which so much memory of another process is copied, and in
// which it is searched for the addresses of task tables.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <vector>

#include <fmt/format.h>

#include "cli/census/memory_scan.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kTables = 0x5555'5570'0000, kTableSize = 80, kTableCount = 1000;
constexpr size_t kBetweenHits = 100;  // words: far more of them than any program has

double milliseconds(const std::function<void()>& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
}

void measure(pid_t pid, const MemoryRange& range) {
  const ProcessMemory memory(pid);
  std::vector<std::byte> chunk(1 << 20);
  const double copied = milliseconds([&] {
    for (uint64_t at = range.start; at < range.end; at += chunk.size())
      if (!memory.read(at, chunk)) std::abort();
  });
  std::vector<uint64_t> tables;
  for (uint64_t i = 0; i < kTableCount; ++i) tables.push_back(kTables + i * kTableSize);
  size_t hits = 0;
  const double scanned =
      milliseconds([&] { hits = scan_for_words(memory, std::span(&range, 1), tables).size(); });
  fmt::print("COPIED_MS {}\nSCANNED_MS {}\nHITS {}\n", copied, scanned, hits);
}

}  // namespace
}  // namespace asynctrace

int main(int argc, char** argv) {
  using namespace asynctrace;
  const size_t bytes = argc > 1 ? std::strtoul(argv[1], nullptr, 10) << 20 : 0;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (bytes == 0 || memory == MAP_FAILED) return 2;
  auto* words = static_cast<uint64_t*>(memory);
  for (size_t i = 0; i < bytes / sizeof(uint64_t); ++i)
    words[i] = i % kBetweenHits == 0 ? kTables + i / kBetweenHits % kTableCount * kTableSize : i;
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const auto start = reinterpret_cast<uint64_t>(memory);
  measure(child, {start, start + bytes});
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return 0;
}
