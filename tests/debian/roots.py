"""Debian systems in directories: debootstrapped once for each release, each test on a layer (overlayfs) of its own.

The danger here is what stays: a mount, or a container that still uses one. Everything is undone by `Roots.close`, the
last first, and what cannot be undone fails the run.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tests.harness import ROOT

RELEASES = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian's code name and the version of its Python."""

TOOLS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "dpkg-buildpackage": "dpkg-dev",
    "dh_python3": "dh-python",
    "lintian": "lintian",
    "cython3": "cython3",
}
"""Program -> the package that has it."""

NAME = "emperor-fleet"
CLEAN = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
}
TIDY = "rm -rf /var/lib/apt/lists/* /var/cache/apt/*"
DPKG = """force-unsafe-io
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/emperor-fleet/*
"""
"""No waiting for a disk that is thrown away, and no files that nobody looks at."""
SIZE = 4 << 30
"""Bytes that all systems together may take; they take less than half of it."""
PATIENCE = 300
"""Seconds for one command at most: a download may be slow."""


def missing() -> str | None:
    """Why this machine cannot run these tests, None if it can."""
    if os.geteuid() != 0:
        return "needs root: it mounts, and boots systems"
    lacking = [package for tool, package in TOOLS.items() if shutil.which(tool, path=CLEAN["PATH"]) is None]
    return f"apt install {' '.join(lacking)}" if lacking else None


def execute(command: Sequence[str | Path], **more) -> str:
    """Run a command and return its output; AssertionError with all it said if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
        **more,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-6000:]}"
    return done.stdout


def mirror() -> str:
    """Where this machine takes Debian from: its own apt knows. Before its first update, the first that it names."""
    told = ["--format", "$(ORIGIN)/$(LABEL) $(REPO_URI)", "Created-By: Packages"]
    fetched = execute(["apt-get", "indextargets", *told], env=CLEAN)
    if found := re.search(r"^Debian/Debian (\S+)$", fetched, re.MULTILINE):
        return found[1]
    named = execute(["apt-get", "indextargets", "--no-release-info", *told], env=CLEAN).split()[1::2]
    assert named, "apt has no source here: see sources.list(5)"
    return named[0]


def apt_settings() -> str:
    """What of this machine's apt decides whether its mirror can be reached; and nothing that is not needed."""
    lines = execute(["apt-config", "dump", "Acquire"], env=CLEAN).splitlines()
    kept = [line for line in lines if re.match(r"Acquire::(https?::|Check-)", line)]
    return "\n".join([*kept, 'Acquire::Languages "none";', 'APT::Install-Recommends "false";', ""])


def in_memory() -> bool:
    """Whether there is so much memory to spare that a disk need not be bothered."""
    spare = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return spare is not None and int(spare[1]) << 10 > 2 * SIZE


