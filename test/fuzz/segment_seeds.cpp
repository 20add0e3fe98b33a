// segment_seeds DIR: writes small segment files, the fuzzer's first inputs.
#include <fstream>
#include <vector>

#include "test/unit/segment_image.hpp"

namespace asynctrace::test {
namespace {

// Without the room that a section has left, so that most bytes mean something.
std::vector<std::byte> compact(SegmentImage& image) {
  const std::span<std::byte> whole = image.bytes();
  std::vector<std::byte> result(whole.begin(), whole.begin() + segment::kPage);
  segment::Header header = image.header();
  for (segment::Section& section : header.sections) {
    const size_t size = size_t{section.used} * section.item_size;
    const auto from = whole.begin() + static_cast<ptrdiff_t>(section.offset);
    section.offset = result.size();
    section.capacity = section.used;
    result.insert(result.end(), from, from + static_cast<ptrdiff_t>(size));
    result.resize((result.size() + 7) / 8 * 8);
  }
  header.file_size = result.size();
  std::memcpy(result.data(), &header, sizeof(header));
  return result;
}

SegmentImage hostile_names() {
  SegmentImage image = small_image();
  image.header().exe = image.add_string("/opt/\x1b]0;x\a\n\xff;\xc2\x9b");
  image.at<segment::Module>(segment::kModules, 0).path = image.header().exe;
  return image;
}

// A stuck task, a running one, one that joins another, two leaves of which one was not renewed.
SegmentImage several_tasks() {
  using namespace segment;
  SegmentImage image = small_image();
  image.add(kTasks, segment::Task{8, 0x9100, 5 << 2 | 2, 4, 3, 2, 3, 1, 43, 0, 0, References::kNone});
  image.add(kTasks, segment::Task{9, 0x9200, 6 << 2 | 1, 4, 3, 2, 3, 1, 43, kNoPoller, 0, References::kSome});
  image.add(kTasks, segment::Task{10, 43, 7 << 2 | 3, 4, 3, 2, 3, 1, 43, 0, 1 << 4, References::kUnknown});
  const uint64_t pcs[] = {0x2201, 0x2302, 0x2400};
  const uint32_t stack = image.add_stack(pcs);
  image.add(kLeaves, segment::Leaf{4 | kLeafLive, kOwnWaker, 10, stack, 3, 6, 6, 0x9100});
  image.add(kLeaves, segment::Leaf{8 | kLeafLive, kNoExactEnd, 10, stack, 2, 5, 5, 0});
  image.add(kLeaves, segment::Leaf{8 | kLeafLive, kMet, 10, stack, 3, 7, 7, 0});
  image.header().next_task_id = 11;
  return image;
}

void write(const std::string& path, SegmentImage image) {
  const std::vector<std::byte> bytes = compact(image);
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace
}  // namespace asynctrace::test

int main(int argc, char** argv) {
  using namespace asynctrace::test;
  if (argc != 2) return 2;
  const std::string directory = argv[1];
  write(directory + "/small", small_image());
  write(directory + "/names", hostile_names());
  write(directory + "/tasks", several_tasks());
  return 0;
}
