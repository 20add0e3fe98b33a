// The items of schema asynctrace.dump/1, each as one line of JSON text: what the document (json.cpp) and JSON
// Lines (jsonl.cpp) have in common. Everything from the target is escaped.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/render/json.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

class JsonItems {
 public:
  explicit JsonItems(const Report& report);  // which must outlive it

  struct Member {
    std::string_view key;
    std::string value;
  };
  // What is known before any list is written, in the order of the contract.
  std::vector<Member> head(const JsonOptions& options) const;
  std::string crash() const;
  std::string runtime(const ReportRuntime& runtime) const;
  std::string group(const Group& group) const;
  std::string suspect(const Suspect& suspect) const;
  std::string diagnostic(const Diagnostic& diagnostic) const;
  std::string stack(const ReportStack& stack) const;
  std::string frame(const ReportFrame& frame) const;
  std::vector<const Thread*> threads() const;  // of the snapshot, by tid
  std::string thread(const Thread& thread) const;
  std::string module(const Module& module) const;
  std::string lost() const;
  std::string task(const ReportTask& task) const;

 private:
  std::string reason(const ReportLeaf& leaf) const;
  std::string_view unmoved(const ReportTask& task) const;
  std::string descriptor_member(const Task& task) const;
  std::string causes_member(const ReportTask& task) const;

  const Report& report_;
  // Text that many tasks share, already JSON: a document of objects for 100,000 tasks takes a second to
  // build.
  std::vector<std::string> types_, kinds_, reasons_;
  const std::string unknown_kind_;
};

}  // namespace asynctrace
