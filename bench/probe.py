"""Asking a UNIX socket again and again, and the time from an action to the first answer that counts.

The one thing that can go wrong here is to measure the asking: a poll without a pause takes a core away from who is to
answer, a poll with a long one hides what is measured. `PAUSE` is the resolution of every time that comes out.
"""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

PAUSE = 0.001
"""Seconds between two polls for something to appear: 3 % of a core."""
PAUSE_SERVED = 0.002
"""The same where each poll is a request that is answered: about 15 % of a core, the server's part included."""
PATIENCE = 30.0
"""Seconds after which an action counts as without effect."""
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


class NoEffectError(Exception):
    """What was waited for did not come."""


def ask(path: str, timeout: float = 5.0) -> bytes | None:
    """One GET on a connection of its own; the body of a 200, or None for whatever else happened."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(path)
            sock.sendall(REQUEST)
            response = b""
            while part := sock.recv(65536):
                response += part
        except OSError:
            return None
    head, _, body = response.partition(b"\r\n\r\n")
    return body if b" 200 " in head.split(b"\r\n", 1)[0] else None


def refuses(path: str) -> bool:
    """Whether nobody listens there any more. A full backlog (EAGAIN) is not a refusal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False
    return False


@dataclass
class Tally:
    """How many polls there were, and how many of them got no answer."""

    polls: int = 0
    failed: int = 0

    def answers(self, path: str, wanted: bytes) -> bool:
        """Ask once; whether the answer is the wanted one."""
        answer = ask(path)
        self.polls += 1
        self.failed += answer is None
        return answer == wanted


def measure(act: Callable[[], object], met: Callable[[], bool], pause: float = PAUSE) -> float:
    """Seconds from the beginning of `act` until `met`, which a thread polls from before the action on.

    Raises:
        NoEffectError: not met within `PATIENCE`.
    """
    polling, stopped = threading.Event(), threading.Event()
    seen: list[float] = []

    def poll() -> None:
        polling.set()
        while not stopped.is_set():
            if met():
                seen.append(time.perf_counter())
                return
            time.sleep(pause)

    thread = threading.Thread(target=poll)
    thread.start()
    polling.wait()
    began = time.perf_counter()
    try:
        act()
        thread.join(PATIENCE)
    finally:
        stopped.set()
        thread.join()
    if not seen:
        raise NoEffectError(f"nothing happened within {PATIENCE:g} s")
    return seen[0] - began


def all_answer(paths: list[str], pause: float = 0.005) -> Callable[[], bool]:
    """A condition for `measure`: each path has answered once. Those that did are not asked again."""
    pending = list(paths)

    def met() -> bool:
        pending[:] = [path for path in pending if refuses(path) or ask(path) is None]
        time.sleep(pause if pending else 0)
        return not pending

    return met
