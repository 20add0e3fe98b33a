"""run --report: what a run that hung, was stopped or killed leaves for CI systems, and that each report keeps to the
rules of who reads it."""

import os
import re
import signal
import subprocess

import pytest
from conftest import BUILD, CLI, PATIENCE, ROOT, program
from json_documents import documents
from lxml import etree
from pty_session import wait_until
from running import env, files, run, silent_stdin  # noqa: F401 (env is a fixture)

JUNIT = etree.XMLSchema(etree.parse(str(ROOT / "test" / "schema" / "junit.xsd")))
GOLDEN = ROOT / "test" / "unit" / "golden"
CHECKOUT = BUILD / "targets" / "tokio"  # where the programs are built, as a CI system's checkout of theirs
FORMS = {"text": "r.txt", "json": "r.json", "markdown": "r.md", "junit": "r.xml"}


def all_reports(directory):
    return [word for form, name in FORMS.items() for word in ("--report", f"{form}={directory / name}")]


def junit(path):
    document = etree.parse(str(path))
    JUNIT.assertValid(document)
    suites = document.getroot()
    for node in (suites, suites[0]):
        assert int(node.get("tests")) == len(suites.findall(".//testcase"))
        assert int(node.get("failures")) == len(suites.findall(".//failure"))
    return suites.findall(".//testcase")


def annotations(log):
    """As GitHub's runner reads them: (command, properties, message)."""
    found = []
    for line in log.splitlines():
        match = re.fullmatch("::(error|warning) ([^:]*)::(.*)", line.lstrip())
        if not match:
            continue
        unescaped = [re.sub("%(0A|0D|25|3A|2C)", lambda code: chr(int(code[1], 16)), text)
                     for text in [*match[2].split(","), match[3]]]
        found.append((match[1], dict(pair.split("=", 1) for pair in unescaped[:-1]), unescaped[-1]))
    return found


def places(annotated):
    return {f"{place['file']}:{place['line']}" for _, place, _ in annotated if "file" in place}


def as_html(markdown):
    """What GitHub's own converter makes of it."""
    return subprocess.run(["cmark-gfm", "-e", "table", "--unsafe"], input=markdown, capture_output=True, text=True,
                          check=True).stdout


def run_hanging(env, scenario, *options, timeout="1500ms", checkout=CHECKOUT, **more):
    """Until the time-out; the result, and file:line of each leaf of tokio's, by what the program itself printed."""
    with silent_stdin() as stdin:
        result = run({**env, "GITHUB_WORKSPACE": str(checkout), **more}, "--timeout", timeout, *options,
                     program("hangs"), scenario, "multi", stdin=stdin)
    assert result.returncode == 124, result.stderr
    leaves = [line.split()[1] for line in result.stdout.decode().splitlines()
              if line.startswith("LEAF ") and not line.endswith(("Forgetful", "Deposit"))]
    return result, leaves


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.junit.xml")), ids=lambda path: path.stem)
def test_golden_junit_files_are_valid(path):
    junit(path)


def test_golden_markdown_is_a_table_and_a_block():
    html = as_html((GOLDEN / "shop.md").read_text())
    assert html.count("<tr>") == 3 and html.count("<td>") == 10
    assert "<code>async fn shop::checkout at src/cart.rs:88:14</code></td>" in html
    assert '<pre><code class="language-text">shop pid 42' in html and "╼ async fn shop::joins at" in html


