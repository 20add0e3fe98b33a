// What the user asked for, as plain data: filled by command_line.cpp from flags, environment and the
// configuration file, used by the verbs.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "cli/tree/report.hpp"

namespace asynctrace {

enum class ColourMode { kAuto, kAlways, kNever };
enum class DumpFormat { kText, kJson, kJsonl, kFolded };
enum class EnvFormat { kShell, kSystemd, kDocker, kKubernetes };

// How a dump is written.
struct DumpForm {
  DumpFormat format = DumpFormat::kText;
  FrameView frames = FrameView::kUser;
  bool all = false;
  ColourMode colour = ColourMode::kAuto;
  std::chrono::nanoseconds blocked = std::chrono::seconds(1);
  bool may_stop = true;
  bool repoll = false;
  bool causes = false;
  std::vector<SourcePrefix> source_prefixes = {};
  SymbolOptions symbols = {};
  std::string executable = {};  // of a core file; "": the one that it names
};

enum class ReportForm { kText, kJson, kMarkdown, kJunit, kGithub };
struct ReportTarget {
  ReportForm form = ReportForm::kText;
  std::string path;  // "": stderr
};

struct RunOptions {
  std::vector<std::string> command;
  DumpForm form;
  bool quiet = false;
  bool quit_key = true;
  bool follow = true;
  bool crash_stack = false;
  std::optional<std::chrono::nanoseconds> dump_after, dump_every, timeout;
  std::chrono::nanoseconds kill_after = std::chrono::seconds(10);
  std::optional<std::chrono::nanoseconds> hang;
  bool kill_on_hang = false;
  std::string dump_file;  // "": stderr
  std::vector<ReportTarget> reports;
  std::string hooks;   // file of --hooks, "": none
  std::string output;  // pattern of -o, "": none
  bool pack = false;   // the files that stay
  uint64_t max_size = 512ull << 20;
};

struct DumpOptions {
  std::vector<std::string> targets;  // pids and files
  DumpForm form;
};

struct ExportOptions {
  std::vector<std::string> targets;  // at most one: a pid or a file
  DumpForm form{.format = DumpFormat::kFolded};
  std::string output;  // "": stdout
};

struct PackOptions {
  std::vector<std::string> targets;  // exactly one
  std::string output;
  SymbolOptions symbols;
};

struct DiffOptions {
  std::string before, after;  // pids, segment files, dumps in JSON
  DumpForm form;
};

struct PsOptions {
  bool prune = false;
  uint64_t keep = 0;  // newest dead ones that --prune leaves
};

struct AttachOptions {  // and of detach
  pid_t pid = 0;
  std::string hooks;  // as in RunOptions
  bool force = false;
  bool quiet = false;
  uint64_t max_size = 512ull << 20;
};

struct EnvOptions {
  std::string hooks;  // as in RunOptions
  EnvFormat format = EnvFormat::kShell;
  bool follow = true;
  std::string output;
  std::optional<uint64_t> max_size;
};

}  // namespace asynctrace
