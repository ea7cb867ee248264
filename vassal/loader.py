"""Finds and imports the apps that a vassal's file names.

The one danger: the app's own code runs here, and it may do anything: raise, exit, fork, never return. Whatever it
raises becomes a `LoadError` whose reason a person can act on; a copy of this process that it forked, and that comes
back here, ends here; a load that never returns is cut off by whoever started us.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from types import ModuleType

    from vassal.config.settings import Settings

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
DEFAULT_CALLABLE = "application"
"""What uWSGI looks for where no ``callable`` is named (PEP 3333 itself names nothing)."""


class LoadError(Exception):
    """An app cannot be loaded. `reason` is one line for people, `detail` the traceback or ``""``.

    `stage` is one of `vassal.link.STAGES`.
    """

    def __init__(self, reason: str, detail: str = "", stage: str = "load") -> None:
        super().__init__(reason)
        self.stage = stage
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Apps:
    """The apps of a vassal: `mounts` are (path without a trailing slash, app), longest path first.

    `default` answers what no mount does. As in uWSGI, the first mounted app is the default where there is no other.
    """

    default: WSGIApp | None = None
    mounts: tuple[tuple[str, WSGIApp], ...] = ()
    took: float = 0.0
    """Seconds that loading them took."""


def load_apps(settings: Settings) -> Apps:
    """Import everything that `settings` names and return its apps.

    The interpreter must be set up already: ``chdir``, ``sys.path``, ``virtualenv``, environment, identity.

    Raises:
        LoadError: an import fails, or what it brings holds no app.
    """
    began = time.monotonic()
    default: WSGIApp | None = None
    where = f"virtualenv = {settings.virtualenv}" if settings.virtualenv else f"the Python is {sys.prefix}"
    if settings.pyargv is not None:
        sys.argv = ["uwsgi", *settings.pyargv.split()]  # as there (its Python page), for apps that look
    if settings.wsgi_file is not None:
        path, callable_ = _split_file(settings.wsgi_file)
        default = _app_of(_import_file(path, where), settings.callable or callable_, f"wsgi-file = {path}")
    elif settings.module is not None:
        name, _, callable_ = settings.module.partition(":")
        module = _import_module(name.strip(), where)
        default = _app_of(module, callable_.strip() or settings.callable, f"module = {settings.module}")
    mounts: list[tuple[str, WSGIApp]] = []
    for path, target in settings.mount:
        app = _load_target(target, settings.callable, where, f"mount = {path}={target}")
        mounts.append((path.rstrip("/"), app))
    if default is None and mounts:
        default = mounts[0][1]
    if default is None and settings.need_app:
        raise LoadError("need-app is set, but no app is named: set module or wsgi-file")
    rooted = [app for path, app in mounts if not path]
    if rooted:  # mount = /=app is another way to name the default
        default = rooted[-1]
    if settings.chdir2:
        try:
            os.chdir(settings.chdir2)
        except OSError as error:
            raise LoadError(f"chdir2 = {settings.chdir2}: {error.strerror}") from None
    real = sorted((entry for entry in mounts if entry[0]), key=lambda entry: len(entry[0]), reverse=True)
    return Apps(default, tuple(real), time.monotonic() - began)


def load_imports(settings: Settings) -> None:
    """Import the modules that every worker is to have beside the app (``import``).

    Raises:
        LoadError: one cannot be imported.
    """
    for name in settings.import_:
        _import_module(name.strip(), f"the Python is {sys.prefix}")


def _load_target(target: str, callable_: str | None, where: str, option: str) -> WSGIApp:
    path, named = _split_file(target)
    # "shop.wsgi" is the usual name of Django's module, and of a file where there is one.
    if "/" in path or path.endswith(".py") or os.path.isfile(path):
        return _app_of(_import_file(path, where), named or callable_, option)
    name, _, named_here = target.partition(":")
    return _app_of(_import_module(name.strip(), where), named_here.strip() or callable_, option)


def _split_file(text: str) -> tuple[str, str | None]:
    """Split ``path.py:callable``; a path that exists as it stands is never split."""
    path, colon, callable_ = text.rpartition(":")
    if colon and not os.path.exists(text) and callable_.rstrip("()").isidentifier():
        return path.strip(), callable_
    return text.strip(), None


@contextlib.contextmanager
def _apps_own(what: str, where: str) -> Iterator[None]:
    """Run the app's code for `what`: anything that it raises becomes a `LoadError`."""
    me = os.getpid()
    try:
        yield
    except BaseException as error:  # KeyboardInterrupt and asyncio.CancelledError, too
        if os.getpid() != me:
            end_copy(error)
        if isinstance(error, LoadError):
            raise
        raise _broken(what, error, where) from None
    if os.getpid() != me:
        end_copy()


