"""The CLI itself, built with AddressSanitizer and UndefinedBehaviorSanitizer: other tests pass with it as well."""

import os
import pathlib
import subprocess
import sys

import pytest
from conftest import AGENT, BUILD

SANITIZED = BUILD / "sanitized_cli" / "cli" / "asynctrace"
HERE = pathlib.Path(__file__).parent
# Each verb, each form of output; processes that live, hang, crash and are dead; files that are damaged.
FILES = ["test_ps_env_dump.py", "test_hang.py", "test_reports.py", "test_export.py", "test_diff.py", "test_census.py",
         "test_coroutines.py"]
# The sanitizers' own exit codes, which no test takes for one of the CLI's.
OPTIONS = {"ASAN_OPTIONS": "exitcode=99", "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99:print_stacktrace=1"}


@pytest.fixture(autouse=True)
def only_in_full(quick):
    if quick:
        pytest.skip("--quick does not build it")
    assert SANITIZED.exists(), "not built"
    # Where it looks for the agent by itself.
    agent = SANITIZED.parents[1] / "agent" / AGENT.name
    if not agent.is_symlink():
        agent.parent.mkdir(exist_ok=True)
        agent.symlink_to(AGENT)


def test_it_is_sanitized():
    symbols = subprocess.run(["nm", "-D", SANITIZED], check=True, capture_output=True, text=True).stdout
    assert "__asan_report_load8" in symbols and "__ubsan_handle_pointer_overflow" in symbols


@pytest.mark.parametrize("file", FILES)
def test_other_tests_pass(file):
    environment = {**os.environ, **OPTIONS, "ASYNCTRACE_CLI": str(SANITIZED)}
    tests = subprocess.run([sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--quick", HERE / file],
                           env=environment, capture_output=True, text=True, timeout=600)
    assert tests.returncode == 0, tests.stdout[-20_000:]
