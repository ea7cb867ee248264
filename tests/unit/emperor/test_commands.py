"""What commands ask of the machine, which must not grow with the crowd that asks."""

import asyncio
import threading
from types import SimpleNamespace

from emperor import report
from emperor.commands import Commands


def test_a_crowd_that_asks_for_memory_shares_the_looks(monkeypatch):
    looks = []
    go = threading.Event()

    def rss_of(pids):
        looks.append(set(pids))
        go.wait(20)
        return {pid: 10 * pid for pid in pids}

    monkeypatch.setattr(report, "rss_of", rss_of)
    runs = {"a": {1: SimpleNamespace(pid=1)}, "b": {1: SimpleNamespace(pid=2), 2: SimpleNamespace(pid=3)}}
    fleet = SimpleNamespace(vassals={"a": None, "b": None}, runs=runs)

    async def crowd():
        commands = Commands(fleet)
        asked = [asyncio.create_task(commands.memory(["a"] if number % 2 else None)) for number in range(20)]
        await asyncio.sleep(0.05)
        asked[0].cancel()  # who leaves takes nothing from the others
        runs["c"] = {1: SimpleNamespace(pid=4)}
        fleet.vassals["c"] = None
        late = asyncio.create_task(commands.memory(None))  # a new one: the look under way does not know it
        await asyncio.sleep(0.05)
        go.set()
        answers = await asyncio.gather(*asked[1:])
        assert answers[0] == {"a": 10}
        assert answers[1] == {"a": 10, "b": 50}
        assert await late == {"a": 10, "b": 50, "c": 40}

    asyncio.run(crowd())
    assert looks == [{1, 2, 3}, {1, 2, 3, 4}]
