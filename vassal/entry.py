"""Where a vassal's process begins: as a child of the fork server, or in the interpreter that it has executed.

The one danger is a descriptor: what comes in is counted and given its purpose before anything else happens.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import sys
import time

from vassal import emperorhooks, handover, link, logs, moving, ondemand, ports
from vassal.failing import FAILED
from vassal.start import Start
from vassal.unedited import Files

CONTRACT_PATIENCE = 30.0
"""Seconds to wait for the contract; the emperor sends it right after the spawn."""


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
    _live_in(contract.environment)
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


def _live_in(environment: dict[str, str]) -> None:
    """Have this environment and no other. Most of it is there: what is written again is copied, too."""
    for name in [name for name in os.environ if name not in environment]:
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    time.tzset()


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
    return moving.finish(end, contract, given.settings, given.chosen, bound, files, given.given, first=given.first)


def _socket(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)  # noqa: FBT003 (the function's own signature)
    return socket.socket(fileno=descriptor)
