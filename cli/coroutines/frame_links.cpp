#include "cli/coroutines/frame_links.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

namespace asynctrace {
namespace {

constexpr uint64_t kWord = 8;
// The promises of Asio and Boost.Asio hold their own coroutine's handle and the promise of the awaiting one.
constexpr uint64_t kAsioSelf = 16, kAsioCaller = 32;
constexpr uint64_t kPromiseArea = 128;  // where a promise of unknown type is looked through
constexpr uint64_t kMaxFrame = 64 << 10, kUnknownFrame = 1024;

class Linker {
 public:
  Linker(const Memory& memory, std::span<const PlacedFrame> frames, FunctionFacts& facts)
      : memory_(memory), frames_(frames), facts_(facts) {
    for (uint32_t i = 0; i < frames.size(); ++i) {
      by_address_.emplace(frames[i].frame.address, i);
      by_promise_.emplace(frames[i].frame.address + facts.promise_offset(frames[i].frame.function), i);
    }
    if (const auto cookie = frames.empty() ? std::nullopt : facts.folly_cookie())
      cookie_ = memory.number(*cookie);
  }

  std::vector<FrameLink> link() {
    links_.resize(frames_.size());
    for (uint32_t i = 0; i < frames_.size(); ++i) links_[i] = find(i);
    add_learned();
    break_circles();
    return std::move(links_);
  }

 private:
  struct Candidate {
    uint32_t awaiting = 0;
    uint64_t offset = 0;  // in the frame, of what refers to it
  };

  std::optional<uint32_t> frame_at(uint64_t address) const { return look_up(by_address_, address); }
  std::optional<uint32_t> promise_at(uint64_t address) const { return look_up(by_promise_, address); }
  static std::optional<uint32_t> look_up(const std::unordered_map<uint64_t, uint32_t>& index,
                                         uint64_t address) {
    const auto found = index.find(address);
    return found == index.end() ? std::nullopt : std::optional(found->second);
  }

  bool is(uint32_t frame, CoroutineState state) const { return frames_[frame].state == state; }
  // What has ended, or not begun, holds up nobody.
  bool can_be_awaited(uint32_t frame) const {
    return is(frame, CoroutineState::kSuspended) || is(frame, CoroutineState::kRunning);
  }
  // Where the one has resumed the other, and calls do not replace the caller, both are on one stack.
  bool can_await(uint32_t awaiting, uint32_t frame) const {
    return is(awaiting, CoroutineState::kSuspended) ||
           (is(awaiting, CoroutineState::kRunning) && is(frame, CoroutineState::kRunning));
  }

  FrameLink find(uint32_t frame) {
    if (const auto caller = folly_caller(frame)) return {CoroutineLink::kFolly, true, *caller};
    if (!can_be_awaited(frame)) return {};
    const CoroutineFrame& own = frames_[frame].frame;
    if (const auto caller = asio_caller(frame)) return {CoroutineLink::kAsio, true, *caller};
    const FrameType& type = facts_.type(own.function);
    const auto candidates = type.known ? by_type(frame, type) : by_words(frame);
    if (candidates.empty()) return {};
    const auto is_borne_out = [&](const Candidate& one) {
      return facts_.calls(frames_[one.awaiting].frame.function, own.function) ||
             holds(frames_[one.awaiting].frame, own) || refers_to(one.awaiting, frame);
    };
    const auto best = std::ranges::find_if(candidates, is_borne_out);
    const auto kind = type.known ? CoroutineLink::kPromiseType : CoroutineLink::kCallGraph;
    if (best == candidates.end()) {
      if (type.known) return {kind, false, candidates.front().awaiting};
      return {};
    }
    if (!type.known) ++learned_[own.function][best->offset];
    return {kind, std::ranges::count_if(candidates, is_borne_out) == 1 && !is_owned(*best, frame),
            best->awaiting};
  }

  std::optional<uint32_t> asio_caller(uint32_t frame) {
    const CoroutineFrame& own = frames_[frame].frame;
    if (!facts_.has_asio(own.function)) return std::nullopt;
    const auto refers_to_itself = [&](uint64_t address) {
      return memory_.number(address + kAsioSelf) == address;
    };
    const auto caller = memory_.number(own.address + kAsioCaller);
    const auto found = caller && refers_to_itself(own.address) ? promise_at(*caller) : std::nullopt;
    if (!found || !can_await(*found, frame) || !refers_to_itself(frames_[*found].frame.address))
      return std::nullopt;
    return found;
  }

  // In the promises of folly's coroutines lie the awaiting one's handle, in some with one more word, and
  // behind it an async stack frame, {parent, return address, root}, whose parent is that of the awaiting one.
  // Wrappers around what is no coroutine are never started before it is done; the root of theirs says that
  // they wait.
  std::optional<uint32_t> folly_caller(uint32_t frame) {
    if (!cookie_ || frames_[frame].state == CoroutineState::kEnded) return std::nullopt;
    std::array<uint64_t, kPromiseArea / kWord> words;
    const uint64_t own = frames_[frame].frame.address;
    if (!memory_.read(own, std::as_writable_bytes(std::span(words)))) return std::nullopt;
    for (size_t i = 3; i + 2 < words.size(); ++i) {
      const auto target = promise_around(words[i]);
      if (!target || *target == frame || !can_await(*target, frame)) continue;
      const uint64_t handle = frames_[*target].frame.address;
      const bool has_handle = words[i - 1] == handle || words[i - 2] == handle;
      const bool is_leaf = *cookie_ != 0 && words[i + 2] == *cookie_;
      if (has_handle && (can_be_awaited(frame) || is_leaf)) return target;
    }
    return std::nullopt;
  }

