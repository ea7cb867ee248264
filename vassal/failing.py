"""A start that cannot go on: why, and how it is told. Nothing here can go wrong but an emperor that is gone already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vassal import link, logs

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILED = 22
"""Exit status of a generation that could not start; `Failed` has said why."""


class StartError(Exception):
    """The generation cannot start: `stage` is one of `vassal.link.STAGES`."""

    def __init__(self, stage: str, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.stage = stage
        self.detail = detail


def post(end: link.End, record: link.Record, fds: Sequence[int] = ()) -> None:
    """Send `record`; an emperor that is gone is noticed by the master, which reads the link."""
    try:
        end.post(record, fds)
    except (link.LinkClosed, link.LinkError):
        return


def tell(stage: str, reason: str, detail: str) -> None:
    """Say in the log why the start failed."""
    if detail and stage != "hook":  # whose output stands in the log
        logs.write(detail.rstrip("\n") + "\n")
    logs.say(f"cannot start ({stage}): {reason}")


def fail(end: link.End | None, error: StartError) -> int:
    """Tell the log and the emperor that the start failed; return the exit status."""
    tell(error.stage, str(error), error.detail)
    if end is not None:
        post(end, link.failure(error.stage, str(error), error.detail))
    return FAILED
