"""Conditions and ranges (RFC 9110 sections 13 and 14): what a request wants of a file that is there.

Pure. The one danger is half a file that a client takes for a whole one, or joins with half of another version: where a
condition cannot be understood, the whole file is sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal import httpdate

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 16
"""Ranges in one request; with more the whole file is sent (RFC 9110 section 14.2 leaves that to us)."""
CONDITIONS = frozenset(
    {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_RANGE"}
)
"""Fields without which the whole file is wanted. If-Range means nothing without Range."""
_TAG = re.compile(r'[ \t,]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)')
_SPEC = re.compile(r"([0-9]{0,18})-([0-9]{0,18})").fullmatch


@dataclass(frozen=True, slots=True)
class Facts:
    """A representation: `size` in bytes, `mtime` in whole epoch seconds, `etag` strong and quoted."""

    size: int
    mtime: int
    etag: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status to answer with; with 206 the `spans` as (first byte, bytes)."""

    status: int
    spans: tuple[tuple[int, int], ...] = ()


WHOLE = Verdict(200)
UNCHANGED = Verdict(304)
FAILED = Verdict(412)
UNSATISFIABLE = Verdict(416)


def judge(environ: Mapping[str, str], facts: Facts, *, head: bool = False) -> Verdict:
    """Decide in the order of RFC 9110 section 13.2.2; `head`: a HEAD request, for which Range means nothing."""
    wanted = environ.get("HTTP_IF_MATCH")
    if wanted is not None:
        if not _named(wanted, facts.etag, weak=False):
            return FAILED
    else:
        since = _time(environ.get("HTTP_IF_UNMODIFIED_SINCE"))
        if since is not None and facts.mtime > since:
            return FAILED
    known = environ.get("HTTP_IF_NONE_MATCH")
    if known is not None:
        if _named(known, facts.etag, weak=True):
            return UNCHANGED
    else:
        since = _time(environ.get("HTTP_IF_MODIFIED_SINCE"))
        if since is not None and facts.mtime <= since:
            return UNCHANGED
    text = environ.get("HTTP_RANGE")
    if text is None or head or not _still(environ.get("HTTP_IF_RANGE"), facts):
        return WHOLE
    spans = parse_range(text, facts.size)
    if spans is None:
        return WHOLE
    return Verdict(206, spans) if spans else UNSATISFIABLE


def parse_range(text: str, size: int) -> tuple[tuple[int, int], ...] | None:
    """Return the spans of a Range field that exist; none of them: ``()``; None: the field is to be ignored."""
    unit, equals, rest = text.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    parts = [part.strip(" \t") for part in rest.split(",")]
    parts = [part for part in parts if part]  # RFC 9110 section 5.6.1: empty elements count for nothing
    if not parts or len(parts) > MOST:
        return None
    spans = []
    for part in parts:
        match = _SPEC(part)
        if match is None or part == "-":
            return None
        first, last = match.groups()
        if not first:
            begin, end = max(0, size - int(last)), size
        else:
            begin, end = int(first), min(size, int(last) + 1) if last else size
            if last and int(last) < begin:
                return None
        if begin < end:
            spans.append((begin, end - begin))
    if sum(length for _, length in spans) > size:
        return None  # overlapping: more than the whole file would be sent
    return tuple(spans)


def _named(field: str, etag: str, *, weak: bool) -> bool:
    """Tell whether `etag` is in the list `field` (RFC 9110 section 8.8.3.2: weak or strong comparison)."""
    if field.strip(" \t") == "*":
        return True
    position = 0
    while (match := _TAG.match(field, position)) is not None:
        if match[2] == etag and (weak or not match[1]):
            return True
        position = match.end()
    return False


def _still(condition: str | None, facts: Facts) -> bool:
    """Tell whether If-Range names this very version: by a strong tag or by its exact date (section 13.1.5)."""
    if condition is None:
        return True
    condition = condition.strip(" \t")
    if condition[:1] == '"' or condition[:2] == "W/":
        return condition == facts.etag
    return _time(condition) == facts.mtime


def _time(text: str | None) -> int | None:
    return httpdate.read(text.strip(" \t")) if text else None
