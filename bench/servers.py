"""The servers that are compared, as their users would start them: one process for requests, no log of them.

The one thing that can go wrong here is a setting that favours one: each has its own defaults but for the number of
processes and threads, the address, and logs, which are off.
"""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / "bench" / ".env-serve"
APPS = ROOT / "bench" / "serve_apps"
BIN = ENVIRONMENT / "bin"
PACKAGES = ("uWSGI==2.0.31", "gunicorn", "granian", "bjoern", "waitress", "Flask", "Django")
NGINX_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
START = 30.0
"""Seconds that a server may take until it answers right."""
STOP = 5.0
"""Seconds that it may take to stop before it is killed."""

VASSAL = """\
[uwsgi]
master = true
processes = 1
threads = {threads}
chdir = {apps}
virtualenv = {environment}
module = {module}:application
{listen}
{log}
static-map = /static={files}
"""
FILES = {"1k": 1000, "100k": 100_000, "10m": 10_000_000}
"""Static files by name, with their sizes in bytes."""
STATIC = """\
daemon off;
{user}worker_processes 1;
error_log {directory}/error.log warn;
pid {directory}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /static/ {{ alias {files}/; }}
    }}
}}
"""
NGINX = """\
daemon off;
{user}worker_processes 1;
error_log {directory}/error.log warn;
pid {directory}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            include /etc/nginx/uwsgi_params;
            uwsgi_pass unix:{socket};
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Job:
    """What a server is to serve: `module` of `APPS`, on a TCP port (HTTP) or a UNIX socket (the uwsgi protocol).

    `closes`: a connection for each request.
    """

    module: str
    threads: int
    port: int
    directory: Path
    uwsgi: bool = False
    closes: bool = False
    logs: bool = False
    """Each request is a line in a file."""

    @property
    def log(self) -> Path:
        return self.directory / "requests.log"

    @property
    def socket(self) -> Path:
        return self.directory / "app.sock"

    @property
    def files(self) -> Path:
        """The directory that answers for ``/static``."""
        return self.directory / "files"


def content(name: str) -> bytes:
    """The bytes of one of `FILES`."""
    size = FILES[name]
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def write_files(job: Job) -> None:
    """Write `FILES`, as old as files are that were deployed some time ago."""
    job.files.mkdir()
    for name in FILES:
        (job.files / name).write_bytes(content(name))
        os.utime(job.files / name, (1_600_000_000, 1_600_000_000))


def _vassal(job: Job) -> list[str]:
    listen = f"socket = {job.socket}\nchmod-socket = 666" if job.uwsgi else f"http-socket = 127.0.0.1:{job.port}"
    file = job.directory / f"{job.module}.ini"
    values = {"threads": job.threads, "apps": APPS, "environment": ENVIRONMENT, "module": job.module}
    log = f"logto = {job.log}" if job.logs else "disable-logging = true"
    file.write_text(VASSAL.format(**values, listen=listen, files=job.files, log=log))
    return [str(Path(sys.executable).with_name("vassal")), str(file)]


def _quiet(job: Job) -> list[str]:
    return _vassal(dataclasses.replace(job, logs=False))


def _uwsgi(job: Job) -> list[str]:
    threads = [] if job.threads == 1 else ["--threads", str(job.threads)]
    listen = ["--socket", str(job.socket), "--chmod-socket=666"] if job.uwsgi else []
    # Its http11-socket keeps a connection that was to be closed; its http-socket closes each, without saying so.
    log = ["--logto", str(job.log)] if job.logs else ["--disable-logging"]
    closing = ["--add-header", "Connection: close", "--http-socket"]
    listen = listen or [*(closing if job.closes else ["--http11-socket"]), f"127.0.0.1:{job.port}"]
    return [
        f"{BIN}/uwsgi", "--master", "--processes", "1", *threads, *log, "--die-on-term", "--need-app",
        "--chdir", str(APPS), "--virtualenv", str(ENVIRONMENT), "--module", f"{job.module}:application", *listen,
        # Without the latter each file that follows on a connection waits 40 ms for the client's delayed ACK.
        "--static-map", f"/static={job.files}", "--tcp-nodelay",
    ]  # fmt: skip


def _gunicorn(job: Job) -> list[str]:
    kind = ["--worker-class", "sync"] if job.threads == 1 else ["--worker-class", "gthread"]
    listen = ["--bind", f"unix:{job.socket}", "--protocol", "uwsgi"] if job.uwsgi else []
    listen = listen or ["--bind", f"127.0.0.1:{job.port}"]
    return [
        f"{BIN}/gunicorn", "--workers", "1", "--threads", str(job.threads), *kind, "--log-level", "warning",
        "--chdir", str(APPS), *listen, f"{job.module}:application",
    ]  # fmt: skip


def _granian(job: Job) -> list[str]:
    return [
        f"{BIN}/granian", "--interface", "wsgi", "--workers", "1", "--blocking-threads", str(job.threads),
        "--host", "127.0.0.1", "--port", str(job.port), "--log-level", "warning", "--no-access-log",
        "--working-dir", str(APPS), "--static-path-route", "/static", "--static-path-mount", str(job.files),
        f"{job.module}:application",
    ]  # fmt: skip


def _bjoern(job: Job) -> list[str]:
    return [f"{BIN}/python", f"{APPS}/bjoern_run.py", job.module, str(job.port)]


def _waitress(job: Job) -> list[str]:
    return [
        f"{BIN}/waitress-serve", f"--listen=127.0.0.1:{job.port}", f"--threads={job.threads}",
        f"{job.module}:application",
    ]  # fmt: skip


def _nginx_alone(job: Job) -> list[str]:
    user = "user root;\n" if os.geteuid() == 0 else ""
    file = job.directory / "nginx.conf"
    file.write_text(STATIC.format(user=user, directory=job.directory, port=job.port, files=job.files))
    return [_nginx_program(), "-c", str(file), "-p", str(job.directory)]


def _nginx_program() -> str:
    return shutil.which("nginx", path=NGINX_PATH) or "nginx"


@dataclass(frozen=True)
class Server:
    """One server. `package` is its name on PyPI; `threaded`: it can have several threads for the app."""

    name: str
    package: str
    command: Callable[[Job], list[str]]
    threaded: bool = True
    uwsgi: bool = False

    @property
    def version(self) -> str:
        if self.command in (_vassal, _quiet):
            return metadata.version(self.package)
        if self.command is _nginx_alone:
            said = subprocess.run([_nginx_program(), "-v"], capture_output=True, text=True, check=True).stderr
            return said.strip().rpartition("/")[2]
        found = metadata.distributions(
            name=self.package, path=[str(p) for p in ENVIRONMENT.glob("lib/*/site-packages")]
        )
        return next(iter(found)).version


EMPEROR = Server("Emperor", "emperor-fleet", _vassal, uwsgi=True)
GRANIAN = Server("granian", "granian", _granian)
BJOERN = Server("bjoern", "bjoern", _bjoern, threaded=False)
UWSGI = Server("uWSGI", "uwsgi", _uwsgi, uwsgi=True)
GUNICORN = Server("gunicorn", "gunicorn", _gunicorn, uwsgi=True)
WAITRESS = Server("waitress", "waitress", _waitress)
NGINX_ALONE = Server("nginx", "", _nginx_alone)
"""It runs no app and stands in the rows of files only."""
QUIET = Server("Emperor without a log", "emperor-fleet", _quiet)
"""In the row of the request log only: what that costs."""
SERVERS = (EMPEROR, GRANIAN, BJOERN, UWSGI, GUNICORN, WAITRESS)
EVERYBODY = (*SERVERS, NGINX_ALONE)


class Running:
    """A command and all that it starts, with its output in a file; ends with the block."""

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        self.command = command
        self.log = directory / f"{Path(command[0]).name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=APPS, env=_environment()
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        family = self.family() if self._process.poll() is None else []
        self._process.terminate()
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _, left = psutil.wait_procs(family, timeout=5)
        for process in left:
            process.kill()

    def family(self) -> list[psutil.Process]:
        """The process and all below it."""
        top = psutil.Process(self._process.pid)
        return [top, *top.children(recursive=True)]

    def wait_for(self, met: Callable[[], bool]) -> None:
        """Wait until a condition is met.

        Raises:
            SystemExit: not within `START` seconds, or the process has ended; with its output.
        """
        end = time.monotonic() + START
        while not met():
            if time.monotonic() > end or self._process.poll() is not None:
                said = self.log.read_text(errors="replace")[-3000:]
                raise SystemExit(f"{' '.join(self.command)}\ndoes not answer as it should; it says:\n{said}")
            time.sleep(0.02)

    def weight(self) -> int:
        """Bytes of the process and all below it, as PSS."""
        return sum(_pss(process.pid) for process in self.family())


def nginx(job: Job) -> list[str]:
    """The command of an nginx in front of `job`'s socket; writes its configuration."""
    user = "user root;\n" if os.geteuid() == 0 else ""
    file = job.directory / "nginx.conf"
    file.write_text(NGINX.format(user=user, directory=job.directory, port=job.port, socket=job.socket))
    return [_nginx_program(), "-c", str(file), "-p", str(job.directory)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}


