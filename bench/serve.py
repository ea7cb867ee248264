"""vassal beside granian, bjoern, uWSGI, gunicorn and waitress: rates, memory, waiting times.

Each round measures row by row. For a row all its servers are started anew and warmed up; then they take short turns,
one loaded while the others idle, each time in another order.

The one thing that can go wrong here is to compare what was not measured side by side: on a machine that does other
things, too, seconds differ by half. So a ratio is taken between turns that are neighbours in time, and what is shown is
the median of all these ratios.

Run: ``make bench-serve``, with arguments ``make bench-serve BENCH_ARGS="--rounds 1"``. Prints the tables, and writes
them with a chart into docs/performance.md. A goal that is missed is said, and is no failure of the benchmark.
"""

import argparse
import contextlib
import resource
import socket
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import chart
import crowd
import downloads
import loads
import report
import servers
from progress import Progress
from report import Sample
from rows import CLIENTS, QUICK, ROWS, Goal, Row
from servers import EMPEROR, Job, Running, Server

BLOCKED_CLIENTS = 64
SEVERAL = 1.05
"""A ratio up to which two servers share a place: less than what a round differs from the next."""
CHART = report.PAGE.with_name("performance-serve.svg")
DRAWN = len(chart.COLOURS)
"""Servers in the chart: those that goals name. The tables hold all."""


@dataclass
class Results:
    """Samples by (row's label, server's name): a value for each turn."""

    samples: defaultdict[tuple[str, str], Sample] = field(default_factory=lambda: defaultdict(Sample))
    lost: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def add(self, label: str, server: Server, value: float) -> None:
        self.samples[label, server.name].values.append(value)

    def median(self, row: Row, server: Server) -> float | None:
        """The median of all turns, or None where it was not measured."""
        values = self.samples[row.label, server.name].values
        return self.samples[row.label, server.name].median if values else None

    def ratio(self, row: Row, server: Server) -> float | None:
        """How many times better Emperor is: the median of the ratios of turns."""
        mine, others = (self.samples[row.label, it.name].values for it in (EMPEROR, server))
        if not mine or not others:
            return None
        pairs = zip(mine, others, strict=True)
        return Sample([a / b if row.more_is_better else b / a for a, b in pairs]).median


class Bench:
    """One run."""

    def __init__(self, options: argparse.Namespace, rows: Sequence[Row], results: Results, scratch: Path) -> None:
        self.options = options
        self.rows = [row for row in rows if row.way]
        self.results = results
        self.scratch = scratch
        self.wanted = [server for server in servers.EVERYBODY if server.name in options.only]
        self.progress = Progress(options.rounds * options.turns * sum(len(self._of(row)) for row in self.rows))

    def _of(self, row: Row) -> list[Server]:
        return [server for server in row.servers if server in self.wanted or server is servers.QUIET]

    def run(self) -> None:
        """All rounds."""
        try:
            for number in range(self.options.rounds):
                for row in self.rows:
                    self.progress.stage(f"round {number + 1}: {row.label}")
                    self.round(row)
        finally:
            self.progress.close()

    def round(self, row: Row) -> None:
        """Let all servers of one row take turns. Memory is shared between processes, so there each is alone."""
        those = self._of(row)
        if row.way == "memory":
            for server in those:
                with contextlib.ExitStack() as stack:
                    _, running = self.start(row, server, stack)
                    self.results.add(row.label, server, running.weight())
                for _ in range(self.options.turns):
                    self.progress.step()
            return
        with contextlib.ExitStack() as stack:
            jobs = [(server, self.start(row, server, stack)[0]) for server in those]
            for turn in range(self.options.turns):
                first = turn % len(jobs)
                for server, job in jobs[first:] + jobs[:first]:
                    self.measure(row, server, job)
                    self.progress.step()

    def start(self, row: Row, server: Server, stack: contextlib.ExitStack) -> tuple[Job, Running]:
        """Start a server for the length of `stack`, see that it answers right, and warm it up."""
        directory = Path(tempfile.mkdtemp(dir=self.scratch))
        job = Job(
            row.module,
            row.threads,
            _free_port(),
            directory,
            uwsgi=row.way == "nginx",
            closes=row.way == "close",
            logs=row.way == "log",
        )
        servers.write_files(job)
        running = front = stack.enter_context(Running(server.command(job), directory))
        if job.uwsgi:
            running.wait_for(job.socket.exists)
            front = stack.enter_context(Running(servers.nginx(job), directory))
        body = loads.BODY if row.way == "post" else b""
        front.wait_for(lambda: loads.ask(job.port, row.path, body, timeout=2) == row.answer)
        self._rate(row, server, job, 1)
        return job, running

    def measure(self, row: Row, server: Server, job: Job) -> None:
        """One turn of a server that runs."""
        add = self.results.add
        seconds = self.options.seconds
        if row.way == "block":
            outcome, waits = loads.beside(job.port, "/", "/quick", seconds + 1, BLOCKED_CLIENTS)
            self._check(row, server, outcome)
            add(row.label, server, outcome.rate)
            add(QUICK, server, Sample(waits).at(0.99))
        elif row.way in ("crowd", "downloads"):
            beside = ROWS[ROWS.index(row) + 1]
            add(row.label, server, Sample(loads.answered_in(job.port, "/", seconds + 1)).at(0.99))
            with loads.crowd(job.port, "/large" if row.way == "crowd" else "/static/10m", f"{row.way}.py"):
                add(beside.label, server, Sample(loads.answered_in(job.port, "/", seconds + 1)).at(0.99))
        else:
            add(row.label, server, self._rate(row, server, job, seconds))

    def _rate(self, row: Row, server: Server, job: Job, seconds: int) -> float:
        kind = row.way if row.way in ("close", "post") else "keep"
        outcome = loads.wrk(job.port, row.path, seconds, CLIENTS, kind)
        self._check(row, server, outcome)
        return outcome.rate

    def _check(self, row: Row, server: Server, outcome: loads.Outcome) -> None:
        if outcome.wrong or not outcome.rate:
            raise SystemExit(
                f"{row.label}: {server.name}: {outcome.wrong} answers were errors, rate {outcome.rate:.0f}/s"
            )
        self.results.lost[row.label, server.name] += outcome.lost


