"""The one option table: every name that a vassal's file may hold, and what becomes of it.

The rows are what is offered; `vassal.config.catalogue` judges all other names. The one thing that can go
wrong here is a name with two meanings: it is refused when the table is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vassal.config import catalogue
from vassal.config.options import app, beside, logs, serve, words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vassal.config.option import Option


class Table:
    """Names to options.

    Args:
        options: the rows.
        vassals: for an emperor's table, that of the vassals.
    """

    def __init__(self, options: Iterable[Option], *, vassals: Table | None = None) -> None:
        self.options = tuple(options)
        self.vassals = vassals
        self._names: dict[str, Option] = {}
        for row in self.options:
            for name in (row.name, *row.aliases):
                if name in self._names:
                    raise ValueError(f"the option table has {name} twice")
                self._names[name] = row

    def own(self, name: str) -> Option | None:
        """Return the row of an option that is in the table itself, or None."""
        return self._names.get(name)

    def find(self, name: str) -> Option | None:
        """Return the row of any option that is known, or None for a name of the user's own."""
        row = self._names.get(name)
        if row is not None:
            return row
        if self.vassals is None:
            return catalogue.find(name)
        return catalogue.find_for_emperor(name, self.vassals.own(name))

    def names(self) -> frozenset[str]:
        """Return every name of the rows, aliases included; the catalogue's are not among them."""
        return frozenset(self._names)


VASSAL = Table((*words.OPTIONS, *app.OPTIONS, *serve.OPTIONS, *logs.OPTIONS, *beside.OPTIONS))
"""The table of a vassal's file."""
