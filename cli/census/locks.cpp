#include "cli/census/locks.hpp"

#include <algorithm>
#include <set>

#include "cli/tree/names.hpp"

namespace asynctrace {
namespace {

constexpr std::string_view kSemaphore = "tokio::sync::batch_semaphore::Semaphore";
constexpr std::string_view kAcquire = "tokio::sync::batch_semaphore::Acquire";

// Guards have one permit, or say how many in a member.
constexpr std::string_view kGuards[] = {
    "tokio::sync::mutex::MutexGuard",
    "tokio::sync::mutex::OwnedMutexGuard",
    "tokio::sync::mutex::MappedMutexGuard",
    "tokio::sync::mutex::OwnedMappedMutexGuard",
    "tokio::sync::rwlock::read_guard::RwLockReadGuard",
    "tokio::sync::rwlock::owned_read_guard::OwnedRwLockReadGuard",
    "tokio::sync::rwlock::write_guard::RwLockWriteGuard",
    "tokio::sync::rwlock::write_guard_mapped::RwLockMappedWriteGuard",
    "tokio::sync::rwlock::owned_write_guard::OwnedRwLockWriteGuard",
    "tokio::sync::rwlock::owned_write_guard_mapped::OwnedRwLockMappedWriteGuard",
    "tokio::sync::semaphore::SemaphorePermit",
    "tokio::sync::semaphore::OwnedSemaphorePermit",
};
constexpr std::string_view kPermits[] = {"permits_acquired", "permits"};

// What the async fn around an Acquire tells of the lock. The outermost of tokio's decides: a OnceCell
// acquires a Semaphore.
enum class Lock : uint8_t { kOther, kOfOne, kReadWrite, kSemaphore };
Lock lock_of(std::string_view body) {
  if (body.starts_with("tokio::sync::mutex::") || body.starts_with("tokio::sync::once_cell::"))
    return Lock::kOfOne;
  if (body.starts_with("tokio::sync::rwlock::")) return Lock::kReadWrite;
  if (body.starts_with("tokio::sync::semaphore::")) return Lock::kSemaphore;
  return Lock::kOther;
}

struct Acquire {
  const FutureNode* node;
  Lock lock;
};

void find_acquires(const std::vector<FutureNode>& nodes, Lock lock, TypeSource& types,
                   std::vector<Acquire>& found) {
  for (const FutureNode& node : nodes) {
    const std::string& name = types.type(node.type).name;
    if (name == kAcquire) found.push_back({&node, lock});
    // Leaving tokio's lock: whatever is awaited inside is another matter.
    const Lock around = lock != Lock::kOther && name.starts_with("tokio::sync::") ? lock : lock_of(name);
    find_acquires(node.children, around, types, found);
  }
}

// The first number inside a wrapper such as AtomicUsize.
std::optional<uint64_t> number_in(TypeId type, uint64_t address, TypeSource& types, const Memory& memory) {
  for (int depth = 0; depth < 8 && !types.type(type).members.empty(); ++depth) {
    const Member& first = types.type(type).members.front();
    address += first.offset;
    type = first.type;
  }
  return memory.number(address, types.type(type).size);
}

}  // namespace

std::span<const std::string_view> guard_types() {
  return kGuards;
}

void LockTable::add_task(uint64_t task, const std::vector<FutureNode>& nodes, FutureWalker& walker,
                         TypeSource& types, const Memory& memory) {
  const auto member_number = [&](TypeId type, uint64_t address, std::string_view name) {
    const Member* member = walker.member(type, name);
    return member == nullptr ? std::nullopt
                             : number_in(member->type, address + member->offset, types, memory);
  };
  std::vector<Acquire> acquires;
  find_acquires(nodes, Lock::kOther, types, acquires);
  for (const auto& [node, lock] : acquires) {
    const Member* pointer = walker.member(node->type, "semaphore");
    const Member* waiter = walker.member(node->type, "node");
    const auto wanted = member_number(node->type, node->address, "num_permits");
    if (lock == Lock::kOther || pointer == nullptr || waiter == nullptr || !wanted) continue;
    const auto semaphore = memory.number(node->address + pointer->offset);
    const auto missing = member_number(waiter->type, node->address + waiter->offset, "state");
    if (!semaphore || !missing || *missing > *wanted) continue;
    const auto state = member_number(types.type(pointer->type).target, *semaphore, "permits");
    if (!state) continue;
    LockWait wait{task, *semaphore, {}, *wanted - *missing, *state >> 1};
    if (lock == Lock::kOfOne) wait.capacity = 1;
    // A writer wants all that there is.
    if (lock == Lock::kReadWrite && *wanted > 1) wait.capacity = *wanted;
    waits_.push_back(wait);
  }
  for (const Found& guard : walker.kept()) {
    const auto semaphore = walker.find_inside(guard.type, guard.address, kSemaphore, true);
    if (!semaphore) continue;
    const std::string& name = types.type(guard.type).name;
    Guard held{task, guard.address, 1, {}};
    for (const std::string_view permits : kPermits)
      held.permits = member_number(guard.type, guard.address, permits).value_or(held.permits);
    if (lock_of(name) == Lock::kOfOne) held.capacity = 1;
    if (name.find("WriteGuard") != std::string::npos) held.capacity = held.permits;
    guards_.emplace(semaphore->address, held);
  }
}

LockTable::Answer LockTable::holder(const LockWait& wait) const {
  std::optional<uint64_t> capacity = wait.capacity;
  uint64_t accounted = wait.available;
  for (const LockWait& other : waits_) {
    if (other.semaphore != wait.semaphore) continue;
    accounted += other.reserved;
    if (!capacity) capacity = other.capacity;
  }
  std::set<uint64_t> tasks;
  const auto [begin, end] = guards_.equal_range(wait.semaphore);
  for (auto entry = begin; entry != end; ++entry) {
    const Guard& guard = entry->second;
    if (guard.permits == 0) continue;
    accounted += guard.permits;
    tasks.insert(guard.task);
    if (!capacity) capacity = guard.capacity;
  }
  if (tasks.empty()) return {{}, "holder unknown: no waiting task keeps its guard"};
  if (!capacity) return {{}, "holder unsure: a semaphore does not tell how many permits it had"};
  if (accounted != *capacity) return {{}, "holder unsure: guards and missing permits do not agree"};
  if (tasks.size() > 1) return {{}, "several holders"};
  return {*tasks.begin(), {}};
}

}  // namespace asynctrace
