// What the coroutines of this program know of themselves, printed for the tests to compare with: which exist,
// where each is suspended, and who awaits it.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <coroutine>
#include <cstdio>
#include <map>
#include <mutex>
#include <utility>

struct Truth {
  const char* state = "not_started";
  int line = 0;
  void* awaited_by = nullptr;
};

inline std::mutex truth_lock;
inline std::map<void*, Truth> truth;  // by address of the frame

// Where it is called, as a default argument.
struct Here {
  int line = __builtin_LINE();
};

inline void suspended(std::coroutine_handle<> at, Here here) {
  const std::lock_guard lock(truth_lock);
  truth[at.address()].state = "suspended";
  truth[at.address()].line = here.line;
}

#ifdef OWN_ALLOCATOR
// Hands out memory of one mapping, and never touches what is given back.
inline void* allocate_own(size_t size) {
  static char* next =
      static_cast<char*>(mmap(nullptr, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  return std::exchange(next, next + (size + 15) / 16 * 16);
}
#endif

// A promise that is there as long as its coroutine is.
template <typename Promise>
struct Known {
  Known() {
    const std::lock_guard lock(truth_lock);
    truth[address()] = {};
  }
  ~Known() {
    const std::lock_guard lock(truth_lock);
    truth.erase(address());
  }
  Known(const Known&) = delete;
#ifdef OWN_ALLOCATOR
  static void* operator new(size_t size) {
    return allocate_own(size);
  }
  static void operator delete(void*) {}
#endif
  void* address() {
    return std::coroutine_handle<Promise>::from_promise(static_cast<Promise&>(*this)).address();
  }
};

inline void print_truth() {
  for (const auto& [address, known] : truth) {
    std::printf("FRAME %p %s %d %p\n", address, known.state, known.line, known.awaited_by);
  }
  std::printf("READY %d\n", getpid());
  std::fflush(stdout);
}

inline void wait_for_end_of_input() {
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
}
