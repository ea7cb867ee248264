"""What benchmarks print and write: percentiles, tables, facts of the machine, sections of docs/performance.md.

The one thing that can go wrong here is a number without its surroundings: whatever is written names the versions, the
machine, how busy it was, and how often each thing was tried.
"""

import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
TITLE = """\
# Performance

Measured, not promised. Each section is written by the benchmark that it names, and can be written anew by anybody.
"""


@dataclass
class Sample:
    """What was measured, try by try."""

    values: list[float] = field(default_factory=list)

    def at(self, share: float) -> float:
        """The smallest value that at least this share of all values do not exceed (nearest rank)."""
        ranked = sorted(self.values)
        return ranked[max(math.ceil(share * len(ranked)) - 1, 0)]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        return self.at(0.95)

    @property
    def highest(self) -> float:
        return max(self.values)

    @property
    def lowest(self) -> float:
        return min(self.values)


def seconds(value: float) -> str:
    """A time for people: ``83 ms``, ``1.42 s``."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def mebibytes(value: float) -> str:
    """A size in bytes for people: ``4.2 MiB``."""
    return f"{value / 2**20:.1f} MiB"


def times(value: float, base: float) -> str:
    """How many times `base` a value is."""
    ratio = value / base
    return f"{ratio:.0f} x" if ratio >= 10 else f"{ratio:.1f} x"


def several(number: int, word: str) -> str:
    """A number with its noun: ``1 round``, ``5 rounds``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


@dataclass(frozen=True)
class Goal:
    """What was wanted of one row, what was reached, and whether that is enough."""

    row: str
    wanted: str
    reached: str
    enough: bool


def goals_table(goals: Sequence[Goal]) -> str:
    """Every goal with what was reached, whether it is enough or not."""
    lines = [[goal.row, goal.wanted, goal.reached, "yes" if goal.enough else "**no**"] for goal in goals]
    return table(["", "wanted", "reached", "enough"], lines)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it reads well as text: the first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if i else "-") for i, width in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def _first(path: str, key: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith(key)), "unknown")


def commit() -> str:
    """The commit of this tree, with a mark where files differ from it; empty outside of git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def machine() -> str:
    """One line: processor, cores, memory, kernel, system's name, Python."""
    memory = int(_first("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    usable = len(os.sched_getaffinity(0))
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        system = "Linux"
    kernel = platform.release().partition("-")[0]
    processor = _first("/proc/cpuinfo", "model name")
    python = f"Python {platform.python_version()}"
    return f"{processor}, {usable} cores, {memory:.0f} GiB, {system}, Linux {kernel}, {python}"


def load() -> float:
    """How many processes wanted a core, on average over the last minute."""
    return os.getloadavg()[0]


class Program(Protocol):
    """Something that is measured."""

    name: str
    version: str


class Surroundings:
    """What a number was measured in; made before the start, since the load that counts is that of the others."""

    def __init__(self, note: str = "") -> None:
        self._load = load()
        self._note = note

    def facts(self, programs: Sequence[Program]) -> str:
        """Lines for the end of a section: versions, date, machine, and what else it was doing."""
        versions = ", ".join(f"{program.name} {program.version}" for program in programs)
        this = commit()
        lines = [
            f"- {versions}{f' (commit {this})' if this else ''}; measured on {time.strftime('%Y-%m-%d')}.",
            f"- {machine()}; load average before the start: {self._load:.1f}.",
        ]
        return "\n".join([*lines, f"- {self._note}"] if self._note else lines)


def write_section(name: str, text: str, page: Path = PAGE) -> None:
    """Put `text` between the markers of section `name`; add the section, or the page, where it is missing.

    Raises:
        SystemExit: only one of the two markers is there.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    old = page.read_text(encoding="utf-8") if page.exists() else TITLE
    if (begin in old) != (end in old):
        raise SystemExit(f"{page}: of the markers {begin} and {end} only one is there; restore the other")
    if begin in old:
        before, _, rest = old.partition(begin)
        new = before + section + rest.partition(end)[2]
    else:
        new = f"{old.rstrip()}\n\n{section}\n"
    page.write_text(new, encoding="utf-8")
