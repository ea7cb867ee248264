"""Emperor beside uWSGI's emperor, with the same files: drop, touch, delete, a cold start, memory.

Each round has two parts. First the fleet: each emperor alone starts on a place full of vassals. Then the tries: both
run, idle but for what is tried, and take turns; each try is one vassal that is dropped, touched and deleted.

The one thing that can go wrong here is an unfair clock. uWSGI polls: what is done right after its last look waits
longest. So before each of its turns lies a pause that is evenly spread over one period of its polling.

Run: ``make bench-fleet``, with arguments ``make bench-fleet BENCH_ARGS="--tries 5 --rounds 1"``. Prints the tables, and
writes them with a chart into docs/performance.md. It judges nothing: what is fast enough is for people to say.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import chart
import probe
import report
import uwsgi
from contenders import Contender, UwsgiContender
from progress import Progress
from report import Sample

PERIOD = 3.0
"""Seconds between two looks of uWSGI's emperor, by default."""
SETTLE = 2.0
"""Seconds between the last first answer of a fleet and its weighing."""
CHART = report.PAGE.with_name("performance-fleet.svg")

DROP, TOUCH, DELETE = "drop to first answer", "touch to new code", "delete to connection refused"
COLD, WEIGHT, SHARED = "cold start until all answer", "memory for each running vassal", "memory of what they share"


@dataclass
class Results:
    """Samples by (row, contender's name); times in seconds, sizes in bytes."""

    samples: defaultdict[tuple[str, str], Sample] = field(default_factory=lambda: defaultdict(Sample))
    ways: defaultdict[tuple[str, str], Sample] = field(default_factory=lambda: defaultdict(Sample))
    tallies: defaultdict[str, probe.Tally] = field(default_factory=lambda: defaultdict(probe.Tally))

    def add(self, row: str, contender: Contender, value: float) -> None:
        self.samples[row, contender.name].values.append(value)


class Bench:
    """One run."""

    def __init__(self, options: argparse.Namespace, contenders: Sequence[Contender], results: Results) -> None:
        self.options = options
        self.contenders = contenders
        self.results = results
        self.tries = [len(range(number, options.tries, options.rounds)) for number in range(options.rounds)]
        self.progress = Progress(len(contenders) * (options.rounds + 3 * options.tries))
        self._deletes = options.deletes

    def run(self) -> None:
        """All rounds, after one start that is not measured: it compiles what is not compiled yet."""
        try:
            for contender in self.contenders:
                self.progress.stage(f"warming up: {contender.name}")
                self.first(contender)
                contender.stop()
            for number, tries in enumerate(self.tries, 1):
                order = self.contenders if number % 2 else self.contenders[::-1]
                for contender in order:
                    self.progress.stage(f"round {number}: {contender.name}, {self.options.vassals} vassals")
                    self.fleet(contender)
                    self.progress.step()
                self.progress.stage(f"round {number}: drop, touch and delete, {tries} times in turn")
                self.turns(order, tries, number)
        finally:
            self.progress.close()

    def fleet(self, contender: Contender) -> None:
        """A cold start of many, and their weight."""
        app = contender.app("fleet", 0)
        names = [f"v{number:03}" for number in range(self.options.vassals)]
        for name in names:
            contender.draft(name, app).rename(contender.file(name))
        try:
            met = probe.all_answer([contender.socket(name) for name in names])
            self.results.add(COLD, contender, probe.measure(contender.start, met))
            time.sleep(SETTLE)
            vassals, shared = contender.weigh()
            self.results.add(WEIGHT, contender, vassals / len(names))
            self.results.add(SHARED, contender, shared)
        finally:
            contender.stop()

    def turns(self, contenders: Sequence[Contender], tries: int, number: int) -> None:
        """All try the same, in turn."""
        try:
            for contender in contenders:
                self.first(contender)
            for attempt in range(tries):
                name = f"t{number}-{attempt:03}"
                for row in (DROP, TOUCH, DELETE):
                    for contender in contenders:
                        time.sleep(random.uniform(0, PERIOD) if isinstance(contender, UwsgiContender) else 0.05)
                        self.attempt(row, contender, name, copy=attempt % 2 == 1)
                        self.progress.step()
        finally:
            for contender in contenders:
                contender.stop()

    def first(self, contender: Contender) -> None:
        """Start an emperor, and wait until it serves a first vassal, which stays: nothing below pays for a start."""
        contender.draft("first", contender.app("first", 0)).rename(contender.file("first"))
        probe.measure(contender.start, probe.all_answer([contender.socket("first")]))

    def attempt(self, row: str, contender: Contender, name: str, *, copy: bool) -> None:
        """Measure one row once."""
        socket = contender.socket(name)
        if row == DROP:
            draft = contender.draft(name, contender.app(name, 1))
            took = probe.measure(
                lambda: contender.drop(draft, name, copy=copy), lambda: probe.ask(socket) == b"1", probe.PAUSE
            )
            draft.unlink()
            self.results.ways["cp" if copy else "rename", contender.name].values.append(took)
        elif row == TOUCH:
            contender.app(name, 2)
            tally = self.results.tallies[contender.name]
            took = probe.measure(lambda: contender.touch(name), lambda: tally.answers(socket, b"2"), probe.PAUSE_SERVED)
        else:
            took = probe.measure(lambda: contender.delete(name), lambda: probe.refuses(socket), probe.PAUSE_SERVED)
            if len(self.results.samples[row, contender.name].values) >= self._deletes:
                return
        self.results.add(row, contender, took)


# --- what comes out --------------------------------------------------------------------------------------------------


