"""`make demo`: an emperor on examples/vassals/, with three real apps, in the foreground.

With ``--check`` it does the same on a private copy and on free ports, fetches a page of each app, logs in to Django's
admin, drops one more vassal, and stops. The danger here is to leave something behind: the emperor is stopped and
waited for on every way out.
"""

import argparse
import contextlib
import http.cookiejar
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / ".venv-apps"
EMPEROR = Path(sys.executable).with_name("emperor")
ADDRESS = re.compile(r"^http-socket = 127\.0\.0\.1:(\d+)$", re.MULTILINE)
START_DEADLINE = 60
"""Seconds until the emperor must be ready, and each app must answer: Django starts slowly on a small machine."""
STOP_DEADLINE = 30
"""Seconds that the emperor gets to stop all vassals before the demo kills it."""


def fail(message):
    raise SystemExit(f"demo: {message}")


def ports(examples):
    """The port of each vassal file, drop-me.ini included, by name."""
    files = [*sorted((examples / "vassals").glob("*.ini")), examples / "drop-me.ini"]
    found = {file.stem: ADDRESS.search(file.read_text()) for file in files}
    return {name: int(match[1]) for name, match in found.items() if match is not None}


def refuse_taken(used):
    """Say which port is taken before anything is started."""
    taken = []
    for name, port in used.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                taken.append(f"  {name}: 127.0.0.1:{port}: {error.strerror}")
    if taken:
        lines = "\n".join(taken)
        fail(f"these addresses of examples/vassals/*.ini cannot be used; stop what listens there:\n{lines}")


def refuse_foreign_tree():
    """An emperor that runs as root starts no app from a directory that somebody else can write."""
    owner = ROOT.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        fail(f"this directory belongs to user {owner}; run `make demo` as that user, not as root")


def prepare(examples, state):
    """Make Django's database, user and products."""
    state.mkdir(parents=True, exist_ok=True)
    command = [str(APPS / "bin" / "python"), "manage.py", "prepare_demo"]
    env = {**os.environ, "EXAMPLES_STATE": str(state)}
    if subprocess.run(command, cwd=examples / "apps" / "django_shop", env=env, check=False).returncode != 0:
        fail("cannot prepare the shop's database (see above); `make clean` makes the next try start anew")


def control_path(state):
    """A path for the control socket, below the 107 bytes that the kernel takes."""
    path = state / "control.sock"
    if len(os.fsencode(path)) < 100:
        return path, None
    short = tempfile.mkdtemp(prefix="emperor-demo-")
    return Path(short) / "control.sock", short


WHAT = {
    "hello": "plain WSGI: shows the generation that answers",
    "blog": "Flask: write a post",
    "shop": "Django: /admin/ takes user demo, password demo",
}


def banner(used, control):
    emperor = EMPEROR.relative_to(ROOT) if EMPEROR.is_relative_to(ROOT) else EMPEROR
    control = control.relative_to(ROOT) if control.is_relative_to(ROOT) else control
    sites = [f"  {name:7} {url(used[name]):26} {WHAT.get(name, '')}" for name in used if name != "drop-me"]
    lines = [
        "",
        *sites,
        "",
        f"  In another terminal, in {ROOT}:",
        "",
        "  drop    cp examples/drop-me.ini examples/vassals/",
        f"          {url(used['drop-me'])} answers at once",
        "  touch   touch examples/vassals/hello.ini",
        "          a new generation takes over, and no request is lost",
        "  break   sed -i s/app:application/gone:application/ examples/vassals/drop-me.ini",
        "          the old generation goes on serving, and status says why",
        "  mend    cp examples/drop-me.ini examples/vassals/",
        "  delete  rm examples/vassals/drop-me.ini",
        "          connections are refused",
        f"  look    {emperor} status --control {control}",
        f"          {emperor} status drop-me --control {control}",
        f"          {emperor} logs blog -f --control {control}",
        "",
        "  Ctrl-C stops everything.",
        "",
    ]
    return "\n".join(lines)


def url(port):
    return f"http://127.0.0.1:{port}/"


class Emperor:
    """The running emperor; its output is passed on line by line, and the ready line is looked for."""

    def __init__(self, examples, control, logs):
        command = [str(EMPEROR), "run", str(examples / "vassals"), "--control", str(control)]
        command += ["--set", f"emperor-log-dir={logs}"]
        # A session of its own: Ctrl-C comes to this script, which then stops the emperor once and in order.
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            print(line, end="", flush=True)
            if line.startswith("emperor ready: "):
                self.ready.set()

    def wait_ready(self):
        end = time.monotonic() + START_DEADLINE
        while not self.ready.wait(0.1):
            if self.process.poll() is not None:
                fail(f"the emperor ended with exit code {self.process.returncode} before it was ready")
            if time.monotonic() > end:
                fail(f"the emperor was not ready within {START_DEADLINE} s")

    def stop(self):
        # A second Ctrl-C is passed on: the emperor then kills what does not end by itself.
        signal.signal(signal.SIGINT, lambda *_: self.process.send_signal(signal.SIGINT))
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            fail(f"the emperor did not stop within {STOP_DEADLINE} s and was killed")
        self.reader.join(5)
        self.process.stdout.close()


