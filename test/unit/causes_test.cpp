#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/render/text.hpp"
#include "cli/tree/report.hpp"
#include "common/include/asynctrace/abi.h"
#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A program of a poll loop, whose functions are armed in each other.
struct Loop : Program {
  uint32_t function(const std::string& name) {
    return stack_of({symbols.add({frame(name, "/b/src/shop.c", 1)}) + 1});
  }
  uint32_t armed_in(const std::string& name, uint32_t line) {
    return stack({frame(name, "/b/src/shop.c", line, 3)});
  }
  void watcher(uint64_t id, uint32_t armed, uint32_t callback, std::vector<Cause> causes, bool more = false) {
    snapshot.labels = {{"timer", ASYNCTRACE_TIMER}};
    Leaf waits = leaf(armed, 2 * kSec);
    waits.label = 0;
    Task& added = task(id, {waits});
    added.runtime = RuntimeId::kLoop;
    added.kind = TaskKind::kWatcher;
    added.watcher =
        std::make_unique<const Watcher>(Watcher{"libevent", callback, -1, false, {}, std::move(causes), more});
  }
  std::string text(bool causes = true) {
    std::ostringstream out;
    const Report report = build_report(snapshot, symbols, {.causes = causes});
    render_text(report, {.colour = false, .all = true, .terminal = false}, out);
    return out.str();
  }
};

TEST(Causes, AreDrawnBelowTheirLeaf) {
  Loop loop;
  loop.watcher(3, loop.armed_in("on_request", 30), loop.function("on_reply"),
               {{5, loop.function("on_request"), loop.armed_in("on_accept", 20), CauseState::kKnown},
                {4, loop.function("on_accept"), loop.armed_in("main", 10), CauseState::kGone}},
               true);
  EXPECT_THAT(loop.text(), HasSubstr("╼ on_request at src/shop.c:30:3\n"
                                     "  └╼ timer, calls on_reply\n"
                                     "     caused by on_request, armed in on_accept at src/shop.c:20:3\n"
                                     "     caused by on_accept (gone), armed in main at src/shop.c:10:3\n"
                                     "     ...\n"));
  EXPECT_THAT(loop.text(false), Not(HasSubstr("caused by")));
}

TEST(Causes, OfWhichLittleIsKnown) {
  Loop loop;
  const uint32_t armed = loop.armed_in("on_request", 30);
  loop.watcher(3, armed, loop.function("a"), {{5, loop.function("on_request"), {}, CauseState::kUnknown}});
  loop.watcher(4, armed, loop.function("b"),
               {{5, loop.function("on_request"), loop.armed_in("main", 10), CauseState::kArmedAgain}});
  loop.watcher(6, armed, loop.function("c"), {{99, {}, {}, CauseState::kKnown}});
  const std::string text = loop.text();
  EXPECT_THAT(text, HasSubstr("calls a\n     caused by on_request (how it was armed is not known)\n"));
  EXPECT_THAT(text, HasSubstr("calls b\n     caused by on_request (armed again since), armed in main at "));
  EXPECT_THAT(text, HasSubstr("calls c\n     caused by task 99 (gone)\n"));
}

TEST(Causes, ThatAreTasks) {
  Loop loop;
  loop.task(9).poll_function = loop.symbols.add({poll_function("shop::desk::{async_fn_env#0}")});
  loop.watcher(3, loop.armed_in("arm", 30), loop.function("a"), {{9, {}, {}, CauseState::kKnown}});
  EXPECT_THAT(loop.text(), HasSubstr("calls a\n     caused by async fn shop::desk\n"));
}

TEST(Causes, OfSpawnedTasks) {
  Loop loop;
  NativeTask native;
  native.runtime = "shop";
  native.spawn_stack = loop.armed_in("accept_loop", 12);
  Leaf waits = leaf(loop.armed_in("desk", 40), kSec);
  loop.snapshot.labels = {{"receipt", ASYNCTRACE_CHANNEL}};
  waits.label = 0;
  loop.task(3, {waits}).native = std::make_unique<const NativeTask>(std::move(native));
  EXPECT_THAT(loop.text(), HasSubstr("╼ desk at src/shop.c:40:3\n"
                                     "  └╼ receipt\n"
                                     "     spawned in accept_loop at src/shop.c:12:3\n"));
}

// Watchers of one function that came about in the same way read the same; others do not.
TEST(Causes, MergeWhatReadsTheSame) {
  Loop loop;
  const uint32_t armed = loop.armed_in("on_accept", 30), callback = loop.function("on_request");
  const uint32_t on_accept = loop.function("on_accept"), in_main = loop.armed_in("main", 10);
  for (uint64_t id = 10; id < 13; ++id)
    loop.watcher(id, armed, callback, {{2, on_accept, in_main, CauseState::kKnown}});
  loop.watcher(13, armed, callback, {{3, on_accept, loop.armed_in("main", 11), CauseState::kKnown}});
  const std::string text = loop.text();
  EXPECT_THAT(text, HasSubstr("3 tasks  2.0s  (10, 11, 12)\n"));
  EXPECT_THAT(text, HasSubstr("task 13  2.0s\n"));
}

TEST(Causes, ABranchOfATraceGoesOnBelowThem) {
  Loop loop;
  loop.watcher(3, loop.armed_in("main", 9), loop.function("a"),
               {{5, loop.function("on_request"), loop.armed_in("main", 10), CauseState::kKnown}});
  const uint32_t other = loop.snapshot.tasks[0].leaves[0].stack.value_or(0);
  Leaf second = leaf(other, kSec);
  second.label = 1;
  loop.snapshot.labels.push_back({"zzz", ASYNCTRACE_TIMER});
  loop.snapshot.tasks[0].leaves.push_back(second);
  EXPECT_THAT(loop.text(), HasSubstr("  ├╼ timer, calls a  2.0s\n"
                                     "  │  caused by on_request, armed in main at src/shop.c:10:3\n"
                                     "  └╼ zzz, calls a  1.0s\n"
                                     "     caused by on_request, armed in main at src/shop.c:10:3\n"));
}

}  // namespace
}  // namespace asynctrace::testing
