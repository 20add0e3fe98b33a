// What a task is, from the name of its poll function.
#pragma once

#include <string>
#include <string_view>

#include "cli/symbols/symbolizer.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

struct TaskType {
  std::string future;  // the future's type as debug info or the v0 symbol spells it; "" if unknown
  ReportTaskKind kind = ReportTaskKind::kTask;
};

// `poll` is tokio::runtime::task::raw::poll::<T, S>, whose type arguments stand in its debug name or its v0
// symbol.
TaskType task_type(const Frame& poll);

// "async fn shop::checkout" for "shop::checkout::{async_fn_env#0}".
std::string display_type(std::string_view future);

// "1.24.2" from ".../tokio-1.24.2/src/..."; "" if there is none.
std::string crate_version(std::string_view file, std::string_view crate);

}  // namespace asynctrace
