#include "cli/coroutines/running_frames.hpp"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>

namespace asynctrace {
namespace {

constexpr uint64_t kMaxStack = 8 << 20, kMaxFrame = 1 << 10, kMaxHolder = 64 << 10;
constexpr size_t kFramePointer = 6;
constexpr size_t kPreserved[] = {3, kFramePointer, 12, 13, 14,
                                 15};  // registers that calls preserve, by DWARF's numbers

using Frames = std::vector<PlacedFrame*>;

struct Executed {
  Frames running, unsure;
  std::string why_unsure;
};

class RunningFrames {
 public:
  RunningFrames(const ProcessImage& image, const FunctionFacts& facts, std::span<PlacedFrame> frames)
      : image_(image), facts_(facts), frames_(frames) {
    for (PlacedFrame& placed : frames) {
      if (placed.state == CoroutineState::kEnded) continue;
      by_function_[placed.frame.function].push_back(&placed);
      all_.push_back(&placed);
    }
    for (const CoroutineFunction& function : facts.functions()) {
      add_code(function.resume);
      for (const AddressRange& part : function.other_code) add_code(part);
    }
  }

  std::string mark(const ThreadReader& reader) {
    std::string why_unsure;
    for (const NativeThread& thread : reader.threads()) {
      Executed executed = look_at(thread);
      if (!executed.unsure.empty() && !thread.pcs.empty() && thread.stopped_ns == 0 && reader.hold) {
        if (const auto held = reader.hold(thread.tid)) executed = look_at(*held);
        else executed.why_unsure = held.error().message;
      }
      for (PlacedFrame* placed : executed.unsure) placed->may_run = true;
      for (PlacedFrame* placed : executed.running) placed->state = CoroutineState::kRunning;
      if (!executed.unsure.empty() && why_unsure.empty())
        why_unsure = fmt::format("thread {}: {}", thread.tid, executed.why_unsure);
    }
    for (PlacedFrame& placed : frames_) placed.may_run &= placed.state != CoroutineState::kRunning;
    mark_inner_frames();
    return why_unsure;
  }

 private:
  void add_code(const AddressRange& part) {
    code_.start = code_.end == 0 ? part.start : std::min(code_.start, part.start);
    code_.end = std::max(code_.end, part.end);
  }

  const Frames& executed_at(uint64_t pc) const {
    static const Frames kNone;
    const auto function = code_.contains(pc) ? facts_.function_at(pc) : std::nullopt;
    const auto found = function ? by_function_.find(*function) : by_function_.end();
    return found == by_function_.end() ? kNone : found->second;
  }

  // The code says which coroutine a thread executes, its registers and its stack which frame of that.
  Executed look_at(const NativeThread& thread) const {
    const bool has_frames = !thread.pcs.empty();
    Executed executed;
    executed.why_unsure = !thread.unread.empty() ? thread.unread
                          : has_frames           ? "its registers do not name its coroutine"
                                                 : "its stack could not be walked";
    if (!has_frames) executed.unsure = all_;
    FrameRegisters registers;  // what unwinding loses is still as in the frame further in
    for (size_t i = 0; i < thread.pcs.size(); ++i) {
      for (size_t k = 0; i < thread.registers.size() && k < registers.size(); ++k)
        if (thread.registers[i][k]) registers[k] = thread.registers[i][k];
      const Frames& all = executed_at(thread.pcs[i] - 1);
      if (all.empty()) continue;  // it is being destroyed, or its frame lies elsewhere
      const bool knows_registers =
          std::ranges::all_of(kPreserved, [&](size_t preserved) { return registers[preserved].has_value(); });
      const Frames named = named_in(thread, i, registers, all);
      if (named.size() == 1 && (knows_registers || all.size() == 1))
        executed.running.push_back(named.front());
      else add(knows_registers && !named.empty() ? named : all, executed.unsure);
    }
    if (has_frames && !is_whole(thread)) add_rest_of_stack(thread, executed);
    return executed;
  }