def _pss(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


def installed() -> bool:
    """Whether every package is in the environment, the pinned one in its version, and its Python runs."""
    wanted = {name.partition("==")[0].lower(): name.partition("==")[2] for name in PACKAGES}
    path = [str(p) for p in ENVIRONMENT.glob("lib/*/site-packages")]
    found = {d.metadata["Name"].lower(): d.version for d in metadata.distributions(path=path)}
    runs = (BIN / "python").exists() and subprocess.run([BIN / "python", "-c", ""], check=False).returncode == 0
    return runs and all(name in found and version in ("", found[name]) for name, version in wanted.items())


def install() -> None:
    """Make the environment where it is missing. Takes a minute or two: uWSGI and bjoern are compiled.

    Raises:
        SystemExit: something is missing; says what, and how to get it.
    """
    missing = [name for name in ("wrk", "nginx") if shutil.which(name, path=NGINX_PATH) is None]
    if not installed() and not any(Path(place, "ev.h").exists() for place in ("/usr/include", "/usr/local/include")):
        missing.append("libev-dev")  # bjoern is compiled against it
    if missing:
        raise SystemExit(f"The benchmark needs {', '.join(missing)}. As root: apt install {' '.join(missing)}")
    if installed():
        return
    print(f"Installing {', '.join(PACKAGES)} into {ENVIRONMENT}", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        pip = [BIN / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", *PACKAGES], check=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"The other servers cannot be installed (exit {error.returncode}). uWSGI and bjoern are compiled: "
            "apt install build-essential python3-dev libev-dev"
        ) from None
    if not installed():
        raise SystemExit(f"{ENVIRONMENT} is not complete: remove it and try again")
