"""Prints every signal that it gets as `got NAME N`, N counting that signal; ends at a line on stdin, with its number.

Arguments: names of the signals to handle; `stop-cleanly` handles TSTP by printing before it stops.
"""

import collections
import os
import signal
import sys

counts = collections.Counter()


def say(text):
    os.write(1, f"{text}\n".encode())


def on_signal(number, _):
    name = signal.Signals(number).name
    counts[name] += 1
    say(f"got {name} {counts[name]}")


def on_stop(number, _):
    say("screen restored")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.signal(number, on_stop)
    say("continued")


for name in sys.argv[1:]:
    if name == "stop-cleanly":
        signal.signal(signal.SIGTSTP, on_stop)
    else:
        signal.signal(getattr(signal, name), on_signal)
say(f"READY {os.getpid()}")
status = int(sys.stdin.readline())
say(" ".join(f"{name}={count}" for name, count in sorted(counts.items())) or "no signals")
sys.exit(status)
