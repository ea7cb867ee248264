"""The last part of a start, as the vassal's user: limits, environment, directory, interpreter, and then the master.

The one danger is what the app would find of whoever started it: its environment and path are its own from here on.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from vassal import embedded, handover, interpreter, logs, streams, unit
from vassal.failing import StartError, fail
from vassal.generation import Generation
from vassal.logbook import outlet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vassal import link, ports
    from vassal.config import Settings
    from vassal.unedited import Files


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
    unit.take(os.environ)
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
        unedited=lambda: files.unedited() and bound.in_place(),
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
