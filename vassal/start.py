"""From a contract to a running master: identity, file, sockets, interpreter, in an order that is safe for root.

The one danger is that order. Before the identity is taken only root's own files are read and only root's own
directories are bound in; another interpreter, which may be a tenant's program, is executed only afterwards.
"""

from __future__ import annotations

import os
import select
import sys
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from vassal import (
    emperorhooks,
    handover,
    hooks,
    identity,
    interpreter,
    link,
    logs,
    moving,
    net,
    ondemand,
    ports,
)
from vassal.config import ConfigError, Inject, Settings, load_vassal
from vassal.config.reader import default_reader
from vassal.config.settings import APPS, NO_SOCKET, NO_WORK, works
from vassal.failing import StartError, fail, post
from vassal.logbook import early, outlet
from vassal.unedited import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
                return moving.run_errands(self._end, contract, settings)
            if chosen.execute:
                self._execute(settings, chosen, bound)
            files, given = self._read_files, self._given
            return moving.finish(self._end, contract, settings, chosen, bound, files, given, first=self._first)
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
        uid, gid = (who.uid, who.gid) if who is not None else (os.geteuid(), os.getegid())
        self._post(self._facts(settings, uid, gid))
        if self._contract.purpose == "inspect" and self._serves(settings):
            emperorhooks.as_vassal(self._contract)
        at_start = hooks.AtStart(settings, serves=self._serves(settings))
        at_start.run("asap")
        directory = os.path.join(self._base, settings.chdir or "")
        if address:
            settings = ondemand.with_address(settings, address, directory)
        settings = early.rooted(settings, directory)
        if self._contract.purpose == "jobs":
            settings = replace(settings, sockets=(), stats=None)
        bound = ports.Ports(settings, directory, self._offers_for(uid))
        os.umask(settings.umask if settings.umask is not None else 0o022)
        moving.limit(settings)
        if verdict.own:
            bound.bind(as_root=True, owner=who)
        at_start.run_as_root(verdict.why_not_own)
        if verdict.own and who is not None:
            bound.bind_and_give(who)
            early.provide(settings, self._base, who)
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
        if not works(lambda name: getattr(loaded.settings, name)):
            raise ConfigError(contract.source, None, None, NO_WORK)
        self._files = loaded.files
        self._given = tuple((entry.option, entry.value) for entry in loaded.entries)
        if loaded.settings.lazy_apps or loaded.settings.cheap or loaded.settings.reload_strategy == "chain":
            self._read_files = Files.of(loaded.files, self._reader(verdict))
        # A touched include file reloads the vassals that read it: each watches its own, with its own rights.
        return replace(loaded.settings, touch_reload=(*loaded.settings.touch_reload, *loaded.files[1:]))

    @staticmethod
    def _reader(verdict: identity.Verdict) -> Callable[[str], bytes]:
        return identity.read_as_root if verdict.own else default_reader

    def _facts(self, settings: Settings, uid: int, gid: int) -> link.Facts:
        log = outlet.readable(settings, self._base)
        return link.facts(uid, settings.start_timeout, settings.reload_strategy or "", self._files, gid, log)

    def _offers_for(self, uid: int) -> list[ports.Offer]:
        """Another user's listeners are not adopted: the former tenant may hold copies of them."""
        if self._end is None or self._contract.offers_uid in (uid, -1):
            return self._offers
        for offer in self._offers:
            offer.sock.close()
        return [ports.Offer(offer.key, "gone", offer.sock) for offer in self._offers]

    def _open_logs(self, settings: Settings) -> None:
        outlet.use_direct(settings, self._base, first=self._first)
        if self._contract.purpose != "jobs" and not settings.sockets and any(getattr(settings, name) for name in APPS):
            logs.say(NO_SOCKET)

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
