#include "agent/capture/capture.hpp"

#include <string.h>

#include "agent/capture/cfi.hpp"
#include "agent/capture/unwinder.hpp"
#include "agent/live.hpp"

namespace asynctrace::agent {
namespace {

// Farther apart than this, leaf and root may lie on different stacks, with unmapped memory between them.
constexpr uint64_t kMaxDistance = 1u << 20;
constexpr uint64_t kMaxStack = 256u << 20;
constexpr uint64_t kRootFrameSize = 256;
constexpr uint32_t kSites = 1u << 14;
constexpr uint32_t kPaths = 1u << 15;
// After so many paths that one slot could not tell apart another slot is tried.
constexpr uint32_t kLongChain = 8;
// The hook pushes its caller's rbp here, relative to the caller's stack pointer.
constexpr int32_t kLiveFramePointerAt = -16;

// A word on the stack, `offset` bytes from the caller's stack pointer.
uint64_t word_at(uint64_t caller_sp, int32_t offset) {
  uint64_t word;
  memcpy(&word, reinterpret_cast<const void*>(caller_sp + static_cast<int64_t>(offset)), sizeof(word));
  return word;
}

// A saved rbp that some frame's address depends on.
struct FramePointerCheck {
  int32_t offset;
  int32_t expected;  // relative to the caller's stack pointer
};

// One known path.
struct Path {
  Path* next;
  uint64_t return_address;
  uint64_t distance;
  StackEntry* stack;
  uint64_t end_pc;    // what follows the stack's own pcs: the return into the root
  uint16_t pc_count;  // offsets, one for each pc after the first, end_pc last
  uint16_t fp_count;
  int32_t* offsets;
  FramePointerCheck* frame_pointers;
};

// What is known of all paths with one leaf and one distance: which slot tells them apart best.
struct Site {
  Site* next;
  uint64_t return_address;
  uint64_t distance;
  std::atomic<int32_t> telling_offset;  // 0: none yet
};

StackEntry g_no_frames;
std::atomic<Site*>* g_sites = nullptr;
std::atomic<Path*>* g_paths = nullptr;

uint64_t mix(uint64_t a, uint64_t b) {
  const uint64_t x = (a ^ (b << 7)) * 0x9e3779b97f4a7c15ull;
  return x ^ (x >> 29);
}

// Capture at one leaf: inputs and the keys made from them.
struct Request {
  uint64_t caller_sp;
  uint64_t return_address;
  uint64_t root;
  uint64_t distance;
  bool has_root;
  bool root_is_hook;  // of ours: a walk can tell whether it is still there
};

Site* find_site(Site* from, const Request& request) {
  for (Site* site = from; site != nullptr; site = site->next)
    if (site->return_address == request.return_address && site->distance == request.distance) return site;
  return nullptr;
}

std::atomic<Site*>& site_bucket(const Request& request) {
  return g_sites[mix(request.return_address, request.distance) % kSites];
}

std::atomic<Path*>& path_bucket(const Request& request, const Site* site) {
  const int32_t offset = site != nullptr ? site->telling_offset.load(std::memory_order_relaxed) : 0;
  const uint64_t telling = offset != 0 ? word_at(request.caller_sp, offset) : 0;
  return g_paths[mix(mix(request.return_address, request.distance), telling) % kPaths];
}

bool matches(const Path& path, const Request& request) {
  if (path.return_address != request.return_address || path.distance != request.distance ||
      path.stack->gone_with.load(std::memory_order_acquire) != 0)
    return false;
  const uint64_t* expected = path.stack->pcs + 1;
  for (uint32_t i = 0; i + 1 < path.pc_count; i++)
    if (word_at(request.caller_sp, path.offsets[i]) != expected[i]) return false;
  if (path.pc_count != 0 && word_at(request.caller_sp, path.offsets[path.pc_count - 1]) != path.end_pc)
    return false;
  for (uint32_t i = 0; i < path.fp_count; i++) {
    const FramePointerCheck& check = path.frame_pointers[i];
    if (word_at(request.caller_sp, check.offset) != request.caller_sp + static_cast<int64_t>(check.expected))
      return false;
  }
  return true;
}

// Whether a return address lies in the agent: in its poll hook, where a walk has reached its root.
bool is_own_code(uint64_t pc) {
  return find_module(pc) == find_module(reinterpret_cast<uint64_t>(&start_capture));
}

// What a walk found, with the places where it must be found again.
struct Recording {
  uint64_t pcs[segment::kMaxFrames + 1];
  int32_t offsets[segment::kMaxFrames + 1];  // of pcs[i + 1]
  FramePointerCheck frame_pointers[segment::kMaxFrames];
  uint32_t count = 0;  // pcs of the stack
  uint32_t fp_count = 0;
  uint64_t end_pc = 0;
  bool memoizable = true;
  bool root_is_over = false;
  uint16_t flags = 0;
};

// Follows the walk with the plain rules. They must agree with libunwind frame by frame, else the path is
// walked each time.
void record_checks(std::span<const WalkedFrame> frames, const Request& request, Recording& out) {
  uint64_t sp = request.caller_sp;
  int32_t fp_at = kLiveFramePointerAt;
  uint64_t fp = word_at(sp, fp_at);
  for (size_t i = 0; i < frames.size() && out.memoizable; i++) {
    const FrameRule rule = frame_rule(frames[i].pc);
    const bool by_fp = rule.base == FrameRule::Base::kFramePointer;
    const uint64_t cfa = (by_fp ? fp : sp) + static_cast<uint64_t>(rule.cfa_offset);
    if (!rule.plain || cfa != frames[i].cfa || cfa <= sp || cfa > request.root) {
      out.memoizable = false;
      return;
    }
    if (by_fp) out.frame_pointers[out.fp_count++] = {fp_at, static_cast<int32_t>(fp - request.caller_sp)};
    if (rule.saves_frame_pointer) {
      fp_at = static_cast<int32_t>(cfa + static_cast<uint64_t>(rule.saved_at) - request.caller_sp);
      fp = word_at(request.caller_sp, fp_at);
    }
    out.offsets[i] = static_cast<int32_t>(cfa - 8 - request.caller_sp);
    sp = cfa;
  }
}

// The leaf stands in the root's own function. So it does again at the same place and distance, where its
// frame lies at a fixed distance from sp or rbp.
void record_no_frames(const Request& request, Recording& out) {
  const FrameRule rule = frame_rule(request.return_address);
  const LoadedModule* module = find_module(request.return_address - 1);
  // No stack of its own tells when its module has gone.
  out.memoizable = rule.base != FrameRule::Base::kOther && module != nullptr && !module->late;
  const uint64_t fp = word_at(request.caller_sp, kLiveFramePointerAt);
  if (rule.base == FrameRule::Base::kFramePointer)
    out.frame_pointers[out.fp_count++] = {kLiveFramePointerAt, static_cast<int32_t>(fp - request.caller_sp)};
}

// Too large for a hook's stack: the walk happens once per path, in memory of its own.
struct Scratch {
  Scratch* next;
  WalkedFrame frames[segment::kMaxFrames];
  Recording recording;
};
std::atomic<Scratch*> g_scratch{nullptr};

class ScratchLease {
 public:
  ScratchLease() {
    // Taking the whole list and giving back the rest needs no tag against reuse.
    Scratch* all = g_scratch.exchange(nullptr, std::memory_order_acquire);
    scratch_ = all;
    if (all != nullptr && all->next != nullptr) give(all->next);
    if (all == nullptr) scratch_ = stack_arena().make<Scratch>();
  }
  ~ScratchLease() {
    if (scratch_ == nullptr) return;
    scratch_->next = nullptr;
    give(scratch_);
  }
  ScratchLease(const ScratchLease&) = delete;
  ScratchLease& operator=(const ScratchLease&) = delete;
  Scratch* get() const { return scratch_; }

