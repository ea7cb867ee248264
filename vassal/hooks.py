"""Hooks: commands that a vassal's file, or the emperor's, wants to be run at a point of a start or of an end.

Every action is a process with a deadline, so that a hook that hangs holds nobody but its own start. The one danger is
whose rights it has: a hook runs with those that the process has at that point, so `vassal.start` decides, by the order
of its steps.
"""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vassal import logs, shell
from vassal.config.line_types import hook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vassal.config import Settings

SHOWN = 300
"""Characters of a hook that a message shows."""

_SCRIPTS = {
    "write": (1, 'printf %s "$2" >"$1"'),
    "writen": (1, 'printf "%s\\n" "$2" >"$1"'),
    "append": (1, 'printf %s "$2" >>"$1"'),
    "appendn": (1, 'printf "%s\\n" "$2" >>"$1"'),
    "create": (0, ': >"$1"'),
    "creat": (0, ': >"$1"'),
    "mkdir": (0, 'mkdir -p -- "$1"'),
    "unlink": (0, 'rm -- "$1"'),
    "chmod": (1, 'chmod -- "$2" "$1"'),
    "chown": (2, 'chown -- "$2:$3" "$1"'),
}
"""Actions that are a line of shell with arguments: how often the text is divided at a blank, and the line."""


class HookError(Exception):
    """A hook failed. The text is one line for people; `detail` is the end of its output."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Hook:
    """One line of a file. `option` is what it is called there."""

    option: str
    action: str
    argument: str
    private: bool = False
    """Its text may hold a secret, and stays out of the log."""

    @property
    def shown(self) -> str:
        """What messages call it."""
        if self.private:
            return f"a private {self.option}"
        what = self.argument if self.option.startswith("exec-") else f"{self.action}:{self.argument}"
        return f"{self.option} = {what if len(what) <= SHOWN else what[:SHOWN] + '…'}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """The process that does it; none: there is nothing to do."""
        if self.action in ("exec", "safeexec"):
            return shell.line(self.argument)
        if self.action not in _SCRIPTS:
            return ()
        times, script = _SCRIPTS[self.action]
        words = self.argument.split(" ", times) if self.action.startswith(("write", "append")) else []
        return (*shell.line(script), "sh", *(words or self.argument.rsplit(" ", times)))


def parse(option: str, text: str) -> Hook:
    """Return the hook that `text` is in a line of `option`.

    Raises:
        ValueError: it is none.
    """
    if option.startswith("exec-"):
        return Hook(option, "exec", text)
    return Hook(option, *hook(text))


def of(settings: Settings, phase: str) -> list[Hook]:
    """Return the hooks of `phase` (``pre-app``) in their order: as in uWSGI the ``exec-`` lines come last."""
    found = []
    for kind in ("hook", "exec"):
        lines = getattr(settings, f"{kind}_{phase.replace('-', '_')}", ())
        found += [parse(f"{kind}-{phase}", text) for text in lines]
    return found


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment that the app is going to have: hooks have it from the first one on."""
    gone = frozenset(settings.unenv)
    return {**{name: value for name, value in os.environ.items() if name not in gone}, **dict(settings.env)}


def run(hooks: Sequence[Hook], limit: float, environ: Mapping[str, str] | None = None) -> None:
    """Run `hooks` one after the other, and wait for them: `limit` seconds for all.

    For a process that serves nobody yet.

    Raises:
        HookError: one of them failed; those after it were not run.
    """
    until = time.monotonic() + limit
    for one in hooks:
        announce(one)
        if not one.arguments:
            continue
        try:
            command = shell.Command(one.arguments, one.option, environ)
        except OSError as error:
            raise HookError(f"{one.shown}: {error.strerror}") from None
        judge(one, command, _wait(command, until), limit)


def announce(one: Hook) -> None:
    """Log what is about to be run; what only prints has done it with that."""
    if one.action in ("print", "log"):
        logs.say(one.argument)
    elif one.arguments and not one.private:
        logs.say(f"running {one.shown}")


def _wait(command: shell.Command, until: float) -> int | None:
    """Return how it ended, None where it had to be killed. What it left in its group is killed in that case, too."""
    process = os.pidfd_open(command.pid)
    poller = select.poll()
    poller.register(process, select.POLLIN)
    poller.register(command.pipe, select.POLLIN)
    ended = False
    try:
        while not ended:
            left = until - time.monotonic()
            if left <= 0:
                return None
            pipe = command.pipe
            ready = [descriptor for descriptor, _ in poller.poll(left * 1000)]
            ended = process in ready
            if pipe in ready:
                command.read()
                if not command.open:
                    poller.unregister(pipe)
    finally:
        os.close(process)
        if not ended:
            command.signal(signal.SIGKILL)
        _, status = os.waitpid(command.pid, 0)
        command.finish()
    return os.waitstatus_to_exitcode(status)


def judge(one: Hook, command: shell.Command, status: int | None, limit: float) -> None:
    """Tell how a hook ended.

    Raises:
        HookError: it failed, and may not.
    """
    if status == 0:
        return
    how = f"ended with {shell.describe(status)}" if status is not None else f"was killed after {limit:g} s"
    if one.action == "safeexec":
        logs.say(f"{one.shown} {how}; it may")
        return
    raise HookError(f"{one.shown} {how}" + _last_line(command), "\n".join(command.lines))


def _last_line(command: shell.Command) -> str:
    said = next((text for text in reversed(command.lines) if text.strip()), "")
    return f": {said.strip()[:SHOWN]}" if said else ""


class AtStart:
    """The hooks of a start, while nobody is served yet. `serves`: it is one that is to serve, not only to look.

    Raises:
        HookError: from each method, when a hook fails.
    """

    def __init__(self, settings: Settings, *, serves: bool) -> None:
        self._settings = settings
        self._serves = serves

    def run(self, phase: str) -> None:
        """Run the hooks of `phase`, with the rights of this moment and the environment of the app."""
        found = of(self._settings, phase) if self._serves else []
        if found:
            run(found, self._settings.start_timeout, environment(self._settings))

    def run_as_root(self, why_not: str) -> None:
        """Run those that want root's rights; `why_not`: this file's must not, or cannot, have them."""
        if not why_not:
            self.run("as-root")
        elif self._serves and of(self._settings, "as-root"):
            logs.say(f"hook-as-root and exec-as-root have no effect: {why_not}")
