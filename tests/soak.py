"""The storm: a hundred vassals of several kinds under constant load, and everything that can happen to them.

    python -m tests.soak --minutes 5 --seed 7 --vassals 100

Half of the vassals are *calm*: they are touched, redeployed (well and badly), edited, linked elsewhere, put to sleep
and woken, and the fork server is killed under them. No request to them may fail. The others are *hurt*: their processes
are killed at every level, their files deleted, renamed and broken. At the end everything has to be what its file
deserves, and nothing may be left over.

Early on, once, the emperor itself is killed. With it go all its vassals, and a new one takes over the place: requests
that are under way from its death until everybody serves again (some wait in the backlogs that are lost) are excused,
for as long as `TAKEOVER` at most, and counted.

The other exception is HTTP's own: a connection that was idle may be closed without an answer, and the request is then
made once more on a new one.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.clients import HttpClient
from tests.harness import EmperorProcess, command_line, free_port, touch_file, wait_until, write_file

GOOD = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'version {n}']\n"
SLOW = (
    "import time\ndef application(environ, start_response):\n    time.sleep(0.02)\n"
    "    start_response('200 OK', [])\n    return [b'version {n}']\n"
)
BAD = "import a_module_that_nobody_has\n"
KINDS = {
    "plain": "",
    "pair": "processes = 2\n",
    "threads": "threads = 4\n",
    "lazy": "lazy-apps = true\nprocesses = 2\nmax-requests = 200\nmin-worker-lifetime = 0\n",
    "cheap": "cheap = true\nidle = 2\n",
    "parking": "idle = 2\ndie-on-idle = true\n",
    "drain": "reload-strategy = drain\n",
    "chain": "reload-strategy = chain\nprocesses = 2\n",
    "checked": "ready-check = /health\n",
    "unix": "",
}
GROWTH = 1.1
"""Memory at the end, at most, in parts of that after the warm-up."""
DEATH, WARM = 0.12, 0.4
"""Shares of the storm after which the emperor is killed, and after which the warm-up is over."""
TAKEOVER = 60.0
"""Seconds in which, after the emperor's death, all of its processes end and a new one serves everybody again."""
NAP = 5.0
"""Seconds for which nobody asks a vassal that is to fall asleep."""


