"""One running Debian: booted by its systemd, or with nothing but a process that sleeps, as a chroot with a SysV script.

The danger here is to end somebody else's processes: a machine has a pid namespace of its own, and ends with its first
process. It has a network of its own, too (loopback only), so that ports never collide.
"""

import re
import signal
import subprocess
from pathlib import Path
from typing import Self

from tests.debian.roots import CLEAN
from tests.harness import wait_until

GET = """\
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
try:
    connection.request("GET", sys.argv[2])
except ConnectionRefusedError:
    raise SystemExit("refused")
answer = connection.getresponse()
sys.stdout.write(f"{answer.status} {answer.read().decode()}")
"""


class Machine:
    """A system that runs; `root` is its directory. A context manager: it is off afterwards."""

    def __init__(self, root: Path, *, boot: bool) -> None:
        self.root = root
        self._boot = boot
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._console = root.with_suffix(".console")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Switch it on, and wait until it is up."""
        what = ["--boot"] if self._boot else ["--as-pid2", "sleep", "infinity"]
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe"]
        with self._console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                [*command, "--directory", self.root, *what], stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        wait_until(self._up, 60, lambda: f"the machine to be up: {self._console.read_text(errors='replace')[-2000:]}")

    def _up(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._console.read_text(errors="replace")[-2000:]
        if not self._first():
            return False
        if not self._boot:
            return self.try_("true").returncode == 0
        return self.try_("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}

    def _first(self) -> int:
        """The pid, as seen from outside, of the machine's first process; 0 while there is none."""
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def stop(self) -> None:
        """Switch it off, properly where it was booted; nothing in it runs afterwards."""
        if self._nspawn is None:
            return
        try:
            if self._boot:
                self._nspawn.send_signal(signal.SIGTERM)
                self._nspawn.wait(100)
        finally:
            first = self._first() if self._nspawn.poll() is None else 0
            if first:
                subprocess.run(["kill", "-KILL", str(first)], check=False)
            self._nspawn.wait(30)
            self._nspawn = None

    # --- commands ------------------------------------------------------------------------------------------------

    def try_(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it; standard error is part of the output."""
        enter = [
            "nsenter",
            f"--target={self._first()}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            "--wd=/",
        ]
        clean = [f"{name}={value}" for name, value in {**CLEAN, **env}.items()]
        return subprocess.run(
            [*enter, "env", "-C", "/", "-i", *clean, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=150,
            check=False,
        )

    def run(self, *command: str, **env: str) -> str:
        """Run a command in it that must succeed; return its output."""
        done = self.try_(*command, **env)
        assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def fails(self, *command: str) -> str:
        """Run a command in it that must not succeed; return its output."""
        done = self.try_(*command)
        assert done.returncode != 0, f"{' '.join(command)}: exit 0\n{done.stdout}"
        return done.stdout

    def get(self, port: int, path: str = "/") -> str:
        """Return ``STATUS BODY`` of what answers there, "refused" where nobody listens."""
        return self.try_("python3", "-I", "-c", GET, str(port), path).stdout.strip()

    def journal(self) -> str:
        """What the service said, without times."""
        return self.run("journalctl", "--unit=emperor", "--output=cat", "--no-pager")

    def processes(self) -> list[str]:
        """The titles of everything of the emperor's that runs."""
        titles = []
        for file in Path(f"/proc/{self._first()}/root/proc").glob("[0-9]*/cmdline"):
            try:
                titles.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip())
            except (FileNotFoundError, ProcessLookupError):
                continue
        return [
            title for title in titles if re.match(r"emperor|vassal|\S*python3 \S+ /usr/bin/(emperor|vassal)", title)
        ]

    # --- files ---------------------------------------------------------------------------------------------------

    def write(self, path: str, text: str) -> Path:
        """Write a file in it, in one step."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.new")
        fresh.write_text(text)
        fresh.rename(file)
        return file

    def evidence(self) -> str:
        """What a person would look at after a failure."""
        if self._nspawn is None or self._nspawn.poll() is not None:
            return self._console.read_text(errors="replace")[-3000:]
        log = self.try_("sh", "-c", "tail -n 50 /var/log/emperor.log /var/log/emperor/*.log").stdout
        journal = self.try_("journalctl", "-n", "80", "--no-pager").stdout if self._boot else ""
        return f"{self.try_('emperor', 'status').stdout}\n{log}\n{journal}"
