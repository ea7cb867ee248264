"""All that a fleet is measured by, Emperor beside uWSGI's emperor with the same files where uWSGI can do it.

The fleet: each emperor alone starts on a place full of vassals. The tries: both run, idle but for what is tried, and
take turns; each try is one vassal that is dropped, touched and deleted. Then reloads under load (`reload`), a crash
loop beside healthy vassals (`crashloop`), and fleets that sleep (`sleep`).

The one thing that can go wrong here is an unfair clock. uWSGI polls: what is done right after its last look waits
longest. So before each of its turns lies a pause that is evenly spread over one period of its polling.

Run: ``make bench-fleet``, some 15 minutes; a part of it ``make bench-fleet BENCH_ARGS="--parts crash"``. Prints the
tables, and writes them with their charts into docs/performance.md, beside what was wanted.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import chart
import crashloop
import probe
import reload
import report
import sleep
import uwsgi
from contenders import Contender, UwsgiContender
from progress import Progress
from report import Goal, Sample

PERIOD = 3.0
"""Seconds between two looks of uWSGI's emperor, by default."""
SETTLE = 2.0
"""Seconds between the last first answer of a fleet and its weighing."""
CHART = report.PAGE.with_name("performance-fleet.svg")

DROP, TOUCH, DELETE = "drop to first answer", "touch to new code", "delete to connection refused"
PARTS = ("fleet", "tries", "load", "crash", "sleep")
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

    def __init__(
        self, options: argparse.Namespace, contenders: Sequence[Contender], results: Results, progress: Progress
    ) -> None:
        self.options = options
        self.contenders = contenders
        self.results = results
        self.progress = progress

    def run(self) -> None:
        """All rounds, after one start that is not measured: it compiles what is not compiled yet."""
        for contender in self.contenders:
            self.progress.stage(f"warming up: {contender.name}")
            self.first(contender)
            contender.stop()
        if "fleet" in self.options.parts:
            for number in range(self.options.rounds):
                for contender in self.contenders if number % 2 else self.contenders[::-1]:
                    self.progress.stage(f"round {number + 1}: {contender.name}, {self.options.vassals} vassals")
                    self.fleet(contender)
                    self.progress.step()
        if "tries" in self.options.parts:
            self.turns()

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

    def turns(self) -> None:
        """All try the same, in turn; uWSGI, for which each try takes ten seconds, less often."""
        try:
            for contender in self.contenders:
                self.first(contender)
            for attempt in range(self.options.tries):
                self.progress.stage(f"drop, touch and delete, try {attempt + 1}")
                for row in (DROP, TOUCH, DELETE):
                    for contender in self.contenders:
                        slow = isinstance(contender, UwsgiContender)
                        if slow and attempt >= self.options.uwsgi_tries:
                            continue
                        time.sleep(random.uniform(0, PERIOD) if slow else 0.05)
                        self.attempt(row, contender, f"t{attempt:03}", copy=attempt % 2 == 1)
                self.progress.step()
        finally:
            for contender in self.contenders:
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


def goals(results: Results, names: Sequence[str], options: argparse.Namespace) -> list[Goal]:
    """What is wanted of Emperor in these rows."""
    ours, others = names[0], names[1:]
    found = []
    cold = results.samples[COLD, ours]
    if cold.values and others:
        ratio = results.samples[COLD, others[0]].median / cold.median
        label = f"{options.vassals} vassals, {COLD}"
        found.append(Goal(label, f"half of {others[0]}'s time", f"{1 / ratio:.2f} of it", ratio >= 2))
    if cold.values:
        weight = results.samples[WEIGHT, ours].median
        found.append(Goal(WEIGHT, "at most 4 MB", report.mebibytes(weight), weight <= 4 * 2**20))
    for row, limit in ((DROP, 0.15), (TOUCH, 0.15), (DELETE, 0.2)):
        if results.samples[row, ours].values:
            p95 = results.samples[row, ours].p95
            found.append(Goal(row, f"p95 at most {report.seconds(limit)}", report.seconds(p95), p95 <= limit))
    return found


def draw(results: Results, names: Sequence[str]) -> None:
    """The chart."""
    rows = []
    for row in (DROP, TOUCH, DELETE):
        samples = [results.samples[row, name] for name in names]
        rows.append(chart.Row(row, [chart.Bar(s.median, s.p95) for s in samples], report.seconds))
    for row, show in ((COLD, report.seconds), (WEIGHT, report.mebibytes)):
        rows.append(chart.Row(row, [chart.Bar(results.samples[row, name].median) for name in names], show))
    chart.bars(CHART, "A fleet's life: shorter is better", names, rows)


