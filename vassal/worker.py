"""The worker: loads the app, accepts when it is told to, retires when it is told to, exits.

Everything is put together here and nothing is decided here: see `vassal.loop` for what a leader does, `vassal.crew` for
who leads. The one danger is not leaving: a worker whose master is gone, or whose thread is stuck in the app, must end
all the same, so every way out has a deadline after which the process exits without asking.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from vassal import autoreload, channel, copies, embedded, logs, scoreboard, signals
from vassal.body import EMPTY, IN_MEMORY
from vassal.channel import Accept, ChannelError, Failed, Leaving, Loaded, Lost, ReloadWanted, Reopened, Retire
from vassal.crew import CRASHED
from vassal.harakiri import Harakiri, prepare
from vassal.heads import BadResponse, Stamp, remove_headers
from vassal.loader import Apps, LoadError, load_apps, load_imports
from vassal.logbook import requests
from vassal.loop import Limits, Loop, Port
from vassal.net import Listener
from vassal.protocol.http import HttpProtocol, check_httptools
from vassal.protocol.proxy import unwrap
from vassal.protocol.uwsgi import UwsgiProtocol
from vassal.recycle import Recycler, Rules
from vassal.response import FileWrapper
from vassal.static.serving import prepare as files
from vassal.trust import Trust
from vassal.wsgi import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vassal.config.settings import Settings
    from vassal.connection import Connection
    from vassal.crew import Member
    from vassal.logbook.outlet import Outlet
    from vassal.logbook.requests import RequestLog
    from vassal.protocol import Talk
    from vassal.scoreboard import Scoreboard

EXIT_RETIRED = 0
EXIT_FAILED = 22
"""The app could not be loaded; `Failed` has said why."""
ORPHAN_MERCY = 5.0
"""Seconds for what is being answered when the master is dead (uWSGI's ``no-orphans``, always on here)."""
KEEP_ALIVE = 65.0
"""Seconds that an idle HTTP connection is kept where http-keepalive is just on: longer than the 60 s after which nginx
and the load balancers of the large clouds close theirs, so that they do not meet a connection that closes just then."""
TELL_EVERY = 1.0
"""Seconds between two words to the master about lines of the log that were lost."""
QUEUE_PER_THREAD = 2
"""Requests a thread that may wait here before connections are left to the other workers."""


@dataclass(slots=True)
class WorkerPlan:
    """What a worker needs to know; made by the master before it forks.

    Attributes:
        number: of its slot on the scoreboard, from 1.
        name: the vassal's.
        generation: its number.
        settings: the vassal's file.
        listeners: bound sockets; they may not listen before `Accept` comes.
        channel: the worker's end, ``AF_UNIX`` ``SOCK_SEQPACKET``.
        scoreboard: shared with the master.
        apps: loaded by the master already, or None: load them here.
        probe: a connection of the master's, on which it asks before anybody else may (``ready-check``).
        id: the worker's own number, from 1 to ``processes``; its successor has the same.
        outlet: where its lines go; None: no request is logged.
    """

    number: int
    name: str
    generation: int
    settings: Settings
    listeners: Sequence[Listener]
    channel: socket.socket
    scoreboard: Scoreboard
    apps: Apps | None
    probe: socket.socket | None = None
    id: int = 0
    outlet: Outlet | None = None


def run(plan: WorkerPlan) -> int:
    """Be worker `plan.number` until it retires; return the exit status. Never raises."""
    worker = None
    try:
        worker = _Worker(plan)
        return worker.run()
    except LoadError as error:
        logs.say(f"cannot load the app: {error.reason}\n{error.detail}".rstrip())
        channel.send(plan.channel, Failed(error.stage, error.reason, error.detail))
        return EXIT_FAILED
    except BaseException:  # noqa: BLE001 (nothing above us could do better than this line)
        logs.say("the worker failed:\n" + traceback.format_exc().rstrip())
        return CRASHED
    finally:
        if worker is not None:
            worker.end_log()


class _Worker:
    def __init__(self, plan: WorkerPlan) -> None:
        self.plan = plan
        self.settings = plan.settings
        self._asked = 0
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._loop: Loop
        self._probe_port: Port
        self._harakiri: Harakiri | None = None
        self._log: RequestLog | None = None
        self._tell_at = 0.0

    def run(self) -> int:
        plan = self.plan
        self._take_signals()
        too_old = check_httptools()
        if too_old:
            raise LoadError(too_old)
        own = plan.scoreboard.row(plan.number, None)
        own.counts[scoreboard.PID] = os.getpid()
        own.times[scoreboard.STARTED] = monotonic()
        embedded.become_worker(plan.id, plan.channel, plan.scoreboard)
        apps = plan.apps if plan.apps is not None else load_apps(self.settings)
        own.times[scoreboard.LOADING] = apps.took
        embedded.call("post_fork_hook")
        load_imports(self.settings)
        autoreload.begin(self.settings, lambda reason: channel.send(plan.channel, ReloadWanted(reason)))
        self._build(apps)
        copies.end_those_of(self._loop.gateway)  # not undone: nothing that is built to be thrown away may ask for it
        if plan.probe is not None:
            self._loop.take_in(self._probe_port)
        channel.send(plan.channel, Loaded())
        self._loop.crew.run()
        return EXIT_RETIRED

    # --- signals and the channel ---------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        """SIGTERM retires; SIGINT and SIGHUP of a terminal are the master's business."""
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signals.handle(ignored, signals.IGNORE)
        signals.handle(signal.SIGTERM, lambda *_: self._wake())
        # The handler above runs when the main thread comes back to Python; this wakes the leader without it.
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        prepare()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, bytes((signal.SIGTERM,)))
        except OSError:
            return  # full: the leader has been told often enough

    def _on_signal(self, me: Member) -> None:
        try:
            came = os.read(self._wake_read, 4096)
        except BlockingIOError:
            return
        if signal.SIGTERM in came:
            self._loop.retire(me.now, self.settings.worker_reload_mercy)

    def _on_channel(self, me: Member) -> None:
        try:
            message, fds = channel.receive_with_fds(self.plan.channel)
        except BlockingIOError:
            return
        except ChannelError as error:
            logs.say(str(error))
            return
        if isinstance(message, Accept):
            if not (self._loop.accepting or self._loop.retiring):
                self._loop.start_accepting()
        elif isinstance(message, Retire):
            self._loop.retire(me.now, message.mercy)
        elif isinstance(message, Reopened) and self.plan.outlet is not None:
            for descriptor in fds:
                self.plan.outlet.adopt(message.index, descriptor)
        elif message is None:  # the master is dead
            self._loop.ignore(self.plan.channel.fileno())
            self._loop.retire(me.now, ORPHAN_MERCY)

    def _leave(self, reason: str, *, stuck: bool = False) -> None:
        """Ask to be replaced: once by choice, and once more when a thread is `stuck`."""
        urgency = 2 if stuck else 1
        if urgency > self._asked and channel.send(self.plan.channel, Leaving(reason, stuck)):
            self._asked = urgency

    def _done(self, in_time: bool) -> None:  # noqa: FBT001 (the loop's signature)
        """Everything is answered, or mercy is over: leave, even if a thread cannot be made to."""
        crew = self._loop.crew
        main_is_free = crew.main.serving is None
        crew.stop()
        if not (main_is_free and in_time):
            self.end_log()
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (OSError, ValueError):
                    continue
            os._exit(EXIT_RETIRED)

    # --- the log -------------------------------------------------------------------------------------------------

    def _prepare_log(self, loop: Loop, gateway: Gateway) -> None:
        plan = self.plan
        if plan.outlet is None:
            return
        beside = sum(key.startswith("wsgi.") for port in loop.ports[:1] for key in port.facts)
        self._log = loop.log = gateway.log = requests.prepare(
            self.settings, plan.outlet, plan.scoreboard, plan.number, beside
        )
        if self._log is not None:
            loop.crew.main.flush = self._log.settle

    def _tell_losses(self) -> None:
        if self.plan.outlet is not None:
            for label, lines, why in self.plan.outlet.losses():
                channel.send(self.plan.channel, Lost(label, lines, why))

    def end_log(self) -> None:
        """Write the last lines, and tell of what was lost."""
        if self._log is not None:
            self._log.end()
        self._tell_losses()

    # --- putting it together -------------------------------------------------------------------------------------

    def _build(self, apps: Apps) -> None:
        settings = self.settings
        plan = self.plan
        try:
            trust = Trust(settings.trusted_proxies, forwarded_for=settings.log_x_forwarded_for)
            remove_headers(settings.rem_header)
            stamp = Stamp(settings.add_header)
        except (ValueError, BadResponse) as error:
            raise LoadError(str(error)) from None
        threads = max(1, settings.threads)
        loop = self._loop = Loop(
            _limits(settings), stamp, threads, lambda thread: plan.scoreboard.row(plan.number, thread)
        )
        others = plan.scoreboard.others(plan.number)
        loop.others_free = lambda: scoreboard.any_free(others)
        gateway = loop.gateway = Gateway(loop, apps)
        gateway.manage_script_name = settings.manage_script_name
        gateway.show_errors = settings.catch_exceptions
        gateway.quiet_writes = settings.disable_write_exception
        gateway.log_gone = not settings.ignore_write_errors
        gateway.harakiri = settings.harakiri > 0
        loop.static = files(settings, loop)
        loop.ports = [self._port(listener, trust) for listener in plan.listeners]
        if plan.probe is not None:
            self._probe_port = self._port(Listener(plan.probe, "http", "ready-check"), trust, ours=True)
        loop.on_done = self._done
        self._prepare_log(loop, gateway)
        self._arrange_end(loop, gateway)
        loop.listen_to(plan.channel.fileno(), self._on_channel)
        loop.listen_to(self._wake_read, self._on_signal)

    def _arrange_end(self, loop: Loop, gateway: Gateway) -> None:
        settings = self.settings
        rules = Rules(
            max_requests=settings.max_requests
            and settings.max_requests + self.plan.number * settings.max_requests_delta,
            min_lifetime=settings.min_worker_lifetime,
            max_lifetime=settings.max_worker_lifetime,
            max_rss=settings.reload_on_rss * 1024 * 1024,
        )
        if rules.any:
            recycler = Recycler(rules, monotonic(), self._leave)
            loop.on_scan = recycler.look
            loop.on_scan_wanted = True
            if rules.max_requests:
                gateway.on_request = recycler.count
        if settings.harakiri:
            self._harakiri = Harakiri(loop.crew, settings.harakiri)
            self._harakiri.log = self._log
        if settings.harakiri or self._log is not None:
            loop.crew.on_tick = self._tick

    def _tick(self, now: float) -> None:
        if self._log is not None:
            self._log.flush()  # a batch that takes long must not keep its lines
            if now >= self._tell_at:
                self._tell_at = now + TELL_EVERY
                self._tell_losses()
        harakiri = self._harakiri
        if harakiri is not None and harakiri.look(now):
            self._leave(f"harakiri: a request took longer than {self.settings.harakiri} s", stuck=True)

    def _port(self, listener: Listener, trust: Trust, *, ours: bool = False) -> Port:
        settings = self.settings
        sock = listener.sock
        sock.setblocking(False)  # noqa: FBT003 (the socket's own signature)
        if sock.family != socket.AF_UNIX:
            # Inherited by what is accepted (tcp(7), socket(7)), which saves two calls a connection.
            if settings.tcp_nodelay:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if settings.so_keepalive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        http = HttpProtocol(
            buffer_size=settings.buffer_size, limit_post=settings.limit_post, keep_alive=settings.http_keepalive > 0
        )
        uwsgi = UwsgiProtocol(limit_post=settings.limit_post)
        proxied = settings.enable_proxy_protocol and listener.protocol == "http" and not ours
        parse = uwsgi.parse if listener.protocol == "uwsgi" else http.parse
        return Port(listener, _facts(listener, settings), parse, _meeting(sock.family, trust, proxied=proxied))


