"""One vassal in a crash loop beside healthy ones: does their reload take longer for it?

The one thing that can go wrong here is a loop that is none: a vassal that fails waits longer and longer, and would be
quiet when it counts. So it is touched all the time, which forgets its failures, and how often it has died is counted.
"""

import random
import re
import textwrap
import threading
import time
from dataclasses import dataclass, field

import probe
import report
from contenders import Contender
from progress import Progress
from report import Goal, Sample

CRASH = "import os\n\nos._exit(3)\n"
AGAIN = 0.3
"""Seconds between two touches of the vassal that crashes."""
BLOCKS = 4
"""Turns with the crash loop, and as many without."""
MOST = 1.2
"""Ratio of the medians that is allowed."""


@dataclass
class Result:
    """Seconds from a touch of a healthy vassal to its new code, `quiet` and `beside` the crash loop."""

    vassals: int
    quiet: Sample = field(default_factory=Sample)
    beside: Sample = field(default_factory=Sample)
    crashes: int = 0
    seconds: float = 0.0

    @property
    def ratio(self) -> float:
        """How many times longer it takes beside the crash loop."""
        return self.beside.median / self.quiet.median

    def goals(self) -> list[Goal]:
        """What is wanted."""
        row = f"a crash loop beside {self.vassals} healthy ones touched at random"
        return [Goal(row, f"at most {MOST} x their reload time", f"{self.ratio:.2f} x", self.ratio <= MOST)]

    def text(self) -> str:
        """A paragraph for the section."""
        tries = len(self.quiet.values)
        return textwrap.fill(
            f"A vassal that ends while it is imported, touched again every {AGAIN} s ({self.crashes} deaths in "
            f"{self.seconds:.0f} s), beside {self.vassals} healthy ones, of which one at random is touched: touch to "
            f"new code takes {report.seconds(self.quiet.median)} without the crash loop and "
            f"{report.seconds(self.beside.median)} beside it ({tries} touches each, in {BLOCKS} turns; medians).",
            120,
        )


def run(contender: Contender, vassals: int, touches: int, progress: Progress) -> Result:
    """Measure `touches` reloads with, and as many without."""
    result = Result(vassals)
    chance = random.Random(5)
    names = [f"h{number:03}" for number in range(vassals)]
    versions = dict.fromkeys(names, 1)
    for name in names:
        contender.draft(name, contender.app(name, 1)).rename(contender.file(name))
    try:
        progress.stage(f"crash loop: {vassals} healthy vassals start")
        probe.measure(contender.start, probe.all_answer([contender.socket(name) for name in names]))
        time.sleep(2.0)
        for block in range(2 * BLOCKS):
            loops = block % 2 == 1
            progress.stage(f"crash loop: turn {block + 1}, {'with' if loops else 'without'} it")
            stop = threading.Event()
            thread = threading.Thread(target=_crash, args=(contender, stop)) if loops else None
            began = time.monotonic()
            if thread is not None:
                thread.start()
                time.sleep(1.0)  # it has died for the first time
            try:
                sample = result.beside if loops else result.quiet
                for _ in range(max(touches // BLOCKS, 1)):
                    name = chance.choice(names)
                    versions[name] += 1
                    sample.values.append(_reload(contender, name, versions[name]))
                    time.sleep(chance.uniform(0.02, 0.08))
            finally:
                stop.set()
                if thread is not None:
                    thread.join()
                    result.seconds += time.monotonic() - began
            progress.step()
        result.crashes = len(re.findall(r"vassal crash: generation \d+ failed", contender.process.log.read_text()))
    finally:
        contender.stop()
    return result


def _reload(contender: Contender, name: str, version: int) -> float:
    contender.app(name, version)
    path = contender.socket(name)
    wanted = str(version).encode()
    return probe.measure(lambda: contender.touch(name), lambda: probe.ask(path) == wanted, probe.PAUSE_SERVED)


def _crash(contender: Contender, stop: threading.Event) -> None:
    """Drop a vassal that crashes, and touch it until `stop`; then take it away."""
    app = contender.app("crash", 1)
    (app / "app.py").write_text(CRASH)
    contender.draft("crash", app).rename(contender.file("crash"))
    while not stop.wait(AGAIN):
        contender.touch("crash")
    contender.file("crash").unlink()
    time.sleep(0.5)
