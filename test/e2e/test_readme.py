"""The jobs, the unit and the Dockerfile of the README do what they promise."""

import os
import re
import shutil
import subprocess

import pytest
import yaml
from conftest import AGENT, CLI, PATIENCE, ROOT, asynctrace, lacking, program
from running import env, silent_stdin  # noqa: F401 (env is a fixture)
from test_reports import annotations, junit

README = (ROOT / "README.md").read_text()


def block(language, name):
    """The one code block of that language which holds `name`."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if name in text]
    return found


@pytest.fixture
def workspace(env, tmp_path):
    """A CI system's: asynctrace in PATH, and a `cargo` whose test hangs."""
    for directory in ("bin", "checkout"):
        (tmp_path / directory).mkdir()
    (tmp_path / "bin" / "asynctrace").symlink_to(CLI)
    cargo = tmp_path / "bin" / "cargo"
    cargo.write_text(f'#!/bin/sh\n[ "$*" = test ] || exit 0\nexec {program("hangs")} never_sent multi\n')
    cargo.chmod(0o755)

    def run_lines(lines, **more):
        path = f"{tmp_path}/bin:{os.environ['PATH']}"
        for line in lines:
            with silent_stdin() as stdin:
                result = subprocess.run(["/bin/sh", "-e", "-c", line.replace("10m", "1s")], env={**env, "PATH": path, **more},
                                        cwd=tmp_path / "checkout", stdin=stdin, capture_output=True, timeout=PATIENCE)
            if result.returncode != 0:
                break
        return result, tmp_path / "checkout"

    return run_lines


def record(checkout):
    (kept,) = checkout.glob("hung-*.atrace")
    assert "mpsc recv" in asynctrace("dump", kept).stdout


def test_github_job(workspace):
    (job,) = yaml.safe_load(block("yaml", "github"))["jobs"].values()
    lines = [step["run"] for step in job["steps"] if "run" in step]
    assert lines[-1].startswith("exec asynctrace run ")
    result, checkout = workspace(lines, GITHUB_ACTIONS="true")
    assert result.returncode == 124, result.stderr
    assert any("mpsc recv" in message for _, _, message in annotations(result.stderr.decode()))
    record(checkout)
    upload = job["steps"][-1]
    assert upload["if"] == "failure()" and list(checkout.glob(upload["with"]["path"]))


def test_gitlab_job(workspace):
    job = yaml.safe_load(block("yaml", "gitlab"))["test"]
    result, checkout = workspace(job["script"])
    assert result.returncode == 124, result.stderr
    cases = junit(checkout / job["artifacts"]["reports"]["junit"])
    assert any("mpsc recv" in case.get("name") for case in cases)
    record(checkout)
    assert list(checkout.glob(job["artifacts"]["paths"][0]))


def lines_of(text, *words):
    return [line for line in text.splitlines() if line.startswith(words)]


def env_lines(form, text):
    """What `asynctrace env` prints, with the agent where the README has it."""
    (library,) = set(re.findall(r"/[^\s\"]*/libasynctrace-agent\.so", text))
    return asynctrace("env", f"--format={form}").stdout.replace(str(AGENT), library)


def test_systemd_unit(tmp_path):
    unit = block("ini", "[Service]")
    assert lines_of(unit, "Environment", "Runtime") == lines_of(env_lines("systemd", unit), "Environment", "Runtime")
    if shutil.which("systemd-analyze") is None:
        lacking("no systemd-analyze")
    path = tmp_path / "shop.service"
    path.write_text(re.sub("(?m)^ExecStart=.*", "ExecStart=/bin/true", unit))
    checked = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=PATIENCE)
    assert "shop.service" not in checked.stderr, checked.stderr


def test_dockerfile():
    dockerfile = block("dockerfile", "FROM")
    said = lines_of(env_lines("docker", dockerfile), "COPY", "ENV")
    assert [line for line in said if line not in dockerfile.splitlines()] == []
    (directory,) = re.findall('(?m)^ENV ASYNCTRACE_DIR="(.*)"$', dockerfile)
    assert f"RUN install -d -m 0700 {directory}\n" in dockerfile and f"VOLUME {directory}\n" in dockerfile
