"""What every vassal does, done some times in the fork server before the first one is forked.

Python rewrites code that runs often, and keeps with it what it has learned there; strings get their hash, types their
caches. Where a vassal is the first to do so, it takes the time for it, and writes to pages that it shared with all
others until then. Where the fork server has done it, vassals begin with code that is warm, on pages that stay shared.

The one danger is what a rehearsal leaves behind: every vassal would inherit it. So it has no signals, threads, paths or
ports, and reaches into the parts that it rehearses rather than running them as a whole.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from vassal import channel, generation, identity, link, loader, master, net, ports, scoreboard, worker
from vassal.config import Inject, Settings, load_vassal
from vassal.logbook import outlet
from vassal.protocol.http import check_httptools

if TYPE_CHECKING:
    from collections.abc import Callable

    from vassal.crew import Member

TIMES = 20
"""Python 3.11 takes code for hot after 8 calls, and then needs some more to learn what it meets there."""
FILE = b"""\
[uwsgi]
master = true
processes = 1
chdir = %d
virtualenv = /nowhere
module = app:application
http-socket = @nobody
"""
REQUEST = b"GET /path?query=1 HTTP/1.1\r\nHost: rehearsal\r\nUser-Agent: rehearsal\r\nAccept: */*\r\n\r\n"


def rehearse(times: int = TIMES) -> None:
    """Go through the life of a vassal, `times` times.

    Raises:
        Exception: whatever a part of it raises. Nothing is left behind then, either.
    """
    for _ in range(times):
        settings = _read()
        with contextlib.ExitStack() as stack:
            _speak(stack)
            _be_master(settings, stack)
            _be_worker(settings, stack)


def _read() -> Settings:
    """From a file to settings, and whose it is."""
    memory = os.memfd_create("rehearsal")
    try:
        os.write(memory, FILE)
        os.lseek(memory, 0, os.SEEK_SET)
        inject = Inject.from_json(Inject().to_json())
        settings = load_vassal("/rehearsal.ini", fd=memory, name="rehearsal", environ={}, inject=inject).settings
    finally:
        os.close(memory)
    weak = identity.weakness("/")
    identity.decide(
        identity.Situation(
            root=True, tyrant=False, owner=(0, 0), weak=weak, loose=None, vassals_uid="0", vassals_gid="0"
        )
    )
    return settings


def _speak(stack: contextlib.ExitStack) -> None:
    """Every record that a start sends over the link, both ways."""
    ours, theirs = (stack.enter_context(sock) for sock in link.pair())
    emperor, vassal = link.End(ours, link.AT_EMPEROR), link.End(theirs, link.AT_VASSAL)
    contract = link.Contract(
        "serve",
        "rehearsal",
        1,
        "/rehearsal.ini",
        (1, 2, 3, 4, 5),
        environment=dict(os.environ),
        inject=Inject().to_json(),
    )
    for order in (contract, link.Activate(0, ()), link.Report()):
        emperor.post(order)
        vassal.read()
    for said in (link.Hello(link.PROTOCOL), link.facts(0, 60, "", ("/rehearsal.ini",)), link.Ready(1, 1, 60)):
        vassal.post(said)


def _be_master(settings: Settings, stack: contextlib.ExitStack) -> None:
    """A master without workers, for one turn of its loop."""
    ours, theirs = link.pair()
    stack.enter_context(ours)
    addresses = ports.Ports(settings, "/", [])
    end = link.End(theirs, link.AT_VASSAL)
    it = master.Master(
        generation.Generation(
            name="rehearsal",
            number=1,
            settings=settings,
            ports=addresses,
            link=end,
            loyalty=float(settings.loyalty),
            directory="/",
            source="/rehearsal.ini",
            outlet=outlet.Outlet(settings, "/", "rehearsal"),
        )
    )
    stack.callback(it.leave)
    it._line.open()
    now = time.monotonic()
    it._pool.decide(now)
    link.End(ours, link.AT_EMPEROR).post(link.Report())
    for key, _ in it._selector.select(0.0):
        key.data()
    it._line.flush()
    it._look()
    it._timeout()


def _answer(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def _no_thread(_target: Callable[[], None], _name: str) -> None:
    raise RuntimeError("a rehearsal is played by one thread")


def _be_worker(settings: Settings, stack: contextlib.ExitStack) -> None:
    """A worker that serves two requests on one connection; its main thread alone, which never waits."""
    ours, theirs = (stack.enter_context(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    listener, client = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
    listener.bind("")  # the kernel chooses an abstract name that nobody has (unix(7))
    listener.listen()
    board = scoreboard.Scoreboard(1, settings.threads)
    plan = worker.WorkerPlan(
        1, "rehearsal", 1, settings, [net.Listener(listener, "http", "@nobody")], theirs, board, None
    )
    check_httptools()
    it = worker._Worker(plan)
    for descriptor in (it._wake_read, it._wake_write):
        stack.callback(os.close, descriptor)
    it._build(loader.Apps(_answer))
    loop = it._loop
    # Where a call takes long (the machine may be busy), the lead would go to another thread. None may be started.
    loop.crew._start = _no_thread  # type: ignore[method-assign, assignment]
    loop.crew._lonely = True
    stack.callback(loop.epoll.close)
    stack.callback(os.close, loop._kick)

    def stop(me: Member) -> None:
        loop._kicked(me)
        loop.crew.stopping = True

    def turn() -> None:
        """Let the leader act on what is there, and come back."""
        loop.crew.stopping = False
        loop.kick()
        loop.lead(loop.crew.main)

    loop._special[loop._kick] = stop
    channel.send(ours, channel.Accept())
    turn()
    client.connect(listener.getsockname())
    client.setblocking(False)  # noqa: FBT003 (the socket's own signature); no answer is an error, not a wait
    for _ in range(2):
        client.sendall(REQUEST)
        turn()
        client.recv(4096)
    loop.next_scan = 0.0
    client.close()
    turn()
    for conn in tuple(loop.conns.values()):
        conn.close()
