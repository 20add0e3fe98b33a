// JUnit XML, of the form that Jenkins' xUnit schema (junit-10.xsd) and GitLab take: test/schema/junit.xsd.
// The first test case is the run itself, which passes if it ended well and else fails with the text of every
// process; each finding is a test case of its own that fails. GitLab shows no `message`, so the text repeats
// it; names have no numbers of processes and tasks, so that runs can be compared.
#pragma once

#include <ostream>

#include "cli/render/run_report.hpp"

namespace asynctrace {

void render_junit(const RunReport& run, std::ostream& out);

}  // namespace asynctrace