def latency_table(results: Results, names: Sequence[str]) -> str:
    """Rows of times with their percentiles."""
    header = ["", *(f"{name} {column}" for name in names for column in ("p50", "p95", "max"))]
    rows = []
    for row in (DROP, TOUCH, DELETE):
        samples = [results.samples[row, name] for name in names]
        cells = [report.seconds(value) for s in samples for value in (s.median, s.p95, s.highest)]
        rows.append([row, *cells, *_ratio(samples)])
    return report.table([*header, *_over(names, " (p50)")], rows)


def fleet_table(results: Results, names: Sequence[str]) -> str:
    """Rows of which each round gives one value."""
    header = ["", *(f"{name} {column}" for name in names for column in ("median", "lowest to highest"))]
    rows = []
    for row, show in ((COLD, report.seconds), (WEIGHT, report.mebibytes), (SHARED, report.mebibytes)):
        samples = [results.samples[row, name] for name in names]
        cells = [text for s in samples for text in (show(s.median), f"{show(s.lowest)} to {show(s.highest)}")]
        rows.append([row, *cells, *_ratio(samples)])
    return report.table([*header, *_over(names)], rows)


def _ratio(samples: Sequence[Sample]) -> list[str]:
    return [report.times(other.median, samples[0].median) for other in samples[1:]]


def _over(names: Sequence[str], what: str = "") -> list[str]:
    return [f"{name} / {names[0]}{what}" for name in names[1:]]


def _several(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def draw(results: Results, names: Sequence[str]) -> None:
    """The chart."""
    rows = []
    for row in (DROP, TOUCH, DELETE):
        samples = [results.samples[row, name] for name in names]
        rows.append(chart.Row(row, [chart.Bar(s.median, s.p95) for s in samples], report.seconds))
    for row, show in ((COLD, report.seconds), (WEIGHT, report.mebibytes)):
        rows.append(chart.Row(row, [chart.Bar(results.samples[row, name].median) for name in names], show))
    chart.bars(CHART, "A fleet's life: shorter is better", names, rows)


def text(results: Results, options: argparse.Namespace, contenders: Sequence[Contender], load: float) -> str:
    """The section for docs/performance.md."""
    names = [contender.name for contender in contenders]
    versions = ", ".join(f"{contender.name} {contender.version}" for contender in contenders)
    commit = report.commit()
    ways = "; ".join(
        f"{name} {report.seconds(results.ways['rename', name].median)} renamed into place, "
        f"{report.seconds(results.ways['cp', name].median)} by `cp`"
        for name in names
        if results.ways["cp", name].values
    )
    failed = ", ".join(f"{name} {results.tallies[name].failed} of {results.tallies[name].polls}" for name in names)
    when = time.strftime("%Y-%m-%d")
    rounds = _several(options.rounds, "round")
    note = f"\n- {options.note}" if options.note else ""
    ways = f"\n- Drop, by the way it is done (p50): {ways}." if ways else ""
    return f"""\
## A fleet's life: `make bench-fleet`

![Bars of the medians below]({CHART.name})

One app of five lines with an empty virtual environment, a master and one worker, HTTP on a UNIX socket; the same files
for both emperors, each with its defaults. uWSGI's looks at its directory every 3 s.

Time from the beginning of the action until a client sees its effect, {options.tries} tries in
{rounds} (delete: {min(options.deletes, options.tries)}):

{latency_table(results, names)}

{options.vassals} vassals, {rounds}:

{fleet_table(results, names)}

- {versions}{f" (commit {commit})" if commit else ""}; measured on {when}.
- {report.machine()}; load average before the start: {load:.1f}.{note}
- Polled every {probe.PAUSE * 1000:.0f} ms (drop) or {probe.PAUSE_SERVED * 1000:.0f} ms: that is the resolution.{ways}
- Requests without an answer while the file was touched: {failed}.
- Memory is PSS of master and worker: a page that several processes share counts in equal parts. What they share is
  the emperor itself and, with Emperor, the fork server.
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Emperor beside uWSGI's emperor: drop, touch, delete, start, memory.")
    parser.add_argument("--tries", type=int, default=50, help="drops and touches in all rounds together (default: 50)")
    parser.add_argument("--deletes", type=int, default=20, help="how many deletions of them count (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--vassals", type=int, default=50, help="size of the fleet (default: 50)")
    parser.add_argument("--without-uwsgi", action="store_true", help="measure Emperor alone")
    parser.add_argument("--note", default="", help="a sentence for the report, on what else the machine was doing")
    parser.add_argument("--print-only", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args(arguments)
    for name in ("tries", "deletes", "rounds", "vassals"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if options.rounds > options.tries:
        parser.error("--rounds must not be larger than --tries")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    options = parse(arguments)
    if not options.without_uwsgi:
        uwsgi.install()
    # As Ctrl-C: everything below ends what it started. Set, since what starts us may have had both ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _frame: sys.exit(128 + caught))
    load = report.load()
    results = Results()
    with tempfile.TemporaryDirectory(prefix="bench-") as top:
        contenders = [Contender(Path(top) / "e")]
        if not options.without_uwsgi:
            contenders.append(UwsgiContender(Path(top) / "u"))
        try:
            Bench(options, contenders, results).run()
        except Exception:
            for contender in contenders:
                print(contender.report(), file=sys.stderr)
            raise
    section = text(results, options, contenders, load)
    print(section)
    if not options.print_only:
        draw(results, [contender.name for contender in contenders])
        report.write_section("bench-fleet", section)
        print(f"Written: {report.PAGE}, {CHART}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