def test_every_report_of_a_time_out_names_the_lines(env, tmp_path):
    result, leaves = run_hanging(env, "lost_wake", *all_reports(tmp_path), "--report", "github")
    log = result.stderr.decode()
    assert len(leaves) == 2
    text, markdown = ((tmp_path / FORMS[form]).read_text() for form in ("text", "markdown"))
    cases = junit(tmp_path / FORMS["junit"])
    (dump,) = documents((tmp_path / FORMS["json"]).read_text())
    assert dump["reason"] == "timeout"
    lines = {f"{frame['file'].removeprefix(str(CHECKOUT) + '/')}:{frame['line']}"
             for frame in dump["frames"] if frame["class"] == "user"}
    shown = annotations(log)
    for leaf in leaves:
        assert leaf in lines
        for report in (text, markdown, cases[0][0].text):
            assert re.search(rf" at {re.escape(leaf)}:\d", report), leaf
        assert leaf in places(shown)
    names = [case.get("name") for case in cases if case[0].get("type") == "no_waker"]
    assert len(names) == 2 and any("hangs::Forgetful" in name for name in names), names
    assert shown[0][0] == "error" and shown[0][2].startswith("task ")
    commands = [command for command, _, _ in shown]
    assert commands == sorted(commands) and "warning" in commands
    assert "ran into the time-out of 1.5s" in text and "ran into the time-out" in cases[0][0].get("message")


def test_in_github_actions_its_form_is_chosen(env, tmp_path):
    summary = tmp_path / "summary"
    summary.write_text("# before\n")
    result, leaves = run_hanging(env, "never_sent", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))
    shown = annotations(result.stderr.decode())
    assert places(shown) == set(leaves)
    assert all(len(message) <= 4096 and place["title"].startswith("asynctrace: ") for _, place, message in shown)
    assert b"::" not in re.sub(rb"(?m)^LEAF.*$", b"", result.stdout)
    page = summary.read_text()
    assert page.startswith("# before\n## asynctrace: ")
    assert as_html(page).count("<tr>") == 1 + len(shown)


def test_the_summary_keeps_to_its_limit(env, tmp_path):
    summary = tmp_path / "summary"
    in_github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    for used in (998_500, 999_999, 1_500_000):
        summary.write_text("x" * used)
        run_hanging(env, "never_sent", timeout="300ms", **in_github)
        assert summary.stat().st_size <= max(used, 1_000_000)


def test_a_run_that_ends_well_leaves_only_a_passed_test_case(env, tmp_path):
    for name in ("r.txt", "r.md", "r.xml"):
        (tmp_path / name).write_text("of an older run")
    result = run({**env, "GITHUB_ACTIONS": "true"}, *all_reports(tmp_path), program("waiters"), "10", input=b"")
    assert (result.returncode, result.stderr) == (0, b"")
    (case,) = junit(tmp_path / "r.xml")
    assert len(case) == 0 and case.get("classname") == "asynctrace.run" and "waiters 10" in case.get("name")
    assert not any((tmp_path / FORMS[form]).exists() for form in ("text", "json", "markdown"))
    assert run({**env, "GITHUB_ACTIONS": "true"}, "/bin/true").stderr == b""


def test_a_run_that_fails_without_tasks_is_a_failed_test_case(env, tmp_path):
    result = run(env, *all_reports(tmp_path), "--report", "github", "/bin/sh", "-c", "exit 3")
    assert (result.returncode, result.stderr) == (3, b"")
    (case,) = junit(tmp_path / "r.xml")
    assert case[0].get("message") == "ended with status 3"
    assert sorted(path.name for path in tmp_path.glob("r.*")) == ["r.xml"]


def test_a_time_out_without_any_task_says_why(env, tmp_path):
    with silent_stdin() as stdin:
        result = run(env, "--timeout", "200ms", *all_reports(tmp_path), "/bin/cat", stdin=stdin)
    assert result.returncode == 124
    (case,) = junit(tmp_path / "r.xml")
    for said in (case[0].text, (tmp_path / "r.txt").read_text(), as_html((tmp_path / "r.md").read_text())):
        assert "no async runtime has been found in /bin/cat" in said
    assert (tmp_path / "r.json").read_text() == ""


@pytest.mark.parametrize("number, reason, state", [(signal.SIGKILL, "post-mortem", "killed"),
                                                   (signal.SIGABRT, "crash", "crashed")])
