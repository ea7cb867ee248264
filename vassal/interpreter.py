"""The Python that an app runs in: which one, and what its ``sys.path`` holds.

Where the app's virtual environment has the version that runs already, the forked process turns itself into that
environment's interpreter, as the `site` module would have done at its start. Otherwise it executes the other one.
The one danger: the emperor's own packages must never be found by an app, so the path is built from nothing.
"""

from __future__ import annotations

import glob
import os
import site
import sys
from dataclasses import dataclass

OLDEST = (3, 11)
"""The oldest Python that can run a vassal."""


class InterpreterError(Exception):
    """The interpreter or the app's directories cannot be used. The text is for people."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """`executable` is what ``sys.executable`` shall be; `prefix` the environment's directory, '' for none.

    `execute`: another interpreter than the one that runs now. `system_site`: the environment also sees the packages of
    the Python it was made from.
    """

    executable: str
    prefix: str
    execute: bool
    system_site: bool = False


def choose(virtualenv: str | None, python: str | None, *, fork: bool) -> Interpreter:
    """Return the interpreter for an app with these (absolute) options; `fork` False always executes a fresh one.

    Raises:
        InterpreterError: it is not there, or too old.
    """
    if python is not None:
        if not os.access(python, os.X_OK) or os.path.isdir(python):
            raise InterpreterError(f"python = {python}: there is no such program")
        execute = not fork or os.path.realpath(python) != os.path.realpath(base_executable())
        return Interpreter(python, virtualenv or _prefix_of(python), execute)
    if virtualenv is None:
        return Interpreter(base_executable(), "", execute=not fork)
    if not os.path.isdir(virtualenv):
        raise InterpreterError(
            f"virtualenv = {virtualenv}: there is no such directory; make it with: python3 -m venv {virtualenv}"
        )
    facts = _read_cfg(virtualenv)
    system_site = facts.get("include-system-site-packages", "false").lower() == "true"
    executable = os.path.join(virtualenv, "bin", "python")
    if os.path.isdir(os.path.join(virtualenv, "lib", _version_dir())):
        if not os.path.exists(executable):
            executable = base_executable()
        return Interpreter(executable, virtualenv, execute=not fork, system_site=system_site)
    if not os.access(executable, os.X_OK):
        raise InterpreterError(
            f"virtualenv = {virtualenv}: neither lib/{_version_dir()} nor bin/python is there; make it anew with: "
            f"python3 -m venv {virtualenv}"
        )
    _check_version(virtualenv, facts)
    return Interpreter(executable, virtualenv, execute=True, system_site=system_site)


def _check_version(virtualenv: str, facts: dict[str, str]) -> None:
    text = facts.get("version", facts.get("version_info", ""))
    parts = text.split(".")
    if len(parts) >= 2 and all(part.isascii() and part.isdigit() for part in parts[:2]):
        version = int(parts[0]), int(parts[1])
        if version < OLDEST:
            raise InterpreterError(
                f"virtualenv = {virtualenv} holds Python {text}; an app needs {OLDEST[0]}.{OLDEST[1]} or later"
            )


def _prefix_of(python: str) -> str:
    """The environment that `python` is the interpreter of, '' where it is none's."""
    prefix = os.path.dirname(os.path.dirname(os.path.abspath(python)))
    return prefix if os.path.exists(os.path.join(prefix, "pyvenv.cfg")) else ""


def _version_dir() -> str:
    return f"python{sys.version_info[0]}.{sys.version_info[1]}"


def _read_cfg(prefix: str) -> dict[str, str]:
    """Return the keys of ``pyvenv.cfg`` (PEP 405), lower case; empty where there is none."""
    try:
        with open(os.path.join(prefix, "pyvenv.cfg"), "rb") as file:
            lines = file.read(65536).decode(errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def base_executable() -> str:
    """Return the interpreter that runs now, behind any virtual environment."""
    return getattr(sys, "_base_executable", None) or sys.executable


def enter(chosen: Interpreter) -> None:
    """Turn this process, started by ``-I -S``, into the interpreter of the app's environment."""
    sys.executable = chosen.executable
    sys.argv = ["uwsgi"]  # as there: an app that parses its arguments must not meet those of this process
    if chosen.prefix:
        sys.prefix = sys.exec_prefix = chosen.prefix
    prefixes = [chosen.prefix] if chosen.prefix else [sys.base_prefix]
    if chosen.prefix and (chosen.system_site or _read_cfg(chosen.prefix).get("include-system-site-packages") == "true"):
        prefixes.append(sys.base_prefix)
    site.PREFIXES[:] = prefixes
    site.ENABLE_USER_SITE = False
    site.addsitepackages(site.removeduppaths(), prefixes)
    site.setquit()
    site.setcopyright()
    site.sethelper()
    site.execsitecustomize()
    # What an interpreter would have read from its environment at its start, and what -I made this one ignore.
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        sys.dont_write_bytecode = True


def add_paths(entries: tuple[str, ...], directory: str) -> None:
    """Put the app's directory and its ``pythonpath`` entries in front of ``sys.path``.

    As under uWSGI every entry may be a glob, and a later one comes before an earlier one. Relative entries are taken
    from `directory`.
    """
    sys.path.insert(0, directory)
    for entry in entries:
        path = os.path.join(directory, entry)
        for found in sorted(glob.glob(path)) or [path]:
            sys.path.insert(0, os.path.normpath(found))
