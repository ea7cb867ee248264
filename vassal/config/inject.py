"""What an emperor adds to every vassal that it starts.

The one thing that can go wrong here is its way through the link: it travels as JSON and must come back equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = frozenset(("inherit", "include"))
"""How a template is read: the two families of ``vassals-inherit`` and ``vassals-include``."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Inject:
    """The emperor's additions, in the order in which it names them (uWSGI's Emperor page)."""

    before: Pairs = ()
    """``vassals-inherit-before`` and ``vassals-include-before`` as (kind, path); kinds are in `KINDS`."""
    after: Pairs = ()
    """``vassals-inherit`` and ``vassals-include``, likewise."""
    sets: Pairs = ()
    """``vassal-set`` as (option, value)."""

    def to_json(self) -> dict[str, list[list[str]]]:
        """Return what `from_json` takes."""
        return {
            "before": [list(pair) for pair in self.before],
            "after": [list(pair) for pair in self.after],
            "sets": [list(pair) for pair in self.sets],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Inject:
        """Build one from what `to_json` gave; absent parts are empty.

        Raises:
            ValueError: another shape, or a kind that is not in `KINDS`.
        """
        inject = cls(_pairs(data, "before"), _pairs(data, "after"), _pairs(data, "sets"))
        for kind, path in inject.before + inject.after:
            if kind not in KINDS:
                raise ValueError(f"{path}: a template is read by inherit or include, not by {kind!r}")
        return inject


def _pairs(data: Mapping[str, Any], part: str) -> Pairs:
    rows = data.get(part, ())
    if not isinstance(rows, list | tuple):
        raise ValueError(f"{part}: expected a list of pairs, not {rows!r}")  # noqa: TRY004 - json of another shape is one mistake, whatever its types
    pairs = []
    for row in rows:
        if not isinstance(row, list | tuple) or len(row) != 2 or not all(isinstance(text, str) for text in row):
            raise ValueError(f"{part}: expected a pair of texts, not {row!r}")
        pairs.append((row[0], row[1]))
    return tuple(pairs)
