"""What the emperor's file wants to be run when vassals start and end.

The emperor runs nothing itself. What belongs to a start is done by the vassal's own process, before anything else; the
rest by a child of the fork server for that alone. The one danger is a start that meets the end of the former life: so
it waits until ``vassals-stop-hook`` has ended, which has a deadline.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emperor.contracts import Hooking
from emperor.states import Purpose
from vassal import link

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from emperor.contracts import Contracts
    from emperor.generation import Run
    from emperor.manifest import Manifest
    from emperor.settings import EmperorSettings
    from emperor.spawner import Spawner

DEADLINE = 70.0
"""Seconds that a child may live; it gives its hooks 60 itself (`vassal.emperorhooks.PATIENCE`)."""
_SERVING = (Purpose.SERVE, Purpose.INSPECT)


@dataclass(slots=True)
class _Child:
    name: str
    what: str
    timer: asyncio.TimerHandle
    pidfd: int = -1
    doomed: bool = False


@dataclass(slots=True)
class _Life:
    """From the first start of a vassal to the end of its last generation."""

    manifest: Manifest
    numbers: set[int] = field(default_factory=set)
    started: bool = False
    """A generation of it was to serve, so that ``vassals-start-hook`` was run."""


class Hooks:
    """Everything here runs on the loop."""

    def __init__(  # noqa: PLR0913, PLR0917 (wiring: the parts of the fleet that make a child)
        self,
        loop: asyncio.AbstractEventLoop,
        settings: EmperorSettings,
        contracts: Contracts,
        spawner: Spawner,
        number: Callable[[], int],
        say: Callable[[str], None],
        over: Callable[[], None],
    ) -> None:
        """Take the parts of a fleet; `number` gives the next spawn's, `over` is called when a child has ended."""
        self._loop = loop
        self._settings = settings
        self._contracts = contracts
        self._spawner = spawner
        self._number = number
        self._say = say
        self._over = over
        self._children: dict[int, _Child] = {}
        self._lives: dict[str, _Life] = {}
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        """Starts that wait for the end of a ``vassals-stop-hook``."""
        self._as_emperor = (
            *(f"hook-as-emperor {text}" for text in settings.hook_as_emperor),
            *(f"exec-as-emperor {text}" for text in settings.exec_as_emperor),
        )
        self._as_vassal = (
            *(f"hook-as-emperor-before-vassal {text}" for text in settings.hook_as_emperor_before_vassal),
            *(f"hook-as-vassal-before-drop {text}" for text in settings.hook_as_vassal_before_drop),
            *(f"hook-as-vassal {text}" for text in settings.hook_as_vassal),
            *(f"exec-as-vassal {text}" for text in settings.exec_as_vassal),
        )

    @property
    def busy(self) -> bool:
        """Whether a child runs."""
        return bool(self._children)

    # --- a generation's way --------------------------------------------------------------------------------------

    def at_start(self, name: str, number: int, manifest: Manifest, purpose: Purpose) -> Hooking:
        """Return what generation `number` is to run by itself."""
        if purpose not in _SERVING:
            return Hooking()
        life = self._lives.setdefault(name, _Life(manifest))
        first = not life.numbers
        life.numbers.add(number)
        life.manifest = manifest
        life.started = life.started or purpose is Purpose.SERVE
        lines = self._as_vassal
        if first and self._settings.vassals_start_hook:
            lines = (*lines, _program("vassals-start-hook", self._settings.vassals_start_hook, manifest))
        return Hooking(lines, self._variables(manifest)) if lines else Hooking()

    def when_free(self, name: str, go: Callable[[], None]) -> None:
        """Call `go` as soon as no ``vassals-stop-hook`` of vassal `name` runs."""
        if any(child.name == name and child.what == "vassals-stop-hook" for child in self._children.values()):
            self._waiting.setdefault(name, []).append(go)
        else:
            go()

    def serves(self, run: Run) -> None:
        """A generation has its process, or (one that was only to look) is ready: run the hooks as emperor."""
        life = self._lives.get(run.name)
        if life is None or run.purpose not in _SERVING:
            return
        life.started = True
        if self._as_emperor:
            uid, gid = life.manifest.owner if self._settings.tyrant else (os.geteuid(), os.getegid())
            more = {"UWSGI_VASSAL_PID": str(run.pid), "UWSGI_VASSAL_UID": str(uid), "UWSGI_VASSAL_GID": str(gid)}
            environment = {**self._variables(life.manifest), **more}
            self._start(run.name, "hook-as-emperor", life.manifest, Hooking(self._as_emperor, environment))

    def ended(self, run: Run) -> None:
        """A generation has ended; with the last one its vassal's life has."""
        life = self._lives.get(run.name)
        if life is None or run.number not in life.numbers:
            return
        life.numbers.discard(run.number)
        life.started = life.started or not run.parking  # one that only looked has run no vassals-start-hook
        if life.numbers:
            return
        del self._lives[run.name]
        if life.started and self._settings.vassals_stop_hook:
            line = _program("vassals-stop-hook", self._settings.vassals_stop_hook, life.manifest)
            hooking = Hooking((line,), self._variables(life.manifest))
            self._start(run.name, "vassals-stop-hook", life.manifest, hooking)

    @staticmethod
    def _variables(manifest: Manifest) -> dict[str, str]:
        return {
            "UWSGI_VASSALS_DIR": os.path.dirname(manifest.path),
            "UWSGI_VASSAL_CONFIG": manifest.path,
            "UWSGI_VASSAL_NAME": manifest.name,
        }

    # --- children ------------------------------------------------------------------------------------------------

    def _start(self, name: str, what: str, manifest: Manifest, hooking: Hooking) -> None:
        try:
            ours, theirs, log, _ = self._contracts.child(name)
        except OSError as error:
            self._say(f"vassal {name}: {what} cannot be run: {error.strerror}")
            return
        end = link.End(ours, link.AT_EMPEROR)
        try:
            end.post(self._contracts.for_hooks(manifest, hooking), (log,))  # a fresh link is empty: no waiting
        except link.LinkError as error:
            theirs.close()
            self._say(f"vassal {name}: {what} cannot be run: {error}")
            return
        finally:
            end.close()  # what was sent can be read all the same, and the child has nothing to say
            os.close(log)
        spawn = self._number()
        self._children[spawn] = _Child(name, what, self._loop.call_later(DEADLINE, self._overdue, spawn))
        self._spawner.spawn(spawn, theirs.detach())

    def born(self, spawn: int, pidfd: int) -> bool:
        """Child `spawn` runs; `pidfd` is then ours. False: it is none of these."""
        child = self._children.get(spawn)
        if child is None:
            return False
        child.pidfd = pidfd
        if child.doomed:
            self._kill(spawn, child)
        return True

    def _kill(self, spawn: int, child: _Child) -> None:
        child.doomed = True
        if child.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
            self._spawner.sweep(spawn)

    def _overdue(self, spawn: int) -> None:
        child = self._children[spawn]
        self._say(f"vassal {child.name}: {child.what} does not end after {DEADLINE:g} s: killed")
        self._kill(spawn, child)

    def over(self, spawn: int, problem: str) -> bool:
        """Take note of the end of child `spawn`; '' is a good one. False: it is none of these."""
        child = self._children.pop(spawn, None)
        if child is None:
            return False
        child.timer.cancel()
        if child.pidfd >= 0:
            os.close(child.pidfd)
        if problem:
            self._say(f"vassal {child.name}: {child.what} failed ({problem}); its log says why")
        if child.what == "vassals-stop-hook":
            for go in self._waiting.pop(child.name, ()):
                go()
        self._over()
        return True

    def kill_all(self) -> None:
        """End every child at once."""
        for spawn, child in self._children.items():
            self._kill(spawn, child)


def _program(option: str, value: str, manifest: Manifest) -> str:
    """Return the line for a program with arguments; its last one is the vassal's file, as uWSGI names it."""
    return f"{option} {shlex.join([*shlex.split(value), os.path.basename(manifest.path)])}"
