"""The floors of the design: imports go downwards only, and an app's process holds nothing but the app's own packages.

All rules are in the tables at the top; the rest reads the syntax trees, so that an import hidden in a function counts.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import ROOT

STDLIB = sys.stdlib_module_names

VASSAL_MAY = {"httptools", "setproctitle", "vassal"}
"""What `vassal` imports beside the standard library: it shares its process with somebody else's app."""

EMPEROR_MAY = {"click", "emperor", "psutil", "setproctitle", "vassal", "watchdog"}
"""What `emperor` imports beside the standard library."""

EMPEROR_FROM_VASSAL = {
    "vassal.__version__",
    "vassal.config",
    "vassal.identity",
    "vassal.link",
    "vassal.bound",
    "vassal.net",
    "vassal.sessions",
    "vassal.streams",
    "vassal.unit",
}
"""The modules of `vassal` (and what lies below them) that `emperor` builds on; plain `vassal` tells where they lie."""

ONLY_IN = {
    "watchdog": {"emperor/watch.py"},
    "psutil": {"emperor/report.py"},
    "click": {"emperor/cli.py", "vassal/cli.py"},
}
"""Packages that have one place each."""

LAZY = {"psutil"}
"""Packages that are imported inside the function that needs them: `emperor run` must not carry them from the start."""

VASSAL_NEVER = {"asyncio", "multiprocessing", "concurrent"}
"""Standard, but too heavy for a process of which there are hundreds (and the loops here are selectors and epoll)."""


def sources(package: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py"))


def imports(source: str, file: str) -> Iterator[tuple[str, int, bool]]:
    """Yield (absolute dotted name, line, whether at the top level) for each import; ``from a import b`` gives a.b."""
    tree = ast.parse(source)
    top = set(ast.iter_child_nodes(tree))
    package = list(Path(file).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, node in top
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{module}.{alias.name}", node.lineno, node in top


def below(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def faults(source: str, file: str) -> list[str]:
    """Every import of one file that breaks a rule."""
    found = []
    inside = file.split("/", 1)[0]
    for name, line, top in imports(source, file):
        first = name.split(".", 1)[0]
        allowed = VASSAL_MAY if inside == "vassal" else EMPEROR_MAY
        places = ONLY_IN.get(first)
        if places is not None and file in places:
            if first in LAZY and top:
                found.append(f"{file}:{line}: {first} must be imported where it is used")
            continue
        if (
            (places is not None)
            or (first not in STDLIB and first not in allowed)
            or (inside == "vassal" and first in VASSAL_NEVER)
            or (inside == "emperor" and first == "vassal" != name and not below(name, EMPEROR_FROM_VASSAL))
        ):
            found.append(f"{file}:{line}: {inside} must not import {name} here")
    return found


@pytest.mark.parametrize("file", sources("emperor") + sources("vassal"))
def test_imports_go_downwards_only(file):
    assert faults((ROOT / file).read_text(), file) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("vassal/worker.py", "import requests"),
        ("vassal/worker.py", "import asyncio"),
        ("vassal/worker.py", "def f():\n    from concurrent import futures"),
        ("vassal/config/ini.py", "from emperor import settings"),
        ("vassal/net.py", "import click"),
        ("vassal/worker.py", "from . import worker\nimport psutil"),
        ("emperor/daemon.py", "from vassal.worker import run"),
        ("emperor/daemon.py", "from vassal import worker"),
        ("emperor/daemon.py", "import vassal.master"),
        ("emperor/daemon.py", "import httptools"),
        ("emperor/daemon.py", "if True:\n    import psutil"),
        ("emperor/report.py", "import psutil"),
        ("emperor/monitor.py", "from watchdog.observers import Observer"),
        ("emperor/control.py", "import click"),
    ],
)
def test_the_rules_notice(file, source):
    assert len(faults(source, file)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("vassal/worker.py", "import selectors\nfrom httptools import HttpRequestParser\nfrom . import net"),
        ("vassal/config/__init__.py", "from .errors import ConfigError\nfrom vassal.config.table import TABLE"),
        ("emperor/daemon.py", "import asyncio\nfrom vassal.config import Settings\nfrom vassal import link, net"),
        ("emperor/daemon.py", "import vassal\nfrom vassal import sessions"),
        ("emperor/report.py", "def rss():\n    import psutil"),
        ("emperor/watch.py", "from watchdog.observers import Observer"),
        ("vassal/cli.py", "import click"),
    ],
)
def test_the_rules_allow(file, source):
    assert faults(source, file) == []