def test_a_program_that_is_killed_is_reported(env, tmp_path, number, reason, state):
    with subprocess.Popen([CLI, "run", *all_reports(tmp_path), program("hangs"), "never_sent", "multi"], env=env,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        pid = next(int(line.split()[1]) for line in process.stdout if line.startswith("READY "))
        # READY comes from inside the last poll.
        wait_until(lambda: b"mpsc recv" in subprocess.run([CLI, "dump", str(pid)], env=env, capture_output=True).stdout,
                   "its tasks wait")
        os.kill(pid, number)
        assert process.wait(PATIENCE) == 128 + number
    (dump,) = documents((tmp_path / "r.json").read_text())
    assert (dump["reason"], dump["process"]["state"]) == (reason, state)
    cases = junit(tmp_path / "r.xml")
    assert cases[0][0].get("message").startswith(f"was killed by signal {number.value} ")
    assert any("mpsc recv" in case.get("name") for case in cases[1:])
    assert [case[0].get("type") for case in cases].count("crash") == (state == "crashed")


def test_a_failed_run_with_tasks_that_wait_is_reported(env, tmp_path):
    """The process that waited was another's child, so that nobody knows how it ended."""
    os.mkfifo(tmp_path / "fifo")
    holder = os.open(tmp_path / "fifo", os.O_RDWR)
    script = '"$0" never_sent multi <"$1" | while read word pid; do [ $word != READY ] || kill -KILL $pid; done; exit 5'
    result = run(env, *all_reports(tmp_path), "/bin/sh", "-c", script, program("hangs"), tmp_path / "fifo")
    os.close(holder)
    assert result.returncode == 5, result.stderr
    cases = junit(tmp_path / "r.xml")
    assert cases[0][0].get("message") == "ended with status 5"
    assert len(cases) > 1


def test_one_report_of_all_processes_the_most_suspicious_first(env, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    holder = os.open(fifo, os.O_RDWR)
    script = f'for how in healthy_accept never_sent lost_wake never_sent; do "$0" $how multi <{fifo} & done; wait'
    result = run(env, "--timeout", "2s", *all_reports(tmp_path), "/bin/sh", "-c", script, program("hangs"))
    os.close(holder)
    assert result.returncode == 124
    dumps = documents((tmp_path / "r.json").read_text())
    assert [dump["process"]["cmdline"][1] for dump in dumps] == ["lost_wake", "never_sent", "never_sent", "healthy_accept"]
    assert len(re.findall(r"(?m)^hangs pid \d+ ", (tmp_path / "r.txt").read_text())) == 4
    cases = junit(tmp_path / "r.xml")
    assert any("2 tasks of 2 processes of hangs: waiting for mpsc recv" in case[0].text for case in cases)


def test_sources_that_were_built_elsewhere(env):
    result, leaves = run_hanging(env, "never_sent", "--report", "github", "--source-prefix",
                                 f"{CHECKOUT}=/repository/programs", checkout="/", timeout="500ms")
    assert places(annotations(result.stderr.decode())) == {f"repository/programs/{leaf}" for leaf in leaves}
    result, _ = run_hanging(env, "never_sent", "--report", "github", checkout=ROOT / "cli", timeout="500ms")
    assert all("file" not in place for _, place, _ in annotations(result.stderr.decode()))


def test_what_cannot_be_written_is_told_before_anything_runs(env, tmp_path):
    ran = tmp_path / "ran"
    result = run(env, "--report", f"markdown={tmp_path}/no/such/r.md", "/bin/touch", ran)
    assert result.returncode == 125 and b"r.md" in result.stderr and b"remedy: " in result.stderr
    for wrong in ("xml", "junit", "text=", "junit="):
        result = run(env, "--report", wrong, "/bin/touch", ran)
        assert result.returncode == 125 and b"--report" in result.stderr, wrong
    assert run(env, "--source-prefix", "nothing", "/bin/touch", ran).returncode == 125
    assert not ran.exists()
