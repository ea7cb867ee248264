"""Systems and machines for the tests of the Debian package. Without root or debootstrap all of them are skipped."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.debian.machine import Machine
from tests.debian.roots import Roots, missing
from tests.harness import unavailable

_machines: list[Machine] = []
"""Those of the test that runs: they are asked for evidence when it fails."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed and call.when == "call":
        for number, machine in enumerate(_machines, 1):
            report.sections.append((f"machine {number}", machine.evidence()))
    return report


@pytest.fixture(scope="session")
def roots() -> Iterator[Roots]:
    reason = missing()
    if reason is not None:
        unavailable(reason)
    made = Roots()
    try:
        made.begin()
        yield made
    finally:
        made.close()


@pytest.fixture
def machine_on(roots: Roots) -> Iterator[Callable[..., Machine]]:
    """A factory: a running machine that the package is installed in, `machine_on("trixie", boot=False)`."""
    with contextlib.ExitStack() as closing:

        def make(release: str = "bookworm", *, boot: bool = True) -> Machine:
            root = roots.layer(release, *roots.installed(release))
            closing.callback(roots.drop, root)
            machine = closing.enter_context(Machine(root, boot=boot))
            _machines.append(machine)
            return machine

        yield make
    _machines.clear()
