"""The control socket: who may speak, what is answered, and that two emperors never share one."""

import asyncio
import concurrent.futures
import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emperor import control
from emperor.control import (
    ControlError,
    ControlInUse,
    ControlServer,
    NoEmperor,
    Outcome,
    UnknownVassal,
    answer_to,
    default_path,
)
from emperor.control_client import ControlClient


class Fleet:
    """A handler with one vassal."""

    def __init__(self):
        self.calls = []
        self.release = None
        self.cancelled = False

    def _known(self, names):
        for name in names or ():
            if name != "blog":
                raise UnknownVassal(name)

    async def status(self, names):
        self._known(names)
        self.calls.append(("status", names))
        return [{"name": "blog", "state": "running"}]

    async def reload(self, names, *, wait, strategy):
        self._known(names)
        self.calls.append(("reload", names, wait, strategy))
        if self.release is not None:
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        return [Outcome("blog", False, 3, "rolled back: no module named 'shop'")]

    async def stop(self, names):
        self._known(names)
        return [Outcome(name, True, None, "stopped") for name in names]

    async def start(self, names):
        raise ZeroDivisionError("oops")

    def log_place(self, name):
        self._known([name])
        return "/var/log/blog.log", 1000


def serve(path, client, fleet=None, **options):
    """Run a server, and `client` in a thread (or as a coroutine) beside it; its result."""

    async def go():
        server = ControlServer(str(path), fleet or Fleet(), **options)
        await server.start()
        try:
            if asyncio.iscoroutinefunction(client):
                return await asyncio.wait_for(client(), 20)
            return await asyncio.wait_for(asyncio.to_thread(client), 20)
        finally:
            await server.close()

    return asyncio.run(go())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


def ask(*lines, path):
    """Send raw lines; the answers until the server closes or each has one."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        with contextlib.suppress(BrokenPipeError):  # a refusal need not wait for the question
            connection.sendall(b"".join(lines))
        with connection.makefile("rb") as stream:
            return [json.loads(answer) for _, answer in zip(lines, stream, strict=False)]


def test_all_commands_reach_the_handler_and_come_back(path):
    fleet = Fleet()
    client = ControlClient(str(path))

    def talk():
        assert client.status() == client.status(["blog"]) == [{"name": "blog", "state": "running"}]
        (outcome,) = client.reload(["blog"], wait=False, strategy="drain")
        assert outcome == Outcome("blog", False, 3, "rolled back: no module named 'shop'")
        client.reload(None)
        assert client.stop(["blog"]) == [Outcome("blog", True, None, "stopped")]
        assert client.log_place("blog") == ("/var/log/blog.log", 1000)
        with pytest.raises(UnknownVassal, match="'nobody'") as caught:
            client.stop(["blog", "nobody"])
        assert caught.value.name == "nobody"
        with pytest.raises(ControlError, match="oops"):
            client.start(["blog"])
        assert client.status() == [{"name": "blog", "state": "running"}]

    serve(path, talk, fleet)
    assert fleet.calls == [
        ("status", None),
        ("status", ["blog"]),
        ("reload", ["blog"], False, "drain"),
        ("reload", None, True, None),
        ("status", None),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"", b"nonsense", b"[]", b"3", b'{"command": "dance"}', b"{}", b"\xff", b"[" * 100_000,
        b'{"command": "stop"}', b'{"command": "stop", "names": []}', b'{"command": "stop", "names": [1]}',
        b'{"command": "status", "names": "blog"}', b'{"command": "log_place", "names": ["a", "b"]}',
        b'{"command": "reload", "strategy": 5}', b'{"command": ["status"]}',
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused(line):
    answer = asyncio.run(answer_to(Fleet(), line))
    assert answer["ok"] is False
    assert answer["kind"] == "bad-request"
    assert answer["error"]


def test_several_requests_on_one_connection_are_answered_in_order(path):
    lines = [b'{"command": "status"}\n', b"nonsense\n", b'{"command": "stop", "names": ["blog"]}\n']
    answers = serve(path, lambda: ask(*lines, path=path))
    assert [answer["ok"] for answer in answers] == [True, False, True]


def test_the_socket_is_for_its_owner_only_and_removed_at_the_end(path):
    def facts():
        return stat.S_IMODE(os.stat(path).st_mode), sorted(os.listdir(path.parent))

    assert serve(path, facts) == (0o600, ["control.sock", "control.sock.lock"])
    assert os.listdir(path.parent) == []


def test_a_missing_directory_is_made(tmp_path):
    path = tmp_path / "emperor" / "control.sock"
    assert serve(path, lambda: ControlClient(str(path)).status())


@pytest.mark.root
def test_another_user_is_told_so_even_when_the_mode_would_let_him(path, monkeypatch):
    monkeypatch.setattr(control, "peer_uid", lambda _connection: 65534)
    (answer,) = serve(path, lambda: ask(b'{"command": "status"}\n', path=path))
    assert answer["kind"] == "forbidden"


def test_the_kernel_says_who_connects(path):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert control.peer_uid(ours) == os.geteuid()


def test_a_second_emperor_is_refused_and_disturbs_nothing(path):
    async def second():
        before = os.stat(path)
        with pytest.raises(ControlInUse, match="another emperor already answers on"):
            await ControlServer(str(path), Fleet()).start()
        assert os.path.samestat(before, os.stat(path))
        rows = await asyncio.to_thread(ControlClient(str(path)).status)
        assert rows[0]["name"] == "blog"

    serve(path, second)


def test_a_second_emperor_is_refused_although_somebody_removed_the_lock(path):
    async def second():
        os.unlink(f"{path}.lock")
        with pytest.raises(ControlInUse):
            await ControlServer(str(path), Fleet()).start()
        assert (await asyncio.to_thread(ControlClient(str(path)).status))[0]["name"] == "blog"

    serve(path, second)


def test_the_socket_of_a_killed_emperor_is_replaced(path):
    script = f"""
