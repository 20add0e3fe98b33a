"""Prints every signal that it gets as `got NAME N`, N counting that signal; ends at a line on stdin, with its number.

Arguments: names of the signals to handle; `stop-cleanly` handles TSTP by printing before it stops.
"""

import collections
import os
import select
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
# Python runs no handler for a signal that comes just before a blocking read, but it does write to this pipe.
wakeup, on_any_signal = os.pipe()
os.set_blocking(wakeup, False)
os.set_blocking(on_any_signal, False)
signal.set_wakeup_fd(on_any_signal)
say(f"READY {os.getpid()}")
while 0 not in select.select([0, wakeup], [], [])[0]:
    os.read(wakeup, 4096)
status = int(os.read(0, 100))
say(" ".join(f"{name}={count}" for name, count in sorted(counts.items())) or "no signals")
sys.exit(status)
