"""Runs an emperor and its whole fleet with a wall clock that is ahead, so that no test waits for the next minute.

Run as ``python ahead.py SECONDS PYTHON SCRIPT ...``: SCRIPT finds `time.time` that many seconds ahead, and PYTHON, a
program that `write_python` made, as the Python for further processes: a fork server. The danger here is a clock that
only some processes have; so every vassal comes from that fork server, and monotonic time is everybody's own.
"""

import runpy
import sys
import time
from pathlib import Path


def seconds_to(minute_in: float) -> float:
    """How far ahead a clock must be for its next minute to begin in `minute_in` seconds."""
    return (60 - minute_in - time.time()) % 60


def write_python(path: Path, seconds: float) -> Path:
    """Write a program that is this Python with its clock ahead; it is called with ``-I -S SCRIPT ...``."""
    path.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -I -S {__file__} {seconds} "$0" "$@"\n')
    path.chmod(0o755)
    return path


def main() -> None:
    seconds, python, *sys.argv = sys.argv[1:]
    here = time.time
    time.time = lambda: here() + float(seconds)
    sys._base_executable = python
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