def text(results: Results, options: argparse.Namespace, names: Sequence[str], facts: str) -> str:
    """The section for docs/performance.md but for its goals; `facts` are the lines on machine and versions."""
    ways = "; ".join(
        f"{name} {report.seconds(results.ways['rename', name].median)} renamed into place, "
        f"{report.seconds(results.ways['cp', name].median)} by `cp`"
        for name in names
        if results.ways["cp", name].values
    )
    failed = ", ".join(f"{name} {results.tallies[name].failed} of {results.tallies[name].polls}" for name in names)
    ways = f"\n- Drop, by the way it is done (p50): {ways}." if ways else ""
    return f"""\
![Bars of the medians below]({CHART.name})

One app of five lines with an empty virtual environment, a master and one worker, HTTP on a UNIX socket; the same files
for both emperors, each with its defaults. uWSGI's looks at its directory every {PERIOD:.0f} s.

Time from the beginning of the action until a client sees its effect, {options.tries} tries (uWSGI:
{min(options.uwsgi_tries, options.tries)}):

{latency_table(results, names)}

{options.vassals} vassals, {report.several(options.rounds, "round")}:

{fleet_table(results, names)}

{facts}
- Polled every {probe.PAUSE * 1000:.0f} ms (drop) or {probe.PAUSE_SERVED * 1000:.0f} ms: that is the resolution.{ways}
- Requests without an answer while the file was touched: {failed}.
- Memory is PSS of master and worker: a page that several processes share counts in equal parts. What they share is
  the emperor itself and, with Emperor, the fork server."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A fleet's life: times, memory, reloads under load, sleep.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these; prints only")
    parser.add_argument("--vassals", type=int, default=200, help="of the fleet (default: 200)")
    parser.add_argument("--rounds", type=int, default=3, help="of the fleet (default: 3)")
    parser.add_argument("--tries", type=int, default=50, help="of drop, touch and delete (default: 50)")
    parser.add_argument("--uwsgi-tries", type=int, default=15, help="the same for uWSGI (default: 15)")
    parser.add_argument("--load-rounds", type=int, default=5, help="of reloads under load (default: 5)")
    parser.add_argument("--healthy", type=int, default=50, help="vassals beside the crash loop (default: 50)")
    parser.add_argument("--touches", type=int, default=100, help="with and without the crash loop (default: 100)")
    parser.add_argument("--fleets", type=int, nargs="+", default=[sleep.SMALL, sleep.LARGE], help="that sleep")
    parser.add_argument("--wakes", type=int, default=50, help="of each of them (default: 50)")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds to watch them idle (default: 20)")
    parser.add_argument("--note", default="", help="a sentence for the report, on what else the machine was doing")
    parser.add_argument("--print-only", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args(arguments)
    for name in ("tries", "uwsgi_tries", "rounds", "vassals", "load_rounds", "healthy", "touches", "wakes"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    options.print_only = options.print_only or len(set(options.parts)) < len(PARTS)
    return options


@dataclass
class Whole:
    """One run of all parts."""

    options: argparse.Namespace
    contenders: list[Contender]
    facts: str
    results: Results = field(default_factory=Results)
    sections: dict[str, str] = field(default_factory=dict)
    draws: list[Callable[[], None]] = field(default_factory=list)

    def run(self) -> None:
        """Measure, and gather the sections."""
        options, contenders = self.options, self.contenders
        names = [contender.name for contender in contenders]
        steps = {
            "fleet": options.rounds * len(contenders),
            "tries": options.tries,
            "load": len(reload.DEEDS) * options.load_rounds * len(contenders),
            "crash": 2 * crashloop.BLOCKS,
            "sleep": len(options.fleets),
        }
        progress = Progress(sum(steps[part] for part in options.parts))
        wanted: list[Goal] = []
        paragraph = ""
        try:
            if {"fleet", "tries"} & set(options.parts):
                Bench(options, contenders, self.results, progress).run()
                wanted += goals(self.results, names, options)
            if "load" in options.parts:
                load = reload.Bench(contenders, options.load_rounds, progress)
                load.run()
                wanted += load.goals()
                self.sections["bench-reload"] = load.text(self.facts)
                self.draws.append(load.draw)
            if "sleep" in options.parts:
                slept = sleep.run(options.fleets, options.wakes, options.idle, progress)
                wanted += [goal for result in slept for goal in result.goals()]
                self.sections["bench-sleep"] = sleep.text(slept, self.facts)
            if "crash" in options.parts:
                crash = crashloop.run(contenders[0], options.healthy, options.touches, progress)
                wanted += crash.goals()
                paragraph = crash.text()
        finally:
            progress.close()
        self._fleet(names, wanted, paragraph)

    def _fleet(self, names: Sequence[str], wanted: Sequence[Goal], paragraph: str) -> None:
        parts = ["## A fleet's life: `make bench-fleet`"]
        if {"fleet", "tries"} <= set(self.options.parts):
            parts.append(text(self.results, self.options, names, self.facts))
            self.draws.append(lambda: draw(self.results, names))
        if paragraph:
            parts.append(paragraph)
        parts += [
            "What was wanted, here and in the two sections below, and what was reached:",
            report.goals_table(wanted),
        ]
        self.sections = {"bench-fleet": "\n\n".join(parts), **self.sections}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    options = parse(arguments)
    uwsgi.install()
    # As Ctrl-C: everything below ends what it started. Set, since what starts us may have had both ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _frame: sys.exit(128 + caught))
    surroundings = report.Surroundings(options.note)
    with tempfile.TemporaryDirectory(prefix="bench-") as top:
        contenders = [Contender(Path(top) / "e"), UwsgiContender(Path(top) / "u")]
        whole = Whole(options, contenders, surroundings.facts(contenders))
        try:
            whole.run()
        except Exception:
            for contender in contenders:
                print(contender.report(), file=sys.stderr)
            raise
    for name, section in whole.sections.items():
        print(section, end="\n\n")
        if not options.print_only:
            report.write_section(name, section)
    if not options.print_only:
        for draw_one in whole.draws:
            draw_one()
        print(f"Written: {report.PAGE} and its charts", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
