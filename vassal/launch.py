"""A daemon's processes: how they are started, what marks them, which of them are left.

The one danger is a process that gets away: it may leave its group and its session. So each run of a daemon puts a mark
into the environment, which all that comes of it inherits.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vassal import identity, logs, pidfile, sessions, shell, tagger
from vassal.daemonlines import Spec, shell_line

if TYPE_CHECKING:
    from vassal import touch
    from vassal.daemons import Daemon

MARK = "VASSAL_DAEMON"
"""The environment variable of the mark."""
LAST = 2.0
"""Seconds after SIGKILL in which to be gone."""
_parts: list[Any] = []
"""`subprocess.Popen`, `DEVNULL` and `SubprocessError`, once `prepare` has loaded them."""
_TAGGER = os.path.abspath(tagger.__file__)


class LaunchError(Exception):
    """It cannot be started. The text is for people."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A smart daemon, as it is told to the emperor and to the next generation.

    `pid` and `start` (clock ticks after boot) name its process for ever; `signal` ends it; `key` is its line's
    (`vassal.daemons.Spec.key`); `pidfile` is to be removed after its end, '' where it does that itself.
    """

    pid: int
    start: int
    signal: int
    key: str
    mark: str
    pidfile: str

    @property
    def text(self) -> str:
        """Return it as one line."""
        return f"{self.pid} {self.start} {self.signal} {self.key} {self.mark or '-'} {self.pidfile}"

    @classmethod
    def parse(cls, text: str) -> Kept | None:
        """Return what `text` says, None where that is nothing."""
        words = text.split(" ", 5)
        if len(words) != 6 or not all(word.isascii() and word.isdigit() and len(word) < 19 for word in words[:3]):
            return None
        if int(words[2]) not in signal.valid_signals():
            return None
        return cls(int(words[0]), int(words[1]), int(words[2]), words[3], words[4], words[5])

    def lives(self) -> bool:
        """Whether that process is still there."""
        process = sessions.look(self.pid)
        return process is not None and process.start == self.start and process.state not in "ZX"


def prepare() -> None:
    """Load what `launch` needs: few vassals have daemons, and an app may put something else in its place (gevent)."""
    import subprocess  # noqa: PLC0415 (see above)

    _parts[:] = [subprocess.Popen, subprocess.DEVNULL, subprocess.SubprocessError]


def launch(spec: Spec, mark: str) -> tuple[int, shell.Output | None]:
    """Start `spec`; return its pid and its output. It gets no descriptor but 0, 1 and 2.

    The output of a smart daemon, which outlives this process, is read by a process of its own: `vassal.tagger`.

    Raises:
        LaunchError: it cannot be started.
    """
    popen, null, broken = _parts
    options: dict[str, Any] = {"start_new_session": True} if spec.smart else {"process_group": 0}
    if os.geteuid() == 0 and (spec.uid or spec.gid):
        options |= _rights(spec)
    reading = writing = -1
    environ = {**os.environ, MARK: mark}
    command = ["/bin/sh", "-c", shell_line(spec.command)]
    try:
        if not spec.smart:
            reading, writing = shell.output_pipe()
            options |= {"stdout": writing, "stderr": writing}
        elif os.access(_TAGGER, os.R_OK) and os.access(sys.executable, os.X_OK):
            environ[tagger.COMMAND] = command[2]
            who = logs.speaker().partition("/")[0]  # whatever the generation is called that will read it
            command = [sys.executable, "-I", "-S", _TAGGER, who, spec.label, logs.file()]
            options["stdout"], options["stderr"] = logs.plain()
        process = popen(
            command,
            stdin=None if spec.stdin else null,
            cwd=spec.chdir or None,
            env=environ,
            **options,
        )
    except (OSError, ValueError, broken) as error:
        if reading >= 0:
            os.close(reading)
        named = f" {error.filename}" if isinstance(error, OSError) and error.filename else ""
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise LaunchError(f"{text}{named}") from None
    finally:
        if writing >= 0:
            os.close(writing)
    process.returncode = 0  # the master reaps it
    return process.pid, shell.Output(reading, f"daemon {spec.label}") if reading >= 0 else None


def _rights(spec: Spec) -> dict[str, Any]:
    try:
        account = identity.account(spec.uid or "0", spec.gid)
    except identity.IdentityError as error:
        raise LaunchError(str(error)) from None
    return {"user": account.uid, "group": account.gid, "extra_groups": account.groups}


@dataclass(slots=True)
class Traces:
    """What tells the processes of one run.

    Attributes:
        mark: What their environment holds, '' where that is not known.
        since: Start time of the first of them (clock ticks); what is older is not of it.
        leaders: Numbers of groups and sessions that are theirs alone, with the start time of the process that bears
            the number, 0 where it had ended already: somebody else who bears it now has it anew.
        apart: It leads sessions of its own; else groups in this process's session.
    """

    mark: str = ""
    since: int = 0
    leaders: dict[int, int] = field(default_factory=dict)
    apart: bool = False

    def add(self, number: int) -> None:
        """Take note of a group or session that is theirs alone."""
        if number not in self.leaders:
            process = sessions.look(number)
            self.leaders[number] = process.start if process is not None else 0

    def members(self) -> list[sessions.Process]:
        """Return which of them live."""
        if not self.leaders:
            return []
        own = os.getsid(0)
        everyone = sessions.everyone()
        new = {process.pid for process in everyone if self.leaders.get(process.pid, process.start) != process.start}
        theirs = self.leaders.keys() - new
        found = []
        for process in everyone:
            if process.state in "ZX" or process.start < self.since or process.pid == os.getpid():
                continue
            number = process.session if self.apart else process.group
            inside = number in theirs and (process.session == own) is not self.apart
            if inside or (self.mark and sessions.variable(process.pid, MARK) == self.mark):
                found.append(process)
        return found


@dataclass(slots=True)
class Attached:
    """One daemon and its processes.

    Attributes:
        launcher: The process that was started, a child of this one; 0 when it was reaped, or is another generation's.
        first: Its pid, for good.
        main: The process that is the daemon, where that is known; `pidfd` tells of its end where it is no child.
        traces: What tells the processes of this run.
        former: Its line has left the file: it only is to end.
    """

    daemon: Daemon
    path: str
    launcher: int = 0
    first: int = 0
    main: sessions.Process | None = None
    pidfd: int = -1
    traces: Traces = field(default_factory=Traces)
    output: shell.Output | None = None
    touches: touch.Touches | None = None
    said: str = ""
    former: bool = False
    going: bool = field(default=False)
    """Left to the next generation, or to the emperor of a vassal that sleeps."""

    @property
    def spec(self) -> Spec:
        """Its line."""
        return self.daemon.spec


def outlive(notes: list[Kept], mercy: float) -> None:
    """End what is left of a vassal's smart daemons: nobody else is there to do it. Waits, at most `mercy` seconds."""
    left: list[tuple[Kept, Traces]] = []
    for note in notes:
        process = sessions.look(note.pid)
        if process is not None and process.start == note.start:
            traces = Traces(note.mark, note.start, apart=True)
            traces.add(note.pid)
            traces.add(process.session)
            left.append((note, traces))
    until = time.monotonic() + mercy
    pause, number = 0.02, 0
    while left:
        late = time.monotonic() >= until
        for entry in tuple(left):
            note, traces = entry
            found = traces.members()
            sessions.kill(found, signal.SIGKILL if late else note.signal if not number else 0)
            if not found:
                left.remove(entry)
                if note.pidfile:
                    pidfile.remove(note.pidfile, note.pid)
        number = 1
        if time.monotonic() >= until + LAST:
            return
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)
