"""A CI system cancels a job: INT, then TERM, to the entry process alone. With --report it still says why it hung."""

import os
import re
import signal
import time

import pytest
from conftest import PATIENCE, program
from json_documents import documents
from pty_session import wait_until
from running import env  # noqa: F401 (a fixture)
from test_hang import Run, waiting_places

HANGS = program("hangs")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_cancelled_run_reports_then_forwards(env, tmp_path, name):
    report = tmp_path / "report.json"
    with Run(env, tmp_path, "--report", f"json={report}", HANGS, "never_sent") as running:
        running.wait_until_ready()
        began = time.monotonic()
        os.kill(running.process.pid, getattr(signal, name))
        running.process.wait(PATIENCE)
        assert time.monotonic() - began < 2
        _, stderr = running.process.communicate()
        (dump,) = running.read_dumps()
    assert dump["reason"] == "cancel"
    assert running.process.returncode == 128 + getattr(signal, name)
    (document,) = documents(report.read_text())
    for found in (dump, document):
        assert running.truth["mpsc recv"] in waiting_places(found)


def test_the_report_is_there_before_the_target_hears_of_it(env, tmp_path):
    """KILL may follow at any moment; a target that ignores the signals does not hold the report up."""
    report = tmp_path / "report.json"
    script = f"trap '' INT TERM; exec 3<&0; {HANGS} never_sent <&3 & wait; wait"
    with Run(env, tmp_path, "--report", f"json={report}", "/bin/sh", "-c", script) as running:
        running.wait_until_ready()
        os.kill(running.process.pid, signal.SIGINT)
        os.kill(running.process.pid, signal.SIGTERM)
        wait_until(report.exists, "the report")
        (document,) = documents(report.read_text())
        assert running.truth["mpsc recv"] in waiting_places(document)
        wait_until(running.read_dumps, "the dump")
        assert [dump["reason"] for dump in running.read_dumps()] == ["cancel"]
        assert running.process.poll() is None


def test_without_a_report_signals_are_only_forwarded(env, tmp_path):
    with Run(env, tmp_path, HANGS, "never_sent") as running:
        running.wait_until_ready()
        os.kill(running.process.pid, signal.SIGTERM)
        running.process.wait(PATIENCE)
        _, stderr = running.process.communicate()
    assert running.process.returncode == 128 + signal.SIGTERM
    assert running.read_dumps() == [] and re.match(r"asynctrace: the tasks of pid", stderr)
