"""The reference runtimes of test/targets/native."""

import json
import os
import subprocess

import pytest
from conftest import AGENT, BUILD, PATIENCE

LOAD = "NativeWorkers.NothingIsLostInDumpsUnderLoad"


def test_dumps_under_load_for_long(tmp_path, quick):
    """Under the thread sanitizer. The same test runs for a second in the unit tests."""
    if quick:
        pytest.skip("30 s, left out by --quick")
    results = tmp_path / "results.json"
    env = {**os.environ, "LD_PRELOAD": str(AGENT), "ASYNCTRACE_OUTPUT": str(tmp_path / "load.atrace"),
           "ASYNCTRACE_TEST_SECONDS": "30"}
    program = BUILD / "test" / "unit" / "native_workers_test_sanitized"
    subprocess.run([program, f"--gtest_filter={LOAD}", f"--gtest_output=json:{results}"], env=env, check=True,
                   capture_output=True, timeout=PATIENCE)
    case = json.loads(results.read_text())["testsuites"][0]["testsuite"][0]
    assert int(case["dumps"]) > 1000 and int(case["tasks"]) > 10_000
