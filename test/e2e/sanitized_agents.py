"""The agent, built with a sanitizer whose runtime the program brings: of the same compiler, g++."""

import subprocess

from conftest import AGENT, BUILD


def sanitized_agent(sanitizer):
    """For "address" or "thread"."""
    agent = BUILD / f"sanitized_{sanitizer}" / "agent" / AGENT.name
    symbols = subprocess.run(["/usr/bin/nm", "-D", agent], check=True, capture_output=True, text=True).stdout
    assert f" U __{sanitizer[0]}san_" in symbols, f"{agent} is not sanitized"
    return agent
