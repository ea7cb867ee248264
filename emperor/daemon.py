"""The emperor: puts monitor, fleet and control together, and hears signals. Wiring, no policy.

The one danger is blocking: everything here runs on one loop, and nothing on it sleeps, scans or waits for a vassal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import traceback
from typing import TYPE_CHECKING, Any

from emperor import manifest
from emperor.closer import Closer
from emperor.commands import Commands
from emperor.control import ControlError, ControlServer
from emperor.fleet import Fleet
from emperor.journal import announce, flush, say
from emperor.launch import hear, raise_nofile
from emperor.logroom import LogRoom
from emperor.monitor import Monitor
from emperor.names import printable
from emperor.notify import Notifier
from emperor.places import PlaceOptions, parse_place
from emperor.relog import use_log
from emperor.states import Forgive
from emperor.statsserver import StatsError, StatsServer
from emperor.survey import Survey
from emperor.throttle import Pace
from emperor.watch import Watch
from vassal import __version__, sessions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emperor.settings import EmperorSettings

try:
    from setproctitle import setproctitle
except ImportError:

    def setproctitle(title: str) -> None:
        """Do nothing: a title is cosmetic."""


RELOAD_PATIENCE = 60.0
"""Seconds after which systemd is told that a reload of the whole fleet is over, whoever is still at it."""


ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""Signals to end."""
SAME_WISH = 0.3
"""Seconds within which a second signal to end is the first one's double: timeout(1), and a shell script that passes on
what its terminal sends, tell the whole process group and then its leader. A person takes longer to lose patience."""


CRASHED = 70
"""Exit status of an emperor that fails without being told to end (EX_SOFTWARE of sysexits.h)."""


class Emperor:
    """One emperor, from its settings to its exit status."""

    def __init__(self, settings: EmperorSettings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_tell_mistake)
        self._done: asyncio.Future[int] = self._loop.create_future()
        self._stopping = False
        self._told_at = 0.0
        nofile = raise_nofile()
        self.fleet = Fleet(self._loop, settings, Closer(), Pace(os.cpu_count() or 1), say, self._forgotten, nofile)
        places = [parse_place(place) for place in settings.places]
        self._monitor = Monitor(
            places,
            PlaceOptions(nofollow=settings.nofollow, extra_extensions=settings.extra_extensions),
            deliver=self._deliver,
            warn=lambda text: say(printable(text)),  # it names files, which their owners have named
            freq=settings.freq,
            make_watch=Watch,
        )
        commands = Commands(self.fleet)
        self._control = ControlServer(settings.control or "", commands)
        self._stats: StatsServer | None = None
        if settings.stats is not None:
            answer = Survey(self.fleet, commands, places).answer
            self._stats = StatsServer(settings.stats, answer, http=settings.stats_http, mode=settings.chmod_socket)
        self._notifier = Notifier(os.environ)
        self._log_room = LogRoom(settings.log_dir, say, self.fleet.log_trouble)
        self._reloads: set[asyncio.Task[None]] = set()
        self._told = ""

    async def run(self) -> int:
        """Serve until a signal says otherwise; return the exit status."""
        try:
            await self._control.start()
        except ControlError as error:
            say(str(error))
            return 1
        try:
            if self._settings.pidfile is not None:  # not before: a second emperor on the same socket has ended by now
                _write_pid(self._settings.pidfile)
            if self._stats is not None:
                self._stats.start()
            self.fleet.start()
        except (OSError, StatsError, _PidfileError) as error:
            say(f"cannot start the fork server: {error}" if isinstance(error, OSError) else str(error))
            await self._close()
            return 1
        self._catch_signals()
        await self._monitor.start()
        if not self._stopping:
            announce(f"emperor ready: {self._line()}, control {self._settings.control}")
            self._notifier.ready(self._line())
        self._tick()
        return await self._done

    async def _close(self) -> None:
        if self._stats is not None:
            await self._stats.close()
        await self._control.close()

    def _catch_signals(self) -> None:
        for number in ENDING:
            self._loop.add_signal_handler(number, self._stop, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload_all)
        self._loop.add_signal_handler(signal.SIGUSR1, self._log_status)
        self._loop.add_signal_handler(signal.SIGUSR2, self._reopen_logs)
        self._loop.add_signal_handler(signal.SIGURG, self._forgive)
        hear()

    def _tick(self) -> None:
        """Once a while: the process title, and systemd's watchdog."""
        interval = self._notifier.watchdog
        self._loop.call_later(min(5.0, interval / 2) if interval else 5.0, self._tick)  # whatever the rest comes to
        setproctitle(f"{self._settings.procname or 'emperor'}: {len(self.fleet.vassals)} vassals")
        self._notifier.alive()
        if not self._stopping and self._told != self._line():
            self._told = self._line()
            self._notifier.status(self._told)
        self.fleet.reap()
        self._log_room.look()
        self._renew_task = self._loop.create_task(self._renew_control())
        self._follow_task = self._loop.create_task(self.fleet.relog.look())

    async def _renew_control(self) -> None:
        if not self._stopping and await self._control.renew():
            say(f"the control socket {self._settings.control} was gone: it is made anew")

    def _line(self) -> str:
        """Return what `systemctl status` shows."""
        return f"{len(self.fleet.vassals)} vassals"

    def _deliver(self, events: list[manifest.Event]) -> None:
        for event in events:
            if isinstance(event, manifest.Vanished):
                self.fleet.vanished(event.name)
            else:
                self.fleet.seen(event.manifest)

    def _forgotten(self, name: str) -> None:
        self._monitor.release(name)

    # --- signals -------------------------------------------------------------------------------------------------

    def _stop(self, number: int) -> None:
        if self._stopping:
            if self._loop.time() - self._told_at >= SAME_WISH:
                say("told to stop again: killing what is left")
                self.fleet.ending.kill_all()
            return
        self._stopping, self._told_at = True, self._loop.time()
        say(f"{signal.Signals(number).name}: stopping {len(self.fleet.vassals)} vassals")
        self._notifier.stopping("stopping")
        self._monitor.close()
        self._stop_task = self._loop.create_task(self._stop_all())

    async def _stop_all(self) -> None:
        await self.fleet.stop_all()
        await self._close()
        say("all vassals have stopped")
        for number in ENDING:  # what is left to do is short, and the loop's end would bring back their defaults
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        self._done.set_result(0)

    def _reload_all(self) -> None:
        say(f"SIGHUP: reloading {len(self.fleet.vassals)} vassals")
        if self._stopping:
            return
        self._notifier.reloading("reloading all vassals")
        task = self._loop.create_task(self._reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloaded)

    async def _reload(self) -> None:
        # An outcome may never come, of an app that hangs at its first start say: systemd shall not wait for it.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(Commands(self.fleet).reload(None, wait=True, strategy=None), RELOAD_PATIENCE)

    def _reloaded(self, task: asyncio.Task[None]) -> None:
        self._reloads.discard(task)
        if not self._reloads and not self._stopping:
            self._notifier.ready(self._line())

    def _log_status(self) -> None:
        self._status_task = self._loop.create_task(self._log_rows())

    async def _log_rows(self) -> None:
        from emperor.report import status_rows  # noqa: PLC0415 (psutil is loaded only when somebody asks)

        text = status_rows(await Commands(self.fleet).facts(None), width=120)
        for line in text.splitlines():
            say(line)

    def _reopen_logs(self) -> None:
        self._reopen_task = self._loop.create_task(Commands(self.fleet).reopen_logs(None))

    def _forgive(self) -> None:
        say("SIGURG: forgetting all backoff")
        for name in list(self.fleet.vassals):
            self.fleet.feed(name, Forgive())


