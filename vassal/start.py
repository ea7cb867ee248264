"""From a contract to a running master: identity, file, sockets, interpreter, in an order that is safe for root.

The one danger is that order. Before the identity is taken only root's own files are read and only root's own
directories are bound in; another interpreter, which may be a tenant's program, is executed only afterwards.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import sys
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from vassal import (
    embedded,
    emperorhooks,
    handover,
    hooks,
    identity,
    interpreter,
    link,
    logs,
    net,
    ondemand,
    ports,
    streams,
)
from vassal.config import ConfigError, Inject, Settings, load_vassal
from vassal.config.reader import default_reader
from vassal.generation import Generation
from vassal.logbook import outlet
from vassal.unedited import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONTRACT_PATIENCE = 30.0
"""Seconds to wait for the contract; the emperor sends it right after the spawn."""
FAILED = 22
"""Exit status of a generation that could not start; `Failed` has said why."""


class StartError(Exception):
    """The generation cannot start: `stage` is one of `vassal.link.STAGES`."""

    def __init__(self, stage: str, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.stage = stage
        self.detail = detail


class Start:
    """One start. `end` is None for a vassal by hand."""

    def __init__(self, end: link.End | None, contract: link.Contract, offers: list[ports.Offer]) -> None:
        self._end = end
        self._contract = contract
        self._offers = offers
        self._base = os.path.dirname(contract.source) or "/"
        self._on_demand = False
        self._first = is_first(contract, offers)
        self._read_files = Files((), 0)
        self._given: tuple[tuple[str, str], ...] = ()

    def run(self) -> int:
        """Start and serve; return the exit status."""
        contract = self._contract
        logs.introduce(f"{contract.name}/{contract.generation}" if self._end else contract.name)
        logs.prepare()
        self._post(link.Hello(link.PROTOCOL))
        try:
            settings, chosen, bound = self._prepare()
            if self._parks(settings) and self._end is not None:
                return self._park(self._end, settings, bound)
            if contract.purpose == "jobs" and self._end is not None:
                return run_errands(self._end, contract, settings)
            if chosen.execute:
                self._execute(settings, chosen, bound)
            files, given = self._read_files, self._given
            return finish(self._end, contract, settings, chosen, bound, files, given, first=self._first)
        except StartError as error:
            return fail(self._end, error)
        except interpreter.InterpreterError as error:
            return fail(self._end, StartError("interpreter", str(error)))

    def _parks(self, settings: Settings) -> bool:
        """Whether this start ends here: it is only to look, and the vassal sleeps until somebody calls."""
        return self._contract.purpose == "inspect" and (self._on_demand or (settings.die_on_idle and settings.idle > 0))

    def _serves(self, settings: Settings) -> bool:
        """Whether this start is one of the app: it neither parks nor only runs jobs."""
        return self._contract.purpose == "serve" or (self._contract.purpose == "inspect" and not self._parks(settings))

    @staticmethod
    def _park(end: link.End, settings: Settings, bound: ports.Ports) -> int:
        try:
            return ondemand.park(end, settings, bound)
        except net.AddressError as error:
            raise StartError("bind", str(error)) from None

    def _prepare(self) -> tuple[Settings, interpreter.Interpreter, ports.Ports]:
        try:
            return self._steps()
        except identity.IdentityError as error:
            raise StartError("identity", str(error)) from None
        except ConfigError as error:
            raise StartError("config", str(error)) from None
        except (logs.LogError, ondemand.OnDemandError) as error:
            raise StartError("config", str(error)) from None
        except hooks.HookError as error:
            raise StartError("hook", str(error), error.detail) from None
        except ports.CollisionError as error:
            raise StartError("collision", str(error)) from None
        except net.AddressError as error:
            raise StartError("bind", str(error)) from None
        except interpreter.InterpreterError as error:
            raise StartError("interpreter", str(error)) from None
        except Exception as error:  # noqa: BLE001 (whatever it is: the emperor must be told, not left to guess)
            raise StartError("config", f"{type(error).__name__}: {error}", traceback.format_exc()) from None

    def _steps(self) -> tuple[Settings, interpreter.Interpreter, ports.Ports]:
        verdict = self._judge()
        emperorhooks.with_emperors_rights(self._contract)
        address = ondemand.ask_command(self._contract)
        if verdict.at_once:
            self._become(self._tenant())
        if self._contract.purpose == "serve":
            emperorhooks.as_vassal(self._contract)
        settings = self._read(verdict)
        address = address or ondemand.ask_file(self._contract, self._reader(verdict))
        self._on_demand = bool(address)
        if verdict.own:
            who = self._account(settings)
        else:
            who = None
            if settings.uid or settings.gid:
                logs.say(f"uid and gid have no effect: {verdict.why_not_own}")
        uid = who.uid if who is not None else os.geteuid()
        self._post(self._facts(settings, uid))
        if self._contract.purpose == "inspect" and self._serves(settings):
            emperorhooks.as_vassal(self._contract)
        at_start = hooks.AtStart(settings, serves=self._serves(settings))
        at_start.run("asap")
        directory = os.path.join(self._base, settings.chdir or "")
        if address:
            settings = ondemand.with_address(settings, address, directory)
        if self._contract.purpose == "jobs":
            settings = replace(settings, sockets=(), stats=None)
        bound = ports.Ports(settings, directory, self._offers_for(uid))
        os.umask(settings.umask if settings.umask is not None else 0o022)
        limit(settings)
        if verdict.own:
            bound.bind(as_root=True, owner=who)
        at_start.run_as_root(verdict.why_not_own)
        if verdict.own and who is not None:
            self._become(who)
        self._open_logs(settings)
        bound.bind(as_root=False)
        at_start.run("as-user")
        virtualenv = os.path.join(directory, settings.virtualenv) if settings.virtualenv else None
        fork = self._contract.fork if settings.fork_server is None else settings.fork_server
        return settings, interpreter.choose(virtualenv, settings.python, fork=fork and not settings.optimize), bound

    # --- identity ------------------------------------------------------------------------------------------------

    def _judge(self) -> identity.Verdict:
        contract = self._contract
        root = os.geteuid() == 0
        source = contract.source
        owner = (contract.version[3], contract.version[4]) if contract.version else (0, 0)
        loose = None
        if root and contract.tyrant:
            loose = identity.looseness(source) or identity.estrangement(source, owner)
        return identity.decide(
            identity.Situation(
                root=root,
                tyrant=contract.tyrant,
                owner=owner,
                weak=identity.weakness(source) if root and not contract.tyrant else None,
                loose=loose,
                vassals_uid=contract.vassals_uid,
                vassals_gid=contract.vassals_gid,
            )
        )

    def _tenant(self) -> identity.Account:
        """Whose rights a file that others than root can write gets."""
        contract = self._contract
        if contract.tyrant:
            return identity.owner_account(contract.version[3], contract.version[4])
        who = identity.account(contract.vassals_uid, contract.vassals_gid)
        if who.uid == 0:
            raise identity.IdentityError("vassals-uid is root, but this file can be written by others than root")
        return who

    def _account(self, settings: Settings) -> identity.Account | None:
        """Whose rights a file of root's own asks for; None: it stays root's."""
        contract = self._contract
        supplementary = not settings.no_initgroups
        if settings.uid:
            return identity.account(settings.uid, settings.gid or "", settings.add_gid, supplementary=supplementary)
        if contract.vassals_uid:
            group = settings.gid or contract.vassals_gid
            return identity.account(contract.vassals_uid, group, settings.add_gid, supplementary=supplementary)
        if settings.gid:
            return identity.account("0", settings.gid, settings.add_gid, supplementary=supplementary)
        logs.say("this app runs as root: set uid in its file, or vassals-uid in the emperor's")
        return None

    def _become(self, who: identity.Account) -> None:
        if os.geteuid() == 0 and self._contract.own_log:
            for descriptor in (1, 2):
                os.fchown(descriptor, who.uid, who.gid)  # so that the app can open /dev/stderr again
        identity.take(who)
        for name, value in (("HOME", who.home), ("USER", who.name), ("LOGNAME", who.name)):
            if value:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)  # the emperor's would be wrong

    # --- file, sockets, logs -------------------------------------------------------------------------------------

    def _read(self, verdict: identity.Verdict) -> Settings:
        contract = self._contract
        if contract.generation > 1:
            os.environ["UWSGI_RELOADS"] = str(contract.generation - 1)  # what if-reload asks for
        source = identity.open_source(contract.source, contract.version, tyrant=contract.tyrant)
        try:
            os.chdir(self._base)
            loaded = load_vassal(
                contract.source,
                fd=source,
                name=contract.name,
                environ=os.environ,
                inject=Inject.from_json(contract.inject),
                read=self._reader(verdict),
            )
        except OSError as error:
            raise StartError("identity", f"cannot enter {self._base}: {error.strerror}") from None
        finally:
            os.close(source)
        for note in loaded.notes:
            place = f"{note.file}:{note.line}" if note.line else note.file
            logs.say(f"{place}: {note.level}: {note.message}")
        self._files = loaded.files
        self._given = tuple((entry.option, entry.value) for entry in loaded.entries)
        if loaded.settings.lazy_apps or loaded.settings.cheap or loaded.settings.reload_strategy == "chain":
            self._read_files = Files.of(loaded.files, self._reader(verdict))
        # A touched include file reloads the vassals that read it: each watches its own, with its own rights.
        return replace(loaded.settings, touch_reload=(*loaded.settings.touch_reload, *loaded.files[1:]))

    @staticmethod
    def _reader(verdict: identity.Verdict) -> Callable[[str], bytes]:
        return identity.read_as_root if verdict.own else default_reader

    def _facts(self, settings: Settings, uid: int) -> link.Facts:
        return link.facts(uid, settings.start_timeout, settings.reload_strategy or "", self._files)

    def _offers_for(self, uid: int) -> list[ports.Offer]:
        """Another user's listeners are not adopted: the former tenant may hold copies of them."""
        if self._end is None or self._contract.offers_uid in (uid, -1):
            return self._offers
        for offer in self._offers:
            offer.sock.close()
        return [ports.Offer(offer.key, "gone", offer.sock) for offer in self._offers]

    def _open_logs(self, settings: Settings) -> None:
        outlet.use_direct(settings, self._base, first=self._first)

    # --- another interpreter -------------------------------------------------------------------------------------

    def _execute(self, settings: Settings, chosen: interpreter.Interpreter, bound: ports.Ports) -> NoReturn:
        if self._end is not None:
            while self._end.pending and not self._end.flush():
                select.select([], [self._end.fileno()], [], 1.0)
        handover.execute(
            chosen.executable,
            handover.Handover(
                contract=self._contract,
                link_fd=self._end.fileno() if self._end is not None else -1,
                settings=settings,
                chosen=chosen,
                sockets=[(port.inode, port.sock.fileno()) for port in bound.ports if port.sock is not None],
                fresh=[port.fresh for port in bound.ports],
                origins=handover.origins(),
                tag=sys.implementation.cache_tag or "",
                log=logs.file(),
                twin=logs.twin(),
                first=self._first,
                files=(self._read_files.paths, self._read_files.sum),
                given=self._given,
            ),
        )

    def _post(self, record: link.Record) -> None:
        if self._end is not None:
            post(self._end, record)


