"""Answer times through a touch and through a broken deploy, under constant load: Emperor beside uWSGI's emperor.

The one thing that can go wrong here is a client that waits for the server: one that asks only after it was answered
asks nothing while the server stands still. So requests begin at fixed moments, each on a connection and a thread of
its own.

Run: ``make bench-reload``. Writes its section of docs/performance.md and the chart of the README; judges nothing.
"""

import argparse
import math
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).resolve().parent))

import probe
import report
import uwsgi
from contenders import Contender, UwsgiContender
from progress import Progress
from report import Sample

RATE = 100
"""Requests a second."""
IMPORT = 1.5
"""Seconds that the app takes to be imported."""
QUIET, AFTER = 4.0, 10.0
"""Seconds before and after what is done."""
CHART = report.PAGE.with_name("performance-reload.svg")
COLOURS = {"Emperor": "#2563a8", "uWSGI": "#c2772b"}
SLOW_APP = f"import time\n\ntime.sleep({IMPORT})\n"
BROKEN = "import a_module_that_nobody_has\n"
LIMIT = 30.0


@dataclass(frozen=True)
class Asked:
    """One request: seconds since the deed at which it began, seconds until its answer, None for a failure."""

    at: float
    took: float | None


def storm(path: str, act: Callable[[], None]) -> list[Asked]:
    """Ask at a constant rate; `act` after `QUIET` seconds."""
    found: list[Asked] = []
    threads = []
    began = time.perf_counter()
    zero = began + QUIET

    def ask(at: float) -> None:
        body = probe.ask(path, LIMIT)
        found.append(Asked(at - zero, None if body is None else time.perf_counter() - at))

    done = False
    for number in range(int(RATE * (QUIET + AFTER))):
        at = began + number / RATE
        time.sleep(max(0.0, at - time.perf_counter()))
        if not done and at >= zero:
            done = True
            threading.Thread(target=act).start()
        thread = threading.Thread(target=ask, args=(at,))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join(LIMIT + 5)
    return sorted(found, key=lambda one: one.at)


class Bench:
    """All rounds; `runs` holds what was asked, by (what was done, contender)."""

    def __init__(self, contenders: Sequence[Contender], rounds: int) -> None:
        self.contenders = contenders
        self.rounds = rounds
        self.runs: defaultdict[tuple[str, str], list[list[Asked]]] = defaultdict(list)
        self.progress = Progress(2 * rounds * len(contenders))

    def run(self) -> None:
        try:
            for number in range(self.rounds):
                for contender in self.contenders if number % 2 else self.contenders[::-1]:
                    for what in ("touch", "broken deploy"):
                        self.progress.stage(f"round {number + 1}: {contender.name}, {what}")
                        self.runs[what, contender.name].append(self.once(contender, what))
                        self.progress.step()
        finally:
            self.progress.close()

    @staticmethod
    def once(contender: Contender, what: str) -> list[Asked]:
        app = contender.app("slow", 0)
        source = (app / "app.py").read_text()
        (app / "app.py").write_text(SLOW_APP + source)
        contender.draft("slow", app).rename(contender.file("slow"))
        path = contender.socket("slow")
        try:
            probe.measure(contender.start, probe.all_answer([path]))
            time.sleep(1.0)

            def act() -> None:
                if what == "broken deploy":
                    (app / "app.py").write_text(BROKEN)
                contender.touch("slow")

            return storm(path, act)
        finally:
            contender.stop()


def judged(runs: Sequence[Sequence[Asked]]) -> list[str]:
    """Failures in all rounds; p99.9 before and after, median of the rounds; the longest wait."""
    failed = sum(one.took is None for run in runs for one in run if one.at >= 0)
    asked = sum(one.at >= 0 for run in runs for one in run)
    quiet = [Sample([one.took for one in run if one.took is not None and one.at < 0]).at(0.999) for run in runs]
    after = []
    for run in runs:
        answered = [one.took for one in run if one.took is not None and one.at >= 0]
        after.append(Sample(answered).at(0.999) if answered else float("nan"))
    both = Sample(quiet).median, Sample(after).median
    longest = max((one.took for run in runs for one in run if one.took is not None and one.at >= 0), default=0.0)
    return [f"{failed} of {asked}", report.seconds(both[0]), report.seconds(both[1]), report.seconds(longest)]