def _tell_mistake(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Tell of a mistake in a piece that nobody waits for. The rest goes on, and does not wait for who reads this."""
    error = context.get("exception")
    if error is None or isinstance(error, OSError):  # the kernel's, accept(2) without descriptors say
        say(f"{context['message']}: {error}" if error is not None else str(context["message"]))
    else:
        where = "".join(traceback.format_exception(error)).rstrip()
        say(f"{context['message']}; this is a bug in the emperor\n{where}")


def run(settings: EmperorSettings) -> int:
    """Run an emperor with `settings` in the foreground; return its exit status."""
    os.environ.pop("LISTEN_FDS", None)
    sessions.become_subreaper()
    if settings.logto is not None:
        say(f"what the emperor says goes to {settings.logto} from now on; it stays in the foreground")
        flush()
        try:
            use_log(settings.logto)
        except OSError as error:
            say(f"cannot open the log {settings.logto}: {error.strerror}")
            flush()
            return 1
    for note in settings.notes:
        say(f"{note.file}:{note.line}: {note.level}: {note.message}" if note.line else f"{note.file}: {note.message}")
    say(f"Emperor {__version__}, pid {os.getpid()}, watching " + ", ".join(settings.places))

    async def main() -> int:
        return await Emperor(settings).run()

    try:
        return asyncio.run(main())
    except Exception:  # noqa: BLE001 (whatever it is: a service manager must tell it from a wrong configuration)
        say("the emperor itself has failed; this is a bug in it\n" + traceback.format_exc().rstrip())
        return CRASHED
    finally:
        if settings.pidfile is not None:
            _remove_pid(settings.pidfile)
        flush()


class _PidfileError(Exception):
    """It cannot be written; the message says which and why."""


def _write_pid(path: str) -> None:
    """Write this process's pid in one step, so that nobody ever reads a half of it.

    Raises:
        _PidfileError: it cannot be written.
    """
    fresh = f"{path}.{os.getpid()}"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)  # of an emperor that was killed meanwhile: in a container all have the same pid
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        os.rename(fresh, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise _PidfileError(f"cannot write the pidfile {path}: {error.strerror}") from None


def _remove_pid(path: str) -> None:
    """Remove the pidfile, unless another emperor has written its own there."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
        if int(file.read(32)) == os.getpid():
            os.unlink(path)
