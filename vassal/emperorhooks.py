"""What the emperor's file wants to be run for a vassal, in the vassal's own process or in a child for that alone.

The one danger is whose word it is: commands and variables come in the contract, from the emperor's file and from what
its monitor saw, never from the vassal's file. A program that others can write is not run as root.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from vassal import hooks, identity, logs

if TYPE_CHECKING:
    from vassal import link

PATIENCE = 60.0
"""Seconds for all that is run at one point: the vassal's own start-timeout is not known yet."""
FAILED = 1
"""Exit status of a child whose hooks failed."""
_WITH_ITS_RIGHTS = ("hook-as-emperor-before-vassal", "hook-as-vassal-before-drop")
_PROGRAMS = ("vassals-start-hook", "vassals-stop-hook")


def with_emperors_rights(contract: link.Contract) -> None:
    """Run, in a vassal that has no identity yet, what is to have the emperor's rights.

    Raises:
        HookError: one failed.
    """
    _run(contract, with_its_rights=True)


def as_vassal(contract: link.Contract) -> None:
    """Run, in a vassal, what is to have the rights that its file is read with.

    Raises:
        HookError: one failed.
    """
    _run(contract, with_its_rights=False)


def run(contract: link.Contract) -> int:
    """Be the child that runs hooks for the emperor and nothing else; return the exit status."""
    try:
        _run(contract, with_its_rights=True)
        _run(contract, with_its_rights=False)
    except hooks.HookError as error:
        logs.say(str(error))
        return FAILED
    return 0


def _run(contract: link.Contract, *, with_its_rights: bool) -> None:
    found = []
    for line in contract.hooks:
        option, _, text = line.partition(" ")
        if (option in _WITH_ITS_RIGHTS) is with_its_rights:
            one = hooks.parse(option, text) if option not in _PROGRAMS else hooks.Hook(option, "exec", text)
            _judge(one)
            found.append(one)
    if found:
        hooks.run(found, PATIENCE, {**os.environ, **contract.hook_environment})


def _judge(one: hooks.Hook) -> None:
    """Refuse a program that somebody else than root could exchange, where it is to run as root."""
    if one.option not in _PROGRAMS or os.geteuid() != 0:
        return
    named = shlex.split(one.argument)[0]
    paths = [named] if "/" in named else [os.path.join(directory, named) for directory in os.get_exec_path()]
    path = next((path for path in paths if os.access(path, os.X_OK) and not os.path.isdir(path)), None)
    if path is None:
        raise hooks.HookError(f"{one.option}: there is no program {named}")
    weak = identity.weakness(path)
    if weak is not None:
        raise hooks.HookError(f"{one.option} is not run as root: {weak}")