def end_copy(error: BaseException | None = None) -> NoReturn:
    """End this process, which the app has forked: it must not go on as a second master or worker.

    It ends as a program does that has come to its end, or has raised `error`.
    """
    status = 0
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        status = (error.code or 0) & 0xFF
    elif error is not None:
        status = 1
        with contextlib.suppress(Exception):
            traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def _import_module(name: str, where: str) -> ModuleType:
    with _apps_own(name, where):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if name != missing and not name.startswith(missing + "."):
                raise
            reason = (
                f"cannot import {name!r}: no module named {missing!r} on the path "
                f"(chdir is {os.getcwd()}; add its directory with pythonpath or chdir)"
            )
            raise LoadError(reason, _detail(error)) from None


def _import_file(path: str, where: str) -> ModuleType:
    """Import a file under a name made of its whole path: six files all called ``wsgi.py`` must coexist."""
    full = os.path.abspath(path)
    if not os.path.isfile(full):
        raise LoadError(f"cannot load {path}: no such file (looked for {full})")
    name = "vassal_file_" + "".join(c if c.isalnum() else f"_{ord(c):x}_" for c in full)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, full, loader=SourceFileLoader(name, full))
    if spec is None or spec.loader is None:
        raise LoadError(f"cannot load {path}: Python has no loader for it")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before its code runs: pickling and dataclasses look the module up by name
    try:
        with _apps_own(path, where):
            spec.loader.exec_module(module)
    except LoadError:
        del sys.modules[name]
        raise
    return module


def _broken(what: str, error: BaseException, where: str) -> LoadError:
    try:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if isinstance(error, SystemExit):
            text = f"it called sys.exit({error.code!r}) while it was loaded"
    except Exception:  # noqa: BLE001 (its __str__ is the app's code, too)
        text = f"{type(error).__name__} (its text cannot be told)"
    place = ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    if frames and not isinstance(error, SyntaxError):  # whose text names file and line itself
        place = f" ({frames[-1].filename}:{frames[-1].lineno})"
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = f"; is it installed? ({where})"
    return LoadError(f"cannot import {what!r}: {' '.join(text.split())}{place}{hint}", _detail(error))


def _is_ours(filename: str) -> bool:
    return (
        filename == __file__ or filename.startswith("<frozen importlib") or filename.endswith("importlib/__init__.py")
    )


def _detail(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _app_of(module: ModuleType, callable_: str | None, option: str) -> WSGIApp:
    """Return the app `callable_` of `module`; ``factory()`` is called once for it, as uWSGI does."""
    name = callable_ or DEFAULT_CALLABLE
    factory = name.endswith("()")
    found: Any = module
    with _apps_own(option, f"the Python is {sys.prefix}"):  # a module may have a __getattr__
        for part in name.removesuffix("()").split("."):
            found = getattr(found, part, None)
    if found is None:
        others = sorted(key for key, value in vars(module).items() if callable(value) and key in _USUAL)
        hint = f"; it has {others[0]!r}: set callable = {others[0]}" if others else "; name it with callable"
        raise LoadError(f"{option}: {module.__file__ or module.__name__} has no {name!r}{hint}")
    if factory:
        with _apps_own(f"{option} ({name})", f"the Python is {sys.prefix}"):
            found = found()
    if not callable(found):
        raise LoadError(f"{option}: {name!r} is {type(found).__name__!r}, not a WSGI callable")
    app: WSGIApp = found
    return app


_USUAL = frozenset({"app", "application", "api", "wsgi", "wsgi_app", "create_app", "make_app"})
