"""The address of the fleet's statistics: real sockets on a real loop, and readers with bad manners."""

import asyncio
import os
import socket
from collections.abc import Callable

import pytest

from emperor import statsserver
from emperor.journal import flush
from emperor.statsserver import READERS, StatsError, StatsServer

LARGE = b"x" * (32 << 20)


class Answers:
    def __init__(self, body=b'{"some":"facts"}'):
        self.body = body
        self.asked = 0
        self.hold: asyncio.Event | None = None

    async def __call__(self):
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        return self.body


def on_loop(path, test: Callable, answers=None, **options):
    """Run `test(server, answers)` beside a server on the socket `path`."""
    answers = answers or Answers()

    async def main():
        server = StatsServer(str(path), answers, **options)
        server.start()
        try:
            await asyncio.wait_for(test(server, answers), 30)
        finally:
            await server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    asyncio.run(main())
    assert not os.path.lexists(path)


async def until(fits):
    while not fits():  # noqa: ASYNC110 (what is waited for has no event)
        await asyncio.sleep(0.001)


async def read(path, said=b""):
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(said)
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def silent(path):
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s"


def test_a_client_gets_it_and_the_end(path):
    async def test(_server, answers):
        assert await read(path) == answers.body
        assert await read(path, b"some noise") == answers.body
        assert answers.asked == 1, "good for some time"

    on_loop(path, test)


def test_all_who_ask_meanwhile_get_one_answer_and_one_that_leaves_spoils_it_for_nobody(path):
    async def test(_server, answers):
        answers.hold = asyncio.Event()
        leaving = silent(path)
        asking = [asyncio.ensure_future(read(path)) for _ in range(5)]
        await until(lambda: answers.asked)
        leaving.close()
        answers.hold.set()
        assert await asyncio.gather(*asking) == [answers.body] * 5
        assert answers.asked == 1

    on_loop(path, test)


def test_who_does_not_read_is_dropped_for_who_comes_and_after_its_time(path, monkeypatch):
    monkeypatch.setattr(statsserver, "FRESH", 0.0)
    monkeypatch.setattr(statsserver, "SHARE", 0)

    async def test(server, answers):
        stuck = [silent(path) for _ in range(READERS + 5)]
        await until(lambda: len(server._readers) == READERS)
        answers.body = b"small"
        await until(lambda: server._making is not None and server._making.done())
        assert await read(path) == b"small"
        assert len(server._readers) <= READERS
        for client in stuck:
            client.close()
        await until(lambda: not server._readers)
        monkeypatch.setattr(statsserver, "PATIENCE", 0.01)
        answers.body = LARGE
        late = silent(path)
        await until(lambda: server._readers)
        await until(lambda: not server._readers)
        late.close()

    on_loop(path, test, Answers(LARGE))


def test_http(path):
    async def test(_server, answers):
        answer = await read(path, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 OK\r\n")
        assert body == answers.body
        assert (await read(path, b"HEAD / HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\n")
        assert await read(path, b"x" * 9000) == b""

    on_loop(path, test, http=True)


def test_a_mistake_in_the_facts_is_told_and_nobody_hangs(path, capfd):
    async def broken():
        raise ZeroDivisionError

    async def test(_server, _answers):
        assert await read(path) == b"{}"

    on_loop(path, test, broken)
    flush()
    assert "ZeroDivisionError" in "".join(capfd.readouterr())


def test_mode_and_what_lies_in_the_way(path, tmp_path):
    async def test(_server, answers):
        assert os.lstat(path).st_mode & 0o777 == 0o620
        second = StatsServer(str(path), answers)
        with pytest.raises(StatsError, match=r"emperor-stats: .* already in use"):
            second.start()
        await second.close()
        assert await read(path) == answers.body, "the first is unharmed"

    on_loop(path, test, mode=0o620)
    for address in (str(tmp_path / "no" / "dir"), "127.0.0.1:99999", "nowhere.invalid:1"):
        with pytest.raises(StatsError, match="emperor-stats"):
            StatsServer(address, Answers()).start()
