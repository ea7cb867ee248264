"""A root emperor with real users: what the tests of identity and of tenants share.

The danger here: a file that is root's for a moment before it is given away would be served as root's own. So `place`
gives a file its owner and mode before it gets its name.
"""

import os
import pwd
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.harness import EmperorProcess, command_line, wait_until


def own(path: Path, user: pwd.struct_passwd | None, mode: int | None = None) -> Path:
    """Give a path to a user (None: root) and their group."""
    os.chown(path, user.pw_uid if user else 0, user.pw_gid if user else 0, follow_symlinks=False)
    if mode is not None:
        path.chmod(mode)
    return path


@dataclass
class Realm:
    """A root emperor in a directory that everybody may enter, and a way to make users."""

    emperor: EmperorProcess
    new_user: Callable[[], pwd.struct_passwd]

    @property
    def path(self) -> Path:
        return self.emperor.directory

    def drop(self, name: str, content: str, owner: pwd.struct_passwd | None = None, mode: int = 0o644) -> Path:
        """Drop a file that has its owner and mode from its first moment on."""
        return self.place(self.emperor.vassals, name, content, owner, mode)

    @staticmethod
    def place(
        directory: Path, name: str, content: str, owner: pwd.struct_passwd | None = None, mode: int = 0o644
    ) -> Path:
        hidden = directory / f".{name}"
        hidden.write_text(content)
        own(hidden, owner, mode)
        return hidden.rename(directory / f"{name}.ini")

    def directory_of(self, user: pwd.struct_passwd, name: str = "", mode: int = 0o755) -> Path:
        path = self.path / (name or f"home-{user.pw_name}")
        path.mkdir()
        return own(path, user, mode)

    def wait_refused(self, name: str, expected: str) -> str:
        """Wait until the vassal is broken; return the reason, which matches."""
        found = self.emperor.wait_state(name, "broken")
        reason = str(found["last_failure"]["reason"])
        assert re.search(expected, reason), f"{reason!r} does not match {expected!r}"
        return reason


def processes_of(realm: Realm, name: str) -> list[psutil.Process]:
    """The master and the workers of a vassal."""
    found = realm.emperor.status(name)
    master = psutil.Process(found["pid"])
    return [master, *master.children(recursive=True)]


def listening_inode(port: int) -> str:
    """The kernel's number of the one listening socket on 127.0.0.1:port (proc_net(5))."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    found = [row[9] for row in rows if row[1] == f"0100007F:{port:04X}" and row[3] == "0A"]
    assert len(found) == 1
    return found[0]


def fork_server(realm: Realm) -> psutil.Process:
    children = psutil.Process(realm.emperor.pid).children
    found = wait_until(lambda: [p for p in children() if "fork server" in command_line(p)], 10, "its title")
    return found[0]


def facts(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
