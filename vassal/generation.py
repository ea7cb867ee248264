"""What a generation is made from. Nothing here can go wrong but a field that two readers take differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vassal import link
    from vassal.config import Settings
    from vassal.logbook.outlet import Outlet
    from vassal.ports import Ports


@dataclass(slots=True)
class Generation:
    """All that a master is made from. `link` is None for a vassal that runs by hand, without an emperor."""

    name: str
    number: int
    settings: Settings
    ports: Ports
    link: link.End | None
    loyalty: float
    directory: str
    source: str
    outlet: Outlet
    """Where its lines go."""
    unedited: Callable[[], bool] = lambda: False
    """Whether files and paths of sockets are still the same; False, too, where that cannot be found out of a file."""
    restart: Callable[[], None] | None = None
    """By hand only: execute this vassal anew, keeping its listeners."""
