"""Runs the benchmarks and prints a line for each figure, with its goal beside it. Started by scripts/bench."""

import argparse
import json
import os
import pathlib
import platform
import sys

from attach import attach
from measure import Bench
from capture import capture, threads
from census import census
from dump import dump
from loops import loops
from memory import memory
from native import native
from programs import build, echo, pingpong, start
from report import report
from symbols import symbols

BENCHMARKS = {
    "capture": capture,
    "threads": threads,
    "native": native,
    "loops": loops,
    "pingpong": pingpong,
    "echo": echo,
    "memory": memory,
    "dump": dump,
    "report": report,
    "start": start,
    "build": build,
    "symbols": symbols,
    "attach": attach,
    "census": census,
}
LINE = "{:<46}{:>12}{:>12}{:>14}  {:<22}{}"


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3f}"


def line(figure):
    result = number(figure.result) + figure.result_unit
    if figure.goal is None:
        goal, verdict = "", ""
    else:
        goal = f"at most {figure.goal:g}{figure.result_unit}"
        verdict = "met" if figure.met else "MISSED"
    return LINE.format(figure.name, number(figure.without), number(figure.traced), result, goal, verdict).rstrip()


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="what tracing costs")
    parser.add_argument("--build", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(BENCHMARKS)}")

    print(LINE.format("median", "without", "traced", "result", "must show", ""))
    figures = []
    with Bench.open(arguments.build.resolve(), arguments.quick) as bench:
        for name in arguments.names or BENCHMARKS:
            for figure in BENCHMARKS[name](bench):
                figures.append(figure)
                print(line(figure), flush=True)
    if arguments.json:
        machine = {"system": platform.release(), "machine": platform.machine(), "cpus": os.cpu_count()}
        document = {"machine": machine, "quick": arguments.quick, "figures": [f.as_json() for f in figures]}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    missed = [figure.name for figure in figures if figure.met is False]
    print(f"{len(missed)} goals missed{': ' if missed else ''}{'; '.join(missed)}")


if __name__ == "__main__":
    sys.exit(main())