def serve(examples, state):
    """The interactive demo: until Ctrl-C, SIGTERM or the emperor's own end."""
    dropped = examples / "vassals" / "drop-me.ini"
    dropped.unlink(missing_ok=True)
    used = ports(examples)
    refuse_taken(used)
    prepare(examples, state)
    control, temporary = control_path(state)
    logs = state / "logs"
    logs.mkdir(exist_ok=True)
    emperor = Emperor(examples, control, logs)
    try:
        emperor.wait_ready()
        print(banner(used, control), flush=True)
        status = emperor.process.wait()
        if status != 0:
            fail(f"the emperor ended with exit code {status}")
    except KeyboardInterrupt:
        print("\nStopping all vassals.", flush=True)
    finally:
        emperor.stop()
        dropped.unlink(missing_ok=True)
        if temporary is not None:
            shutil.rmtree(temporary)


def fetch(opener, address, data=None):
    """The text of a page; asks again until START_DEADLINE while the app is not there yet."""
    end = time.monotonic() + START_DEADLINE
    while True:
        try:
            with opener.open(address, data, timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            fail(f"{address} answers {error.code}: {error.read()[:300]!r}")
        except OSError as error:
            if time.monotonic() > end:
                fail(f"{address} does not answer: {error}")
            time.sleep(0.1)


def expect(words, address, text):
    if words not in text:
        fail(f"{address} answers without {words!r}:\n{text[:2000]}")
    print(f"ok      {address}  {words!r}", flush=True)


def log_in(opener, jar, shop):
    """Log in to Django's admin: the form, its CSRF token, the session's cookie, and the style sheet."""
    login = f"{shop}admin/login/?next=/admin/"
    fetch(opener, login)
    token = next(cookie.value for cookie in jar if cookie.name == "csrftoken")
    form = {"username": "demo", "password": "demo", "csrfmiddlewaretoken": token, "next": "/admin/"}
    page = fetch(opener, login, urllib.parse.urlencode(form).encode())
    expect("Log out", f"{shop}admin/", page)
    style = f"{shop}static/admin/css/base.css"
    expect("DJANGO Admin styles", style, fetch(opener, style))


def check_pages(used, examples):
    jar = http.cookiejar.CookieJar()
    # No proxy from the environment: these addresses are this machine's.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))
    site = {name: url(port) for name, port in used.items()}
    expect("Hello from a vassal", site["hello"], fetch(opener, site["hello"]))
    post = urllib.parse.urlencode({"title": "A first post", "text": "Written by the check."}).encode()
    expect("A first post", site["blog"], fetch(opener, site["blog"], post))
    expect("Laurel wreath", site["shop"], fetch(opener, site["shop"]))
    log_in(opener, jar, site["shop"])
    shutil.copy(examples / "drop-me.ini", examples / "vassals")
    expect("Hello from a vassal", site["drop-me"], fetch(opener, site["drop-me"]))


def unused_port():
    """A free port below the kernel's range for outgoing connections, which could take it before the app does."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def check():
    """The whole demo on a copy in a temporary directory and on ports that are free."""
    with tempfile.TemporaryDirectory(prefix="emperor-demo-") as directory:
        examples = Path(directory) / "examples"
        shutil.copytree(ROOT / "examples", examples, ignore=shutil.ignore_patterns(".state", "__pycache__"))
        (Path(directory) / APPS.name).symlink_to(APPS)
        for file in [*(examples / "vassals").glob("*.ini"), examples / "drop-me.ini"]:
            port = f"http-socket = 127.0.0.1:{unused_port()}"
            file.write_text(ADDRESS.sub(port, file.read_text()))
        state = examples / ".state"
        prepare(examples, state)
        used = ports(examples)
        emperor = Emperor(examples, state / "control.sock", state)
        try:
            emperor.wait_ready()
            check_pages(used, examples)
        except BaseException:
            for log in sorted(state.glob("*.log")):
                print(f"----- {log.name}\n{log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
            raise
        finally:
            emperor.stop()
        if emperor.process.returncode != 0:
            fail(f"the emperor ended with exit code {emperor.process.returncode}")
        for name, port in used.items():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    fail(f"{name} still answers on 127.0.0.1:{port} after the end")
    print("ok      stopped, nothing answers any more")


def interrupt(_number, _frame):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description="Serve the example apps; Ctrl-C stops them.")
    parser.add_argument("--check", action="store_true", help="start on free ports, fetch a page of each app, stop")
    arguments = parser.parse_args()
    if not (APPS / "bin" / "python").exists():
        fail(f"{APPS} is missing: run `make demo`, which makes it")
    refuse_foreign_tree()
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)  # the terminal was closed
    with contextlib.suppress(KeyboardInterrupt):
        if arguments.check:
            check()
        else:
            serve(ROOT / "examples", ROOT / "examples" / ".state")


if __name__ == "__main__":
    main()
