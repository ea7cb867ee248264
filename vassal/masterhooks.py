"""What a master's file wants to be run in its life: before the app, before it is ready, at touches, at its end.

The one danger is a second run beside another generation's: so touches count only from `activate` to `release`, and what
runs for a file is not started again before it has ended.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from vassal import hooks, logs, shell, touch
from vassal.beside import Beside, Chain

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable

    from vassal.config import Settings

ATEXIT_SECONDS = 30.0
"""What the hooks at the end of a generation may take, at most; its mercy may end earlier."""


class MasterHooks:
    """Of one generation. `lazy`: its workers load the app; relative paths are taken from `base`."""

    def __init__(self, settings: Settings, selector: selectors.BaseSelector, base: str, *, lazy: bool) -> None:
        self._settings = settings
        self._lazy = lazy
        self._beside = Beside(selector)
        self._opening = False
        self._opened = False
        self._leaving: Chain | None = None
        self._left = False
        self._files = [_File(self._beside, path, command, base) for path, command in settings.touch_exec]
        self._active = False
        self._told = False

    # --- before anybody is served --------------------------------------------------------------------------------

    def run(self, phase: str) -> None:
        """Run the hooks of `phase` and wait for them: no worker is there yet.

        Raises:
            HookError: one failed.
        """
        hooks.run(hooks.of(self._settings, phase), self._settings.start_timeout)

    def open(self, over: Callable[[str, str], None]) -> None:
        """The first worker could serve: run what has to be run before; `over` is told '', or why it may not."""
        if self._opening:
            return
        self._opening = True
        found = hooks.of(self._settings, "post-app") if self._lazy else []
        found += hooks.of(self._settings, "accepting1-once")

        def ended(reason: str, detail: str) -> None:
            self._opened = not reason
            over(reason, detail)

        Chain(self._beside, found, self._settings.start_timeout, ended, fatal=True).go_on()

    # --- beside the workers --------------------------------------------------------------------------------------

    @property
    def watches(self) -> bool:
        """Whether files have to be looked at."""
        return self._active and bool(self._files)

    @property
    def busy(self) -> bool:
        """Whether a command runs whose end is worth waiting for."""
        return self._beside.busy

    def activate(self) -> None:
        """No other generation looks at the files any more."""
        self._active = True
        for file in self._files:
            file.forget()

    def release(self) -> None:
        """Leave the files to the next generation, after a last look."""
        self.look_at_files()
        self._active = False

    def look_at_files(self) -> None:
        """Start what stands for files that were touched."""
        if self._active:
            for file in self._files:
                file.look()

    def emperor(self, did: str) -> None:
        """The emperor has told it to ``stop`` or to leave for a ``reload``, or is ``lost``: the first word counts."""
        found = hooks.of(self._settings, f"emperor-{did}") if not self._told else []
        self._told = True
        Chain(self._beside, found, ATEXIT_SECONDS, lambda *_: None, fatal=False).go_on()

    def look(self, now: float) -> None:
        """Judge deadlines (`now`: monotonic seconds)."""
        self._beside.look(now)

    def deadline(self) -> float | None:
        """Return when `look` is needed next without any event (monotonic seconds)."""
        return self._beside.deadline()

    def reaped(self, pid: int, status: int) -> bool:
        """Take note of the end of `pid`; False: it is none of these."""
        return self._beside.reaped(pid, status)

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        self._beside.leave()

    def terminate(self) -> None:
        """The vassal ends for good: look no more, and ask what runs to end."""
        self._active = False
        self._beside.terminate()

    # --- the end -------------------------------------------------------------------------------------------------

    def at_exit(self) -> bool:
        """All workers have gone: run the last hooks; True as soon as they have ended. One that was ready has some."""
        if self._leaving is None:
            found = hooks.of(self._settings, "as-user-atexit") if self._opened else []
            self._leaving = Chain(self._beside, found, ATEXIT_SECONDS, self._be_left, fatal=False)
            self._leaving.go_on()
        return self._left

    def stay(self) -> None:
        """It goes on after all: there is to be another end."""
        self._leaving, self._left = None, False

    def _be_left(self, _reason: str, _detail: str) -> None:
        self._left = True


class _File:
    """A file of ``touch-exec``: its command runs once at a time, and once more if it was touched meanwhile."""

    def __init__(self, beside: Beside, path: str, command: str, base: str) -> None:
        self._beside = beside
        self._watch = functools.partial(touch.Touches, (path,), base, "")
        self._touches = self._watch()
        self._command = command
        self._label = f"touch-exec {os.path.basename(command.split(maxsplit=1)[0])}"
        self._runs = False
        self._again = False

    def forget(self) -> None:
        """What was touched before is somebody else's business."""
        self._touches = self._watch()

    def look(self) -> None:
        """Run the command if the file was touched."""
        path = self._touches.changed()
        if path is not None:
            self._again = True
        if not self._again or self._runs:
            return
        self._again = False
        logs.say(f"{path or self._label} was touched: running {self._command[: hooks.SHOWN]}")
        try:
            self._beside.start(shell.line(self._command), self._label, None, self._ended)
        except OSError as error:
            logs.say(f"touch-exec: cannot run {self._command[: hooks.SHOWN]}: {error.strerror}")
        else:
            self._runs = True

    def _ended(self, _command: shell.Command, status: int | None) -> None:
        self._runs = False
        if status:
            logs.say(f"touch-exec: {self._command[: hooks.SHOWN]} ended with {shell.describe(status)}")
