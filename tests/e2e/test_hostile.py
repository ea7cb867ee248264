"""Programs that hold a link and lie: each is killed, is told of, costs the emperor nothing, and delays nobody else.

The danger here is a test that passes because its attack did nothing. So each attack has the words that must come back
in ``status``, and tests/e2e/hostile_program.py never ends by itself unless that is the attack.
"""

import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from emperor.control_client import ControlClient
from tests.clients import http_get
from tests.harness import EmperorProcess, free_port, vassal_text, wait_until, write_app

HERE = Path(__file__).resolve().parent
DELAY = 60.0
"""Seconds; much more than any reload takes on a busy machine, and the least that a blocked emperor would be blocked."""


@dataclass
class Arena:
    """An emperor with one healthy vassal, `good`, in which a hostile one, `evil`, is let loose.

    Attributes:
        port: where `good` answers.
        spoils: a directory in which the hostile program leaves what its test looks for.
        sink: accepts connections and never reads them.
        descriptors: how many the emperor had before.
        said: how much the emperor had logged before, in bytes.
    """

    emperor: EmperorProcess
    port: int
    spoils: Path
    sink: socket.socket
    descriptors: int
    said: int

    def log(self) -> str:
        """What the emperor has logged since."""
        return self.emperor.log.read_bytes()[self.said :].decode(errors="replace")

    def open_descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.emperor.pid}/fd"))

    def let_loose(self, attack: str, **options: object) -> None:
        self.emperor.write("evil", self.hostile_text(attack, free_port(), **options))

    def hostile_text(self, attack: str, port: int, **options: object) -> str:
        """A vassal file whose interpreter is the hostile program."""
        program = self.spoils / f"python-{attack}"
        sink = self.sink.getsockname()[1]
        program.write_text(
            f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(HERE)!r})\n"
            f"import hostile_program\nhostile_program.main({attack!r}, {str(self.spoils)!r}, {sink})\n"
        )
        program.chmod(0o755)
        return vassal_text(port, python=program, **options)

    def reload_good(self) -> None:
        """`good` is reloaded and answers from a new process; neither takes as long as a blocked emperor would."""
        before = self.answer()
        client = ControlClient(str(self.emperor.control))
        outcomes = []
        asked = threading.Thread(target=lambda: outcomes.extend(client.reload(["good"])), daemon=True)
        asked.start()
        asked.join(DELAY)
        assert outcomes, f"the reload of a healthy vassal was not over after {DELAY} s"
        assert outcomes[0].ok, outcomes[0].text
        wait_until(lambda: self.answer() != before, DELAY, "a new worker to answer")

    def answer(self) -> bytes:
        return http_get(("127.0.0.1", self.port), "/pid").body

    def failure(self) -> str:
        found = self.emperor.status("evil")
        failure = found and found["last_failure"]
        return failure["reason"] if failure else ""

    def wait_failure(self, expected: str, deadline: float = 30.0) -> None:
        wait_until(
            lambda: re.search(expected, self.failure()),
            deadline,
            lambda: f"the failure of evil to match {expected!r}, not {self.failure()!r}",
        )

    def evil_processes(self) -> list[int]:
        found = []
        for process in self.emperor.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "python-" in " ".join(process.cmdline()):
                    found.append(process.pid)
        return found

    def wait_clean(self) -> None:
        """Nothing is left: no process of it, and no descriptor in the emperor."""
        self.emperor.delete("evil")
        self.emperor.wait_gone("evil", 30)
        wait_until(lambda: not self.evil_processes(), 30, lambda: f"processes of evil to end: {self.evil_processes()}")
        self.wait_descriptors()
        assert "Traceback" not in self.log()

    def wait_descriptors(self) -> None:
        """The emperor holds as many descriptors as before."""
        wait_until(
            lambda: self.open_descriptors() <= self.descriptors,
            30,
            lambda: f"{self.descriptors} descriptors in the emperor, not {self._listed()}",
        )

    def _listed(self) -> list[str]:
        listed = []
        for name in os.listdir(f"/proc/{self.emperor.pid}/fd"):
            with contextlib.suppress(OSError):
                listed.append(os.readlink(f"/proc/{self.emperor.pid}/fd/{name}"))
        return sorted(listed)


@pytest.fixture(scope="module")
def hall(start_shared_emperor, tmp_path_factory):
    """What the tests of this module share: an emperor with `good`, which no attack may harm, and a sink."""
    directory = tmp_path_factory.mktemp("hall")
    port = free_port()
    write_app(directory)
    emperor = start_shared_emperor(directory)
    emperor.write("good", vassal_text(port, chdir=directory))
    emperor.wait_state("good", "running")
    with socket.socket() as sink:
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sink.bind(("127.0.0.1", 0))
        sink.listen(128)
        hall = Arena(emperor, port, directory, sink, 0, 0)
        hall.reload_good()  # what the first reload opens for good is not a leak
        hall.descriptors = _settled(hall.open_descriptors)
        yield hall


