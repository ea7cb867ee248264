"""The watch: events of the file system as hints that wake the monitor. The only importer of watchdog.

Nothing here is the truth: an event that is lost, or a directory that cannot be watched, costs at most `emperor-freq`
seconds, for the monitor scans anyway. So nothing here ever raises into the daemon.

The danger here: waking for what our own scans cause. Since watchdog 6 the opening and closing of a directory or file
are events, too; each scan would trigger the next. `is_hint` drops them.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import threading
import time
from typing import TYPE_CHECKING, Protocol

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch

from emperor.places import WatchDir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

LIMIT = 64  # directories; older watchdogs take an inotify instance for each, and a user has 128 by default
RETRY = 60.0  # s; before trying again to watch what could not be watched


class _EventFacts(Protocol):
    """The part of a watchdog event that all supported versions (2.2 to 7) share."""

    event_type: str
    src_path: bytes | str
    is_directory: bool


def is_hint(event: _EventFacts, names: frozenset[str] | None, interesting: Callable[[str], bool]) -> bool:
    """Whether an event is a reason to scan.

    Args:
        event: Any watchdog event.
        names: Entry names of interest in the watched directory, or None for all that `interesting` accepts.
        interesting: Whether a file of that name could be a vassal.
    """
    if event.event_type in ("opened", "closed_no_write"):
        return False  # our own scans do that
    if event.is_directory and event.event_type in ("modified", "attrib", "closed"):
        return False  # the entry that changed has an event of its own
    paths = (event.src_path, getattr(event, "dest_path", ""))
    entries = {os.path.basename(os.fsdecode(path)) for path in paths if path}
    if names is not None:
        return not names.isdisjoint(entries)
    return event.is_directory or any(map(interesting, entries))


class _Handler(FileSystemEventHandler):
    """Passes hints on; one for each watched directory."""

    def __init__(
        self,
        directory: WatchDir,
        real: str,
        interesting: Callable[[str], bool],
        wake: Callable[[], None],
        lost: Callable[[WatchDir], None],
    ) -> None:
        super().__init__()
        self._directory = directory
        self._real = real
        self._interesting = interesting
        self._wake = wake
        self._lost = lost

    def dispatch(self, event: FileSystemEvent) -> None:
        """Called by watchdog, in its thread, for every event."""
        if event.event_type in ("deleted", "moved") and os.fsdecode(event.src_path) == self._real:
            # A new directory in its place may well get the same inode number, so nobody else would notice.
            self._lost(self._directory)
            self._wake()
        elif is_hint(event, self._directory.names, self._interesting):
            self._wake()


_GROUPERS = (("inotify_move_event_grouper", "InotifyMoveEventGrouper"), ("inotify_buffer", "InotifyBuffer"))
"""Where watchdog 7, and those before it, keep how long half of a rename waits for its other half."""


def _do_not_group_renames() -> None:
    """Let no event wait behind a file that was moved away: watchdog holds it, and all that follow, for half a second.

    Pairs mean nothing here, since every event is only a hint. Where a version keeps the delay elsewhere it stays.
    """
    for module, name in _GROUPERS:
        with contextlib.suppress(ImportError, AttributeError):
            getattr(importlib.import_module(f"watchdog.observers.{module}"), name).delay = 0.0


class Watch:
    """Watches directories (not below them) and calls `wake` when something may have changed.

    All work is done in a thread of its own, since even to add a watch may block (a hung network file system).

    Args:
        wake: Called from other threads, often.
        interesting: Whether a file of that name could be a vassal.
        warn: Called from other threads with one sentence for a person.
        limit: How many directories are watched at most; the rest are scanned only.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        interesting: Callable[[str], bool],
        warn: Callable[[str], None],
        *,
        limit: int = LIMIT,
    ) -> None:
        self._wake = wake
        self._interesting = interesting
        self._warn = warn
        self._limit = limit
        self._condition = threading.Condition()
        self._wanted: dict[tuple[int, int], WatchDir] = {}
        self._changed = False
        self._closed = False
        self._lost: set[WatchDir] = set()
        self._observer: BaseObserver | None = None
        self._watched: dict[WatchDir, ObservedWatch] = {}
        self._failed: set[WatchDir] = set()
        self._retry_at: float | None = None
        self._warned: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def update(self, wanted: Sequence[WatchDir]) -> None:
        """Watch these directories from now on, and no others. Returns at once; called after every scan.

        A directory that was lost is tried again with every call, one that could not be watched once a minute.
        """
        merged = merge(wanted)
        with self._condition:
            due = [d for d in list(merged.values())[: self._limit] if d not in self._watched and d not in self._failed]
            if due or merged != self._wanted:
                self._wanted = merged
                self._changed = True
                self._condition.notify()

    def watched(self) -> list[str]:
        """Paths that are watched right now."""
        with self._condition:
            return sorted(directory.path for directory in self._watched)

    def close(self, timeout: float = 2.0) -> None:
        """Stop watching; waits at most `timeout` seconds for watchdog's threads, which are daemons all."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join(timeout)

    def _is_lost(self, directory: WatchDir) -> None:
        """From watchdog's thread: this directory is not there any more."""
        with self._condition:
            self._lost.add(directory)
            self._changed = True
            self._condition.notify()

    def _run(self) -> None:
        while self._next():
            try:
                self._apply()
            except Exception as error:  # noqa: BLE001  # whatever watchdog does, scanning goes on
                self._say(f"cannot watch for changes ({error!r}); scanning alone")
                self._retry_at = time.monotonic() + RETRY
        if self._observer is not None:
            with contextlib.suppress(Exception):
                self._observer.stop()
                self._observer.join(1.0)

    def _next(self) -> bool:
        """Wait until there is something to do; False once closed."""
        with self._condition:
            while not self._closed and not self._changed:
                wait = None if self._retry_at is None else self._retry_at - time.monotonic()
                if wait is not None and wait <= 0:
                    self._failed.clear()
                    break
                self._condition.wait(wait)
            self._changed = False
            return not self._closed

    def _apply(self) -> None:
        """Make what is watched what is wanted."""
        self._retry_at = None
        with self._condition:
            wanted = list(self._wanted.values())
            lost, self._lost = self._lost, set()
        if len(wanted) > self._limit:
            self._say(f"{len(wanted)} directories to watch: the first {self._limit} are, the others are scanned only")
            wanted = wanted[: self._limit]
        keep = set(wanted) - lost
        for directory in [d for d in self._watched if d not in keep]:
            self._drop(directory)
        self._failed &= set(wanted)
        added = [self._add(d) for d in wanted if d not in self._watched and d not in self._failed]
        if any(added):
            self._wake()  # what changed before the watch stood had no event
        if self._failed and self._retry_at is None:
            self._retry_at = time.monotonic() + RETRY

    def _add(self, directory: WatchDir) -> bool:
        real = os.path.realpath(directory.path)  # newer watchdogs do not follow a link by themselves
        handler = _Handler(directory, real, self._interesting, self._wake, self._is_lost)
        try:
            facts = os.stat(real)
            if (facts.st_dev, facts.st_ino) != directory.identity:
                return False  # replaced since the scan: the next one brings the new identity
            if self._observer is None:
                _do_not_group_renames()
                observer = Observer()
                observer.start()
                self._observer = observer
            watch = self._observer.schedule(handler, real, recursive=False)
        except FileNotFoundError:
            return False  # gone since the scan: the next one says what to watch instead
        except Exception as error:  # noqa: BLE001  # OSError for inotify's limits; what else is watchdog's affair
            self._failed.add(directory)
            self._say(_why(directory.path, error))
            self._discard(handler, real)
            return False
        with self._condition:
            self._watched[directory] = watch
        return True

    def _discard(self, handler: _Handler, real: str) -> None:
        """Forget what a schedule() that failed has left in older watchdogs: it would pass for a living watch."""
        if self._observer is not None:
            with contextlib.suppress(Exception):
                self._observer.unschedule(ObservedWatch(real, recursive=False))
            with contextlib.suppress(Exception):
                self._observer.remove_handler_for_watch(handler, ObservedWatch(real, recursive=False))

    def _drop(self, directory: WatchDir) -> None:
        with self._condition:
            watch = self._watched.pop(directory)
        if self._observer is not None:
            with contextlib.suppress(Exception):  # its thread may have ended with the directory
                self._observer.unschedule(watch)

    def _say(self, message: str) -> None:
        """Warn, once for each message."""
        if message not in self._warned:
            self._warned.add(message)
            self._warn(message)


def merge(wanted: Sequence[WatchDir]) -> dict[tuple[int, int], WatchDir]:
    """One entry for each directory, by identity, with the names of all who want it."""
    merged: dict[tuple[int, int], WatchDir] = {}
    for directory in wanted:
        other = merged.get(directory.identity)
        if other is not None:
            both = (
                None
                if None in (other.names, directory.names)
                else (other.names or frozenset()) | (directory.names or frozenset())
            )
            merged[directory.identity] = WatchDir(other.path, other.identity, both)
        else:
            merged[directory.identity] = directory
    return merged


def _why(path: str, error: Exception) -> str:
    remedy = ""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENOSPC):
        setting = "max_user_instances" if error.errno == errno.EMFILE else "max_user_watches"
        remedy = f" (raise the sysctl fs.inotify.{setting})"
    text = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
    return f"cannot watch {path}: {text}{remedy}; it is scanned only"
