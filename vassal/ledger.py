"""What each worker number has done, over all the processes that have borne it. Pure: views of the scoreboard in.

A worker that is replaced hands its number on, and two processes may bear it for a while. The one danger is a count that
falls: what a process did is added to its number's account before its row is cleared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vassal.scoreboard import WorkerView


@dataclass(slots=True)
class Account:
    """The sum over the ended processes of one number. `started`: when the last of them was (CLOCK_MONOTONIC s).

    `average_us` is that of all its requests up to the last look.
    """

    requests: int = 0
    exceptions: int = 0
    harakiri: int = 0
    tx: int = 0
    running_us: int = 0
    spawns: int = 0
    started: float = 0.0
    average_us: float = 0.0
    _requests_seen: int = 0
    _running_seen: int = 0

    def add(self, view: WorkerView) -> None:
        """Count what a process did."""
        self.requests += view.requests
        self.exceptions += view.exceptions
        self.harakiri += view.harakiri_count
        self.tx += view.tx
        self.running_us += view.running_time_us
        self.spawns += 1
        self.started = max(self.started, view.started)

    def average(self, requests: int, running_us: int) -> None:
        """Take what was done since the last look into `average_us`, from the sums as they are now.

        uWSGI's mean moves half of the way to each request's time. Several since the last look are taken for alike: so
        many steps towards their mean.
        """
        new, took = requests - self._requests_seen, running_us - self._running_seen
        if new <= 0:
            return
        mean = took / new
        self.average_us = mean + (self.average_us - mean) * 0.5 ** min(new, 64) if self._requests_seen else mean
        self._requests_seen, self._running_seen = requests, running_us


class Ledger:
    """The accounts by worker number, from 1."""

    def __init__(self) -> None:
        self._accounts: dict[int, Account] = {}

    def of(self, number: int) -> Account:
        """Return the account of the worker `number`."""
        return self._accounts.setdefault(number, Account())

    def ended(self, number: int, view: WorkerView) -> None:
        """A process that bore `number` has ended; `view` is the last that is seen of it."""
        self.of(number).add(view)

    def struck(self, number: int) -> None:
        """The master has ended a request of `number` by harakiri, since the worker itself could not."""
        self.of(number).harakiri += 1

    def total(self, number: int, views: Iterable[WorkerView]) -> Account:
        """Return the sum with the living processes of `number`, `views`; its average is brought up to date, too."""
        account = self.of(number)
        whole = Account(
            account.requests,
            account.exceptions,
            account.harakiri,
            account.tx,
            account.running_us,
            account.spawns,
            account.started,
        )
        for view in views:
            whole.add(view)
        account.average(whole.requests, whole.running_us)
        whole.average_us = account.average_us
        return whole
