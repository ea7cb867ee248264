"""The request log and its places, of real vassals under a real emperor, and what is lost when a place fails."""

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.clients import HttpClient
from tests.harness import EmperorProcess, free_port, vassal_text, wait_until, write_file

LINE = re.compile(
    r"\[pid: \d+\|app: (?P<app>-?\d+)\|req: (?P<req>-?\d+)/\d+\] (?P<addr>\S*) \(\S*\) \{\d+ vars in \d+ bytes\} "
    r"\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] (?P<method>\S*) (?P<uri>\S*) => generated (?P<size>\d+) bytes in "
    r"(?P<took>\d+) msecs (?P<via>via sendfile\(\) )?\((?P<proto>\S*) (?P<status>\d+)\) \d+ headers in \d+ bytes "
    r"\(1 switches on core \d+\)"
)
"""uWSGI's default line."""

VASSAL = str(Path(sys.executable).with_name("vassal"))

APP = """\
import ctypes, os, sys, time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise RuntimeError("boom")
    if path == "/slow":
        time.sleep(30)
    if path == "/hold":  # no Python runs meanwhile
        ctypes.PyDLL(None).sleep(30)
    if path == "/print":
        print(environ["QUERY_STRING"], flush=True)
    if path == "/file":
        start_response("200 OK", [("Content-Length", "7")])
        return environ["wsgi.file_wrapper"](open("page.txt", "rb"))
    if path == "/pieces":
        start_response("200 OK", [])
        return (b"piece" for _ in range(3))
    status = "404 Not Found" if path == "/none" else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    return [b"" if path == "/empty" else b"hello"]
"""


class Site:
    """One vassal with the app above in a directory of its own."""

    def __init__(self, emperor: EmperorProcess, name: str, *lines: str, **options: object) -> None:
        self.emperor, self.name, self.port = emperor, name, free_port()
        self.place = emperor.directory / f"place-{name}"
        self.place.mkdir()
        write_file(self.place / "app.py", APP)
        (self.place / "page.txt").write_text("a page\n")
        text = vassal_text(self.port, chdir=self.place, **options) + "".join(f"{line}\n" for line in lines)
        emperor.write(name, text)

    def run(self) -> "Site":
        self.emperor.wait_state(self.name, "running")
        return self

    def get(self, target: str = "/", method: str = "GET", **headers: str) -> int:
        with HttpClient(("127.0.0.1", self.port)) as client:
            return client.request(method, target, headers=headers).status

    @property
    def log(self) -> str:
        return self.emperor.vassal_log(self.name)

    def logged(self, text: str, path=None) -> str:
        """Wait until `text` is in the log, or in the file `path`; return all of it."""

        def there() -> str:
            found = self.log if path is None else path.read_text() if path.exists() else ""
            return found if text in found else ""

        return wait_until(there, 15, lambda: f"{text!r} in the log of {self.name}:\n{self.log[-3000:]}")

    def lines(self) -> list[dict[str, str]]:
        return [match.groupdict() for line in self.log.splitlines() if (match := LINE.fullmatch(line))]

    def line_of(self, uri: str) -> dict[str, str]:
        return wait_until(
            lambda: next((line for line in self.lines() if line["uri"] == uri), None), 10, lambda: self.log
        )