def _free_port() -> int:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


# --- what comes out --------------------------------------------------------------------------------------------------


def show(row: Row, value: float) -> str:
    """A value for people, with its unit."""
    if row.unit == "bytes":
        return report.mebibytes(value)
    if row.unit == "s":
        return f"{value * 1000:.1f} ms"
    return f"{value:,.0f}"


def values_table(results: Results, rows: Sequence[Row], those: Sequence[Server]) -> str:
    """The medians; a row without unit is requests a second."""
    lines = []
    for row in rows:
        found = [results.median(row, server) for server in those]
        lines.append([row.label, *("" if value is None else show(row, value) for value in found)])
    return report.table(["", *(server.name for server in those)], lines)


def ratio_table(results: Results, rows: Sequence[Row], those: Sequence[Server]) -> str:
    """How many times better Emperor is than each other."""
    lines = []
    for row in rows:
        found = [results.ratio(row, server) for server in those[1:]]
        if any(ratio is not None for ratio in found):
            lines.append([row.label, *("" if ratio is None else f"{ratio:.2f} x" for ratio in found)])
    return report.table(["Emperor is better by", *(server.name for server in those[1:])], lines)


def _judge(results: Results, row: Row, goal: Goal) -> tuple[str, str, bool] | None:
    """(wanted, reached, whether that is enough) for one goal."""
    if goal.place:
        ratios = [ratio for server in row.servers[1:] if (ratio := results.ratio(row, server)) is not None]
        place = 1 + sum(ratio * SEVERAL < 1 for ratio in ratios)
        wanted = "first" if goal.place == 1 else "first or second"
        return (wanted, f"place {place} of {len(ratios) + 1}", place <= goal.place) if ratios else None
    ratio = results.ratio(row, goal.other) if goal.other else None
    if ratio is None or goal.other is None:
        return None
    return f"{goal.factor:g} x {goal.other.name}", f"{ratio:.2f} x", ratio >= goal.factor


def judged(results: Results, rows: Sequence[Row]) -> list[tuple[str, str, str, bool]]:
    """(row, wanted, reached, whether that is enough) for all goals."""
    lines = []
    for row in rows:
        for goal in row.goals:
            found = _judge(results, row, goal)
            if found is not None:
                lines.append((row.label, *found))
        value = results.median(row, EMPEROR)
        if row.limit and value is not None:
            enough = value >= row.limit if row.more_is_better else value <= row.limit
            wanted = f"at {'least' if row.more_is_better else 'most'} {show(row, row.limit)}"
            lines.append((row.label, wanted, show(row, value), enough))
    for number, factor in ((-4, 2), (-2, 10)):
        quiet, crowded = (results.median(ROWS[n], EMPEROR) for n in (number, number + 1))
        if quiet and crowded:
            ratio = crowded / quiet
            lines.append((ROWS[number + 1].label, f"under {factor} x the quiet p99", f"{ratio:.1f} x", ratio < factor))
    return lines