def memory(pid: int) -> float:
    """MiB that are a process's own, also where children share them: a fork server that was killed has new children."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) / 1024


@dataclass
class Subject:
    """One vassal of the storm."""

    name: str
    kind: str
    calm: bool
    home: Path
    path: Path
    address: object
    version: int = 0
    quiet_until: float = 0.0
    """Monotonic second until which nobody asks it, so that it falls asleep."""

    def text(self) -> str:
        where = self.address if isinstance(self.address, str) else f"127.0.0.1:{self.address[1]}"
        own = f"http-socket = {where}\nchdir = {self.home}\nmodule = app\nreload-mercy = 20\nloyalty = 1\n"
        return "[uwsgi]\n" + own + KINDS[self.kind]

    def deploy(self, source: str) -> None:
        self.version += 1
        shutil.rmtree(self.home / "__pycache__", ignore_errors=True)
        write_file(self.home / "app.py", source.replace("{n}", str(self.version)))


class Storm:
    """All of it. `failures` are requests to calm vassals that failed, and rules that were broken."""

    def __init__(self, directory: Path, count: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self.directory = directory
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        self.emperor = EmperorProcess(
            directory,
            settings={"emperor-throttle": "200", "emperor-max-throttle": "2000"},
            env={"TMPDIR": str(self.temporary)},
        )
        self.subjects = [self._subject(number) for number in range(count)]
        self.failures: list[str] = []
        self.requests = Counter()
        self.did = Counter()
        self.excused = 0
        self.excuse = (0.0, 0.0)
        """From when to when (monotonic) the emperor was dead; a request is excused that was under way then."""
        self.over = threading.Event()

    def _subject(self, number: int) -> Subject:
        kind = list(KINDS)[number % len(KINDS)]
        calm = (number // len(KINDS)) % 2 == 0
        home = self.directory / "apps" / f"a{number}"
        home.mkdir(parents=True)
        address = str(home / "sock") if kind == "unix" else ("127.0.0.1", free_port())
        subject = Subject(f"v{number}", kind, calm, home, self.emperor.vassals / f"v{number}.ini", address)
        subject.deploy(SLOW if number % 7 == 3 else GOOD)
        write_file(subject.path, subject.text())
        return subject

    # --- load --------------------------------------------------------------------------------------------------------

    def load(self, seed: int) -> None:
        """Ask vassals for as long as it takes, by connections that are kept and by fresh ones."""
        chance = random.Random(seed)
        kept: dict[str, HttpClient] = {}
        while not self.over.is_set():
            subject = chance.choice(self.subjects)
            if time.monotonic() < subject.quiet_until:
                continue
            if chance.random() < 0.5:
                self._ask_once(subject, large=chance.random() < 0.05)
            else:
                self._ask_kept(subject, kept)
            if len(kept) > 20:
                kept.pop(next(iter(kept))).close()
            self.over.wait(0.005)
        for client in kept.values():
            client.close()

    def _ask_once(self, subject: Subject, *, large: bool) -> None:
        """By a fresh connection; `large`: with a body that goes to a temporary file."""
        began = time.monotonic()
        try:
            with HttpClient(subject.address, timeout=40) as client:
                answer = client.request("POST", "/", body=b"x" * 400_000) if large else client.get("/")
                self._count(subject, answer.text, began)
        except (OSError, EOFError, ValueError, AssertionError) as error:
            self._failed(subject, f"fresh connection: {error!r}", began)

    def _ask_kept(self, subject: Subject, kept: dict[str, HttpClient]) -> None:
        client = kept.pop(subject.name, None)
        began = time.monotonic()
        if client is not None:
            try:
                self._count(subject, client.get("/").text, began)
                kept[subject.name] = client
            except (OSError, EOFError, ValueError, AssertionError):
                client.close()  # the race that is HTTP's own: once more on a new one
            else:
                return
        try:
            client = HttpClient(subject.address, timeout=40)
            self._count(subject, client.get("/").text, began)
            kept[subject.name] = client
        except (OSError, EOFError, ValueError, AssertionError) as error:
            self._failed(subject, f"kept connection: {error!r}", began)

    def _count(self, subject: Subject, text: str, began: float) -> None:
        self.requests[subject.calm] += 1
        if not text.startswith("version "):
            self._failed(subject, f"answered {text[:60]!r}", began)

    def _failed(self, subject: Subject, what: str, began: float) -> None:
        died, served = self.excuse
        if died and time.monotonic() >= died and (not served or began <= served):
            self.excused += 1
        elif subject.calm:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {subject.name} ({subject.kind}): {what}")

    # --- what happens ------------------------------------------------------------------------------------------------

    def strike(self) -> None:
        """One thing happens to one vassal."""
        subject = self.chance.choice(self.subjects)
        deeds = ["touch", "redeploy", "bad_deploy", "edit", "swap", "nap", "wake"]
        if not subject.calm:
            deeds += ["kill_worker", "kill_master", "delete", "rename", "break_file"]
        deed = self.chance.choice(deeds)
        if self.chance.random() < 0.01:
            deed = "kill_fork_server"
        self.did[deed] += 1
        getattr(self, deed)(subject)

    def touch(self, subject: Subject) -> None:
        if subject.path.exists():
            touch_file(subject.path)

    def redeploy(self, subject: Subject) -> None:
        subject.deploy(GOOD)
        self.touch(subject)

    def bad_deploy(self, subject: Subject) -> None:
        """New code that cannot load; mended a moment later, as people do."""
        if subject.kind in ("drain", "cheap", "parking") and subject.calm:
            return self.redeploy(subject)  # there is no older generation that could serve on
        subject.deploy(BAD)
        self.touch(subject)
        self.over.wait(0.5)
        return self.redeploy(subject)

    def edit(self, subject: Subject) -> None:
        write_file(subject.path, subject.text() + f"env = EDIT={self.chance.random()}\n")

    def swap(self, subject: Subject) -> None:
        """The file becomes a link to another one, as deployments by symbolic links do."""
        target = write_file(
            self.directory / "apps" / f"{subject.name}-{self.chance.randrange(10**9)}.ini", subject.text()
        )
        link = self.directory / "apps" / f"{subject.name}.link"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        link.rename(subject.path)

    def nap(self, subject: Subject) -> None:
        """Leave it alone until it sleeps, where it is of a kind that does."""
        if subject.kind in ("cheap", "parking"):
            subject.quiet_until = time.monotonic() + NAP

    def wake(self, subject: Subject) -> None:
        """Wake it by command; no harm where it is awake."""
        if subject.kind == "parking":
            self.emperor.cli("start", subject.name)

    def _processes(self, subject: Subject, word: str) -> list[psutil.Process]:
        return [
            p
            for p in self.emperor.processes()
            if f"vassal {subject.name} gen" in (line := command_line(p)) and word in line
        ]

    def _kill(self, processes: list[psutil.Process]) -> None:
        for process in processes[:1]:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue

    def kill_worker(self, subject: Subject) -> None:
        self._kill(self._processes(subject, "worker"))

    def kill_master(self, subject: Subject) -> None:
        self._kill(self._processes(subject, "master"))

    def kill_fork_server(self, _subject: Subject) -> None:
        self._kill(self._fork_servers())

    def kill_emperor(self) -> None:
        """All that it ever started ends without being told, and a new one takes over."""
        self.did["kill_emperor"] += 1
        died = time.monotonic()
        self.excuse = (died, 0.0)
        self.emperor.kill(signal.SIGKILL)
        self.emperor.wait_empty(TAKEOVER)
        self.emperor.close()
        self.emperor.start(deadline=TAKEOVER)
        wait_until(
            lambda: len(self.emperor.statuses()) == len(self.subjects), TAKEOVER, "all vassals to be there again"
        )
        wait_until(lambda: not self.settled(), TAKEOVER, lambda: f"the takeover: {self.settled()}")
        self.excuse = (died, time.monotonic())
        took = time.monotonic() - died
        if took > TAKEOVER:
            self.failures.append(f"the takeover after the emperor's death took {took:.0f} s")

    def delete(self, subject: Subject) -> None:
        subject.path.unlink(missing_ok=True)
        self.over.wait(self.chance.random())
        write_file(subject.path, subject.text())

    def rename(self, subject: Subject) -> None:
        away = subject.path.with_suffix(".away")
        if subject.path.exists():
            subject.path.rename(away)
            self.over.wait(self.chance.random())
            away.rename(subject.path)

    def break_file(self, subject: Subject) -> None:
        write_file(subject.path, "[uwsgi]\nprocesses = many\n")
        self.over.wait(self.chance.random())
        write_file(subject.path, subject.text())

    # --- before and after --------------------------------------------------------------------------------------------

    def settled(self) -> list[str]:
        """Vassals that are not yet what their files deserve."""
        wrong = []
        for name, row in self.emperor.statuses().items():
            if row["state"] not in ("running", "cheap", "parked"):
                failure = row["last_failure"]
                wrong.append(f"{name}: {row['state']} ({failure['reason'] if failure else ''})")
        return wrong

    def measure(self) -> dict[str, float]:
        """What stays: descriptors and memory of the emperor and its fork server, and temporary files."""
        emperor = psutil.Process(self.emperor.pid)
        server = wait_until(self._fork_servers, 10, "a fork server")[0]
        return {
            "emperor descriptors": emperor.num_fds(),
            "emperor MiB": memory(emperor.pid),
            "fork server descriptors": server.num_fds(),
            "fork server MiB": memory(server.pid),
            "temporary files": len(list(self.temporary.iterdir())),
        }

    def _fork_servers(self) -> list[psutil.Process]:
        return [p for p in self.emperor.processes() if "fork server" in command_line(p)]

    def rest(self) -> None:
        """Everything is mended; wait until it is as it should be."""
        for subject in self.subjects:
            subject.deploy(GOOD)
            subject.path.unlink(missing_ok=True) if subject.path.is_symlink() else None
            write_file(subject.path, subject.text())
        wait_until(lambda: len(self.emperor.statuses()) == len(self.subjects), 60, "all vassals to be there")
        wait_until(lambda: not self.settled(), 120, lambda: f"everybody to settle: {self.settled()}")

    def newest(self) -> None:
        """Every vassal answers with its newest code."""
        for subject in self.subjects:
            expected = f"version {subject.version}"

            def answers(subject: Subject = subject, expected: str = expected) -> bool:
                try:
                    with HttpClient(subject.address, timeout=20) as client:
                        return client.get("/").text == expected
                except OSError:
                    return False

            wait_until(answers, 60, f"{subject.name} ({subject.kind}) to answer {expected}")

    def run(self, minutes: float) -> None:
        """The whole storm."""
        self.emperor.start(deadline=60)
        wait_until(lambda: len(self.emperor.statuses()) == len(self.subjects), 60, "all vassals to be there")
        wait_until(lambda: not self.settled(), 120, lambda: f"the first start: {self.settled()}")
        loads = [threading.Thread(target=self.load, args=(self.chance.random(),)) for _ in range(6)]
        for thread in loads:
            thread.start()
        try:
            before = self._blow(minutes * 60)
        finally:
            self.over.set()
            for thread in loads:
                thread.join(60)
        self.rest()
        self.newest()
        self._compare(before)
        self._leave()

    def _blow(self, length: float) -> dict[str, float]:
        """Strike for `length` seconds; return what was measured, at rest, when the warm-up was over."""
        began = time.monotonic()
        before: dict[str, float] = {}
        while (passed := time.monotonic() - began) < length:
            if not self.did["kill_emperor"] and passed > length * DEATH:
                self.kill_emperor()
            elif not before and passed > length * WARM:
                self.rest()
                before = self.measure()
            self.strike()
            self._show(passed / length)
            time.sleep(self.chance.expovariate(12))
        return before

    def _show(self, share: float) -> None:
        if sys.stderr.isatty():
            done = "#" * int(share * 40)
            sys.stderr.write(f"\r[{done:<40}] {sum(self.did.values())} blows, {sum(self.requests.values())} requests, ")
            sys.stderr.write(f"{len(self.failures)} failures ")

    def _compare(self, before: dict[str, float]) -> None:
        try:
            wait_until(lambda: self._grown(before) == [], 30, "memory and descriptors")
        except AssertionError:
            self.failures += self._grown(before)

    def _grown(self, before: dict[str, float]) -> list[str]:
        after = self.measure()
        allowed = {key: value * (GROWTH if "MiB" in key else 1) for key, value in before.items()}
        return [
            f"{key}: {before[key]:.1f} before, {after[key]:.1f} after" for key in after if after[key] > allowed[key]
        ]

    def _leave(self) -> None:
        """All files go: no process, no socket, no temporary file may be left."""
        for subject in self.subjects:
            subject.path.unlink()
        wait_until(lambda: not self.emperor.statuses(), 60, "all vassals to be gone")
        left = [str(s.address) for s in self.subjects if isinstance(s.address, str) and Path(s.address).exists()]
        self.failures += [f"socket left: {path}" for path in left]
        names = wait_until(
            lambda: (found := self.emperor.processes()) and len(found) <= 2 and found, 30, "processes to end"
        )
        self.failures += [f"process left: {command_line(p)}" for p in names if "vassal " in command_line(p)]
        self.emperor.close()
        self.failures += [f"temporary file left: {path}" for path in self.temporary.iterdir()]
        if ": parked" not in self.emperor.log.read_text(errors="replace"):
            self.failures.append("no vassal was ever parked: the storm was none")


def main() -> int:
    """Run the storm; the exit status is 0 if nothing was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--vassals", type=int, default=100)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="emperor-soak-"))
    print(f"seed {options.seed}, {options.vassals} vassals, {options.minutes:g} minutes, in {directory}", flush=True)
    storm = Storm(directory, options.vassals, options.seed)
    try:
        storm.run(options.minutes)
    except AssertionError as error:
        storm.failures.append(str(error))
    finally:
        storm.over.set()
        if storm.emperor.pid:
            try:
                storm.emperor.close()
            except AssertionError as error:
                storm.failures.append(str(error))
    asked = f"{storm.requests[True]} to calm ones, {storm.requests[False]} to hurt ones"
    print(f"\n{dict(storm.did)}\nrequests: {asked}; {storm.excused} were excused, while the emperor was dead")
    for failure in storm.failures[:40]:
        print("FAILED:", failure)
    if storm.failures:
        print(f"{len(storm.failures)} failures; logs in {directory}")
        return 1
    shutil.rmtree(directory)
    print("nothing was lost")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())
