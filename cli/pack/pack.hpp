// Packing: segment file + symbols -> the bytes of a packed file.
#pragma once

#include <string>

#include "cli/error.hpp"
#include "cli/segment_file.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace::pack {

// `file`: of a dead process; `snapshot` and `symbols` were made from it. Works out every address of the
// snapshot. Fails where the segment is larger than a packed file may hold.
Result<std::string> pack(const SegmentFile& file, const Snapshot& snapshot, Symbolizer& symbols);

}  // namespace asynctrace::pack