import asyncio, sys
sys.path.insert(0, {str(Path.cwd())!r})
from emperor.control import ControlServer
async def main():
    await ControlServer({str(path)!r}, None).start()
    print("up", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout.readline() == "up\n"
        finally:
            first.kill()
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    assert serve(path, lambda: ControlClient(str(path)).status())


def test_what_is_no_socket_is_not_removed(path):
    path.write_text("precious")
    with pytest.raises(ControlError, match="is no socket"):
        serve(path, lambda: None)
    assert path.read_text() == "precious"
    assert os.listdir(path.parent) == ["control.sock"]


@pytest.mark.parametrize("name", ["x" * 120, "none/such/dir/control.sock"])
def test_a_path_that_cannot_be_is_a_clear_error(tmp_path, name):
    with pytest.raises(ControlError, match="give --control PATH"):
        serve(tmp_path / name, lambda: None)


def test_a_socket_that_another_made_meanwhile_is_left(path):
    async def replaced():
        os.unlink(path)
        path.write_text("another's")

    serve(path, replaced)
    assert path.read_text() == "another's"


def test_a_slow_client_is_dropped(path):
    def slow():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            connection.sendall(b'{"comm')
            return connection.recv(10)

    assert serve(path, slow, patience=0.05) == b""


def test_a_client_that_does_not_take_its_answer_is_dropped(path):
    class Large(Fleet):
        async def status(self, names):
            return [{"name": "x" * 8_000_000}]

    def lazy():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            connection.sendall(b'{"command": "status"}\n')
            time.sleep(0.4)  # it reads nothing for longer than the server's patience
            received = 0
            while data := connection.recv(1 << 20):
                received += len(data)
            return received

    assert serve(path, lazy, Large(), patience=0.05) < 8_000_000


def test_a_request_without_end_is_refused(path):
    (answer,) = serve(path, lambda: ask(b"x" * (8 * control.LINE_LIMIT), path=path))
    assert answer["kind"] == "bad-request"


def test_too_many_clients_are_told_so_and_the_others_go_on(path):
    def crowd():
        held = []
        try:
            for _ in range(2):
                connection = socket.socket(socket.AF_UNIX)
                held.append(connection)
                connection.settimeout(10)
                connection.connect(str(path))
                connection.sendall(b'{"command": "status"}\n')
                assert json.loads(connection.recv(65536))["ok"]
            with pytest.raises(ControlError, match="too many clients"):
                ControlClient(str(path), timeout=0.05).status()
            held[0].sendall(b'{"command": "status"}\n')
            return json.loads(held[0].recv(65536))["ok"]
        finally:
            for connection in held:
                connection.close()

    assert serve(path, crowd, connections=2)


def test_who_finds_a_crowd_asks_again(path):
    """A deployment that reloads many vassals side by side is no mistake."""
    fleet = Fleet()

    async def crowd():
        fleet.release = asyncio.Event()
        reload = asyncio.create_task(asyncio.to_thread(ControlClient(str(path)).reload, ["blog"]))
        async with asyncio.timeout(10):
            while not fleet.calls:  # noqa: ASYNC110  # the handler under test sets no event
                await asyncio.sleep(0.01)
        with pytest.raises(ControlError, match="too many clients"):
            await asyncio.to_thread(ControlClient(str(path), timeout=0.05).status)
        status = asyncio.create_task(asyncio.to_thread(ControlClient(str(path)).status))
        await asyncio.sleep(0.2)
        assert not status.done()
        fleet.release.set()
        assert (await reload)[0].name == "blog"
        return await status

    assert serve(path, crowd, fleet, connections=1)[0]["name"] == "blog"


def test_who_finds_the_queue_full_waits_for_room(path):
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as fillers:
        listener.bind(str(path))
        listener.listen(0)
        refused = 0
        while not refused:
            filler = fillers.enter_context(socket.socket(socket.AF_UNIX))
            filler.setblocking(False)
            refused = filler.connect_ex(str(path))
        with pytest.raises(ControlError, match="busy"):
            ControlClient(str(path), timeout=0.05).status()

        def answer():
            while True:
                connection = listener.accept()[0]
                with connection, connection.makefile("rb") as stream:
                    if stream.readline():
                        connection.sendall(b'{"ok": true, "result": []}\n')
                        return

        with concurrent.futures.ThreadPoolExecutor() as pool:
            status = pool.submit(ControlClient(str(path)).status)
            fillers.close()
            pool.submit(answer).result(20)
            assert status.result(20) == []


def test_a_client_that_leaves_is_no_longer_worked_for(path):
    fleet = Fleet()

    async def leave():
        fleet.release = asyncio.Event()
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"command": "reload"}\n')
        async with asyncio.timeout(10):
            while not fleet.calls:  # noqa: ASYNC110  # the handler under test sets no event
                await asyncio.sleep(0.01)
            writer.close()
            while not fleet.cancelled:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.01)

    serve(path, leave, fleet)