def test_requests_are_logged_as_uwsgi_logs_them(emperor):
    site = Site(emperor, "blog", "static-map = /static=.", harakiri=1, threads=2).run()
    statuses = {uri: site.get(uri) for uri in ("/?a=b", "/none", "/boom", "/pieces", "/file", "/static/page.txt")}
    statuses["/slow"] = site.get("/slow")
    found = {uri: site.line_of(uri) for uri in statuses}
    assert {uri: int(line["status"]) for uri, line in found.items()} == statuses
    assert statuses["/slow"] == 504
    assert int(found["/slow"]["took"]) >= 1000
    sizes = {"/?a=b": "5", "/pieces": "15", "/file": "7", "/static/page.txt": "7"}
    assert {uri: found[uri]["size"] for uri in sizes} == sizes
    assert {uri for uri, line in found.items() if line["via"]} == {"/file", "/static/page.txt"}
    assert found["/static/page.txt"]["app"] == "-1"
    assert found["/?a=b"]["addr"] == "127.0.0.1"
    assert site.get("/?head", method="HEAD") == 200
    assert site.line_of("/?head")["size"] == "0"
    with HttpClient(("127.0.0.1", site.port)) as client:
        client.send(b"GET /\x01evil HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().status == 400
    refused = wait_until(lambda: [line for line in site.lines() if line["status"] == "400"], 10, lambda: site.log)
    assert refused[0]["app"] == "-1"
    assert "\x01" not in site.log
    # A request that holds the interpreter: the master answers, and knows no more than that.
    assert site.get("/hold") == 504
    killed = wait_until(lambda: [line for line in site.lines() if not line["uri"] and line["status"] == "504"], 10)
    assert int(killed[0]["took"]) >= 1000


def test_what_the_file_asks_for_is_logged(emperor):
    quiet = Site(emperor, "quiet", "disable-logging = true", "log-4xx = true", "log-zero = true").run()
    silent = Site(emperor, "silent", "disable-logging = true").run()
    form = Site(
        emperor, "form", 'log-format = %(var.HTTP_X_ID)|%(cookie.sid)|%(who)|"%(uagent)" %(status)', "log-prefix = P:"
    ).run()
    jsons = Site(emperor, "jsons", "log-format = json", "log-date = %Y!").run()
    for site in (quiet, silent):
        for uri in ("/", "/none", "/empty"):
            site.get(uri)
    form.get("/", **{"X-Id": "7", "Cookie": "a=b; sid=xyz", "User-Agent": 'quoted" \\'})
    jsons.get('/?"x"', **{"User-Agent": 'quoted" \\'})
    quiet.line_of("/empty")
    assert [line["uri"] for line in quiet.lines()] == ["/none", "/empty"]
    assert silent.lines() == []
    form.logged(r'P: 7|xyz|-|"quoted\x22 \x5c" 200')
    assert "%(who) is unknown and printed as -" in form.log
    line = next(line for line in jsons.logged('"status":200').splitlines() if line.startswith("{"))
    made = json.loads(line)
    assert (made["uri"], made["uagent"], made["size"] > made["rsize"]) == ('/?"x"', 'quoted" \\', True)


def test_several_workers_write_whole_lines_and_rotate_once(emperor):
    site = Site(
        emperor, "many", "logger = file:logfile=many.log,maxsize=60000", processes=3, threads=2, log_maxsize=1
    ).run()
    total, clients = 1500, 6

    def ask(number: int) -> None:
        with HttpClient(("127.0.0.1", site.port)) as client:
            for turn in range(total // clients):
                assert client.get(f"/?client={number}&turn={turn}").status == 200

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = lambda: sorted(site.place.glob("many.log*"))  # noqa: E731
    uris = lambda: [  # noqa: E731
        match["uri"] for path in files() for line in path.read_text().splitlines() if (match := LINE.fullmatch(line))
    ]
    wait_until(lambda: len(uris()) == total, 15, lambda: f"{len(uris())} lines in {files()}")
    assert len(set(uris())) == total
    text = "".join(path.read_text() for path in files())
    assert all(LINE.fullmatch(line) or line[:2] == "20" for line in text.splitlines()), text[-2000:]
    wait_until(lambda: len(files()) > 1, 10, "the log to be rotated")
    for _ in range(3):  # a generation more, which looks at the same file
        emperor.cli("reload", "many", check=True)
    settled = files()
    site.get("/?after")
    site.logged("/?after", site.place / "many.log")
    assert files() == settled
    assert all(path.stat().st_size > 60000 for path in settled if path.suffix != ".log")


def test_lines_find_their_places(emperor):
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.bind(str(emperor.directory / "inbox.sock"))
    inbox.settimeout(10)
    with inbox:
        site = Site(
            emperor,
            "routed",
            f"logger = far socket:{emperor.directory}/inbox.sock,from routed:",
            "logger = file:main.log",
            "req-logger = file:access.log",
            "req-logger = errors file:logfile=errors.log",
            "log-req-route = errors HTTP/1.1 404",
            "log-route = far needle",
            'log-encoder = json {"text":"${msg}"}',
            "log-req-encoder = prefix >",
            "logfile-chmod = 600",
        ).run()
        place = site.place  # as under uWSGI: relative ones of logger lie in chdir, that of logto beside the file
        site.get("/print?in+a+haystack")
        site.get("/print?needle")
        site.get("/none")
        site.logged('{"text":"in+a+haystack"}\n', place / "main.log")
        assert inbox.recv(4096).startswith(b'from routed:{"text":"needle"}')
        site.logged(">[pid: ", place / "access.log")
        site.logged("GET /none", place / "errors.log")
    assert "needle" not in (place / "main.log").read_text().replace("/print?needle", "")
    assert "/none" not in (place / "access.log").read_text()
    assert all(json.loads(line)["text"] for line in (place / "main.log").read_text().splitlines())
    assert {path.stat().st_mode & 0o777 for path in place.glob("*.log")} == {0o600}
    # An app that prints more than a pipe holds while it is imported, and lines that are packed.
    packed = Site(emperor, "packed", "logger = file:packed.gz", "log-encoder = gzip", "log-drain = noise")
    write_file(
        packed.place / "app.py", "print('x' * 99 + '\\n', end='')\nfor _ in range(20000): print('noise' * 20)\n" + APP
    )
    emperor.touch("packed")
    packed.run()
    wait_until(lambda: b"x" * 99 in gzip.decompress((packed.place / "packed.gz").read_bytes()), 20, "the packed line")
    assert b"noise" not in gzip.decompress((packed.place / "packed.gz").read_bytes())


def test_logs_are_opened_again(emperor):
    site = Site(emperor, "own", "logto = own.log", "touch-logreopen = reopen", "touch-logrotate = rotate").run()
    given = Site(emperor, "given", "req-logger = file:given-access.log").run()
    log, theirs, access = emperor.vassals / "own.log", emperor.logs / "given.log", given.place / "given-access.log"

    def there(mark: str) -> bool:
        for one in (site, given):
            one.get(f"/print?{mark}")
        wanted = {log: f"{mark}\n[pid", access: f"/print?{mark}", theirs: f"{mark}\n"}
        return all(path.exists() and text in path.read_text() for path, text in wanted.items())

    def answered(mark: str) -> None:
        wait_until(lambda: there(mark), 15, lambda: f"{mark} in the files that have the names now")

    answered("first")
    # copytruncate
    for path in (log, theirs, access):
        os.truncate(path, 0)
    answered("truncated")
    assert log.stat().st_size < 4000
    # The command, for all and for one; then the signals.
    for number, ask in enumerate((
        lambda: emperor.cli("logs", "--reopen", check=True),
        lambda: [emperor.cli("logs", "--reopen", name, check=True) for name in ("own", "given")],
        lambda: emperor.kill(signal.SIGUSR2),
        lambda: [os.kill(emperor.status("own")["pid"], signal.SIGUSR1), emperor.cli("logs", "--reopen", "given")],
    )):  # fmt: skip
        for path in (log, theirs, access):
            path.rename(f"{path}.{number}")
        ask()
        answered(f"turn{number}")
    # logrotate's create without any signal, and a deleted file.
    for path in (log, access, theirs):
        path.rename(f"{path}.moved")
        path.touch()
    answered("created")
    log.unlink()
    site.logged("own.log was deleted, and is made anew", log)
    site.place.joinpath("rotate").touch()
    wait_until(lambda: list(emperor.vassals.glob("own.log.1*")), 10, "a backup with the time in its name")
    assert emperor.cli("logs", "--reopen", "nobody").returncode == 1
    assert emperor.cli("logs").returncode == 2


def test_the_command_finds_the_log_that_the_file_names(emperor):
    named = emperor.directory / "named.log"
    site = Site(emperor, "named", logto=named).run()
    site.get("/print?found")
    site.logged("found\n", named)
    assert "found\n" in emperor.cli("logs", "named", check=True).stdout
    emperor.write("named", vassal_text(site.port, chdir=site.place))
    emperor.wait_state("named", "running", generation=2)
    site.get("/print?elsewhere")
    site.logged("elsewhere\n")
    assert "elsewhere\n" in emperor.cli("logs", "named", check=True).stdout


@pytest.mark.parametrize("kind", ["none", "directory", "fifo", "link", "sink"])
def test_a_log_that_cannot_be_opened_breaks_the_start(emperor, kind):
    path = emperor.directory / "odd.log"
    line = f"logto = {path}"
    if kind == "none":
        line = "logto = no/such/directory/odd.log"
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(emperor.directory / "elsewhere.log")
    else:
        path.mkdir()
        line = f"req-logger = file:{path}"
    Site(emperor, "odd", line)
    failure = emperor.wait_state("odd", "broken")["last_failure"]
    reasons = {"none": "No such file", "fifo": "FIFO", "link": "symbolic link"}
    assert "cannot open the log" in failure["reason"]
    assert reasons.get(kind, "Is a directory") in failure["reason"]
    assert not (emperor.directory / "elsewhere.log").exists()


def test_a_full_disk_costs_lines_and_no_requests(emperor):
    access = Site(emperor, "access", "req-logger = file:/dev/full").run()
    whole = Site(emperor, "whole", "logto = /dev/full").run()
    for _ in range(20):
        assert access.get() == whole.get() == 200
    access.logged("lost: /dev/full: No space left on device")
    told = re.compile(r"vassal whole: \d+ log lines? (was|were) lost: /dev/full: No space left on device")
    wait_until(lambda: told.search(emperor.log.read_text()), 15, "the emperor to be told")
    assert access.get() == whole.get() == 200
    gone = Site(emperor, "gone", f"logto = {emperor.directory}/there/gone.log")
    emperor.wait_state("gone", "broken")
    (emperor.directory / "there").mkdir()
    emperor.touch("gone")
    gone.run()
    (emperor.directory / "there" / "gone.log").unlink()
    (emperor.directory / "there").rmdir()
    wait_until(lambda: "what is written to it is lost" in emperor.log.read_text(), 15, "the loss to be told")
    assert gone.get() == 200


def test_a_pipe_that_nobody_reads_stalls_no_worker(tmp_path):
    port = free_port()
    write_file(tmp_path / "app.py", APP)
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.bind(str(tmp_path / "slow.sock"))  # nobody reads this one either
    file = write_file(
        tmp_path / "a.ini", vassal_text(port) + f"logger = stdio\nlogger = socket:{tmp_path}/slow.sock\nthreads = 1\n"
    )
    reading, writing = os.pipe()
    vassal = subprocess.Popen([VASSAL, str(file)], stdout=writing, stderr=writing, cwd=tmp_path)
    os.close(writing)
    try:
        wait_until(lambda: b"ready: " in os.read(reading, 65536), 15, "it to serve")
        with HttpClient(("127.0.0.1", port)) as client:
            for turn in range(1200):  # far more than a pipe and a socket hold
                assert client.get(f"/?turn={turn}").status == 200
        wait_until(lambda: b"log lines were lost" in os.read(reading, 1 << 20), 15, "the loss to be told")
    finally:
        vassal.terminate()
        os.set_blocking(reading, False)
        wait_until(lambda: [_drain(reading), vassal.poll()][1] is not None, 15, "its end")
        os.close(reading)
        inbox.close()
    assert vassal.returncode == 0


def _drain(descriptor: int) -> None:
    try:
        os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return


def test_what_was_said_last_is_written(emperor):
    """A worker that retires, one that its app ends, and one that dies of a signal."""
    site = Site(emperor, "last", "min-worker-lifetime = 1", processes=1).run()
    site.get("/?before")
    emperor.cli("reload", "last", check=True)
    site.line_of("/?before")
    pid = emperor.status("last")["worker_pids"][0]
    site.get("/?killed")
    site.line_of("/?killed")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: emperor.status("last")["worker_pids"] not in ([], [pid]), 15, "another worker")
    site.get("/?another")
    site.line_of("/?another")


def test_a_smart_daemon_is_logged_through_reloads(emperor):
    """It outlives the master that reads what the app prints, so it writes to what the vassal had before."""
    pidfile = emperor.directory / "ticker.pid"
    daemon = f"sh -c 'echo $$ > {pidfile}; while :; do echo tick; sleep 0.2; done'"
    smart = f"smart-attach-daemon = {pidfile} {daemon}"
    site = Site(emperor, "smart", "logger = file:smart.log", "log-encoder = prefix >", smart).run()
    site.logged("tick\n")
    pid = pidfile.read_text()
    emperor.cli("reload", "smart", check=True)
    wait_until(lambda: emperor.status("smart")["generation"] == 2, 10, "the new generation")
    seen = site.log.count("tick\n")
    wait_until(lambda: site.log.count("tick\n") > seen + 2, 10, lambda: site.log)
    assert pidfile.read_text() == pid
