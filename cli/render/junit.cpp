#include "cli/render/junit.hpp"

#include <map>
#include <string>

#include <fmt/format.h>
#include <pugixml.hpp>

#include "cli/render/escape.hpp"
#include "cli/render/phrases.hpp"

namespace asynctrace {
namespace {

constexpr size_t kText = 1'000'000;  // bytes of one failure; GitLab refuses files above 30 MB

void set(pugi::xml_node node, const char* name, const std::string& value) {
  node.append_attribute(name).set_value(value.c_str());
}

void add_failure(pugi::xml_node test, std::string_view type, const std::string& message,
                 const std::string& text) {
  pugi::xml_node failure = test.append_child("failure");
  set(failure, "type", std::string(type));
  set(failure, "message", message);
  failure.text().set((message + "\n\n" + text).c_str());
}

pugi::xml_node add_test(pugi::xml_node suite, const std::string& class_name, const std::string& name) {
  pugi::xml_node test = suite.append_child("testcase");
  set(test, "classname", class_name);
  set(test, "name", name);
  return test;
}

}  // namespace

void render_junit(const RunReport& run, std::ostream& out) {
  const std::vector<MergedFinding> findings = merge_findings(run);
  const std::string failures = std::to_string(run.ended_well ? 0 : 1 + findings.size());
  const std::string seconds =
      fmt::format("{}.{:03}", run.elapsed_ns / 1'000'000'000, run.elapsed_ns / 1'000'000 % 1000);
  pugi::xml_document document;
  pugi::xml_node suites = document.append_child("testsuites"), suite = suites.append_child("testsuite");
  for (pugi::xml_node node : {suites, suite}) {
    set(node, "name", node == suites ? "asynctrace" : run.command);
    set(node, "tests", std::to_string(1 + (run.ended_well ? 0 : findings.size())));
    set(node, "failures", failures);
    set(node, "errors", "0");
  }
  pugi::xml_node whole = add_test(suite, "asynctrace.run", run.command);
  set(whole, "time", seconds);
  if (!run.ended_well) {
    add_failure(whole, "run", run.outcome,
                run.processes.empty() ? escape(run.remark) : render_processes(run, kText));
    std::map<std::string, size_t> used;
    for (const MergedFinding& merged : findings) {
      const Finding& finding = merged.finding;
      std::string name = where(finding, *merged.report);
      if (const std::string evidence = escape(finding.evidence); name != evidence) name += ": " + evidence;
      if (const size_t times = ++used[name]; times > 1) name += fmt::format(" ({})", times);
      add_failure(add_test(suite, "asynctrace." + program_name(*merged.report), name), finding.kind,
                  sentence(merged), draw(*finding.group, *merged.report));
    }
  }
  document.save(out, "  ", pugi::format_default, pugi::encoding_utf8);
}

}  // namespace asynctrace