@pytest.fixture
def arena(hall, tmp_path):
    arena = replace(hall, spoils=tmp_path, said=hall.emperor.log.stat().st_size)
    yield arena
    if arena.emperor.status("evil") is not None:  # its test failed: the next one is to begin without it
        arena.wait_clean()


def _settled(measure):
    """The smallest of several measurements: a client that leaves is closed a moment later."""
    seen = []
    wait_until(lambda: len(seen) >= 10 or seen.append(measure()), 5)
    return min(seen)


LIES = {
    "flood": "more than 600 packets in a minute",
    "not_json": "malformed packet",
    "not_unicode": "malformed packet",
    "not_an_object": "malformed packet: not an object",
    "deeply_nested": "malformed packet",
    "nested_objects": "malformed packet",
    "endless_number": "malformed packet",
    "oversized": "larger than 65536 bytes",
    "empty": "closed its link",
    "unknown_type": "unknown packet type 'promote-me'",
    "type_that_is_a_list": "unknown packet type",
    "command_of_the_emperor": "unknown packet type 'spawn'",
    "unknown_field": "heartbeat packet with wrong fields",
    "wrong_value": "ready packet with a wrong value",
    "future_protocol": "speaks protocol 99",
    "hello_twice": "speaks protocol 1|out of turn",
    "facts_twice": "facts packet out of turn",
    "ready_before_listening": "ready packet out of turn",
    "loyal_before_ready": "loyal packet out of turn",
    "ready_twice": "ready packet out of turn",
    "unknown_stage": "a failed packet of an unknown stage",
    "another_address": r"the descriptor for 127\.0\.0\.1:1 listens on 127\.0\.0\.1:\d+",
    "does_not_listen": "listens on nothing",
    "a_file": "is not a socket",
    "a_fifo": "is not a socket",
    "a_path": "is not a socket",
    "a_datagram_socket": "is not a listening socket|listens on nothing",
    "a_socket_of_another_kind": "is not a listening socket|listens on nothing",
    "its_own_link": "is not a listening socket|listens on nothing",
    "a_connection": "listens on nothing",
    "a_forged_name": "the descriptor for @emperor-hostile",
    "too_many_listeners": "more than 64 listeners",
    "too_many_descriptors": "descriptors were lost",
    "lists_that_differ": "lists differ",
    "no_descriptors": "lists differ",
    "listening_twice": "listening packet out of turn",
    "listening_after_ready": "listening packet out of turn",
    "descriptors_with_a_heartbeat": "descriptors with a heartbeat",
    "descriptors_alone": "descriptors without a packet",
    "slow_to_close": "listens on nothing",
    "hangs_up": "closed its link",
    "hangs_up_when_ready": "closed its link",
}
"""Attack -> what ``status`` says of it: all of these break the contract of the link and are killed for it."""


@pytest.mark.parametrize("attack", LIES)
def test_who_breaks_the_links_contract_is_killed_and_delays_nobody(arena, attack):
    arena.let_loose(attack)
    arena.reload_good()
    arena.wait_failure(LIES[attack])
    arena.wait_clean()


@pytest.mark.parametrize("attack", ["exits", "exits_ready"])
def test_who_exits_again_and_again_is_backed_off(arena, attack):
    arena.let_loose(attack)
    arena.reload_good()
    arena.wait_failure("exited with status 0")
    found = arena.emperor.wait_state("evil", "backoff", deadline=30)
    assert found["next_retry"] > time.time() - 1
    arena.wait_clean()


def test_a_forged_reason_stays_one_line(arena):
    arena.let_loose("forged_reason")
    arena.wait_failure("forged")
    arena.reload_good()
    log = arena.log()
    assert "forged" in log
    assert not [line for line in log.splitlines() if line.startswith("2030-01-01")]
    shown = arena.emperor.cli("status").stdout
    assert "forged" in shown
    assert "\x1b" not in log + shown
    arena.wait_clean()


@pytest.mark.parametrize("attack", ["reason_without_an_address", "flood_with_failures"])
def test_an_odd_failure_is_a_failure(arena, attack):
    arena.let_loose(attack)
    arena.reload_good()
    arena.wait_failure("in use|no no")
    assert len(arena.failure()) < 3000
    arena.wait_clean()


def test_absurd_counters_do_not_spoil_the_status(arena):
    arena.let_loose("absurd_counters")
    arena.emperor.wait_state("evil", "running")
    wait_until(lambda: arena.emperor.status("evil")["workers"] > 2**60, 20, "its counters")
    assert arena.emperor.status("good")["state"] == "running"
    assert "good" in arena.emperor.cli("status", check=True).stdout
    arena.reload_good()
    arena.wait_clean()


