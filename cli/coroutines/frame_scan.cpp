#include "cli/coroutines/frame_scan.hpp"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "cli/census/memory_scan.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kWord = 8;
constexpr uint64_t kFrameAlignment = 8;
constexpr uint64_t kAllocatedAlignment = 16;

// Compilers keep both addresses side by side on the stack too. A frame there is one that clang has put there,
// and then has the second function for it.
bool has_destroy(const CoroutineFunction& function, uint64_t address, bool on_stack) {
  return std::ranges::count(function.cleanups, address) > 0 ||
         (!on_stack && std::ranges::count(function.destroys, address) > 0);
}

}  // namespace

bool is_still_there(const Memory& memory, const CoroutineFrame& frame,
                    std::span<const CoroutineFunction> functions) {
  std::array<uint64_t, 2> words;
  if (!memory.read(frame.address, std::as_writable_bytes(std::span(words)))) return false;
  const CoroutineFunction& function = functions[frame.function];
  return words[0] == (frame.has_ended ? 0 : function.resume.start) &&
         has_destroy(function, words[1], frame.on_stack);
}

std::vector<CoroutineFrame> scan_for_frames(const ProcessImage& image,
                                            std::span<const CoroutineFunction> functions) {
  std::unordered_map<uint64_t, uint32_t> resumes, destroys;
  std::vector<uint64_t> values;
  for (uint32_t i = 0; i < functions.size(); ++i) {
    resumes.emplace(functions[i].resume.start, i);
    values.push_back(functions[i].resume.start);
    for (const uint64_t destroy : functions[i].destroys) destroys.emplace(destroy, i);
  }
  for (const auto& [destroy, function] : destroys) values.push_back(destroy);
  std::ranges::sort(values);
  values.erase(std::unique(values.begin(), values.end()), values.end());

  std::vector<CoroutineFrame> found;
  for (const Hit& hit : scan_for_words(*image.memory, image.writable, values)) {
    CoroutineFrame frame;
    frame.on_stack = hit.on_stack;
    frame.address = hit.address;
    if (const auto resume = resumes.find(values[hit.value]); resume != resumes.end()) {
      frame.function = resume->second;
    } else {
      // A frame that has ended has nothing but this word, so it must at least lie where an allocator puts
      // one.
      frame.address -= kWord;
      frame.has_ended = true;
      if (frame.address % kAllocatedAlignment != 0 || hit.on_stack) continue;
      frame.function = destroys.at(values[hit.value]);
    }
    if (frame.address % kFrameAlignment != 0 || !is_still_there(*image.memory, frame, functions)) continue;
    const auto destroy = image.memory->number(frame.address + kWord);
    frame.is_inner = destroy && std::ranges::count(functions[frame.function].cleanups, *destroy) > 0;
    found.push_back(frame);
  }
  std::ranges::sort(found, {}, &CoroutineFrame::address);
  return found;
}

}  // namespace asynctrace
