"""A thousand cron entries: what they cost the master of one vassal, in processor time a minute.

The one thing that can go wrong here is to measure the start: masters are measured from the middle of a minute to that
of another, long after they were ready, and beside one without entries.

Run: ``make bench-cron`` (BENCH_ARGS="--minutes 10"). Writes its section of docs/performance.md; judges nothing.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import report
from contenders import ENVIRONMENT, Contender
from progress import Progress

ENTRIES = 1000
GOAL = 1.0
"""Milliseconds a minute that `ENTRIES` may cost the master."""
KINDS = {
    "none": "no entries",
    "again": "no entries, another vassal",
    "quiet": f"{ENTRIES:,} entries, none due",
    "busy": f"{ENTRIES:,} entries, one due each minute",
}


def entries(kind: str, now: float) -> str:
    """The cron lines of one kind: daily ones at all times of the day but the next hours; `busy` runs one as well."""
    if kind in {"none", "again"}:
        return ""
    hour = time.localtime(now).tm_hour
    free = [(hour + 3 + offset) % 24 for offset in range(20)]
    lines = [f"cron = {number % 60} {free[number % len(free)]} * * * true {number}" for number in range(ENTRIES)]
    if kind == "busy":
        lines[-1] = "cron = * * * * * true"
    return "\n".join(lines) + "\n"


def on_processor(pid: int) -> float:
    """Milliseconds that process `pid` (one thread) has run (proc(5): schedstat, in nanoseconds)."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e6


def middle_of_a_minute() -> None:
    """Wait for the thirtieth second: what is due has been done, what comes is far."""
    time.sleep((90 - time.time() % 60) % 60)


def measure(top: Path, minutes: int, progress: Progress) -> dict[str, float]:
    """Milliseconds of each kind's master in the cheapest minute: what a busy machine adds is not its own."""
    contender = Contender(top)
    app = contender.app("app", 0)
    process = contender.process
    process.start()
    try:
        for kind in KINDS:
            text = f"[uwsgi]\nchdir = {app}\nvirtualenv = {contender.virtualenv}\nmodule = app:application\n"
            text += f"http-socket = {top}/{kind}.sock\n" + entries(kind, time.time())
            process.write(kind, text)
        masters = {kind: process.wait_state(kind, "running")["pid"] for kind in KINDS}
        progress.stage("until all are loyal, and a minute's middle")
        time.sleep(15)
        middle_of_a_minute()
        samples: dict[str, list[float]] = {kind: [] for kind in masters}
        before = {kind: on_processor(pid) for kind, pid in masters.items()}
        for minute in range(minutes):
            progress.stage(f"minute {minute + 1}")
            time.sleep(1)
            middle_of_a_minute()
            after = {kind: on_processor(pid) for kind, pid in masters.items()}
            for kind in masters:
                samples[kind].append(after[kind] - before[kind])
            before = after
            progress.step()
        return {kind: min(found) for kind, found in samples.items()}
    finally:
        process.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="What a thousand cron entries cost the master of one vassal.")
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--print-only", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args(arguments)
    os.environ.update(ENVIRONMENT)
    progress = Progress(options.minutes)
    load = report.load()
    try:
        with tempfile.TemporaryDirectory(prefix="b-") as top:
            found = measure(Path(top), options.minutes, progress)
    finally:
        progress.close()
    rows = [[KINDS[kind], f"{cost:.2f} ms", f"{cost - found['none']:+.2f} ms"] for kind, cost in found.items()]
    section = f"""\
## Cron: `make bench-cron`

Processor time that the master of one vassal uses in a minute, the cheapest of those measured, and how much of it is due
to its cron entries; a second vassal without any shows what chance does. An entry that is due costs its start, whoever
does it; the goal, under {GOAL:g} ms a minute, is for those that wait.

{report.table(["cron", "master, a minute", "for cron"], rows)}

- Emperor (commit {report.commit()}); measured on {time.strftime("%Y-%m-%d")} over {options.minutes} minutes.
- {report.machine()}; load average before the start: {load:.1f}.
"""
    print(section)
    if not options.print_only:
        report.write_section("bench-cron", section)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
