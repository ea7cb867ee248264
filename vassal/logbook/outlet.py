"""All places where one generation's lines go: made by its master, inherited by its workers.

Lines of our own and request lines are written directly by whoever has them. What the app prints passes through a pipe
and the master only where it must be encoded, routed or sent elsewhere than to one file. The one danger is that pipe:
the master reads it and must never write to it, and while it loads the app, which may print, a thread reads it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import threading
import time
from typing import TYPE_CHECKING

from vassal import logs, touch, zone
from vassal.logbook import encoders, specs
from vassal.logbook.chain import Chain, line_cutter
from vassal.logbook.files import LogFile, replace
from vassal.logbook.sinks import DescriptorSink, JournalSink, SocketSink, SyslogSink
from vassal.logbook.variables import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vassal.config import Settings
    from vassal.logbook.encoders import Encoder
    from vassal.logbook.sinks import Sink
    from vassal.logbook.specs import Spec

GIVEN = -1
"""Number of what the emperor has given, among the files that are opened anew."""
PIPE_SIZE = 1024 * 1024
READ = 65536
PUMP = "vassal-log"
"""Name of the thread that reads the pipe while the app is loaded."""
TURNS = 16
"""Reads in one turn: an app that prints without end must not keep its master from its other business."""


def loggers(settings: Settings) -> list[Spec]:
    """Return where the log goes, without ``logto``."""
    lines = list(settings.logger)
    if settings.log_syslog is not None:
        lines.append(f"syslog:{settings.log_syslog}" if settings.log_syslog else "syslog")
    lines += [f"socket:{text}" for text in settings.log_socket]
    found = [specs.parse(line) for line in lines]
    plain = specs.of_logto(_logto(settings))
    return [plain, *found] if plain.kind == "socket" else found


def _logto(settings: Settings) -> str:
    return settings.logto2 or settings.logto or settings.daemonize or "-"


def _sorts(settings: Settings) -> bool:
    """Whether something happens to the lines on their way."""
    return bool(settings.log_encoder or settings.log_route or settings.log_drain or settings.log_filter)


def direct(settings: Settings) -> Spec | None:
    """Return the file that standard output and error become, None where they stay what they are."""
    found = loggers(settings)
    if len(found) == 1 and found[0].kind == "file" and not found[0].name and not _sorts(settings):
        return found[0]
    plain = specs.of_logto(_logto(settings))
    return plain if plain.kind == "file" else None


def readable(settings: Settings, base: str) -> str:
    """Return the file in which people find what the vassal says, '' where its own options name none.

    `base`: the directory of its file, where relative paths of ``logto`` begin; those of ``logger`` do in ``chdir``.
    """
    target = next((spec.target for spec in loggers(settings) if spec.kind == "file" and not spec.name), "")
    if target:
        return os.path.normpath(os.path.join(base, settings.chdir or "", target))
    plain = specs.of_logto(_logto(settings))
    return os.path.normpath(os.path.join(base, plain.target)) if plain.kind == "file" else ""


def use_direct(settings: Settings, base: str, *, first: bool) -> None:
    """Make that file standard output and error; `first`: no generation has run before this one.

    Raises:
        LogError: it cannot be opened.
    """
    logs.style(settings.log_date, settings.log_prefix)
    spec = direct(settings)
    if spec is not None:
        path = os.path.join(base, spec.target)
        logs.use_file(path, truncate=first and settings.log_truncate, mode=settings.logfile_chmod)


class Outlet:
    """The places of a generation.

    Args:
        settings: the vassal's file.
        base: the directory that relative paths begin in.
        name: the vassal's.
        first: no generation has run before this one.

    Raises:
        LogError: a log file cannot be opened.
    """

    def __init__(self, settings: Settings, base: str, name: str, *, first: bool = False) -> None:
        self._settings = settings
        self._base = base
        self._name = name
        self._truncate = first and settings.log_truncate
        self.clock = Clock(
            zone.forecast(int(time.time())),
            settings.log_date if settings.logformat_strftime and settings.log_date else "",
        )
        self.files: list[LogFile] = []
        self.complain: Callable[[str], None] = logs.say
        self._tell: Callable[[int, int], None] = lambda _index, _fd: None
        self._pipe = -1
        self._cut = line_cutter(self._printed)
        used = direct(settings)
        wanted = [spec for spec in loggers(settings) if spec != used]
        sorts = bool(_sorts(settings) or wanted)
        self._spare = (os.dup(1), os.dup(2)) if sorts else ()
        """What standard output and error were before the pipe."""
        here = self._spare[::-1] or (1, 2)
        if logs.file():
            self._given: tuple[int, ...] = ()
            self.files.append(self._file(logs.file(), used or specs.Spec("file"), here))
            self._own: Sink = DescriptorSink(logs.file(), here[-1])
        else:
            self._given = here
            twin = logs.twin()
            self._own = DescriptorSink("standard error", twin if twin >= 0 else here[-1])
        targets = [self._sink(spec) for spec in wanted] if sorts else []
        self.chain = Chain(
            targets,
            self._own,
            encoders=self._encoders(settings.log_encoder),
            routes=[specs.route(line) for line in settings.log_route],
            drains=settings.log_drain,
            filters=settings.log_filter,
        )
        self.requests = self._request_chain(settings, targets)
        self._reopen_touches = touch.Touches(settings.touch_logreopen, os.getcwd(), "")
        self._rotate_touches = touch.Touches(settings.touch_logrotate, os.getcwd(), "")

    # --- putting it together -------------------------------------------------------------------------------------

    def _request_chain(self, settings: Settings, targets: Sequence[Sink]) -> Chain:
        """Return what request lines pass through: their own loggers, or what all lines pass through."""
        if not (settings.req_logger or settings.log_req_encoder or settings.log_req_route):
            return self.chain
        own = [self._sink(specs.parse(line)) for line in settings.req_logger]
        named = [sink for sink in targets if sink.name]  # a route may lead to these, too
        return Chain(
            [*own, *named],
            self._own,
            encoders=self._encoders(settings.log_req_encoder),
            routes=[specs.route(line) for line in settings.log_req_route],
        )

    def _encoders(self, lines: Sequence[str]) -> list[Encoder]:
        clock = self.clock
        return [encoders.parse(line, lambda form, moment: clock.strftime(form, int(moment))) for line in lines]

    def _file(self, path: str, spec: Spec, fds: tuple[int, ...] = ()) -> LogFile:
        backup = spec.backupname or self._settings.log_backupname or ""
        return LogFile(
            path,
            fds=fds,
            maxsize=spec.maxsize or self._settings.log_maxsize,
            backupname=os.path.join(self._base, backup) if backup else "",
            mode=self._settings.logfile_chmod,
            truncate=self._truncate,
            complain=self._complain,
        )

    def _complain(self, text: str) -> None:
        self.complain(text)

    def _sink(self, spec: Spec) -> Sink:
        if spec.kind == "file":
            path = os.path.join(self._base, spec.target)
            found = next((file for file in self.files if file.path == path), None)
            if found is None:
                found = self._file(path, spec)
                self.files.append(found)
            return DescriptorSink(path, found.fds[-1], spec.name)
        if spec.kind == "fd":
            try:
                return DescriptorSink(f"fd:{spec.target}", int(spec.target), spec.name)
            except OSError as error:
                raise logs.LogError(f"logger = fd:{spec.target}: {error.strerror}") from None
        if spec.kind == "stdio":
            sink = self._own
            return DescriptorSink(sink.label, sink.fd, spec.name) if isinstance(sink, DescriptorSink) else sink
        if spec.kind == "socket":
            return SocketSink(spec)
        if spec.kind == "systemd":
            return JournalSink(spec, self._name)
        return SyslogSink(spec, self._name)

    # --- lines ---------------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Let everything that this process says come here from now on."""
        logs.route(self.own)

    def own(self, data: bytes) -> None:
        """Take one message of our own, which may have several lines."""
        self.chain.write([data]) if not self.chain.plain else self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        for sink in self.chain.defaults:
            sink.write(data, max(1, data.count(b"\n")))

    def _printed(self, lines: Sequence[bytes]) -> None:
        self.chain.write(lines)

    def losses(self) -> Iterator[tuple[str, int, str]]:
        """Yield (place, lines, why) of what this process has lost since the last time."""
        for sink in dict.fromkeys((*self.chain.sinks, *self.requests.sinks)):
            if sink.lost:
                yield sink.label, *sink.take_losses()

    # --- the pipe: masters only ----------------------------------------------------------------------------------

    def begin(self, selector: selectors.BaseSelector, tell: Callable[[int, int], None]) -> None:
        """Take what the app prints from now on, where that is needed; `tell` workers of a file (number, descriptor)."""
        self._tell = tell
        if not self._spare:
            return
        reading, writing = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # more than the system allows; then it is smaller
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        os.set_blocking(reading, False)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.close(writing)
        self._pipe = reading
        logs.keep_plain(self._spare)
        selector.register(reading, selectors.EVENT_READ, self.pump)

    def pump(self) -> None:
        """Pass on what was printed."""
        for _ in range(TURNS):
            try:
                data = os.read(self._pipe, READ)
            except (BlockingIOError, OSError):
                return
            self._cut(data)

    @contextlib.contextmanager
    def pumping(self) -> Iterator[None]:
        """Let a thread read the pipe meanwhile. It has ended afterwards: a fork must not meet it."""
        if self._pipe < 0:
            yield
            return
        over = os.eventfd(0, os.EFD_CLOEXEC)
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            selector.register(over, selectors.EVENT_READ)

            def read() -> None:
                while all(key.fd != over for key, _ in selector.select()):
                    self.pump()

            thread = threading.Thread(target=read, name=PUMP, daemon=True)
            thread.start()
            try:
                yield
            finally:
                os.eventfd_write(over, 1)
                thread.join()
                os.close(over)
                self.pump()

    def end(self) -> None:
        """Pass on what is left, and give standard output and error back: this process may execute something else."""
        if self._pipe >= 0:
            while self._readable():
                self.pump()
            self._cut(b"")
            for descriptor, spare in enumerate(self._spare, 1):
                os.dup2(spare, descriptor)

    def _readable(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            return bool(selector.select(0))

    def leave(self) -> None:
        """Give up, in a worker, what only the master may hold."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    # --- other files under the same names --------------------------------------------------------------------------

    @property
    def touched(self) -> bool:
        """Whether `look` is to be called every second: files are watched for touches, or have a limit."""
        limited = any(file.maxsize for file in self.files)
        return limited or bool(self._reopen_touches or self._rotate_touches)

    def look(self, now: float) -> None:
        """Follow what has become of the files, and what was touched. Masters only; `now`: CLOCK_MONOTONIC seconds."""
        if self._rotate_touches and self._rotate_touches.changed() is not None:
            self.rotate(now)
            return
        if self._reopen_touches and self._reopen_touches.changed() is not None:
            changed = [file.reopen(now) for file in self.files]
        else:
            changed = [file.look(now) for file in self.files]
        self._tell_changes(changed)

    def rotate(self, now: float) -> None:
        """Begin new files."""
        self._tell_changes([file.rotate(now) for file in self.files])

    def reopen(self, now: float, given: Sequence[int] = ()) -> None:
        """Open all files by their names again; `given` is what the emperor has for standard error now, if anything."""
        for descriptor in given:
            if not self._given:
                os.close(descriptor)
                continue
            logs.forget_twin()
            replace(self._given, descriptor)
            self._refresh(self._given)
            self._tell(GIVEN, self._given[-1])
        self._tell_changes([file.reopen(now) for file in self.files])

    def _tell_changes(self, changed: Sequence[bool]) -> None:
        for index, (file, another) in enumerate(zip(self.files, changed, strict=True)):
            if another:
                self._refresh(file.fds)
                self._tell(index, file.fds[-1])

    def adopt(self, index: int, descriptor: int) -> None:
        """Use `descriptor` for file number `index` from now on. Workers only."""
        fds = self._given if index == GIVEN else self.files[index].fds
        if fds:
            replace(fds, descriptor)
            self._refresh(fds)
        else:
            os.close(descriptor)

    def _refresh(self, fds: tuple[int, ...]) -> None:
        own = self._own
        if isinstance(own, DescriptorSink) and fds == self._given:
            own.fd = fds[-1]  # it may have been a twin of a pipe
        for sink in dict.fromkeys((own, *self.chain.sinks, *self.requests.sinks)):
            if isinstance(sink, DescriptorSink) and sink.fd in fds:
                sink.refresh()