 private:
  static void give(Scratch* list) {
    Scratch* last = list;
    while (last->next != nullptr) last = last->next;
    Scratch* head = g_scratch.load(std::memory_order_relaxed);
    do last->next = head;
    while (!g_scratch.compare_exchange_weak(head, list, std::memory_order_release));
  }
  Scratch* scratch_;
};

void record_walk(ThreadContext& context, const Request& request, Scratch& scratch) {
  Recording& out = scratch.recording;
  out.count = out.fp_count = 0;
  out.end_pc = 0;
  out.memoizable = request.distance <= kMaxDistance;
  out.flags = request.has_root ? 0 : segment::kNoRoot;
  // A root frame may lie on another stack; then only what is near can be vouched for.
  const uint64_t stack_end =
      request.distance <= kMaxStack ? request.root + kRootFrameSize : request.caller_sp + kRootFrameSize;
  Walk walk = walk_stack(context.unwind_space, request.caller_sp, request.has_root ? request.root : 0,
                         stack_end, scratch.frames);
  // Where code has no unwind tables libunwind goes on by guessing.
  for (size_t i = 0; i < walk.count; i++)
    if (!has_unwind_table(scratch.frames[i].pc)) walk = {i + 1, WalkEnd::kBroken};
  for (size_t i = 0; i < walk.count; i++) out.pcs[i] = scratch.frames[i].pc;
  out.count = static_cast<uint32_t>(walk.count);
  if (walk.end == WalkEnd::kFull) out.flags |= segment::kTruncated;
  const bool complete = walk.end == (request.has_root ? WalkEnd::kRoot : WalkEnd::kOutermost);
  // A walk that passes the root's address, but not from the hook that has set it: that poll was left by a
  // panic.
  out.root_is_over = complete && request.root_is_hook &&
                     (walk.count == 0 || !is_own_code(word_at(scratch.frames[walk.count - 1].cfa, -8)));
  if (out.root_is_over) return;
  if (!complete && walk.end != WalkEnd::kFull) {
    out.flags |= segment::kIncomplete;
    g_segment.count_loss(segment::kUnwindFailed);
  }
  if (!complete || (walk.count == 0 && request.root_is_hook)) out.memoizable = false;
  if (!out.memoizable) return;
  if (walk.count == 0) return record_no_frames(request, out);
  // The outermost function of a thread has no caller to check for.
  const size_t links = request.has_root ? walk.count : walk.count - 1;
  record_checks({scratch.frames, links}, request, out);
  if (!out.memoizable || !request.has_root) return;
  out.end_pc = word_at(request.caller_sp, out.offsets[links - 1]);
}

// Remembers the path. Where an earlier path had the same leaf and distance, learns which slot tells them
// apart.
__attribute__((noinline)) void remember(const Request& request, Site* site, const Recording& recording,
                                        StackEntry* stack) {
  const uint32_t links =
      recording.end_pc != 0 || recording.count == 0 ? recording.count : recording.count - 1;
  Path* path = stack_arena().make<Path>();
  int32_t* offsets = stack_arena().make<int32_t>(links + 1);
  auto* frame_pointers = stack_arena().make<FramePointerCheck>(recording.fp_count + 1);
  if (path == nullptr || offsets == nullptr || frame_pointers == nullptr) return;
  memcpy(offsets, recording.offsets, links * sizeof(int32_t));
  memcpy(frame_pointers, recording.frame_pointers, recording.fp_count * sizeof(FramePointerCheck));
  // Without a root the last check is simply the last pc of the stack.
  const uint64_t end_pc =
      recording.end_pc != 0 || recording.count == 0 ? recording.end_pc : recording.pcs[recording.count - 1];
  *path = {nullptr,
           request.return_address,
           request.distance,
           stack,
           end_pc,
           static_cast<uint16_t>(links),
           static_cast<uint16_t>(recording.fp_count),
           offsets,
           frame_pointers};
  if (site == nullptr) {
    site = stack_arena().make<Site>();
    if (site == nullptr) return;
    site->return_address = request.return_address;
    site->distance = request.distance;
    std::atomic<Site*>& bucket = site_bucket(request);
    Site* head = bucket.load(std::memory_order_acquire);
    do {
      if (find_site(head, request) != nullptr) break;  // another thread was faster: one is enough
      site->next = head;
    } while (!bucket.compare_exchange_weak(head, site, std::memory_order_acq_rel));
  } else {
    uint32_t chain = 0;
    const Path* other = path_bucket(request, site).load(std::memory_order_acquire);
    const Path* rival = nullptr;
    for (; other != nullptr; other = other->next)
      if (other->return_address == request.return_address && other->distance == request.distance) {
        rival = other;
        chain++;
      }
    const bool first_rival = rival != nullptr && site->telling_offset.load(std::memory_order_relaxed) == 0;
    if (first_rival || chain >= kLongChain) {
      for (uint32_t i = 0; i < links && i < rival->pc_count; i++) {
        const uint64_t theirs = i + 1 < rival->pc_count ? rival->stack->pcs[i + 1] : rival->end_pc;
        const uint64_t ours = i + 1 < links ? recording.pcs[i + 1] : end_pc;
        if (rival->offsets[i] != offsets[i] || theirs != ours) {
          site->telling_offset.store(offsets[i], std::memory_order_relaxed);
          break;
        }
      }
    }
  }
  std::atomic<Path*>& bucket = path_bucket(request, site);
  path->next = bucket.load(std::memory_order_relaxed);
  while (!bucket.compare_exchange_weak(path->next, path, std::memory_order_release)) {
  }
}

__attribute__((noinline)) StackEntry* walk_and_remember(ThreadContext& context, const Request& request,
                                                        Site* site, bool& root_is_over) {
  const ErrnoKeeper errno_keeper;
  const ScratchLease lease;
  Scratch* scratch = lease.get();
  if (scratch == nullptr) {
    g_segment.count_loss(segment::kLostStacks);
    return nullptr;
  }
  record_walk(context, request, *scratch);
  const Recording& recording = scratch->recording;
  root_is_over = recording.root_is_over;
  if (root_is_over) return nullptr;
  StackEntry* stack = recording.count == 0 && !request.root_is_hook
                          ? &g_no_frames
                          : intern_stack({recording.pcs, recording.count}, recording.flags);
  if (stack == nullptr) return nullptr;
  if (recording.memoizable) remember(request, site, recording, stack);
  else g_segment.count_loss(segment::kUnmemoizedWalks);
  return stack;
}

Request request_for(const LeafSite& site, uint64_t root, bool has_root, bool root_is_hook) {
  return {site.caller_sp, site.return_address, root, root - site.caller_sp, has_root, root_is_hook};
}

inline __attribute__((always_inline)) StackEntry* recognise_or_walk(ThreadContext& context,
                                                                    const Request& request,
                                                                    bool& root_is_over) {
  Site* site = nullptr;
  if (request.distance <= kMaxDistance) [[likely]] {
    site = find_site(site_bucket(request).load(std::memory_order_acquire), request);
    if (site != nullptr) [[likely]] {
      for (Path* path = path_bucket(request, site).load(std::memory_order_acquire); path != nullptr;
           path = path->next)
        if (matches(*path, request)) return path->stack;
    }
  }
  return walk_and_remember(context, request, site, root_is_over);
}

}  // namespace

bool start_capture() {
  g_sites = reserve_array<std::atomic<Site*>>(kSites);
  g_paths = reserve_array<std::atomic<Path*>>(kPaths);
  return g_sites != nullptr && g_paths != nullptr && start_stacks();
}

StackEntry* capture(const HookGuard& guard, const LeafSite& leaf_site) {
  ThreadContext& context = guard.context();
  for (;;) {
    const bool has_root = context.frame != nullptr;
    const Request request =
        request_for(leaf_site, has_root ? context.frame->root : context.stack_anchor, has_root, has_root);
    bool root_is_over = false;
    StackEntry* stack = recognise_or_walk(context, request, root_is_over);
    if (!root_is_over) return stack;
    abandon_polls(guard, request.root + 1);
  }
}

StackEntry* capture_below(const HookGuard& guard, const LeafSite& leaf_site, uintptr_t root) {
  bool root_is_over = false;
  return recognise_or_walk(guard.context(), request_for(leaf_site, root, true, false), root_is_over);
}

}  // namespace asynctrace::agent
