"""`run -- cargo test` with one hung test among fifty, and a make with one hung child: the report names it."""

import os
import subprocess

from conftest import BUILD, PATIENCE, program
from running import env, run  # noqa: F401 (env is a fixture)
from test_reports import all_reports, annotations, junit

HUNG = "waits_for_a_reply_that_never_comes"
TESTS = """
#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    macro_rules! pass { ($($name:ident)*) => { $(
        #[tokio::test]
        async fn $name() { tokio::task::yield_now().await; }
    )* } }
    pass!(%s);

    #[tokio::test]
    async fn %s() {
        let (_sender, receiver) = oneshot::channel::<u32>();
        receiver.await.ok();
    }
}
"""


def crate(directory):
    """The line at which its one hung test waits."""
    (directory / "Cargo.toml").write_text('[package]\nname = "suite"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n'
                                          'tokio = { version = "1", features = ["full"] }\n[profile.dev]\nincremental = false\n')
    source = TESTS % (" ".join(f"passes_{number}" for number in range(49)), HUNG)
    (directory / "src").mkdir()
    (directory / "src" / "lib.rs").write_text(source)
    return 1 + source.splitlines().index("        receiver.await.ok();")


def test_cargo_test_with_one_hung_test_among_fifty(env, tmp_path):
    line = crate(tmp_path)
    env = {**env, "HOME": os.environ["HOME"], "RUSTC": "/usr/bin/rustc", "CARGO_TARGET_DIR": str(BUILD / "targets" / "debian"),
           "GITHUB_WORKSPACE": str(tmp_path)}
    cargo = ["/usr/bin/cargo", "test", "--quiet", "--offline", "--lib", "--config", str(BUILD / "targets" / "cargo.toml")]
    built = subprocess.run([*cargo, "--no-run"], env=env, cwd=tmp_path, capture_output=True, timeout=5 * PATIENCE)
    assert built.returncode == 0, built.stderr
    result = run(env, "--timeout", "4s", *all_reports(tmp_path), "--report", "github", "--", *cargo, cwd=tmp_path)
    log = result.stderr.decode()
    assert result.returncode == 124, log
    ((command, place, message),) = annotations(log)
    assert (command, place["file"], place["line"]) == ("warning", "src/lib.rs", str(line))
    assert "tests::waits_fo" in message  # what the kernel keeps of a thread's name
    assert f"suite::tests::{HUNG}" in message and "waiting for oneshot recv" in message
    case, finding = junit(tmp_path / "r.xml")
    assert "cargo test" in case.get("name")
    assert HUNG in finding.get("name") and f"src/lib.rs:{line}:" in finding.get("name")
    for name in ("r.txt", "r.md"):
        text = (tmp_path / name).read_text()
        assert HUNG in text and f" at src/lib.rs:{line}:" in text, name


def test_make_with_one_hung_child(env, tmp_path):
    (tmp_path / "Makefile").write_text(f"all: good hung\ngood:\n\t{program('waiters')} 10 </dev/null\n"
                                       f"hung:\n\tsleep 60 | {program('hangs')} never_sent multi\n")
    result = run(env, "--timeout", "2s", *all_reports(tmp_path), "/usr/bin/make", "-j2", cwd=tmp_path)
    assert result.returncode == 124
    case, *findings = junit(tmp_path / "r.xml")
    assert "make -j2" in case.get("name") and {finding.get("classname") for finding in findings} == {"asynctrace.hangs"}
    assert any("mpsc recv" in finding.get("name") and "src/bin/hangs.rs" in finding.get("name") for finding in findings)
