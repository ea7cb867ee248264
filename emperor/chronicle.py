"""When what happened to each vassal, in wall-clock seconds: what statistics tell beside the present state. Pure.

The lifecycle needs none of it. The one danger is growth: a vassal's record goes when the vassal is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Record:
    """Epoch seconds, 0.0: never. `runs` counts generations that were started to serve.

    `failures` counts starts and runs that failed since the vassal was last loyal, from `first_failure` on.
    """

    born: float = 0.0
    first_run: float = 0.0
    last_run: float = 0.0
    last_ready: float = 0.0
    last_loyal: float = 0.0
    last_heartbeat: float = 0.0
    runs: int = 0
    failures: int = 0
    first_failure: float = 0.0
    last_failure: float = 0.0


class Chronicle:
    """The records by vassal. `now` is the wall clock's, in epoch seconds."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def of(self, name: str) -> Record:
        """Return what is known of `name`; of one that nothing is known of, nothing has happened."""
        return self._records.get(name) or Record()

    def born(self, name: str, now: float) -> None:
        """A vassal has appeared."""
        self._records[name] = Record(born=now)

    def forget(self, name: str) -> None:
        """A vassal is gone for good."""
        self._records.pop(name, None)

    def ran(self, name: str, now: float) -> None:
        """A generation was started to serve, or found that it is to."""
        if (record := self._records.get(name)) is not None:
            record.first_run = record.first_run or now
            record.last_run = now
            record.runs += 1

    def ready(self, name: str, now: float) -> None:
        """A generation serves."""
        if (record := self._records.get(name)) is not None:
            record.last_ready = now

    def loyal(self, name: str, now: float) -> None:
        """A generation has proved itself: earlier failures count no more."""
        if (record := self._records.get(name)) is not None:
            record.last_loyal = now
            record.failures, record.first_failure, record.last_failure = 0, 0.0, 0.0

    def beat(self, name: str, now: float) -> None:
        """A heartbeat has come."""
        if (record := self._records.get(name)) is not None:
            record.last_heartbeat = now

    def failed(self, name: str, now: float) -> None:
        """A start, a reload or a run has failed."""
        if (record := self._records.get(name)) is not None:
            record.failures += 1
            record.first_failure = record.first_failure or now
            record.last_failure = now
