"""A chart of answer times over time as SVG, without dependencies: one panel for each deed, one line for each contender.

The one thing that can go wrong here is a picture that hides the worst: a line is the *slowest* answer that began in
each tenth of a second, and requests that failed have a lane of their own above, with their number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from chart import COLOURS, WIDTH

STEP = 0.1
"""Seconds of one point of a line."""
LEFT, RIGHT = 74, 150
"""Pixels for the scale at the left, and for the words at the right."""
TOP, PANEL = 58, 236
LANE = 13
"""Pixels of one contender's lane of failures."""
MARKS = ((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s"))
STYLE = 'font-family="system-ui, sans-serif" fill="#222222"'


@dataclass(frozen=True)
class Asked:
    """One request: seconds since the deed at which it began, seconds until its answer, None for a failure."""

    at: float
    took: float | None


@dataclass(frozen=True)
class Panel:
    """What happened to each contender, in their order, when something was done at 0 s."""

    title: str
    runs: Sequence[Sequence[Asked]]


def _text(x: float, y: float, text: str, size: int, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}"{more}>{escape(text)}</text>'


class _Axes:
    """Where times lie on one panel."""

    def __init__(self, begin: float, end: float, lanes: int) -> None:
        self.begin, self.end = begin, end
        self.top = 26 + lanes * LANE + 8
        self.bottom = PANEL - 34

    def x(self, at: float) -> float:
        return LEFT + (at - self.begin) / (self.end - self.begin) * (WIDTH - LEFT - RIGHT)

    def y(self, took: float) -> float:
        lowest, highest = MARKS[0][0], MARKS[-1][0]
        share = math.log(min(max(took, lowest), highest) / lowest) / math.log(highest / lowest)
        return self.bottom - share * (self.bottom - self.top)


def _frame(panel: Panel, axes: _Axes) -> list[str]:
    right = WIDTH - RIGHT
    parts = [_text(LEFT, 14, panel.title, 13, ' font-weight="600"')]
    lines = [(axes.y(value), name) for value, name in MARKS]
    parts += [f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#e4e4e4"/>' for y, _ in lines]
    parts += [_text(LEFT - 6, y + 4, name, 11, ' text-anchor="end"') for y, name in lines]
    even = [second for second in range(math.ceil(axes.begin), math.floor(axes.end) + 1) if second % 2 == 0]
    parts += [_text(axes.x(second), PANEL - 16, f"{second} s", 11, ' text-anchor="middle"') for second in even]
    parts.append(f'<path d="M{axes.x(0):.1f} 20V{axes.bottom}" stroke="#888888" stroke-dasharray="3 3"/>')
    return parts


def _bins(run: Sequence[Asked], axes: _Axes) -> list[list[Asked]]:
    bins: list[list[Asked]] = [[] for _ in range(math.ceil((axes.end - axes.begin) / STEP))]
    for one in run:
        number = int((one.at - axes.begin) / STEP)
        if 0 <= number < len(bins):
            bins[number].append(one)
    return bins


def _line(run: Sequence[Asked], colour: str, axes: _Axes) -> str:
    """The slowest answer of each step; a gap where there was none."""
    path, drawn = "", False
    for number, those in enumerate(_bins(run, axes)):
        times = [one.took for one in those if one.took is not None]
        if times:
            x = axes.x(axes.begin + (number + 0.5) * STEP)
            path += f"{'L' if drawn else 'M'}{x:.1f} {axes.y(max(times)):.1f}"
        drawn = bool(times)
    return f'<path d="{path}" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round" fill="none"/>'


def _failures(run: Sequence[Asked], name: str, colour: str, axes: _Axes, y: float) -> list[str]:
    """The lane above: where requests failed, and how many of how many."""
    parts = [_text(LEFT - 6, y + 9, "failed", 11, ' text-anchor="end"')] if y < 27 else []
    begin: int | None = None
    for number, those in enumerate([*_bins(run, axes), []]):
        failed = any(one.took is None for one in those)
        if failed and begin is None:
            begin = number
        elif not failed and begin is not None:
            x = axes.x(axes.begin + begin * STEP)
            width = axes.x(axes.begin + number * STEP) - x
            parts.append(f'<rect x="{x:.1f}" y="{y + 2:.1f}" width="{width:.1f}" height="{LANE - 4}" fill="{colour}"/>')
            begin = None
    after = [one for one in run if one.at >= 0]
    failed_after = sum(one.took is None for one in after)
    words = f"{name}: {failed_after or 'none'} of {len(after)}"
    parts.append(_text(WIDTH - RIGHT + 8, y + 10, words, 11, f' fill="{colour}"'))
    return parts


def _last(run: Sequence[Asked], axes: _Axes) -> float | None:
    """Where the line of `run` ends, in pixels."""
    times = [one.took for one in run if one.took is not None and one.at >= axes.end - 5 * STEP]
    return axes.y(max(times)) if times else None


def _names(panel: Panel, contenders: Sequence[str], axes: _Axes) -> list[str]:
    """The contenders' names at the ends of their lines, apart from each other."""
    ends = [(y, n) for n, run in enumerate(panel.runs) if (y := _last(run, axes)) is not None]
    parts, lowest = [], 0.0
    for y, number in sorted(ends):
        lowest = max(y, lowest + 14)
        colour = COLOURS[number]
        parts.append(
            _text(WIDTH - RIGHT + 8, lowest + 4, contenders[number], 12, f' fill="{colour}" font-weight="600"')
        )
    return parts


def draw(path: Path, title: str, contenders: Sequence[str], panels: Sequence[Panel]) -> None:
    """Write the chart to `path`."""
    height = TOP + PANEL * len(panels)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}" {STYLE}>'
    )
    parts = [
        head,
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(12, 24, title, 15, ' font-weight="600"'),
        _text(12, 42, "Lines: the slowest answer in each tenth of a second. Bars: requests without a good answer.", 12),
    ]
    for number, panel in enumerate(panels):
        moments = [one.at for run in panel.runs for one in run] or [0.0, 1.0]
        axes = _Axes(min(moments), max(moments), len(panel.runs))
        parts.append(f'<g transform="translate(0 {TOP + number * PANEL})">')
        parts += _frame(panel, axes)
        for lane, run in enumerate(panel.runs):
            parts += _failures(run, contenders[lane], COLOURS[lane], axes, 20 + lane * LANE)
        for lane, run in reversed(list(enumerate(panel.runs))):
            parts.append(_line(run, COLOURS[lane], axes))
        parts += _names(panel, contenders, axes)
        parts.append("</g>")
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