def goals_table(results: Results, rows: Sequence[Row]) -> str:
    """Every goal with what was reached."""
    lines = [
        [row, wanted, reached, "yes" if enough else "**no**"] for row, wanted, reached, enough in judged(results, rows)
    ]
    return report.table(["", "wanted", "reached", "enough"], lines)


def draw(results: Results, rows: Sequence[Row]) -> None:
    """The chart: more is better in all rows but memory, which is therefore left to the table."""
    those = servers.SERVERS[:DRAWN]
    drawn = []
    for row in rows:
        found = [results.median(row, server) for server in those]
        if row.more_is_better and len(row.servers) > 1:
            bars = [None if value is None else chart.Bar(value) for value in found]
            drawn.append(chart.Row(row.label, bars, lambda value: f"{value:,.0f}/s"))
    chart.bars(CHART, "Requests a second: longer is better", [server.name for server in those], drawn)


def text(results: Results, options: argparse.Namespace, load: float) -> str:
    """The section for docs/performance.md."""
    those = [server for server in servers.EVERYBODY if server.name in options.only]
    versions = ", ".join(f"{server.name} {server.version}" for server in those)
    commit = report.commit()
    lost = "; ".join(f"{label}: {name} {count}" for (label, name), count in results.lost.items() if count)
    note = f"\n- {options.note}" if options.note else ""
    rounds = "1 round" if options.rounds == 1 else f"{options.rounds} rounds"
    return f"""\
## One app: `make bench-serve`

![Bars of the rates below]({CHART.name})

One process for requests and one thread for the app where the row names no other number; wrk with one thread and
{CLIENTS} connections ({BLOCKED_CLIENTS} in the row that blocks). After a warm-up of 1 s the servers of a row take
turns of {options.seconds} s, {options.turns} in each of {rounds}. Medians; requests a second where no unit stands:

{values_table(results, ROWS, those)}

The median of the ratios of neighbouring turns; above 1 Emperor is faster, smaller or quicker:

{ratio_table(results, ROWS, those)}

What was wanted, and what was reached:

{goals_table(results, ROWS)}

- {versions}{f" (commit {commit})" if commit else ""}; measured on {time.strftime("%Y-%m-%d")}.
- {report.machine()}; load average before the start: {load:.1f}. wrk shares the cores with the servers.{note}
- The request log is a file of the default lines; uWSGI writes the same.
- Places: servers within {(SEVERAL - 1) * 100:.0f} % of each other share one.
- Memory is PSS of all processes of a server after some thousand requests.
- The bad clients: {crowd.IDLE} idle on keep-alive, {crowd.HEADERS} whose headers come a byte a second,
  {crowd.READERS} that read 1 MB slowly; measured on Emperor alone.
- The slow downloads: {downloads.CLIENTS} clients read 10 MB at {downloads.RATE // 1000} KB/s each. Small answers (1 KB)
  come from files that were not changed lately, which a worker keeps in memory.
- Connections that broke or requests that timed out: {lost or "none"}.
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    names = [server.name for server in servers.EVERYBODY]
    parser = argparse.ArgumentParser(description="Emperor's app server beside others: rates, memory, waiting times.")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--turns", type=int, default=4, help="of each server in a round (default: 4)")
    parser.add_argument("--seconds", type=int, default=1, help="of a turn (default: 1)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these servers; prints only")
    parser.add_argument("--rows", default="", help="only rows with this text in their label; prints only")
    parser.add_argument("--note", default="", help="a sentence for the report, on what else the machine was doing")
    parser.add_argument("--print-only", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.turns, options.seconds) < 1:
        parser.error("--rounds, --turns and --seconds must be at least 1")
    if len(options.only) < len(names) or options.rows:
        options.print_only = True
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    options = parse(arguments)
    servers.install()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    load = report.load()
    results = Results()
    with tempfile.TemporaryDirectory(prefix="bench-") as top:
        rows = [row for row in ROWS if options.rows in row.label]
        Bench(options, rows, results, Path(top)).run()
    section = text(results, options, load)
    print(section)
    if not options.print_only:
        draw(results, ROWS)
        report.write_section("bench-serve", section)
        print(f"Written: {report.PAGE}, {CHART}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
