// The census of a program whose task is written here, by hand: this one, with a table of tokio's. What is
// read of it changes as the test says.
#include <link.h>
#include <unistd.h>
#include <filesystem>

#include <gtest/gtest.h>

#include "cli/census/census.hpp"

// As rustc would name tokio's, so that they are known by their names.
extern "C" {
void poll_task() asm("_ZN5tokio7runtime4task3raw4poll17h0123456789abcdefE");
void schedule_task() asm("_ZN5tokio7runtime4task3raw8schedule17h0123456789abcdefE");
void dealloc_task() asm("_ZN5tokio7runtime4task3raw7dealloc17h0123456789abcdefE");
void poll_task() {
  asm volatile("nop");
}
void schedule_task() {
  asm volatile("nop; nop");
}
void dealloc_task() {
  asm volatile("nop; nop; nop");
}
}

namespace asynctrace {
namespace {

constexpr uint64_t kOne = 64;  // reference, in tokio's state word

struct Table {
  void (*poll)(), (*schedule)(), (*dealloc)();
  uint64_t trailer, scheduler, id;
};
[[gnu::used]] const Table g_table = {poll_task, schedule_task, dealloc_task, 48, 32, 40};

struct Header {
  uint64_t state = 3 * kOne;
  Header* queue_next = nullptr;
  const Table* table = &g_table;
  uint64_t owner = 1, scheduler = 0, id = 7, trailer = 0;
};

// Another state of the one task at each look, until there have been so many.
class ChangingMemory final : public Memory {
 public:
  ChangingMemory(const Header& header, int changes) : state_(address_of(&header.state)), left_(changes) {}

  bool read(uint64_t address, std::span<std::byte> into) const override {
    if (!process_.read(address, into)) return false;
    if (address > state_ || state_ + sizeof(uint64_t) > address + into.size()) return true;
    if (left_ > 0) --left_, references_ += kOne;
    std::memcpy(&into[state_ - address], &references_, sizeof references_);
    return true;
  }

  static uint64_t address_of(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

 private:
  ProcessMemory process_{::getpid()};
  uint64_t state_;
  mutable int left_;
  mutable uint64_t references_ = 3 * kOne;
};

Module own_module() {
  Module module{std::filesystem::read_symlink("/proc/self/exe").string(), {}, 0, 0, 0};
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        auto& own = *static_cast<Module*>(result);
        own.bias = own.start = info->dlpi_addr;
        for (const auto& header : std::span(info->dlpi_phdr, info->dlpi_phnum))
          if (header.p_type == PT_LOAD) own.end = own.bias + header.p_vaddr + header.p_memsz;
        return 1;  // the executable comes first
      },
      &module);
  return module;
}

// The one task, after so many changes.
Task found_after(int changes) {
  const auto header = std::make_unique<Header>();
  ProcessImage image;
  image.memory = std::make_unique<ChangingMemory>(*header, changes);
  const uint64_t at = ChangingMemory::address_of(header.get());
  image.writable = {{at, at + sizeof(Header), false}};
  image.modules = {own_module()};
  Snapshot snapshot;
  snapshot.modules = image.modules;
  Symbolizer symbols(snapshot.modules);
  const auto scope = add_tasks_in_memory(
      image, [] { return std::vector<NativeThread>(); }, snapshot, symbols);
  EXPECT_EQ(scope.tables, 1u);
  EXPECT_EQ(snapshot.tasks.size(), 1u);
  return snapshot.tasks.empty() ? Task() : std::move(snapshot.tasks.front());
}

TEST(TaskCensus, ATaskThatStandsStill) {
  const Task task = found_after(0);
  EXPECT_FALSE(task.torn);
  EXPECT_TRUE(task.from_census);
  EXPECT_EQ(task.state, TaskState::kWaiting);
  EXPECT_EQ(task.native_id.value_or(0), 7u);
}

TEST(TaskCensus, OneThatChangesIsReadAgain) {
  for (const int changes : {1, 2, 3, 4, 5}) EXPECT_FALSE(found_after(changes).torn) << changes;
}

TEST(TaskCensus, OneThatKeepsChangingIsMarked) {
  EXPECT_TRUE(found_after(1000).torn);
}

}  // namespace
}  // namespace asynctrace