  // Where tables need a frame pointer that is not known, libdw takes the frame for the outermost one.
  static bool is_whole(const NativeThread& thread) {
    return thread.is_whole && thread.registers.back()[kFramePointer];
  }

  static void add(const Frames& frames, Frames& to) { to.insert(to.end(), frames.begin(), frames.end()); }

  // What a function executes it keeps in a register that calls preserve, or in its own part of the stack.
  // Where it was interrupted it may be in any register.
  Frames named_in(const NativeThread& thread, size_t frame, const FrameRegisters& registers,
                  const Frames& all) const {
    std::vector<uint64_t> words = own_words(thread, frame);
    for (const size_t preserved : kPreserved)
      if (registers[preserved]) words.push_back(*registers[preserved]);
    Frames named = named_by(words, all);
    if (!named.empty() || frame > 0) return named;
    for (const auto& value : registers)
      if (value) words.push_back(*value);
    return named_by(words, all);
  }

  static Frames named_by(const std::vector<uint64_t>& words, const Frames& frames) {
    Frames named;
    for (PlacedFrame* placed : frames)
      if (std::ranges::find(words, placed->frame.address) != words.end()) named.push_back(placed);
    return named;
  }

  static std::optional<uint64_t> stack_pointer(const NativeThread& thread, size_t frame) {
    return frame < thread.registers.size() ? thread.registers[frame][kStackPointer] : std::nullopt;
  }

  std::vector<uint64_t> own_words(const NativeThread& thread, size_t frame) const {
    const auto low = stack_pointer(thread, frame), high = stack_pointer(thread, frame + 1);
    if (!low) return {};
    return stack_words(*low, high ? *high : *low + kMaxFrame);
  }

  std::vector<uint64_t> stack_words(uint64_t low, uint64_t high) const {
    const auto range = std::ranges::find_if(
        image_.writable, [&](const MemoryRange& one) { return low >= one.start && low < one.end; });
    if (range == image_.writable.end()) return {};
    low = low / sizeof(uint64_t) * sizeof(uint64_t);
    high = std::min({high, range->end, low + kMaxStack});
    std::vector<uint64_t> words(high > low ? (high - low) / sizeof(uint64_t) : 0);
    if (!image_.memory->read(low, std::as_writable_bytes(std::span(words)))) words.clear();
    return words;
  }

  // Further out than the walk came, calls have left where they return to.
  void add_rest_of_stack(const NativeThread& thread, Executed& executed) const {
    const auto low = stack_pointer(thread, thread.pcs.size() - 1);
    if (!low) return;
    std::unordered_map<const Frames*, bool> seen;
    for (const uint64_t word : stack_words(*low, *low + kMaxStack)) {
      const Frames& frames = executed_at(word - 1);
      if (!frames.empty() && seen.try_emplace(&frames).second) add(frames, executed.unsure);
    }
  }

  // What clang has put into the frame of one that runs is part of what runs there.
  void mark_inner_frames() {
    const PlacedFrame* holder = nullptr;
    for (PlacedFrame& placed : frames_) {
      const CoroutineFrame& frame = placed.frame;
      if (!frame.is_inner) holder = &placed;
      if (!frame.is_inner || holder == nullptr || placed.state == CoroutineState::kRunning) continue;
      const bool is_inside = frame.block != 0 ? frame.block == holder->frame.block
                                              : frame.address - holder->frame.address < kMaxHolder;
      placed.may_run |= is_inside && (holder->may_run || holder->state == CoroutineState::kRunning);
    }
  }

  const ProcessImage& image_;
  const FunctionFacts& facts_;
  std::span<PlacedFrame> frames_;
  std::unordered_map<uint32_t, Frames> by_function_;
  Frames all_;         // that can be executed
  AddressRange code_;  // that all of their functions are in
};

}  // namespace

std::string mark_running_frames(const ProcessImage& image, const ThreadReader& reader,
                                const FunctionFacts& facts, std::span<PlacedFrame> frames) {
  return RunningFrames(image, facts, frames).mark(reader);
}

}  // namespace asynctrace
