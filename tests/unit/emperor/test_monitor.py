"""The monitor that wires scans, settling and hints, and the threads it scans in."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from emperor.leases import Writer
from emperor.monitor import Appeared, Monitor, Scanner, Touched, Vanished
from emperor.places import (
    PlaceOptions,
    ScanResult,
    parse_place,
    scan,
)
from tests.harness import write_file

OPTIONS = PlaceOptions()


def look(text, options=OPTIONS, settled=None):
    return scan(parse_place(str(text)), options, settled or {})


class Gate:
    """Scans that hang for one place until they are let go."""

    def __init__(self, hangs):
        self.hangs = hangs
        self.open = threading.Event()
        self.calls = []

    def __call__(self, place, options, settled):
        self.calls.append(place.text)
        if place.text in self.hangs and not self.open.wait(30):
            raise AssertionError("never let go")
        return scan(place, options, settled)


def scan_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("scan-")]


async def eventually(condition, deadline=10.0):
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110  # threads and the file system set no asyncio.Event
            await asyncio.sleep(0.005)


def test_a_scan_that_hangs_is_reported_and_waited_for_by_one_thread(tmp_path):
    async def go():
        gate = Gate({str(tmp_path)})
        got = []
        scanner = Scanner([parse_place(str(tmp_path))], OPTIONS, lambda *a: got.append(a), deadline=0.02, body=gate)
        before = len(scan_threads())
        assert scanner.request(0, {})
        await eventually(lambda: got)
        assert [scanner.request(0, {}) for _ in range(5)] == [False] * 5
        assert len(scan_threads()) == before + 1
        gate.open.set()
        await eventually(lambda: len(got) == 2)
        assert scanner.request(0, {})
        await eventually(lambda: len(got) == 3)
        scanner.close()
        assert not scanner.request(0, {})
        return got

    got = asyncio.run(go())
    assert "has not answered" in got[0][1].warnings[0]
    assert got[0][1].unseen == ("/",)
    assert got[1][1].unseen == got[2][1].unseen == ()


def test_a_scan_that_raises_leaves_the_place_unseen(tmp_path):
    def body(*_):
        raise ZeroDivisionError("no")

    async def go():
        got = []
        scanner = Scanner([parse_place(str(tmp_path))], OPTIONS, lambda *a: got.append(a), body=body)
        scanner.request(0, {})
        await eventually(lambda: got)
        scanner.close()
        return got[0][1]

    result = asyncio.run(go())
    assert result.unseen == ("/",)
    assert "ZeroDivisionError" in result.warnings[0]


def test_a_hung_scan_does_not_keep_the_process(tmp_path):
    script = f"""
import asyncio, sys, threading
sys.path.insert(0, {str(Path.cwd())!r})
from emperor.monitor import Monitor, PlaceOptions, parse_place
def hang(*_):
    threading.Event().wait()
async def main():
    monitor = Monitor([parse_place({str(tmp_path)!r})], PlaceOptions(), deliver=print, warn=print, body=hang)
    await monitor.start()
    monitor.close()
asyncio.run(main())
print("end")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("end\n", "", 0)


class Bench:
    """A monitor on a running loop, and what it said."""

    def __init__(self, *places, **options):
        self.events = []
        self.warnings = []
        options = {"freq": 0.05, **options}
        self.monitor = Monitor(
            [parse_place(str(place)) for place in places],
            options.pop("place_options", OPTIONS),
            deliver=self.events.extend,
            warn=self.warnings.append,
            **options,
        )

    async def __aenter__(self):
        await self.monitor.start()
        return self

    async def __aexit__(self, *_):
        self.monitor.close()

    async def next(self):
        await eventually(lambda: self.events)
        return self.events.pop(0)


