"""What passes through an ``exec``, when a vassal needs another interpreter or starts itself anew.

The one danger is a descriptor: everything is close-on-exec, so whatever shall survive is named here and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from vassal import titles
from vassal.interpreter import Interpreter, InterpreterError

if TYPE_CHECKING:
    from vassal import link
    from vassal.config import Settings


@dataclass(slots=True)
class Handover:
    """What passes through an ``exec``: written by this code, read by this code, over an anonymous file."""

    contract: link.Contract
    link_fd: int = -1
    offers: list[tuple[str, str, int]] = field(default_factory=list)
    """By hand only: the listeners of the run before, as (address, inode, descriptor)."""
    settings: Settings | None = None
    """None: begin at the beginning (a vassal by hand)."""
    chosen: Interpreter | None = None
    sockets: list[tuple[str, int]] = field(default_factory=list)
    """(inode, descriptor) of each of the settings' sockets."""
    fresh: list[bool] = field(default_factory=list)
    origins: tuple[str, ...] = ()
    """``name=path`` of packages that may be loaded from the emperor's own installation."""
    tag: str = ""
    """``sys.implementation.cache_tag`` that `origins` are built for."""
    log: str = ""
    """The file (``logto``) that standard output and error are."""
    first: bool = False
    """No generation has run before this one."""
    twin: int = -1
    """A descriptor for it that does not block, if there is one."""
    files: tuple[tuple[str, ...], int] = ((), 0)
    """What was read, with its checksum: `vassal.unedited.Files`."""
    given: tuple[tuple[str, str], ...] = ()
    """The file's lines, for ``uwsgi.opt``."""


def origins() -> tuple[str, ...]:
    """``name=path`` of what this process has from outside of the standard library, for `vassal.boot.load`."""
    import importlib.util  # noqa: PLC0415 (not needed by a forked child that executes nothing)

    found = []
    for name, package in (("httptools", "httptools"), (titles.MODULE, "setproctitle._setproctitle")):
        path = getattr(sys.modules.get(name), "__file__", None)
        if path is None:
            with contextlib.suppress(ModuleNotFoundError):
                spec = importlib.util.find_spec(package)
                path = spec.origin if spec is not None else None
        if path is not None:
            found.append(f"{name}={path}")
    return tuple(found)


def execute(python: str, handover: Handover) -> NoReturn:
    """Replace this process by `python` running `vassal.entry.resume` on `handover`.

    Raises:
        InterpreterError: it cannot be executed.
    """
    inherited = [fd for _, _, fd in handover.offers] + [fd for _, fd in handover.sockets]
    if handover.link_fd >= 0:
        inherited.append(handover.link_fd)
    if handover.twin >= 0:
        inherited.append(handover.twin)
    memory = os.memfd_create("vassal", 0)
    os.write(memory, pickle.dumps(handover))
    os.lseek(memory, 0, os.SEEK_SET)
    for descriptor in inherited:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 (the function's own signature)
    boot = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py")
    # An interpreter learns its level at its start only.
    level = ["-" + "O" * handover.settings.optimize] if handover.settings and handover.settings.optimize else []
    try:
        os.execve(python, [python, "-I", "-S", *level, boot, "resume", str(memory)], os.environ)
    except OSError as error:
        raise InterpreterError(f"cannot execute {python}: {error.strerror}") from None