def test_who_wants_to_be_reloaded_all_the_time_has_to_wait(arena):
    began = time.monotonic()
    arena.let_loose("wants_reloads")
    wait_until(lambda: (arena.emperor.status("evil") or {}).get("generation", 0) >= 3, 30, "its third generation")
    arena.reload_good()
    generation = arena.emperor.status("evil")["generation"]
    assert generation <= 2 + (time.monotonic() - began)
    log = arena.log()
    assert "\x1b" not in log
    assert log.count("reload wanted") <= generation + 2
    arena.wait_clean()


@pytest.mark.parametrize("attack", ["never_reads", "stops_itself"])
def test_who_never_reads_its_link_is_killed_when_its_queue_is_full(arena, attack):
    arena.let_loose(attack)
    pid = arena.emperor.wait_state("evil", "running")["pid"]
    said = "generation 1 broke the contract of its link: the other end does not read its link"
    client = ControlClient(str(arena.emperor.control))

    def noticed() -> bool:
        for _ in range(20):  # well below the number of clients that are let in at once
            arena.emperor.ask_and_leave("evil")
        assert client.status(["good"])[0]["state"] == "running"
        return said in arena.log()

    arena.reload_good()
    wait_until(noticed, DELAY, "the full queue to be noticed")
    wait_until(lambda: not _alive(pid), 20, "its end")
    arena.wait_clean()


def test_who_is_deaf_and_never_ready_is_rolled_back(arena, tmp_path):
    port = free_port()
    write_app(tmp_path)
    arena.emperor.write("evil", vassal_text(port, chdir=tmp_path))
    first = arena.emperor.wait_state("evil", "running")
    arena.emperor.write("evil", arena.hostile_text("never_ready", port, start_timeout=2))
    wait_until(arena.evil_processes, 20, "the hostile generation")
    assert http_get(("127.0.0.1", port)).text == "hello"
    arena.reload_good()
    arena.wait_failure(r"not ready within 2 s")
    wait_until(lambda: not arena.evil_processes(), 20, "the hostile generation to end")
    found = arena.emperor.wait_state("evil", "running")
    assert (found["generation"], found["pid"]) == (first["generation"], first["pid"])
    assert http_get(("127.0.0.1", port)).text == "hello"
    arena.wait_clean()


def test_who_is_deaf_is_killed_by_stop(arena):
    arena.let_loose("never_ready")
    wait_until(arena.evil_processes, 20, "the hostile generation")
    arena.reload_good()
    stopped = arena.emperor.cli("stop", "evil", deadline=DELAY)
    assert stopped.returncode == 0, stopped.stderr
    assert not arena.evil_processes()
    arena.wait_clean()


@pytest.mark.parametrize("attack", ["leaves_processes", "leaves_processes_when_ready"])
def test_no_process_that_it_left_outlives_it(arena, attack):
    arena.let_loose(attack)
    left = wait_until(lambda: _left(arena), 20, "the processes that it leaves behind")
    if attack == "leaves_processes_when_ready":
        pid = arena.emperor.wait_state("evil", "running")["pid"]
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(_alive, left)), 20, lambda: f"{left} to end")
    arena.reload_good()
    arena.wait_clean()


def test_the_orphans_of_a_living_vassal_outlive_the_death_of_another(arena):
    arena.let_loose("leaves_processes_when_ready")
    arena.emperor.wait_state("evil", "running")
    left = _left(arena)
    before = arena.emperor.status("good")
    os.kill(before["pid"], signal.SIGKILL)
    arena.emperor.wait_state("good", "running", generation=before["generation"] + 1)
    arena.reload_good()
    assert all(map(_alive, left)), f"of {left} only {list(filter(_alive, left))} live"
    arena.wait_clean()
    assert not any(map(_alive, left))


def test_who_cannot_be_caught_delays_nobody(arena):
    arena.let_loose("hops")
    arena.wait_failure("exited with status 0|did not")
    for _ in range(3):
        arena.reload_good()
    assert _zombies(arena) < 100
    arena.wait_clean()


def _left(arena: Arena) -> list[int]:
    """Pids of what the hostile program left behind, once all four have written theirs."""
    pids = []
    for path in arena.spoils.glob("left-*"):
        text = path.read_text()
        if not text.endswith("\n"):
            return []
        pids.append(int(text))
    return pids if len(pids) == 4 else []


def _alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _zombies(arena: Arena) -> int:
    below = psutil.Process(arena.emperor.pid).children(recursive=True)
    count = 0
    for process in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            count += process.status() == psutil.STATUS_ZOMBIE
    return count
