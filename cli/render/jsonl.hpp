// JSON Lines: the items of schema asynctrace.dump/1, one a line, each before its first use; for readers that
// cannot hold a document. Several dumps follow one another. A dump without its end line was cut short.
//
//   {"schema":"asynctrace.dump/1",..,"process":{..},"runtimes":[..],"diagnostics":[..],"threads":[..],
//    "modules":[..],"lost":{..}}
//   {"index":0,"frame":{..}}      0: its number in "frames"
//   {"index":0,"stack":[0]}       0: its number in "stacks"
//   {"task":{..}}
//   {"group":{..}}
//   {"suspect":{..}}
//   {"end":true,"tasks":1}
#pragma once

#include <ostream>

#include "cli/render/json.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

void render_jsonl(const Report& report, const JsonOptions& options, std::ostream& out);

}  // namespace asynctrace