def is_first(contract: link.Contract, offers: Sequence[ports.Offer]) -> bool:
    """Whether no generation has run before this one: only then may ``log-truncate`` empty the log."""
    return contract.generation <= 1 and not offers


def limit(settings: Settings) -> None:
    """Take the limits of the file for this process and all below it; what the kernel refuses is told."""
    wanted = (("max-fd", "RLIMIT_NOFILE", settings.max_fd), ("limit-as", "RLIMIT_AS", settings.limit_as << 20))
    for name, which, value in wanted:
        if not value:
            continue
        import resource  # noqa: PLC0415 (most vassals have no limits)

        try:
            resource.setrlimit(getattr(resource, which), (value, value))
        except (OSError, ValueError) as error:
            logs.say(f"{name} has no effect: {error}")


def post(end: link.End, record: link.Record, fds: Sequence[int] = ()) -> None:
    """Send `record`; an emperor that is gone is noticed by the master, which reads the link."""
    try:
        end.post(record, fds)
    except (link.LinkClosed, link.LinkError):
        return


def fail(end: link.End | None, error: StartError) -> int:
    """Tell the log and the emperor that the start failed; return the exit status."""
    detail = error.detail.rstrip() if error.stage != "hook" else ""  # its output stands in the log
    logs.say(f"cannot start ({error.stage}): {error}" + (f"\n{detail}" if detail else ""))
    if end is not None:
        post(end, link.failure(error.stage, str(error), error.detail))
    return FAILED


