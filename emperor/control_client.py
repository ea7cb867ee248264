"""The other end of the control socket, for the command line. Blocking, standard library only.

The danger here: waiting for ever for an emperor that hangs. All but a waiting reload has a deadline. Where more clients
come than are served at a time, one asks again for as long.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import time
from typing import TYPE_CHECKING, Any

from emperor.control import ANSWER_LIMIT, ControlError, NoEmperor, Outcome, UnknownVassal

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT = 15.0  # s; for whatever the emperor can answer at once
PAUSE = 0.1  # s; on average, before who was turned away for a crowd asks again


class ControlClient:
    """Talks to one emperor.

    Args:
        path: Its control socket.
        timeout: Seconds to wait for answers that need no work.
    """

    def __init__(self, path: str, *, timeout: float = TIMEOUT) -> None:
        self.path = path
        self._timeout = timeout

    def status(self, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Facts about these vassals, or all."""
        rows = self._ask({"command": "status", "names": names and list(names)}, self._timeout)
        return list(rows)

    def reload(self, names: Sequence[str] | None, *, wait: bool = True, strategy: str | None = None) -> list[Outcome]:
        """Reload these vassals, or all; with `wait` returns when each has succeeded or failed."""
        request = {"command": "reload", "names": names and list(names), "wait": wait, "strategy": strategy}
        return _outcomes(self._ask(request, None if wait else self._timeout))

    def stop(self, names: Sequence[str]) -> list[Outcome]:
        """Stop these vassals; returns when they have stopped."""
        return _outcomes(self._ask({"command": "stop", "names": list(names)}, None))

    def start(self, names: Sequence[str]) -> list[Outcome]:
        """Start these vassals; returns when each serves or has failed."""
        return _outcomes(self._ask({"command": "start", "names": list(names)}, None))

    def reopen_logs(self, names: Sequence[str] | None) -> list[Outcome]:
        """Let these vassals, or all and the emperor itself, open their log files again."""
        return _outcomes(self._ask({"command": "reopen_logs", "names": names and list(names)}, self._timeout))

    def log_place(self, name: str) -> tuple[str, int] | None:
        """The file that holds a vassal's log, and with whose rights to open it; see `emperor.control.Handler`."""
        place = self._ask({"command": "log_place", "names": [name]}, self._timeout)
        return None if place is None else (str(place[0]), int(place[1]))

    def _ask(self, request: dict[str, Any], timeout: float | None) -> Any:
        """One request, one answer.

        Raises:
            NoEmperor: If nobody answers.
            UnknownVassal: If a name is unknown.
            ControlError: If the emperor refuses or fails.
        """
        end = time.monotonic() + self._timeout
        while True:
            try:
                return _result(self._exchange(request, timeout), request, self.path)
            except _CrowdError as error:
                if time.monotonic() > end:
                    raise ControlError(str(error)) from None
                time.sleep(random.uniform(0, 2 * PAUSE))  # noqa: S311 (so that the crowd spreads)

    def _exchange(self, request: dict[str, Any], timeout: float | None) -> bytes:
        """Send one request; return the line that answers it."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self._timeout)
                connection.connect(self.path)
                with contextlib.suppress(BrokenPipeError):  # it refused us before we asked: its answer says why
                    connection.sendall(json.dumps(request).encode() + b"\n")
                connection.settimeout(timeout)
                with connection.makefile("rb") as stream:
                    return stream.readline(ANSWER_LIMIT)
        except BlockingIOError:  # connect(2): its queue is full
            raise _CrowdError(f"the emperor on {self.path} is busy: too many clients; try again") from None
        except PermissionError as error:
            raise ControlError(
                f"{self.path}: not permitted: only root and the emperor's own user may command it"
            ) from error
        except TimeoutError as error:
            raise NoEmperor(f"the emperor on {self.path} does not answer within {self._timeout:g} s") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise NoEmperor(
                f"no emperor answers on {self.path} ({reason}): is it running? is --control right?"
            ) from error


class _CrowdError(Exception):
    """So many clients are there that this one was turned away before anything was done; the message is for people."""


def _result(line: bytes, request: dict[str, Any], path: str) -> Any:
    try:
        answer = json.loads(line)
    except ValueError:
        raise NoEmperor(f"the emperor on {path} ended before it answered") from None
    if not isinstance(answer, dict) or not (answer.get("ok") or "error" in answer):
        raise ControlError(f"what answers on {path} is no emperor")
    if answer.get("ok"):
        return answer["result"]
    if answer.get("kind") == "busy":
        raise _CrowdError(str(answer["error"]))
    if answer.get("kind") == "unknown-vassal":
        raise _unknown(answer, request)
    raise ControlError(str(answer["error"]))


def _unknown(answer: dict[str, Any], request: dict[str, Any]) -> UnknownVassal:
    name = answer.get("name")
    return UnknownVassal(name if isinstance(name, str) else ", ".join(request.get("names") or ()))


def _outcomes(rows: Sequence[dict[str, Any]]) -> list[Outcome]:
    return [Outcome(row["name"], row["ok"], row["generation"], row["text"]) for row in rows]
