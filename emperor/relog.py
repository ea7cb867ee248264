"""Log files under new names: opened again when somebody asks for it, or when logrotate has put another file there.

A generation holds a descriptor of its log and cannot know the path, so it is sent another one. The one danger is the
disk: opening and looking may hang, so a thread does it, and the loop goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from typing import TYPE_CHECKING, TypeVar

from emperor.control import Outcome
from emperor.states import Purpose
from vassal import link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emperor.contracts import Contracts
    from emperor.generation import Run

T = TypeVar("T")

OWN = ""
"""In place of a vassal's name: the emperor itself."""
KEEP_OPEN = 10.0
"""Seconds that a descriptor is kept for a generation that does not read its link at once."""


class Relog:
    """Opens logs again. `runs` is the fleet's, `own` the emperor's own ``logto``, if any."""

    def __init__(
        self, runs: dict[str, dict[int, Run]], contracts: Contracts, say: Callable[[str], object], own: str | None
    ) -> None:
        self._runs = runs
        self._contracts = contracts
        self._say = say
        self._own = own
        self._looking = False
        self._missing: set[str] = set()
        """Logs whose file was gone at the last look: logrotate may be about to make another one."""

    async def reopen(self, names: Sequence[str]) -> list[Outcome]:
        """Send the generations of these vassals their logs anew, and let them open what they have opened themselves."""
        return [await self._reopen(name) for name in names]

    async def reopen_own(self) -> None:
        """Open the emperor's own log again."""
        own = self._own
        self._missing.discard(OWN)
        if own is not None:
            try:
                await _in_thread(lambda: use_log(own))
            except OSError as error:
                self._say(f"cannot open the log {own}: {error.strerror}; the former file stays")

    async def look(self) -> None:
        """Follow what has become of the files. A look that does not come back keeps the next ones from beginning."""
        if self._looking:
            return
        self._looking = True
        try:
            with contextlib.suppress(OSError):  # no thread to be had: the next look will do
                moved = await _in_thread(self._moved)
                if OWN in moved:
                    await self.reopen_own()
                    moved = list(self._runs)  # whoever has no file of its own has the emperor's
                for name in moved:
                    await self._reopen(name)
        finally:
            self._looking = False

    def _moved(self) -> list[str]:
        """Return whose logs are not any more what is at their paths."""
        now = os.fstat(2)
        moved = [OWN] if self._own is not None and self._replaced(OWN, self._own, (now.st_dev, now.st_ino)) else []
        for name, known in list(self._contracts.opened.items()):
            path = self._contracts.log_path(name)
            if path is None or not self._runs.get(name):
                self._contracts.opened.pop(name, None)
                continue
            if self._replaced(name, path, known):
                moved.append(name)
        return moved

    def _replaced(self, name: str, path: str, known: tuple[int, int]) -> bool:
        """Whether another file than `known` is at `path`, or has been missing there for two looks."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            before = name in self._missing
            self._missing.add(name)
            return before
        except OSError:
            return False
        self._missing.discard(name)
        return (found.st_dev, found.st_ino) != known

    async def _reopen(self, name: str) -> Outcome:
        runs = [run for run in self._runs.get(name, {}).values() if run.purpose is not Purpose.UNLINK]
        self._missing.discard(name)
        try:
            descriptor, complaint = await _in_thread(lambda: self._contracts.open_log(name))
        except OSError as error:
            return Outcome(name, ok=False, generation=None, text=f"its log cannot be opened: {error.strerror}")
        try:
            own = complaint is None and self._contracts.log_path(name) is not None
            if own and os.geteuid() == 0 and runs:
                await _in_thread(lambda: _give(descriptor, runs[-1].pid))
            for run in runs:
                self._send(run, os.dup(descriptor))
        finally:
            os.close(descriptor)
        if complaint is not None:
            self._say(f"vassal {name}: {complaint}")
        return Outcome(name, ok=complaint is None, generation=None, text=complaint or "its logs are opened again")

    @staticmethod
    def _send(run: Run, descriptor: int) -> None:
        run.send(link.ReopenLogs(), [descriptor])
        if run.end.sock.fileno() >= 0 and run.end.pending:
            run.loop.call_later(KEEP_OPEN, os.close, descriptor)
        else:
            os.close(descriptor)


async def _in_thread(work: Callable[[], T]) -> T:
    """Do `work` in a thread that nobody waits for at the emperor's end: the disk may never answer.

    Raises:
        OSError: there is no thread to be had; or whatever `work` raises.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():  # given up
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # of the type that `work` returns

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 (whoever waits is to get it)
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, failed)

    try:
        threading.Thread(target=run, name="relog", daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None  # "can't start new thread"
    return await future


def _give(descriptor: int, pid: int) -> None:
    """Give a log to the user that process `pid` has, as the kernel says: its app can open /dev/stderr then."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            words = next(line for line in file if line.startswith(b"Uid:")).split()
        os.fchown(descriptor, int(words[2]), -1)
    except (OSError, StopIteration, ValueError, IndexError):
        return  # it has ended


def use_log(path: str) -> None:
    """Send the emperor's own output to the file `path`.

    Raises:
        OSError: it cannot be opened.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(path, flags, 0o640)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