def _limits(settings: Settings) -> Limits:
    keep_alive = settings.http_keepalive
    return Limits(
        http_timeout=float(settings.http_timeout),
        socket_timeout=float(settings.socket_timeout),
        keep_alive=KEEP_ALIVE if keep_alive == 1 else float(keep_alive),
        in_memory=settings.post_buffering or IN_MEMORY,
        limit_post=settings.limit_post,
        queue=QUEUE_PER_THREAD * settings.threads if settings.processes > 1 else 0,
    )


def _facts(listener: Listener, settings: Settings) -> dict[str, Any]:
    """Return what the environ of every request on `listener` begins with (PEP 3333, RFC 3875)."""
    name: Any = listener.sock.getsockname()
    if listener.sock.family == socket.AF_UNIX:
        host, port = socket.gethostname(), "80"  # "can never be empty strings" (PEP 3333); uWSGI says 80, too
    else:
        host, port = name[0], str(name[1])
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
    facts: dict[str, Any] = {
        "SCRIPT_NAME": "",
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "REMOTE_ADDR": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": EMPTY,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": settings.threads > 1,
        "wsgi.multiprocess": settings.processes > 1,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
    }
    if settings.wsgi_disable_file_wrapper:
        del facts["wsgi.file_wrapper"]
    return facts


def _meeting(family: int, trust: Trust, *, proxied: bool) -> Callable[[Connection, Any], None]:
    """Return what is to be done with a new connection: note who it is, and whom it may speak for."""

    def introduce(talk: Talk, peer: str, port: str) -> None:
        talk.believe = trust.believe if trust.holds(peer) else None
        facts = talk.facts = talk.facts.copy()
        facts["REMOTE_ADDR"] = peer
        facts["REMOTE_PORT"] = port

    def meet_unix(conn: Connection, _address: Any) -> None:
        conn.talk.believe = trust.believe
        if proxied:
            conn.parse = unwrap(conn.parse, introduce)

    def meet_inet(conn: Connection, address: Any) -> None:
        peer = conn.peer = address[0]
        introduce(conn.talk, peer, str(address[1]))
        if proxied and trust.holds(peer):
            conn.parse = unwrap(conn.parse, introduce)

    return meet_unix if family == socket.AF_UNIX else meet_inet
