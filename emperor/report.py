"""What people see of the fleet: the status table, one vassal in detail, memory.

Rows are what `emperor status --json` prints; whatever a row lacks shows as a dash. psutil is imported only when memory
is asked for: `emperor status` shall not wait for it otherwise, and the emperor itself need not load it.

The danger here: text that came from an app (a reason, an address) steering the terminal. All of it is made printable.
"""

from __future__ import annotations

import textwrap
import time
from typing import TYPE_CHECKING, Any

from emperor.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_DASH = "-"
_TITLES = ("NAME", "STATE", "FOR", "GEN", "PID", "WORKERS", "REQUESTS", "RSS", "ADDRESSES")
_TO_THE_RIGHT = {"FOR", "GEN", "PID", "WORKERS", "REQUESTS", "RSS"}
_GAP = "  "
_NARROWEST_NAME = 12


def rss_of(pids: Iterable[int]) -> dict[int, int]:
    """Resident memory of process trees.

    Args:
        pids: The root of each tree (a vassal's master).

    Returns:
        Bytes by root, shared pages counted in each process that has them; a root that is gone is left out.
    """
    import psutil  # noqa: PLC0415  # 15 ms that only who asks for memory pays

    wanted = set(pids)
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for process in psutil.process_iter(("ppid", "memory_info")):
        memory = process.info["memory_info"]
        parents[process.pid] = process.info["ppid"] or 0
        sizes[process.pid] = memory.rss if memory else 0
    totals = {pid: 0 for pid in wanted if pid in sizes}
    for pid, size in sizes.items():
        seen = set()
        at = pid
        while at and at not in seen:
            if at in totals:
                totals[at] += size
            seen.add(at)
            at = parents.get(at, 0)
    return totals


def age(seconds: float) -> str:
    """A span as people say it: "12s", "3m", "5h", "2d"; what lies in the future is "0s"."""
    seconds = max(0.0, seconds)
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size or (letter != "h" and seconds >= size):
            return f"{int(seconds // size)}{letter}"
    return f"{int(seconds)}s"


def size(count: float) -> str:
    """Bytes as people say them: "512B", "38M", "1.2G"."""
    for letter in ("B", "K", "M", "G"):
        if count < 1024 or letter == "G":
            return f"{count:.1f}{letter}" if letter == "G" else f"{count:.0f}{letter}"
        count /= 1024
    return _DASH


def status_rows(rows: Sequence[Mapping[str, Any]], *, width: int = 80, now: float | None = None) -> str:
    """The fleet as a table.

    Args:
        rows: As `status --json` prints them.
        width: Columns of the terminal.
        now: Epoch seconds; the clock's by default.

    Returns:
        Lines no wider than `width` (long words excepted), reasons of failures below their row; ends with a line feed.
    """
    if not rows:
        return "no vassals\n"
    now = time.time() if now is None else now
    table = [_cells(row, now) for row in rows]
    columns = [n for n in range(len(_TITLES)) if n < 2 or any(cells[n] != _DASH for cells in table)]
    widths = {n: max(len(_TITLES[n]), *(len(cells[n]) for cells in table)) for n in columns}
    _fit(widths, width)
    lines = [_line(_TITLES, widths)]
    for row, cells in zip(rows, table, strict=True):
        lines.append(_line(cells, widths))
        lines += _reason_lines(row, width, now)
    return "\n".join(lines) + "\n"


def vassal_detail(row: Mapping[str, Any], *, width: int = 80, now: float | None = None) -> str:
    """One vassal, a fact a line, with the whole reason of its last failure.

    Args:
        row: As `status --json` prints it.
        width: Columns of the terminal.
        now: Epoch seconds; the clock's by default.
    """
    now = time.time() if now is None else now
    facts = [
        ("name", row.get("name")),
        ("path", row.get("path")),
        ("state", _state(row, now)),
        ("generation", row.get("generation")),
        ("pid", row.get("pid")),
        ("uid", row.get("uid")),
        ("workers", row.get("workers")),
        ("requests", row.get("requests")),
        ("statistics", row.get("stats")),
        ("memory", size(row["rss"]) if row.get("rss") is not None else None),
    ]
    lines = [_fact(label, value) for label, value in facts if value not in (None, "")]
    lines += [_fact("address", address) for address in row.get("addresses") or ()]
    for job in row.get("cron") or ():
        lines.append(_fact("cron", f"{job.get('command')} ({_cron(job, now)})"))
    for daemon in row.get("daemons") or ():
        lines.append(_fact("daemon", f"{daemon.get('command')} ({_daemon(daemon)})"))
    return "\n".join(lines + _failure_lines(row, width, now)) + "\n"