def test_the_first_scan_delivers_in_the_order_of_places(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        write_file(tmp_path / place / "x.ini", "[uwsgi]\n")

    def slow_first(place, options, settled):
        if place.text.endswith("/b"):
            time.sleep(0.1)
        return scan(place, options, settled)

    async def go():
        async with Bench(tmp_path / "b", tmp_path / "a", body=slow_first) as bench:
            await eventually(lambda: len(bench.events) == 2)
            return {event.manifest.path: event.manifest.name for event in bench.events}

    assert asyncio.run(go()) == {str(tmp_path / "b" / "x.ini"): "x", str(tmp_path / "a" / "x.ini"): "a/x"}


def test_a_file_appears_is_touched_and_vanishes(tmp_path):
    async def go():
        async with Bench(tmp_path) as bench:
            file = write_file(tmp_path / "x.ini", "[uwsgi]\n")
            bench.monitor.wake()
            assert isinstance(await bench.next(), Appeared)
            os.utime(file, (1, 1))
            event = await bench.next()
            assert isinstance(event, Touched)
            assert event.manifest.version[0] == 1_000_000_000
            file.unlink()
            assert await bench.next() == Vanished("x")

    asyncio.run(go())


def test_a_half_written_file_waits_for_its_writer(tmp_path):
    async def go():
        async with Bench(tmp_path) as bench:
            path = tmp_path / "x.ini"
            with path.open("w") as file:
                for line in ("[uwsgi]\n", "module = a\n", "http = :0\n"):
                    file.write(line)
                    file.flush()
                    scanned = bench.monitor._slots[0].not_before
                    await eventually(lambda scanned=scanned: bench.monitor._slots[0].not_before > scanned + 0.1)
                    unknown = look(tmp_path).files[str(path)].writer is Writer.UNKNOWN
                    if unknown:
                        pytest.skip("no leases on this file system")
                    assert not bench.events
            assert (await bench.next()).manifest.version[2] == path.stat().st_size

    asyncio.run(go())


def test_a_hung_place_holds_up_itself_only_and_loses_nothing(tmp_path):
    for place in ("good", "hung"):
        (tmp_path / place).mkdir()
        write_file(tmp_path / place / f"{place}.ini", "[uwsgi]\n")
    gate = Gate(set())

    async def go():
        async with Bench(tmp_path / "hung", tmp_path / "good", body=gate, deadline=0.05) as bench:
            assert {(await bench.next()).manifest.name for _ in range(2)} == {"good", "hung"}
            gate.hangs = {str(tmp_path / "hung")}
            await eventually(lambda: bench.warnings)
            write_file(tmp_path / "good" / "more.ini", "[uwsgi]\n")
            assert (await bench.next()).manifest.name == "more"
            (tmp_path / "good" / "more.ini").unlink()
            assert await bench.next() == Vanished("more")
            (tmp_path / "hung" / "hung.ini").unlink()
            gate.open.set()
            assert await bench.next() == Vanished("hung")
            return bench.warnings

    (warning,) = asyncio.run(go())
    assert "has not answered for 0.05 s" in warning


def test_the_boot_does_not_wait_for_a_hung_place(tmp_path, monkeypatch):
    monkeypatch.setattr("emperor.monitor.BOOT_GRACE", 0.05)
    (tmp_path / "hung").mkdir()
    (tmp_path / "good").mkdir()
    write_file(tmp_path / "good" / "x.ini", "[uwsgi]\n")
    gate = Gate({str(tmp_path / "hung")})

    async def go():
        async with Bench(tmp_path / "hung", tmp_path / "good", body=gate) as bench:
            assert (await bench.next()).manifest.name == "x"
            gate.open.set()

    asyncio.run(go())


def test_a_directory_that_comes_late_goes_and_returns(tmp_path):
    place = tmp_path / "late"

    async def go():
        async with Bench(place) as bench:
            await eventually(lambda: bench.warnings)
            for _ in range(2):
                place.mkdir()
                write_file(place / "x.ini", "[uwsgi]\n")
                assert isinstance(await bench.next(), Appeared)
                (place / "x.ini").unlink()
                place.rmdir()
                assert await bench.next() == Vanished("x")
                bench.monitor.release("x")
            await eventually(lambda: len(bench.warnings) == 3)
            assert len(set(bench.warnings)) == 1

    asyncio.run(go())


def test_no_hint_means_no_scan_before_freq_and_hints_are_paced(tmp_path):
    calls = []

    def body(place, options, settled):
        calls.append(time.monotonic())
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        return ScanResult()

    async def go():
        async with Bench(tmp_path, body=body, freq=60.0) as bench:
            assert len(calls) == 1
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                bench.monitor.wake()
                await asyncio.sleep(0.001)

    asyncio.run(go())
    # Each scan works for 10 ms, and hints may take a tenth of half a second, and what was saved up before.
    assert 1 < len(calls) <= 13


def test_a_place_that_is_slow_once_is_looked_at_again_soon(tmp_path):
    """A cold disk, a busy server, a machine with other work: waiting is no work, so it is not paid for by pauses."""

    def slow(place, options, settled):
        time.sleep(0.2)
        return scan(place, options, settled)

    async def go():
        events = []
        monitor = Monitor(
            [parse_place(str(tmp_path))], OPTIONS, deliver=events.extend, warn=print, freq=0.05, body=slow
        )
        await monitor.start()
        write_file(tmp_path / "blog.ini", "[uwsgi]")
        await eventually(lambda: events)
        monitor.close()
        return events

    assert isinstance(asyncio.run(go())[0], Appeared)


def test_a_place_without_a_thread_is_unseen_and_gets_one_later(tmp_path, monkeypatch):
    (tmp_path / "blog.ini").write_text("[uwsgi]")
    start, starts = threading.Thread.start, []

    def refused(thread):
        starts.append(thread)
        if len(starts) < 3:
            raise RuntimeError("can't start new thread")
        start(thread)

    async def go():
        events, warnings = [], []
        monitor = Monitor([parse_place(str(tmp_path))], OPTIONS, deliver=events.extend, warn=warnings.append, freq=0.05)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            await monitor.start()
            await eventually(lambda: events)
        monitor.close()
        return events, warnings

    events, warnings = asyncio.run(go())
    assert isinstance(events[0], Appeared)
    assert warnings == [f"cannot look at {tmp_path}: can't start new thread; the vassals there stay as they are"]


def test_after_close_nothing_happens_any_more(tmp_path):
    async def go():
        bench = Bench(tmp_path)
        await bench.monitor.start()
        bench.monitor.close()
        write_file(tmp_path / "x.ini", "[uwsgi]\n")
        bench.monitor.wake()
        await asyncio.sleep(0)
        return bench

    bench = asyncio.run(go())
    with contextlib.suppress(RuntimeError):
        bench.monitor.wake()
    assert not bench.events