def serve(sock: socket.socket) -> int:
    """Be the child of the fork server at the end `sock` of its link; return the exit status."""
    end = link.End(sock, link.AT_VASSAL)
    message = None
    while message is None:
        if not select.select([sock], [], [], CONTRACT_PATIENCE)[0]:
            return FAILED
        try:
            message = end.read()
        except (link.LinkClosed, link.LinkError):
            return FAILED
    contract, fds = message
    if not isinstance(contract, link.Contract):
        return FAILED
    unlinks = contract.purpose == "unlink"
    if len(fds) != (0 if unlinks else len(contract.offers)) + contract.log:
        return FAILED
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    if contract.log:
        logs.redirect(fds[-1])
    os.environ.clear()
    os.environ.update(contract.environment)
    time.tzset()
    if unlinks:
        logs.introduce(contract.name)
        return ondemand.unlink(contract)
    if contract.purpose == "hook":
        logs.introduce(contract.name)
        return emperorhooks.run(contract)
    offers = [
        ports.Offer(key, inode, socket.socket(fileno=fd))
        for key, inode, fd in zip(contract.offers, contract.inodes, fds, strict=False)
    ]
    return Start(end, contract, offers).run()


def move_in(settings: Settings, directory: str) -> None:
    """Take the vassal's environment and working directory.

    Raises:
        StartError: it cannot be entered.
    """
    for name in settings.unenv:
        os.environ.pop(name, None)
    os.environ.update(settings.env)
    time.tzset()
    try:
        os.chdir(directory)
    except OSError as error:
        raise StartError("config", f"cannot chdir to {directory}: {error.strerror}") from None


