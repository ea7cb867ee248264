"""A fleet that sleeps: how soon a thousand and ten thousand parked vassals listen, what they cost, how soon one wakes.

The one thing that can go wrong here is to measure the beginning: after the emperor listens it still looks at each file
once, so what it costs is taken when that is over.

Run: ``make bench-sleep`` (BENCH_ARGS="--fleets 1000"). Writes its section of docs/performance.md; judges nothing.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import probe
import report
from contenders import Contender
from progress import Progress
from report import Goal, Sample

VASSAL = """\
[uwsgi]
chdir = {app}
virtualenv = {virtualenv}
module = app:application
protocol = http
idle = 1
die-on-idle = true
"""
SMALL, LARGE = 1000, 10_000
"""The sizes that goals are set for."""
IDLE = 60.0
"""Seconds over which an idle emperor's processor time is taken: longer than between two looks at ten thousand files."""
CALM = 0.05
"""Share of a core below which the emperor has done with looking at files."""


class Fleet:
    """One emperor with `size` vassals parked by ``emperor-on-demand-directory``."""

    def __init__(self, top: Path, size: int) -> None:
        self.size = size
        self.contender = Contender(top)
        self.sockets = top / "s"
        self.sockets.mkdir()
        process = self.contender.process
        process.command = [*process.command, "--set", f"emperor-on-demand-directory={self.sockets}"]
        app = self.contender.app("app", 0)
        text = VASSAL.format(app=app, virtualenv=self.contender.virtualenv)
        for number in range(size):
            self.contender.file(f"v{number}").write_text(text)

    def path(self, number: int) -> str:
        return str(self.sockets / f"v{number}.socket")

    def start(self) -> float:
        """Start; return the seconds until all listen."""
        began = time.monotonic()
        self.contender.process.start(deadline=120)
        waiting = list(range(self.size))
        while waiting:
            waiting = [
                number for number in waiting if not os.path.exists(self.path(number))
            ]  # a connection would wake it
            time.sleep(0.05)
        return time.monotonic() - began

    def processor(self, seconds: float) -> float:
        """Share of one core that the emperor and its fork server use."""
        processes = self.contender.process.processes()  # the emperor among them
        before = sum(sum(p.cpu_times()[:4]) for p in processes if p.is_running())
        time.sleep(seconds)
        return (sum(sum(p.cpu_times()[:4]) for p in processes if p.is_running()) - before) / seconds

    def calm(self) -> None:
        """Wait until every file has been looked at."""
        while self.processor(5.0) > CALM:
            continue

    def memory(self) -> int:
        """PSS of the emperor alone, in bytes."""
        with open(f"/proc/{self.contender.process.pid}/smaps_rollup", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


@dataclass
class Result:
    """What one fleet cost. Times in seconds, memory in bytes, `idle` in shares of a core."""

    size: int
    listening: float
    early: float
    memory: int
    idle: float
    wakes: Sample

    def row(self) -> list[str]:
        """One line of the table."""
        times = (self.listening, self.early)
        return [
            f"{self.size:,}",
            *map(report.seconds, times),
            report.mebibytes(self.memory),
            f"{self.idle * 100:.2f} %",
            report.seconds(self.wakes.median),
            report.seconds(self.wakes.p95),
        ]

    def goals(self) -> list[Goal]:
        """What is wanted of a fleet of this size."""
        if self.size == SMALL:
            label = f"{SMALL:,} parked by emperor-on-demand-directory"
            return [
                Goal(label, "emperor at most 60 MB", report.mebibytes(self.memory), self.memory <= 60e6),
                Goal(label, "idle below 1 % of a core", f"{self.idle * 100:.2f} %", self.idle < 0.01),
                Goal(
                    "parked to first answer",
                    "p95 at most 100 ms",
                    report.seconds(self.wakes.p95),
                    self.wakes.p95 <= 0.1,
                ),
            ]
        if self.size == LARGE:
            label = f"{LARGE:,} so parked"
            middle = self.wakes.median
            return [
                Goal(label, "listening within 30 s", report.seconds(self.listening), self.listening <= 30),
                Goal(label, "emperor below 200 MB", report.mebibytes(self.memory), self.memory < 200e6),
                Goal(label, "idle below 2 % of a core", f"{self.idle * 100:.2f} %", self.idle < 0.02),
                Goal(label, "a wake's median at most 300 ms", report.seconds(middle), middle <= 0.3),
            ]
        return []


def measure(top: Path, size: int, wakes: int, idle: float, progress: Progress) -> Result:
    """One fleet, from its start on."""
    fleet = Fleet(top, size)
    woken = Sample()
    try:
        progress.stage(f"{size} parked: until all listen")
        listening = fleet.start()
        early = probe.measure(lambda: None, lambda: probe.ask(fleet.path(size // 2), 30) is not None)
        progress.stage(f"{size} parked: until the emperor has looked at all")
        fleet.calm()
        memory = fleet.memory()
        progress.stage(f"{size} parked: idle")
        share = fleet.processor(idle)
        progress.stage(f"{size} parked: {wakes} wakes")
        for attempt in range(wakes):
            path = fleet.path(attempt * 7 % size)
            began = time.perf_counter()
            if probe.ask(path, 30) is None:
                raise probe.NoEffectError(f"{path} did not answer")
            woken.values.append(time.perf_counter() - began)
    finally:
        fleet.contender.process.close()
    return Result(size, listening, early, memory, share, woken)


def run(fleets: Sequence[int], wakes: int, idle: float, progress: Progress) -> list[Result]:
    """Measure fleets of these sizes."""
    results = []
    for size in fleets:
        with tempfile.TemporaryDirectory(prefix="b-") as top:
            results.append(measure(Path(top), size, wakes, idle, progress))
        progress.step()
    return results


def text(results: Sequence[Result], facts: str) -> str:
    """The section for docs/performance.md; `facts` are the lines on machine and versions."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    header = ["vassals", "all listen", "a call at once", "emperor's PSS", "idle, of a core", "wake p50", "wake p95"]
    wakes = len(results[0].wakes.values) if results else 0
    return f"""\
## A fleet that sleeps: `make bench-sleep`

Vassals parked by `emperor-on-demand-directory`, one trivial app, HTTP. *A call at once* is answered while the emperor
still looks at the files; the other figures are taken after that. A wake is one request to a parked vassal, from the
connection to the last byte of the answer: fork, parse, import, fork, serve.

{report.table(header, [result.row() for result in results])}

{facts}
- {wakes} wakes of each fleet; RLIMIT_NOFILE at most {hard}.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="What a fleet of parked vassals costs, and how soon one wakes.")
    parser.add_argument("--fleets", type=int, nargs="+", default=[SMALL, LARGE])
    parser.add_argument("--wakes", type=int, default=50)
    parser.add_argument("--idle", type=float, default=IDLE, help="seconds over which the idle emperor is watched")
    parser.add_argument("--print-only", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args(arguments)
    surroundings = report.Surroundings()
    progress = Progress(len(options.fleets))
    try:
        results = run(options.fleets, options.wakes, options.idle, progress)
    finally:
        progress.close()
    section = text(results, surroundings.facts([Contender]))
    print(section, report.goals_table([goal for result in results for goal in result.goals()]), sep="\n")
    if not options.print_only:
        report.write_section("bench-sleep", section)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
