"""What the table says of one option. No text of a file is looked at here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vassal.config.types import Type

SUPPORTED, ACCEPTED, REFUSED = VERDICTS = ("supported", "accepted", "refused")


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        name: as it is written in files.
        type: how its value is read; None for words of the language, which have no value of their own.
        help: one line.
        verdict: one of `VERDICTS`.
        field: its field in the settings, or "" if it has none.
        aliases: other names for the same.
        protocol: of options that name a socket: ``http`` or ``uwsgi``.
        own: not one of uWSGI's.
        reason: why it is refused or has no effect.
        instead: what to do instead.
        misplaced: it has an effect, but in the other kind of file.
    """

    name: str
    type: Type | None
    help: str
    verdict: str = SUPPORTED
    field: str = ""
    aliases: tuple[str, ...] = ()
    protocol: str = ""
    own: bool = False
    reason: str = ""
    instead: str = ""
    misplaced: bool = False


def option(  # noqa: PLR0913 - a row of the table is read as one line
    name: str,
    kind: Type,
    text: str,
    *aliases: str,
    verdict: str = SUPPORTED,
    field: str | None = None,
    protocol: str = "",
    own: bool = False,
) -> Option:
    """Return an option whose field is its name, with ``_`` for ``-``, unless `field` says another."""
    return Option(name, kind, text, verdict, name.replace("-", "_") if field is None else field, aliases, protocol, own)
