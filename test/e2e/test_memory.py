"""A dump of many tasks takes little memory, whatever its form: the kernel refuses more."""

import subprocess

from conftest import CLI, PATIENCE, program, traced

TASKS = 100_000
LIMIT_KIB = 80_000  # of data; a task costs about 500 bytes, and a tenth of this is there without any


def dump(segment, form, kib, env):
    command = ["/bin/sh", "-c", f'ulimit -d {kib}; exec "$@"', "sh", CLI, "dump", "--no-cache", f"--format={form}", segment]
    return subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)


def test_a_dump_of_many_tasks_takes_little_memory(tmp_path):
    tmp_path.chmod(0o700)
    with traced(program("waiters"), TASKS, segment_dir=tmp_path) as target:
        segment = target.kill()
    for form in ("text", "json", "jsonl"):
        result = dump(segment, form, LIMIT_KIB, target.env)
        assert result.returncode == 0, result.stderr
    assert dump(segment, "json", LIMIT_KIB // 4, target.env).returncode == 125, "the limit does not bite"