class Roots:
    """All directories of one test run, and the packages that were built for them."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="emperor-debian-", dir="/var/tmp"))
        self._in_memory = in_memory()
        if self._in_memory:
            execute(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", self.directory])
        self.directory.chmod(0o755)
        self._mounted: list[Path] = []
        self._pool = ThreadPoolExecutor(2)
        self._jobs: dict[str, Future] = {}
        self._lock = threading.Lock()
        self._made = 0

    def close(self) -> None:
        """Unmount and remove everything."""
        self._pool.shutdown(cancel_futures=True)
        for merged in reversed(self._mounted[:]):
            self.drop(merged)
        if self._in_memory:
            execute(["umount", self.directory])
        assert str(self.directory) not in Path("/proc/self/mounts").read_text()
        shutil.rmtree(self.directory)

    def _job(self, name: str, make, *arguments) -> Future:
        with self._lock:
            if name not in self._jobs:
                self._jobs[name] = self._pool.submit(make, *arguments)
            return self._jobs[name]

    def begin(self) -> None:
        """Start what takes long, in an order in which nothing waits for what is begun later."""
        for release in RELEASES:
            self._job(f"base {release}", self._bootstrap, release)
        self._job("here", self._build_here)
        for release in RELEASES:
            self._job(f"built {release}", self._build, release)
        for release in RELEASES:
            self._job(f"installed {release}", self._install, release)
        self._job("again", self._build_again)

    # --- directories ---------------------------------------------------------------------------------------------

    def _bootstrap(self, release: str) -> Path:
        target = self.directory / f"base-{release}"
        address = mirror()
        more = ["--include=ca-certificates"] if address.startswith("https") else []
        execute(["debootstrap", "--variant=minbase", *more, release, target, address], env={**os.environ, **CLEAN})
        (target / "etc/apt/apt.conf.d/90test").write_text(apt_settings())
        (target / "etc/dpkg/dpkg.cfg.d/90test").write_text(DPKG)
        shutil.rmtree(target / "var/cache/apt/archives", ignore_errors=True)
        (target / "var/cache/apt/archives/partial").mkdir(parents=True)
        return target

    def layer(self, name: str, *below: Path) -> Path:
        """Mount a fresh layer on those `below` (the nearest first); return where. Its own files lie in ``NAME.own``."""
        with self._lock:
            self._made += 1
            name = f"{name}-{self._made}"
        own, work, merged = (self.directory / f"{name}.{part}" for part in ("own", "work", "merged"))
        for made in (own, work, merged):
            made.mkdir(mode=0o755)
        lower = ":".join(map(str, below))
        execute(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={own},workdir={work}", merged])
        with self._lock:
            self._mounted.append(merged)
        return merged

    def drop(self, merged: Path) -> None:
        """Unmount a layer; its own files stay where `own` says."""
        execute(["umount", merged])
        with self._lock:
            self._mounted.remove(merged)

    @staticmethod
    def own(merged: Path) -> Path:
        """Where a layer's own files lie."""
        return merged.with_suffix(".own")

    @staticmethod
    def inside(root: Path, *command: str, network: bool = True) -> str:
        """Run a command in a system that is not booted; return its output."""
        net = ["--resolv-conf=copy-host"] if network else ["--private-network", "--resolv-conf=off"]
        return execute(
            [
                *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--as-pid2", "--pipe", *net),
                *(f"--setenv={name}={value}" for name, value in CLEAN.items()),
                *(f"--setenv={name}" for name in ("http_proxy", "https_proxy") if name in os.environ),
                *("--directory", root, *command),
            ]
        )

    # --- the package ---------------------------------------------------------------------------------------------

    def _build_here(self) -> Path:
        """Build from this tree, in this machine's own release."""
        return self._make(ROOT, "here", {})

    def _build_again(self) -> Path:
        """Build from the sources of the first build, where everything is a little different."""
        first = self.here()
        tree = self.directory / "elsewhere"
        tree.mkdir()
        execute(["tar", "-C", tree, "--strip-components=1", "-xf", next(first.glob(f"{NAME}_*.orig.tar.gz"))])
        fetched = tree / "build" / "httptools"
        fetched.mkdir(parents=True)
        release = re.search(r"^httptools==(\S+)", (tree / "packaging" / "httptools.txt").read_text(), re.MULTILINE)
        assert release is not None
        archive = next(first.glob(f"{NAME}_*.orig-httptools.tar.gz"))
        shutil.copy(archive, fetched / f"httptools-{release[1]}.tar.gz")
        env = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "USER": "somebody", "HOME": "/nonexistent", "PIP": "false"}
        return self._make(tree, "again", env, umask="077")

    def _make(self, tree: Path, name: str, env: dict[str, str], *, umask: str = "022") -> Path:
        out, temporary = self.directory / name, self.directory / f"build-{name}"
        temporary.mkdir()
        pip = f"{sys.executable} -m pip"
        wrap = ["sh", "-c", f'umask {umask}; exec "$@"', "sh", "packaging/make-deb", out]
        execute(wrap, env={**os.environ, **CLEAN, "TMPDIR": str(temporary), "PIP": pip, **env}, cwd=tree)
        return out

    def here(self) -> Path:
        """Return the directory of what was built in this machine's own release, source and binary."""
        return self._job("here", self._build_here).result()

    def again(self) -> Path:
        """Return the directory of the same, built a second time."""
        return self._job("again", self._build_again).result()

    def _build(self, release: str) -> Path:
        source = self.here()
        if f"VERSION_CODENAME={release}\n" in Path("/etc/os-release").read_text():
            return next(source.glob(f"{NAME}_*.deb"))
        root = self.layer(f"build-{release}", self.base(release))
        (root / "build").mkdir()
        for file in [*source.glob("*.dsc"), *source.glob("*.tar.*")]:
            shutil.copy(file, root / "build")
        script = (
            "apt-get -qq update && apt-get -qq install dpkg-dev build-essential && apt-get -qq build-dep ./build/*.dsc"
        )
        self.inside(root, "sh", "-ec", script)
        build = "cd /build && dpkg-source -x *.dsc tree && cd tree && dpkg-buildpackage -b --no-sign"
        self.inside(root, "sh", "-ec", build, network=False)  # as on Debian's own builders
        return next((root / "build").glob(f"{NAME}_*.deb"))

    def package(self, release: str) -> Path:
        """Return the binary package for a release."""
        return self._job(f"built {release}", self._build, release).result()

    def base(self, release: str) -> Path:
        """Return a release's smallest system; not to be written to."""
        return self._job(f"base {release}", self._bootstrap, release).result()

    def _install(self, release: str) -> Path:
        root = self.layer(f"installed-{release}", self.base(release))
        shutil.copy(self.package(release), root / "var/tmp")
        init = "systemd-sysv logrotate" if release == "bookworm" else ""
        said = self.inside(
            root,
            *("sh", "-ec", f"apt-get -qq update; apt-get -qq install {init} ./var/tmp/{NAME}_*.deb; {TIDY}"),
        )
        assert f"Setting up {NAME}" in said, said
        self.drop(root)  # what is the lower layer of others must not be written to
        return self.own(root)

    def installed(self, release: str) -> tuple[Path, Path]:
        """Return the layers, the nearest first, of a system that the package is installed in; not to be written to."""
        return self._job(f"installed {release}", self._install, release).result(), self.base(release)