def draw(bench: Bench) -> None:
    """One panel for each deed: a dot for each request of the first round, on a logarithmic scale."""
    width, height, left, top = 760, 190, 62, 56
    lowest, highest = 0.001, 10.0
    parts = []

    def y_of(took: float) -> float:
        share = (math.log10(min(max(took, lowest), highest)) + 3) / 4
        return height - 34 - share * (height - 60)

    for panel, what in enumerate(("touch", "broken deploy")):
        base = top + panel * height
        parts.append(f'<g transform="translate(0 {base})">')
        parts.append(f'<text x="{left}" y="12" font-size="13" font-weight="600">{what} at 0 s</text>')
        for mark, name in ((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s")):
            y = y_of(mark)
            parts.append(f'<path d="M{left} {y:.1f}H{width - 12}" stroke="#e4e4e4"/>')
            parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" font-size="11" text-anchor="end">{name}</text>')

        def x_of(at: float) -> float:
            return left + (at + QUIET) / (QUIET + AFTER) * (width - 12 - left)

        for second in range(-int(QUIET), int(AFTER) + 1, 2):
            where = f'x="{x_of(second):.1f}" y="{height - 16}" font-size="11" text-anchor="middle"'
            parts.append(f"<text {where}>{second} s</text>")
        parts.append(f'<path d="M{x_of(0):.1f} 18V{height - 32}" stroke="#999999" stroke-dasharray="3 3"/>')
        for name, colour in COLOURS.items():
            for one in (bench.runs[what, name] or [[]])[0]:
                if one.took is None:
                    x, y = x_of(one.at), 22 if name == "Emperor" else 28
                    parts.append(f'<path d="M{x - 2:.1f} {y - 2}l4 4m0 -4l-4 4" stroke="{colour}"/>')
                else:
                    parts.append(f'<circle cx="{x_of(one.at):.1f}" cy="{y_of(one.took):.1f}" r="1.4" fill="{colour}"/>')
        parts.append("</g>")
    title = "Answer times under load, through a touch and a broken deploy"
    legend = "".join(
        f'<circle cx="{left + 4 + 110 * n}" cy="40" r="4" fill="{c}"/>'
        f'<text x="{left + 14 + 110 * n}" y="44" font-size="12">{escape(name)}</text>'
        for n, (name, c) in enumerate(COLOURS.items())
    )
    legend += f'<text x="{left + 240}" y="44" font-size="12">crosses: no answer, or an error</text>'
    total = top + 2 * height
    CHART.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" width="{width}" height="{total}" '
        f'role="img" aria-label="{title}" font-family="system-ui, sans-serif" fill="#222222">'
        f'<rect width="{width}" height="{total}" fill="#ffffff"/>'
        f'<text x="12" y="24" font-size="15" font-weight="600">{title}</text>{legend}' + "\n".join(parts) + "</svg>\n",
        encoding="utf-8",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Answer times through a touch and a broken deploy, under load.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--print-only", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args(arguments)
    uwsgi.install()
    load = report.load()
    with tempfile.TemporaryDirectory(prefix="b-") as top:
        contenders = [Contender(Path(top) / "e"), UwsgiContender(Path(top) / "u")]
        bench = Bench(contenders, options.rounds)
        bench.run()
    rows = [
        [f"{what}, {contender.name}", *judged(bench.runs[what, contender.name])]
        for what in ("touch", "broken deploy")
        for contender in contenders
    ]
    header = ["", "failed after it", "quiet p99.9", "p99.9 after it", "longest"]
    versions = ", ".join(f"{contender.name} {contender.version}" for contender in contenders)
    section = f"""\
## Through a reload: `make bench-reload`

![A dot for each request of one round]({CHART.name})

An app that takes {IMPORT} s to be imported, one worker, HTTP on a UNIX socket, {RATE} requests a second that begin at
fixed moments, each on a connection of its own. At 0 s its file is touched, with new code that is good or that cannot be
imported. {options.rounds} rounds; percentiles are medians of the rounds.

{report.table(header, rows)}

- {versions} (commit {report.commit()}); measured on {time.strftime("%Y-%m-%d")}.
- {report.machine()}; load average before the start: {load:.1f}.
- A failure is any request that is not answered with 200 within {LIMIT:.0f} s.
"""
    print(section)
    if not options.print_only:
        draw(bench)
        report.write_section("bench-reload", section)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