def run_errands(end: link.End, contract: link.Contract, settings: Settings) -> int:
    """Run the cron jobs of a vassal that sleeps; return the exit status.

    Raises:
        StartError: its directory cannot be entered.
    """
    from vassal.errands import Errands  # noqa: PLC0415 (nobody else needs it)

    base = os.path.dirname(contract.source) or "/"
    move_in(settings, os.path.join(base, settings.chdir or ""))
    try:
        places = outlet.Outlet(settings, base, contract.name)
        places.take_over()
    except logs.LogError as error:
        raise StartError("config", str(error)) from None
    return Errands(end, settings, places).run()


def finish(  # noqa: PLR0913, PLR0917 (what an exec hands over)
    end: link.End | None,
    contract: link.Contract,
    settings: Settings,
    chosen: interpreter.Interpreter,
    bound: ports.Ports,
    files: Files,
    given: Sequence[tuple[str, str]] = (),
    *,
    first: bool,
) -> int:
    """Turn this process into the app's interpreter and run its master; return the exit status."""
    base = os.path.dirname(contract.source) or "/"
    directory = os.path.join(base, settings.chdir or "")
    environment = dict(os.environ)
    try:
        move_in(settings, directory)
        places = outlet.Outlet(settings, base, contract.name, first=first)
        places.take_over()
    except StartError as error:
        return fail(end, error)
    except logs.LogError as error:
        return fail(end, StartError("config", str(error)))
    interpreter.enter(chosen)
    streams.settle()
    wanted = [value for name, value in settings.env if name == "PYTHONPATH"]  # -I has made the interpreter ignore it
    entries = [entry for value in wanted for entry in reversed(value.split(":")) if entry]
    interpreter.add_paths((*entries, *settings.pythonpath), directory)
    embedded.install(settings, given)
    try:
        from vassal.master import Master  # noqa: PLC0415 (needs httptools, which only now can be found)
    except ImportError as error:
        hint = (
            f"{chosen.executable} cannot run a vassal: {error}; install it there: {chosen.executable} -m pip install "
        )
        return fail(end, StartError("interpreter", hint + "'httptools>=0.6.4'"))
    generation = Generation(
        name=contract.name,
        number=contract.generation,
        settings=settings,
        ports=bound,
        link=end,
        loyalty=float(settings.loyalty),
        directory=base,
        source=contract.source,
        outlet=places,
        unedited=files.unedited,
        restart=None if end is not None else lambda: alone(contract, bound, environment),
    )
    return Master(generation).run()