def test_closing_the_server_ends_conversations(path):
    fleet = Fleet()

    async def go():
        fleet.release = asyncio.Event()
        server = ControlServer(str(path), fleet)
        await server.start()
        waiting = asyncio.ensure_future(asyncio.to_thread(ControlClient(str(path)).reload, None))
        async with asyncio.timeout(10):
            while not fleet.calls:  # noqa: ASYNC110  # the handler under test sets no event
                await asyncio.sleep(0.01)
        await server.close()
        with pytest.raises(NoEmperor, match="ended before it answered"):
            await asyncio.wait_for(waiting, 10)

    asyncio.run(go())


def test_nobody_there_is_said_with_the_path(path):
    with pytest.raises(NoEmperor, match=str(path)):
        ControlClient(str(path)).status()


def test_an_emperor_that_hangs_is_given_up(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(NoEmperor, match="does not answer"):
            ControlClient(str(path), timeout=0.05).status()


@pytest.mark.parametrize("lost", ["socket", "lock", "directory"])
def test_a_socket_that_was_removed_is_made_anew(tmp_path, lost):
    path = tmp_path / "run" / "control.sock"

    async def go():
        server = ControlServer(str(path), Fleet())
        await server.start()
        assert not await server.renew()
        path.unlink()
        if lost != "socket":
            path.with_name("control.sock.lock").unlink()
        if lost == "directory":
            path.parent.rmdir()
        assert await server.renew()
        assert not await server.renew()
        assert (await asyncio.to_thread(ControlClient(str(path)).status))[0]["name"] == "blog"
        with pytest.raises(ControlInUse):
            await ControlServer(str(path), Fleet()).start()
        await server.close()

    asyncio.run(go())
    assert not list(path.parent.iterdir())


def test_a_path_that_another_has_taken_is_left_alone(tmp_path):
    path = tmp_path / "run" / "control.sock"

    async def go():
        server, other = ControlServer(str(path), Fleet()), ControlServer(str(path), Fleet())
        await server.start()
        shutil.rmtree(path.parent)
        await other.start()
        path.unlink()
        assert not await server.renew()  # the lock is the other's
        assert await other.renew()
        assert not await server.renew()
        await server.close()
        assert {entry.name for entry in path.parent.iterdir()} == {"control.sock", "control.sock.lock"}
        await other.close()

    asyncio.run(go())


def test_the_default_path(monkeypatch, tmp_path):
    monkeypatch.setattr(control, "SYSTEM_PATH", str(tmp_path / "run" / "control.sock"))
    assert default_path({"EMPEROR_CONTROL": "/x"}, serving=True) == "/x"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_path({}, serving=False) == control.SYSTEM_PATH
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert default_path(environ, serving=True) == str(tmp_path / "emperor" / "control.sock")
    (tmp_path / "run").mkdir()
    assert default_path(environ, serving=True) == control.SYSTEM_PATH
    assert default_path(environ, serving=False) == str(tmp_path / "emperor" / "control.sock")
    (tmp_path / "run" / "control.sock").touch()
    assert default_path(environ, serving=False) == control.SYSTEM_PATH
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # root's, which does not obey us ...
    assert default_path(environ, serving=False) == control.SYSTEM_PATH  # ... says so itself
    (tmp_path / "emperor").mkdir()
    (tmp_path / "emperor" / "control.sock").touch()
    assert default_path(environ, serving=False) == str(tmp_path / "emperor" / "control.sock")
    monkeypatch.setattr(control, "SYSTEM_PATH", "/nowhere/control.sock")
    with pytest.raises(ControlError, match="give --control"):
        default_path({}, serving=True)
    assert default_path({}, serving=False) == "/nowhere/control.sock"  # nobody answers there: exit code 3
