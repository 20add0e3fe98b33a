#include "cli/native_reader.hpp"

#include <algorithm>
#include <utility>

namespace asynctrace {

void NativeReader::read_tasks() {
  read_watchers();
  for (uint32_t i = 0; i < reader_.used(segment::kNativeTasks); i++) {
    const auto in = reader_.native_task(i);
    if (!in) continue;
    NativeTask out;
    if (const auto runtime = reader_.label(in->runtime)) out.runtime = reader_.string(runtime->text);
    out.name.assign(in->name, std::min<size_t>(in->name_length, sizeof(in->name)));
    if (in->name_length > sizeof(in->name)) out.name += "...";
    out.spawn_stack = stack_of(in->spawn_site);
    out.woken_by = in->woken_by;
    tasks_.emplace(in->task, std::move(out));
  }
}

std::optional<NativeTask> NativeReader::task(uint64_t id) const {
  const auto found = tasks_.find(id);
  return found != tasks_.end() ? std::optional(found->second) : std::nullopt;
}

void NativeReader::read_watchers() {
  for (uint32_t i = 0; i < reader_.used(segment::kWatchers); i++) {
    const auto in = reader_.watcher(i);
    if (!in) continue;
    Watcher out;
    if (const auto library = reader_.label(in->library)) out.library = reader_.string(library->text);
    // The function itself, as an address that a call in it would return to.
    if (in->callback != 0) out.callback = stack_of(in->callback + 1);
    out.descriptor = in->descriptor;
    records_.emplace(in->task, *in);
    out.is_loop = in->callback == 0 && in->descriptor == -1;
    out.check = in->check;
    out.check_number = in->number;
    out.check_type = in->type;
    if (in->check == segment::WatcherCheck::kSource) out.doubt = WatcherDoubt::kEndUnseen;
    watchers_.emplace(in->task, std::move(out));
  }
}

std::optional<Watcher> NativeReader::watcher(uint64_t id) const {
  const auto found = watchers_.find(id);
  return found != watchers_.end() ? std::optional(found->second) : std::nullopt;
}

std::optional<int64_t> NativeReader::due_in_ns(uint64_t id, uint64_t waiting_ns, bool is_first_wait,
                                               const EndOfTime& end) const {
  const auto record = records_.find(id);
  if (record == records_.end()) return {};
  return asynctrace::due_in_ns(record->second, waiting_ns, is_first_wait, end);
}

void NativeReader::add_causes(uint64_t id, const std::function<std::optional<uint32_t>(uint32_t)>& stack,
                              Watcher& watcher) {
  const auto record_of = [this](uint64_t task) {
    const auto found = records_.find(task);
    return found != records_.end() ? &found->second : nullptr;
  };
  // In a damaged file records may lead in a circle.
  for (const segment::Watcher* armed = record_of(id);
       armed != nullptr && armed->arming != 0 && armed->cause != 0;) {
    if (watcher.causes.size() == kMaxCauses) {
      watcher.more_causes = true;
      return;
    }
    Cause& cause = watcher.causes.emplace_back();
    cause.task = armed->cause;
    if (armed->cause_callback == 0) return;  // a task, of which the report tells
    cause.callback = stack_of(armed->cause_callback + 1);
    cause.stack = stack(armed->cause_stack);
    const segment::Watcher* record = record_of(armed->cause);
    cause.state = record == nullptr                                 ? CauseState::kGone
                  : armed->cause_arming == 0 || record->arming == 0 ? CauseState::kUnknown
                  : record->arming != armed->cause_arming           ? CauseState::kArmedAgain
                                                                    : CauseState::kKnown;
    armed = cause.state == CauseState::kKnown ? record : nullptr;
  }
}

std::optional<uint32_t> NativeReader::label(uint32_t leaf_flags) {
  const uint32_t number = (leaf_flags >> segment::kLeafLabelShift) - 1;
  const auto label = reader_.label(number);
  if (!label) return {};
  const auto [entry, is_new] = labels_.try_emplace(number, static_cast<uint32_t>(snapshot_.labels.size()));
  if (is_new)
    snapshot_.labels.push_back(
        {std::string(reader_.string(label->text)), label->leaf_class, label->poll_events});
  return entry->second;
}

std::optional<uint32_t> NativeReader::stack_of(uint64_t site) {
  if (site == 0) return {};
  const auto [entry, is_new] = stacks_.try_emplace(site, static_cast<uint32_t>(snapshot_.stacks.size()));
  if (is_new) snapshot_.stacks.push_back({{site}, false, false, false});
  return entry->second;
}

}  // namespace asynctrace