def alone(contract: link.Contract, bound: ports.Ports | None = None, environ: dict[str, str] | None = None) -> NoReturn:
    """Execute a vassal that runs by hand, keeping the listeners `bound` of the run before.

    `environ` is the environment from before that run's ``env`` and ``unenv``: the file may name others now.
    """
    if environ is not None:
        os.environ.clear()
        os.environ.update(environ)
    offers = []
    if bound is not None:
        offers = [(port.address.key, port.inode, port.sock.fileno()) for port in bound.ports if port.sock is not None]
    handover.execute(
        interpreter.base_executable(),
        handover.Handover(contract, offers=offers, origins=handover.origins(), tag=sys.implementation.cache_tag or ""),
    )


def resume(descriptor: int) -> int:
    """Go on after `execute`, in the new interpreter; return the exit status."""
    from vassal.boot import load  # noqa: PLC0415 (only here)

    with os.fdopen(descriptor, "rb") as file:
        given: handover.Handover = pickle.load(file)  # noqa: S301 (our own process wrote it a moment ago)
    if given.tag == sys.implementation.cache_tag:
        for origin in given.origins:
            name, _, path = origin.partition("=")
            load(name, path)
    end = None
    if given.link_fd >= 0:
        end = link.End(socket.socket(fileno=given.link_fd), link.AT_VASSAL)
        os.set_inheritable(given.link_fd, False)  # noqa: FBT003 (the function's own signature)
    contract = given.contract
    if given.settings is None or given.chosen is None:
        offers = [ports.Offer(key, inode, _socket(fd)) for key, inode, fd in given.offers]
        return Start(end, contract, offers).run()
    logs.introduce(f"{contract.name}/{contract.generation}" if end else contract.name)
    logs.remember(given.log, given.twin)
    logs.style(given.settings.log_date, given.settings.log_prefix)
    directory = os.path.join(os.path.dirname(contract.source) or "/", given.settings.chdir or "")
    bound = ports.Ports(given.settings, directory, [])
    for port, (inode, fd), fresh in zip(bound.ports, given.sockets, given.fresh, strict=True):
        port.inode, port.sock, port.fresh = inode, _socket(fd), fresh
    files = Files(*given.files)
    return finish(end, contract, given.settings, given.chosen, bound, files, given.given, first=given.first)


def _socket(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)  # noqa: FBT003 (the function's own signature)
    return socket.socket(fileno=descriptor)
