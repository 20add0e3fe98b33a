#include "cli/pack/pack.hpp"

#include <cstring>

#include <fmt/format.h>

#include "cli/compressed.hpp"
#include "cli/pack/pack_format.hpp"
#include "cli/tick_rate.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace::pack {
namespace {

constexpr int kLevel = 6;  // smaller by a fifth than level 3, and still faster than symbols are worked out

// The segment without the room that its sections have left.
std::string cut_to_used(const SegmentReader& reader) {
  segment::Header header = reader.header();
  std::string bytes(segment::kPage, '\0');
  for (uint32_t id = 0; id < segment::kSectionCount; ++id) {
    segment::Section& section = header.sections[id];
    const auto items = reader.items(static_cast<segment::SectionId>(id));
    section.offset = bytes.size();
    section.used = section.capacity = static_cast<uint32_t>(items.size() / section.item_size);
    bytes.append(reinterpret_cast<const char*>(items.data()), items.size());
    bytes.resize((bytes.size() + segment::kPage - 1) / segment::kPage * segment::kPage);
  }
  header.file_size = bytes.size();
  pin_rate(header);
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

Result<std::string> pack(const SegmentFile& file, const Snapshot& snapshot, Symbolizer& symbols) {
  // Whatever a dump asks for, and the stacks that it leaves out.
  build_report(snapshot, symbols, {.causes = true});
  for (const Stack& stack : snapshot.stacks)
    for (const uint64_t pc : stack.pcs) symbols.resolve_return_address(pc);
  ByteWriter out;
  for (uint32_t i = 0; i < snapshot.modules.size(); ++i) write_module(symbols.symbols(i), out);
  const std::string modules = out.take();
  const std::string segment = cut_to_used(file.reader());
  if (segment.size() > kMaxSegment || modules.size() > kMaxSymbols) {
    return fail(fmt::format("too large to be packed: {} MiB of records, {} MiB of symbols",
                            segment.size() >> 20, modules.size() >> 20),
                "keep the segment file itself");
  }
  const std::string packed_segment = compress(as_bytes(segment), kLevel);
  const std::string packed_modules = compress(as_bytes(modules), kLevel);
  Header header{{}, kVersion, 0, packed_segment.size(), packed_modules.size()};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  return bytes + packed_segment + packed_modules;
}

}  // namespace asynctrace::pack