def _cells(row: Mapping[str, Any], now: float) -> tuple[str, ...]:
    since = row.get("since")
    rss = row.get("rss")
    return (
        _text(row.get("name")),
        _text(row.get("state")),
        age(now - since) if since is not None else _DASH,
        _text(row.get("generation")),
        _text(row.get("pid")),
        _text(row.get("workers")),
        _text(row.get("requests")),
        size(rss) if rss is not None else _DASH,
        _text(" ".join(str(address) for address in row.get("addresses") or ())),
    )


def _fit(widths: dict[int, int], width: int) -> None:
    """Shrink until the table fits: addresses first, then the memory, counts and pids go, then the name is cut."""
    addresses = len(_TITLES) - 1

    def excess() -> int:
        return sum(widths.values()) + len(_GAP) * (len(widths) - 1) - width

    if addresses in widths and excess() > 0:
        widths[addresses] = max(len(_TITLES[addresses]), widths[addresses] - excess())
    for title in ("RSS", "REQUESTS", "PID", "GEN", "ADDRESSES", "WORKERS"):
        if excess() > 0:
            widths.pop(_TITLES.index(title), None)
    if excess() > 0:
        widths[0] = max(_NARROWEST_NAME, widths[0] - excess())


def _line(cells: Sequence[str], widths: Mapping[int, int]) -> str:
    shown = []
    for number, width in widths.items():
        text = cells[number]
        if len(text) > width:
            text = text[: width - 1] + "…"
        shown.append(text.rjust(width) if _TITLES[number] in _TO_THE_RIGHT else text.ljust(width))
    return _GAP.join(shown).rstrip()


def _reason_lines(row: Mapping[str, Any], width: int, now: float) -> list[str]:
    """Why a vassal is not well, below its row; its next try, if one is due."""
    failure = row.get("last_failure")
    if not failure:
        return []
    when = f" ({age(now - failure['at'])} ago)" if failure.get("at") is not None else ""
    text = f"{_text(failure.get('reason'))}{when}{_retry(row, now)}"
    return _wrapped(text, width, "    ")


def _retry(row: Mapping[str, Any], now: float) -> str:
    retry = row.get("next_retry")
    return f"; next try in {age(retry - now)}" if retry is not None else ""


def _failure_lines(row: Mapping[str, Any], width: int, now: float) -> list[str]:
    failure = row.get("last_failure")
    if not failure:
        return []
    when = f" {age(now - failure['at'])} ago" if failure.get("at") is not None else ""
    lines = ["", f"last failure{when}, stage {_text(failure.get('stage'))}{_retry(row, now)}:"]
    lines += _wrapped(_text(failure.get("reason")), width, "  ")
    lines += [f"  {printable(line)}" for line in str(failure.get("detail") or "").splitlines()]
    return lines


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 20),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _state(row: Mapping[str, Any], now: float) -> str:
    state, since = _text(row.get("state")), row.get("since")
    loyal = ", loyal" if row.get("loyal") else ""
    return f"{state} for {age(now - since)}{loyal}" if since is not None else state + loyal


def _cron(job: Mapping[str, Any], now: float) -> str:
    parts = []
    if job.get("next") is not None:
        parts.append(f"next in {age(job['next'] - now)}")
    if job.get("last") is not None:
        parts.append(f"last {age(now - job['last'])} ago")
    if job.get("exit") is not None:
        parts.append(f"exit {job['exit']}")
    if job.get("duration") is not None:
        parts.append(f"took {job['duration']:.1f} s")
    return ", ".join(parts) or "not run yet"


def _daemon(daemon: Mapping[str, Any]) -> str:
    pid = f", pid {daemon['pid']}" if daemon.get("pid") is not None else ""
    return f"{daemon.get('state')}{pid}, restarts {daemon.get('restarts') or 0}"


def _fact(label: str, value: object) -> str:
    return f"{label + ':':<12}{_text(value)}"


def _text(value: object) -> str:
    return _DASH if value is None or value == "" else printable(str(value))
