"""Settling: what is reported, when, and that it always is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emperor import settle
from emperor.leases import Writer
from emperor.manifest import Appeared, Touched, Vanished
from emperor.names import Namer
from emperor.places import Found, ScanResult
from emperor.settle import Settler

PATH = "/e/blog.ini"


def found(path=PATH, *, mtime=1, inode=1, size=10, uid=0, **facts):
    facts = {"writer": Writer.NONE, "target": (1, inode), **facts}
    return Found(path=path, version=(mtime, inode, size, uid, 0), owner=(uid, 0), **facts)


def saw(*files, unseen=()):
    return {0: ScanResult({file.path: file for file in files}, unseen=unseen)}


class Bench:
    """A settler of one place and a clock; `until_quiet` looks again when it is asked to."""

    def __init__(self, places=1):
        self.settler = Settler(places, Namer())
        self.now = 100.0
        self.wake = None

    def feed(self, results, after=0.0):
        self.now += after
        events, self.wake = self.settler.feed(results, self.now)
        return events

    def until_quiet(self, results):
        events = self.feed(results)
        for _ in range(1000):
            if self.wake is None:
                return events
            assert self.wake >= self.now
            self.now = self.wake
            events += self.feed(results)
        raise AssertionError("it never comes to rest")

    def settled(self, *files):
        """A bench on which these files have been reported."""
        self.until_quiet(saw(*files))
        return self


def kinds(events):
    return [type(event) for event in events]


def test_a_file_that_has_rested_is_reported_at_once():
    (event,) = Bench().feed(saw(found(age=1.0)))
    assert isinstance(event, Appeared)
    assert (event.manifest.name, event.manifest.path) == ("blog", PATH)


def test_a_fresh_file_is_reported_after_a_moment_without_change():
    bench = Bench()
    assert bench.feed(saw(found())) == []
    assert bench.wake == pytest.approx(bench.now + settle.QUIET)
    assert bench.feed(saw(found(mtime=2)), 0.01) == []
    assert bench.feed(saw(found(mtime=2)), 0.015) == []
    (event,) = bench.feed(saw(found(mtime=2)), 0.006)
    assert event.manifest.version[0] == 2
    assert bench.wake is None


def test_a_clock_that_runs_ahead_does_not_delay_for_ever():
    bench = Bench()
    assert kinds(bench.until_quiet(saw(found(age=-3600.0)))) == [Appeared]
    assert bench.now <= 100.0 + settle.QUIET + 0.001


def test_where_the_kernel_cannot_tell_the_wait_is_longer_and_age_is_not_believed_too_soon():
    bench = Bench()
    assert bench.feed(saw(found(writer=Writer.UNKNOWN, age=1.0))) == []
    assert bench.wake == pytest.approx(bench.now + settle.QUIET_UNKNOWN)
    assert kinds(Bench().feed(saw(found(writer=Writer.UNKNOWN, age=60.0)))) == [Appeared]


def test_a_file_that_somebody_writes_waits_until_it_is_closed():
    bench = Bench()
    for second in range(4):
        assert bench.feed(saw(found(mtime=1, writer=Writer.OPEN, age=float(second))), 1.0) == []
        assert bench.now < bench.wake <= bench.now + settle.POLL_LATER
    assert kinds(bench.feed(saw(found(mtime=1, age=4.0)), 0.1)) == [Appeared]


def test_a_writer_who_never_closes_is_overridden():
    bench = Bench()
    assert kinds(bench.until_quiet(saw(found(writer=Writer.OPEN)))) == [Appeared]
    assert bench.now == pytest.approx(100.0 + settle.LONGEST)


def test_a_file_that_never_rests_is_reported_now_and_then():
    bench = Bench().settled(found())
    events = []
    for step in range(1500):
        events += bench.feed(saw(found(mtime=2 + step)), 0.01)
    assert kinds(events) == [Touched, Touched]


def test_an_empty_file_waits_longer_and_is_then_reported():
    bench = Bench()
    assert kinds(bench.until_quiet(saw(found(size=0)))) == [Appeared]
    assert bench.now == pytest.approx(100.0 + settle.QUIET_EMPTY)


def test_an_empty_file_that_is_filled_is_reported_once():
    bench = Bench()
    bench.feed(saw(found(size=0)))
    assert bench.feed(saw(found(size=9)), 0.1) == []
    assert kinds(bench.feed(saw(found(size=9)), 0.03)) == [Appeared]


def test_a_hundred_touches_in_a_second_are_one_event_with_the_last_version():
    bench = Bench().settled(found())
    events = []
    for touch in range(100):
        events += bench.feed(saw(found(mtime=2 + touch)), 0.01)
    events += bench.until_quiet(saw(found(mtime=101)))
    assert kinds(events) == [Touched]
    assert events[0].manifest.version[0] == 101


def test_touches_that_come_slowly_are_an_event_each():
    bench = Bench().settled(found())
    events = [event for mtime in (2, 3, 4) for event in bench.until_quiet(saw(found(mtime=mtime)))]
    assert [event.manifest.version[0] for event in events] == [2, 3, 4]


def test_a_file_that_is_away_for_a_moment_never_vanished():
    bench = Bench().settled(found())
    assert bench.feed(saw()) == []
    assert bench.feed(saw(found()), 0.05) == []
    assert bench.wake is None


def test_renamed_away_and_written_anew_is_a_touch():
    bench = Bench().settled(found())
    events = bench.feed(saw())
    events += bench.feed(saw(found(inode=2, size=0)), 0.02)
    events += bench.until_quiet(saw(found(inode=2, size=20)))
    assert kinds(events) == [Touched]


def test_a_file_that_stays_away_has_vanished():
    bench = Bench().settled(found())
    assert bench.until_quiet(saw()) == [Vanished("blog")]
    assert bench.now == pytest.approx(100.0 + settle.QUIET + settle.AWAY)
    assert bench.until_quiet(saw()) == []


def test_a_file_that_goes_before_it_came_to_rest_leaves_no_trace():
    bench = Bench()
    bench.feed(saw(found()))
    assert bench.until_quiet(saw()) == []


def test_a_vassal_that_comes_back_bears_its_name_again():
    bench = Bench().settled(found())
    bench.until_quiet(saw())
    (event,) = bench.until_quiet(saw(found(inode=2)))
    assert isinstance(event, Appeared)
    assert event.manifest.name == "blog"


def test_a_name_is_free_for_another_file_only_once_released():
    bench = Bench().settled(found())
    bench.until_quiet(saw())
    (event,) = bench.until_quiet(saw(found("/f/blog.ini")))
    assert event.manifest.name == "f/blog"
    bench.settler.release("blog")
    other = found("/g/blog.ini")
    (event,) = bench.until_quiet(saw(found("/f/blog.ini"), other))
    assert event.manifest.name == "blog"
    bench.settler.release("blog")  # it lives: nothing happens
    assert [e.manifest.name for e in bench.until_quiet(saw(found("/f/blog.ini"), replace(other, owner=(5, 5))))] == []


def test_a_renamed_file_leaves_under_its_old_name_before_it_comes_under_the_new():
    bench = Bench().settled(found(inode=7))
    events = bench.until_quiet(saw(found("/e/shop.ini", inode=7, age=50.0)))
    assert kinds(events) == [Vanished, Appeared]


@pytest.mark.parametrize("unseen", [("/e",), ("/e/blog.ini",), ("/",)])
def test_what_cannot_be_seen_stays(unseen):
    bench = Bench().settled(found())
    assert bench.until_quiet(saw(unseen=unseen)) == []
    assert bench.until_quiet(saw()) == [Vanished("blog")]


def test_what_cannot_be_seen_elsewhere_keeps_nothing():
    bench = Bench().settled(found())
    assert bench.until_quiet(saw(unseen=("/eagle",))) == [Vanished("blog")]


def test_an_unseen_pending_file_is_not_judged_by_old_evidence():
    bench = Bench()
    bench.feed(saw(found()))
    assert bench.feed(saw(unseen=("/e",)), 60.0) == []
    assert bench.wake is None


def test_a_file_in_two_places_is_one_vassal_until_both_have_lost_it():
    bench = Bench(places=2)
    files = ScanResult({PATH: found(age=9.0)})
    assert kinds(bench.feed({0: files, 1: files})) == [Appeared]
    assert bench.until_quiet({0: ScanResult()}) == []
    assert bench.until_quiet({1: ScanResult()}) == [Vanished("blog")]


def test_a_scan_of_one_place_decides_nothing_about_another():
    bench = Bench(places=2)
    bench.feed({0: ScanResult({PATH: found()}), 1: ScanResult()})
    assert bench.feed({1: ScanResult()}, 10.0) == []
    assert bench.wake is None
    assert kinds(bench.feed({0: ScanResult({PATH: found()})})) == [Appeared]
    bench.feed({0: ScanResult()})
    assert bench.feed({1: ScanResult()}, 10.0) == []
    assert bench.feed({0: ScanResult()}) == [Vanished("blog")]


def test_places_name_their_files_in_order():
    bench = Bench(places=2)
    late = ScanResult({"/a/blog.ini": found("/a/blog.ini", age=9.0)})
    early = ScanResult({"/b/blog.ini": found("/b/blog.ini", age=9.0)})
    events = bench.feed({1: late, 0: early})
    assert [event.manifest.name for event in events] == ["blog", "a/blog"]


def test_a_problem_and_its_mending_are_touches():
    bench = Bench().settled(found())
    broken = found(problem="it is a directory, not a regular file", target=None)
    (event,) = bench.until_quiet(saw(broken))
    assert isinstance(event, Touched)
    assert event.manifest.problem == "it is a directory, not a regular file"
    (event,) = bench.until_quiet(saw(found()))
    assert event.manifest.problem is None


def test_settled_versions_are_those_reported():
    bench = Bench().settled(found())
    bench.feed(saw(found(mtime=9)))
    assert bench.settler.settled() == {PATH: found().version}


_files = st.builds(
    found,
    st.sampled_from(["/a/x.ini", "/b/x.ini", "/b/y.ini"]),
    mtime=st.integers(1, 3),
    inode=st.integers(1, 3),
    size=st.integers(0, 1),
    writer=st.sampled_from(Writer),
    age=st.sampled_from([-5.0, 0.0, 0.03, 3.0, 100.0]),
    problem=st.sampled_from([None, None, "it is a FIFO"]),
)
_scans = st.builds(
    lambda files, unseen: ScanResult({file.path: file for file in files}, unseen=unseen),
    st.lists(_files, max_size=3),
    st.sampled_from([(), (), ("/a",), ("/",)]),
)
_history = st.lists(st.tuples(_scans, st.integers(0, 1), st.sampled_from([0.0, 0.01, 0.09, 0.4, 6.0])), max_size=20)


def _replay(events, living):
    for event in events:
        if isinstance(event, Vanished):
            del living[event.name]
        elif isinstance(event, Appeared):
            assert event.manifest.name not in living
            living[event.manifest.name] = event.manifest
        else:
            assert living[event.manifest.name].path == event.manifest.path
            living[event.manifest.name] = event.manifest


@given(_history, _scans, _scans)
def test_after_quiet_the_reported_state_equals_the_last_scan(history, last, other):
    bench = Bench(places=2)
    living: dict = {}
    for result, place, after in history:
        events = bench.feed({place: result}, after)
        _replay(events, living)
        assert bench.wake is None or bench.wake > bench.now
    files = {**other.files, **last.files}
    both = {path: files[path] for path in other.files}  # two places that see one file see the same
    _replay(bench.until_quiet({0: ScanResult(last.files), 1: ScanResult(both)}), living)
    assert {m.path: (m.version, m.problem) for m in living.values()} == {
        path: (file.version, file.problem) for path, file in files.items()
    }


@given(_history)
def test_events_come_at_most_as_often_as_versions_do(history):
    bench = Bench()
    events = []
    for result, _, after in history:
        events += bench.feed({0: result}, after)
    changes = sum(len(result.files) for result, _, _ in history)
    assert sum(isinstance(event, Appeared | Touched) for event in events) <= changes
    assert sum(isinstance(event, Vanished) for event in events) <= sum(isinstance(e, Appeared) for e in events)
