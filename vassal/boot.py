"""First code of a fork server or of a freshly executed vassal: find `vassal` by its path and go.

Run as a script by ``python -I -S boot.py PURPOSE ...``. With ``-I -S`` neither the current directory, nor
PYTHONPATH, nor any site-packages is searched: what this process imports before the app comes from exactly the paths
in its arguments. The one danger: an import by name before the app's own ``sys.path`` stands. There is none outside
the standard library.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def load(name: str, origin: str) -> ModuleType:
    """Import the module or package `name` from its file `origin` without putting its directory on ``sys.path``.

    Raises:
        ImportError: there is no such file or it does not load.
    """
    folder = [os.path.dirname(origin)] if os.path.basename(origin) == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, origin, submodule_search_locations=folder)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {name} from {origin}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def main() -> None:
    """Dispatch on the first argument: ``forkserver`` or ``resume``; each module says what follows it."""
    purpose, *arguments = sys.argv[1:]
    load("vassal", os.path.join(os.path.dirname(os.path.abspath(__file__)), "__init__.py"))
    if purpose == "forkserver":
        descriptor, nofile, *origins = arguments
        for origin in origins:
            name, _, path = origin.partition("=")
            load(name, path)
        from vassal import forkserver  # noqa: PLC0415 (only now can it be found)

        forkserver.main(int(descriptor), int(nofile))
    else:
        from vassal import entry  # noqa: PLC0415 (only now can it be found)

        status = entry.resume(int(arguments[0]))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # on a full disk the exit status must not be lost, too
                stream.flush()
        os._exit(status)  # what apps registered for the exit runs in the workers


if __name__ == "__main__":
    main()
