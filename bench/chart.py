"""A bar chart as SVG, without dependencies: for each row a bar for each contender, on a scale of that row's own.

The one thing that can go wrong here is a picture that says more than the numbers: bars begin at zero, are linear, and
bear their value; a thin line reaches to the 95th percentile where there is one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

COLOURS = ("#2563a8", "#c2772b", "#5b8c5a", "#8a5a99", "#777777")
WIDTH = 760
LABELS = 250
"""Pixels for the labels at the left."""
VALUES = 150
"""Pixels for the longest bar's value at the right."""
BAR = 16
GAP = 16
TOP = 64


@dataclass(frozen=True)
class Bar:
    """One value; `reach` is its 95th percentile, or None."""

    value: float
    reach: float | None = None


@dataclass(frozen=True)
class Row:
    """One bar for each contender, in their order; None where there is no value."""

    label: str
    bars: Sequence[Bar | None]
    show: Callable[[float], str]


def _text(x: float, y: float, text: str, size: int, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}"{more}>{escape(text)}</text>'


def _legend(contenders: Sequence[str]) -> list[str]:
    parts, x = [], float(LABELS)
    for name, colour in zip(contenders, COLOURS, strict=False):
        parts.append(f'<rect x="{x:.1f}" y="38" width="11" height="11" rx="2" fill="{colour}"/>')
        parts.append(_text(x + 16, 48, name, 12))
        x += 32 + 7 * len(name)
    return parts


def _row(row: Row, y: float) -> list[str]:
    there = [bar for bar in row.bars if bar is not None]
    longest = max((max(bar.value, bar.reach or 0.0) for bar in there), default=1.0) or 1.0
    scale = (WIDTH - LABELS - VALUES) / longest
    middle = y + BAR * len(row.bars) / 2 + 4
    parts = [_text(LABELS - 12, middle, row.label, 13, ' text-anchor="end"')]
    for bar, colour in zip(row.bars, COLOURS, strict=False):
        if bar is not None:
            width = max(bar.value * scale, 1.0)
            centre = y + BAR / 2
            parts.append(
                f'<rect x="{LABELS}" y="{y + 1:.1f}" width="{width:.1f}" height="{BAR - 2}" rx="2" fill="{colour}"/>'
            )
            end, label = width, row.show(bar.value)
            if bar.reach is not None:
                end = max(bar.reach * scale, width)
                label += f" (p95 {row.show(bar.reach)})"
                parts.append(
                    f'<path d="M{LABELS + width:.1f} {centre:.1f}H{LABELS + end:.1f}m0 -4v8" stroke="{colour}" '
                    'stroke-width="1.5" fill="none"/>'
                )
            parts.append(_text(LABELS + end + 6, centre + 4, label, 11))
        y += BAR
    return parts


def bars(path: Path, title: str, contenders: Sequence[str], rows: Sequence[Row]) -> None:
    """Write the chart to `path`."""
    height = TOP + sum(BAR * len(row.bars) + GAP for row in rows)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title, {chr(34): "&quot;"})}" font-family="system-ui, sans-serif" '
        'fill="#222222">'
    )
    parts = [
        head,
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(12, 24, title, 15, ' font-weight="600"'),
        *_legend(contenders),
    ]
    y = float(TOP)
    for row in rows:
        parts += _row(row, y)
        y += BAR * len(row.bars) + GAP
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