  std::optional<uint32_t> promise_around(uint64_t address) const {
    auto next = std::ranges::upper_bound(frames_, address, {},
                                         [](const PlacedFrame& placed) { return placed.frame.address; });
    if (next == frames_.begin() || address % kWord != 0) return std::nullopt;
    const uint64_t offset = address - (--next)->frame.address;
    if (offset < 2 * kWord || offset >= kPromiseArea) return std::nullopt;
    return static_cast<uint32_t>(next - frames_.begin());
  }

  std::vector<Candidate> by_type(uint32_t frame, const FrameType& type) {
    std::vector<Candidate> found;
    for (const PromiseMember& member : type.references) {
      const auto word = memory_.number(frames_[frame].frame.address + member.offset);
      if (!word) continue;
      add(member.is_handle ? frame_at(*word) : promise_at(*word), member.offset, frame, found);
    }
    return found;
  }

  // gcc keeps the coroutine's own handle behind the promise.
  std::vector<Candidate> by_words(uint32_t frame) {
    std::vector<Candidate> found;
    const uint64_t address = frames_[frame].frame.address;
    for (uint64_t offset = 2 * kWord; offset < kPromiseArea; offset += kWord) {
      const auto word = memory_.number(address + offset);
      if (!word) break;
      const bool is_gcc =
          facts_.functions()[frames_[frame].frame.function].compiler == CoroutineCompiler::kGcc;
      if (is_gcc && *word == address && offset > 2 * kWord) break;
      std::optional<uint32_t> target = frame_at(*word);
      if (!target) target = promise_at(*word);
      // Without a type a word says nothing by itself.
      const auto calls = [&](const CoroutineFrame& caller) {
        return facts_.calls(caller.function, frames_[frame].frame.function) ||
               holds(caller, frames_[frame].frame);
      };
      if (target && calls(frames_[*target].frame)) add(target, offset, frame, found);
    }
    return found;
  }

  void add(std::optional<uint32_t> target, uint64_t offset, uint32_t frame, std::vector<Candidate>& found) {
    if (!target || *target == frame || !can_await(*target, frame)) return;
    const auto same = std::ranges::find(found, *target, &Candidate::awaiting);
    if (same == found.end()) found.push_back({*target, offset});
  }

  // Where what called it cannot be seen, the word that told of others of its function.
  void add_learned() {
    for (uint32_t i = 0; i < frames_.size(); ++i) {
      const auto learned = learned_.find(frames_[i].frame.function);
      if (links_[i].kind != CoroutineLink::kNone || learned == learned_.end() || !can_be_awaited(i)) continue;
      const auto offset =
          std::ranges::max_element(learned->second, {}, [](const auto& entry) { return entry.second; });
      const auto word = memory_.number(frames_[i].frame.address + offset->first);
      auto target = word ? frame_at(*word) : std::nullopt;
      if (word && !target) target = promise_at(*word);
      if (target && *target != i && can_await(*target, i))
        links_[i] = {CoroutineLink::kCallGraph, false, *target};
    }
  }

  bool refers_to(uint32_t from, uint32_t to) {
    const CoroutineFrame& frame = frames_[from].frame;
    const uint64_t handle = frames_[to].frame.address;
    const uint64_t promise = handle + facts_.promise_offset(frames_[to].frame.function);
    const uint64_t end = frame.block + frame.size - frame.address;
    const uint64_t size = frame.size != 0 ? std::min(end, kMaxFrame) : kUnknownFrame;
    for (uint64_t at = 2 * kWord; at + kWord <= size; at += kWord) {
      const auto word = memory_.number(frame.address + at);
      if (!word) break;
      if (*word == handle || *word == promise) return true;
    }
    return false;
  }

  // Whether the one lies in the other's frame, or in that of one that lies there.
  static bool holds(const CoroutineFrame& outer, const CoroutineFrame& inner) {
    if (!inner.is_inner || outer.address >= inner.address) return false;
    return inner.block != 0 ? outer.block == inner.block : inner.address - outer.address < kMaxFrame;
  }

  // The other way round: the promise refers to one that this coroutine has called itself.
  bool is_owned(const Candidate& candidate, uint32_t frame) {
    return facts_.calls(frames_[frame].frame.function, frames_[candidate.awaiting].frame.function) &&
           !facts_.calls(frames_[candidate.awaiting].frame.function, frames_[frame].frame.function);
  }

  void break_circles() {
    std::vector<uint32_t> seen(links_.size(), 0);  // in which walk
    for (uint32_t start = 0, walk = 1; start < links_.size(); ++start, ++walk) {
      uint32_t at = start;
      while (links_[at].kind != CoroutineLink::kNone && seen[at] == 0) {
        seen[at] = walk;
        at = links_[at].awaiting;
      }
      if (seen[at] != walk || links_[at].kind == CoroutineLink::kNone) continue;
      // Of a circle nobody can tell where it begins: the least certain link goes, else all of it.
      uint32_t weakest = at;
      for (uint32_t next = links_[at].awaiting; next != at; next = links_[next].awaiting)
        if (!links_[next].sure) weakest = next;
      links_[weakest] = {};
    }
  }

  const Memory& memory_;
  std::span<const PlacedFrame> frames_;
  FunctionFacts& facts_;
  std::optional<uint64_t> cookie_;  // of folly
  std::unordered_map<uint64_t, uint32_t> by_address_, by_promise_;
  std::vector<FrameLink> links_;
  std::unordered_map<uint32_t, std::map<uint64_t, size_t>> learned_;  // by function: offsets, how often
};

}  // namespace

std::vector<FrameLink> link_frames(const Memory& memory, std::span<const PlacedFrame> frames,
                                   FunctionFacts& facts) {
  return Linker(memory, frames, facts).link();
}

}  // namespace asynctrace
