"""Answer times through a touch and through a broken deploy, under constant load: Emperor beside uWSGI's emperor.

The one thing that can go wrong here is a client that waits for the server: one that asks only after it was answered
asks nothing while the server stands still. So requests begin at fixed moments, each on a connection and a thread of
its own.

Run: ``make bench-reload``. Writes its section of docs/performance.md and the chart of the README; judges nothing.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import probe
import report
import timeline
import uwsgi
from contenders import Contender, UwsgiContender
from progress import Progress
from report import Goal, Sample
from timeline import Asked

RATE = 100
"""Requests a second."""
IMPORT = 1.5
"""Seconds that the app takes to be imported."""
QUIET, AFTER = 3.0, 9.0
"""Seconds before and after what is done: uWSGI may see it 3 s later, and then stands still for 2.6 s."""
CHART = report.PAGE.with_name("performance-reload.svg")
TOUCH, DEPLOY = "touch", "broken deploy"
DEEDS = (TOUCH, DEPLOY)
SLOW_APP = f"import time\n\ntime.sleep({IMPORT})\n"
BROKEN = "import a_module_that_nobody_has\n"
LIMIT = 30.0
SLACK = 0.1
"""Seconds by which the p99.9 after a touch may be above the quiet one."""


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

    def __init__(self, contenders: Sequence[Contender], rounds: int, progress: Progress) -> None:
        self.contenders = contenders
        self.rounds = rounds
        self.runs: defaultdict[tuple[str, str], list[list[Asked]]] = defaultdict(list)
        self.progress = progress

    @property
    def steps(self) -> int:
        """How many steps of the progress bar there are."""
        return len(DEEDS) * self.rounds * len(self.contenders)

    def run(self) -> None:
        """All rounds."""
        for number in range(self.rounds):
            for contender in self.contenders if number % 2 else self.contenders[::-1]:
                for what in DEEDS:
                    self.progress.stage(f"under load, round {number + 1}: {contender.name}, {what}")
                    self.runs[what, contender.name].append(self.once(contender, what))
                    self.progress.step()

    @staticmethod
    def once(contender: Contender, what: str) -> list[Asked]:
        """One deed under load."""
        app = contender.app("slow", 0)
        source = (app / "app.py").read_text()
        (app / "app.py").write_text(SLOW_APP + source)
        contender.draft("slow", app).rename(contender.file("slow"))
        path = contender.socket("slow")
        try:
            probe.measure(contender.start, probe.all_answer([path]))
            time.sleep(1.0)

            def act() -> None:
                if what == DEPLOY:
                    (app / "app.py").write_text(BROKEN)
                contender.touch("slow")

            return storm(path, act)
        finally:
            contender.stop()

    # --- what comes out ----------------------------------------------------------------------------------------------

    def failed(self, what: str, name: str) -> int:
        """Requests after the deed without a good answer, in all rounds."""
        return sum(one.took is None for run in self.runs[what, name] for one in run if one.at >= 0)

    def tails(self, what: str, name: str) -> tuple[Sample, Sample]:
        """(p99.9 before the deed, p99.9 after it) of each round; what failed counts as `LIMIT`."""
        quiet, after = Sample(), Sample()
        for run in self.runs[what, name]:
            for sample, those in ((quiet, [o for o in run if o.at < 0]), (after, [o for o in run if o.at >= 0])):
                sample.values.append(Sample([o.took if o.took is not None else LIMIT for o in those]).at(0.999))
        return quiet, after

    def row(self, what: str, name: str) -> list[str]:
        """One line of the table."""
        asked = sum(one.at >= 0 for run in self.runs[what, name] for one in run)
        quiet, after = self.tails(what, name)
        answered = [o.took for run in self.runs[what, name] for o in run if o.took is not None and o.at >= 0]
        longest = report.seconds(max(answered)) if answered else "none"
        failed = self.failed(what, name)
        late = "failed" if after.median >= LIMIT else report.seconds(after.median)
        return [f"{what}, {name}", f"{failed} of {asked}", report.seconds(quiet.median), late, longest]

    def goals(self) -> list[Goal]:
        """What is wanted of Emperor, and what it reached."""
        name = self.contenders[0].name
        quiet, after = self.tails(TOUCH, name)
        worse = Sample([late - early for early, late in zip(quiet.values, after.values, strict=True)]).median
        slack = f"p99.9 at most {report.seconds(SLACK)} above the quiet one"
        goals = [
            Goal("touch under load", "no failure", str(self.failed(TOUCH, name)), not self.failed(TOUCH, name)),
            Goal("touch under load", slack, report.seconds(max(worse, 0.0)), worse <= SLACK),
        ]
        broken = self.failed(DEPLOY, name)
        return [*goals, Goal("broken deploy under load", "no failure", str(broken), not broken)]

    def text(self, facts: str) -> str:
        """The section for docs/performance.md; `facts` are the lines on machine and versions."""
        names = [contender.name for contender in self.contenders]
        rows = [self.row(what, name) for what in DEEDS for name in names]
        header = ["", "failed after it", "quiet p99.9", "p99.9 after it", "longest answer"]
        rounds = report.several(self.rounds, "round")
        return f"""\
## Through a reload: `make bench-reload`

![Lines of the slowest answers in one round]({CHART.name})

An app that takes {IMPORT} s to be imported, one worker, HTTP on a UNIX socket, {RATE} requests a second that begin at
fixed moments, each on a connection of its own. At 0 s its file is touched, with new code that is good or that cannot be
imported. {rounds}; percentiles are medians of the rounds, in which a failure counts as {LIMIT:.0f} s.

{report.table(header, rows)}

{facts}
- A failure is any request that is not answered with 200 within {LIMIT:.0f} s. The chart shows the first round.
"""

    def draw(self) -> None:
        """The chart, which the README shows."""
        names = [contender.name for contender in self.contenders]
        titles = {TOUCH: "Its file is touched at 0 s", DEPLOY: "A broken deploy at 0 s"}
        panels = [
            timeline.Panel(titles[what], [(self.runs[what, name] or [[]])[0] for name in names]) for what in DEEDS
        ]
        timeline.draw(CHART, "Answer times of an app under load while it is reloaded", names, panels)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Answer times through a touch and a broken deploy, under load.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--print-only", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args(arguments)
    uwsgi.install()
    surroundings = report.Surroundings()
    with tempfile.TemporaryDirectory(prefix="b-") as top:
        contenders = [Contender(Path(top) / "e"), UwsgiContender(Path(top) / "u")]
        progress = Progress(len(DEEDS) * options.rounds * len(contenders))
        bench = Bench(contenders, options.rounds, progress)
        try:
            bench.run()
        finally:
            progress.close()
    section = bench.text(surroundings.facts(contenders))
    print(section, report.goals_table(bench.goals()), sep="\n")
    if not options.print_only:
        bench.draw()
        report.write_section("bench-reload", section)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
