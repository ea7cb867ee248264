"""The watch: hints from a real file system, under whichever watchdog is installed."""

import os
import shutil
import threading
import time
from types import SimpleNamespace

import pytest

from emperor import watch
from emperor.places import EXTENSIONS, PlaceOptions, WatchDir, is_candidate, parse_place, scan
from emperor.watch import Watch, is_hint, merge
from tests.harness import wait_until


def interesting(name):
    return is_candidate(name, EXTENSIONS)


def watch_dir(path, names=None):
    facts = os.stat(path)
    return WatchDir(str(path), (facts.st_dev, facts.st_ino), names)


class Bench:
    def __init__(self, **options):
        self.hints = 0
        self.warnings = []
        self._lock = threading.Lock()
        self.watch = Watch(self._wake, interesting, self.warnings.append, **options)

    def _wake(self):
        with self._lock:
            self.hints += 1

    def watches(self, *paths):
        wait_until(lambda: self.watch.watched() == sorted(map(str, paths)), message=lambda: str(self.watch.watched()))

    def hinted(self, action):
        """Whether doing this is a hint; fails if none comes."""
        before = self.hints
        action()
        wait_until(lambda: self.hints > before, message="a hint")

    def settle(self):
        """Wait until no hint has come for a while, and return their count."""
        count, since = self.hints, time.monotonic()

        def quiet():
            nonlocal count, since
            if self.hints != count:
                count, since = self.hints, time.monotonic()
            return time.monotonic() - since > 0.2

        wait_until(quiet, message="hints to end")
        return self.hints


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.watch.close()


def event(kind, path="/e/a.ini", *, is_directory=False, dest_path=""):
    return SimpleNamespace(event_type=kind, src_path=path, is_directory=is_directory, dest_path=dest_path)


@pytest.mark.parametrize("kind", ["created", "modified", "deleted", "moved", "closed", "attrib", "to-be-invented"])
def test_whatever_happens_to_a_vassal_file_is_a_hint(kind):
    assert is_hint(event(kind), None, interesting)
    assert is_hint(event(kind, b"/e/a.ini"), None, interesting)


@pytest.mark.parametrize("is_directory", [False, True])
@pytest.mark.parametrize("kind", ["opened", "closed_no_write"])
def test_what_a_scan_does_is_no_hint(kind, is_directory):
    assert not is_hint(event(kind, is_directory=is_directory), None, interesting)


def test_a_log_in_the_same_directory_is_no_hint():
    assert not is_hint(event("modified", "/e/a.log"), None, interesting)
    assert not is_hint(event("modified", "/e", is_directory=True), None, interesting)


def test_a_file_renamed_to_or_from_a_vassals_name_is_a_hint():
    assert is_hint(event("moved", "/e/tmp123", dest_path="/e/a.ini"), None, interesting)
    assert is_hint(event("moved", "/e/a.ini", dest_path="/e/a.ini~"), None, interesting)


def test_an_event_without_destination_will_do():
    assert is_hint(SimpleNamespace(event_type="created", src_path="/e/a.ini", is_directory=False), None, interesting)


def test_where_names_are_given_only_they_count():
    names = frozenset({"late"})
    assert is_hint(event("created", "/e/late", is_directory=True), names, interesting)
    assert not is_hint(event("created", "/e/a.ini"), names, interesting)


def test_directories_wanted_twice_are_watched_once():
    one, two, three = (WatchDir("/a", (1, 1), names) for names in (frozenset("x"), frozenset("y"), None))
    other = WatchDir("/b", (1, 2), frozenset("z"))
    assert merge([one, other, two]) == {(1, 1): WatchDir("/a", (1, 1), frozenset("xy")), (1, 2): other}
    assert merge([one, three])[(1, 1)].names is None


def test_drop_touch_rename_and_delete_are_hints(bench, tmp_path):
    bench.watch.update([watch_dir(tmp_path)])
    bench.watches(tmp_path)
    file = tmp_path / "a.ini"
    bench.hinted(lambda: file.write_text("x"))
    bench.settle()
    bench.hinted(lambda: os.utime(file))
    bench.settle()
    bench.hinted(lambda: file.rename(tmp_path / "a.ini~"))
    bench.settle()
    bench.hinted(lambda: (tmp_path / "a.ini~").rename(file))
    bench.settle()
    bench.hinted(file.unlink)


def test_a_scan_causes_no_hint(bench, tmp_path):
    (tmp_path / "a.ini").write_text("x")
    bench.watch.update([watch_dir(tmp_path)])
    bench.watches(tmp_path)
    before = bench.settle()
    for _ in range(5):
        assert scan(parse_place(str(tmp_path)), PlaceOptions(), {}).files
        (tmp_path / "a.ini").read_text()
    assert bench.settle() == before


def test_a_directory_behind_a_link_is_watched(bench, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    bench.watch.update([watch_dir(tmp_path / "link")])
    bench.watches(tmp_path / "link")
    bench.settle()
    bench.hinted(lambda: (tmp_path / "real" / "a.ini").write_text("x"))


def test_a_directory_that_is_made_anew_is_watched_again_even_under_the_same_inode(bench, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    for _ in range(3):
        bench.watch.update([watch_dir(place)])
        bench.watches(place)
        bench.settle()
        bench.hinted(lambda: (place / "a.ini").write_text("x"))
        bench.settle()
        bench.hinted(lambda: shutil.rmtree(place))
        bench.watch.update([])
        bench.watches()
        place.mkdir()


def test_a_directory_that_was_lost_is_watched_again_with_the_next_scan(bench, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    bench.watch.update([watch_dir(place)])
    bench.watches(place)
    shutil.rmtree(place)
    place.mkdir()

    def hears():
        bench.watch.update([watch_dir(place)])
        before = bench.hints
        (place / "a.ini").write_text("x")
        os.utime(place / "a.ini")
        time.sleep(0.05)
        return bench.watch.watched() == [str(place)] and bench.hints > before

    wait_until(hears, message="a hint from the new directory")


def test_a_replaced_directory_is_told_by_its_inode(bench, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    bench.watch.update([watch_dir(place)])
    bench.watches(place)
    place.rename(tmp_path / "old")
    place.mkdir()
    bench.watch.update([watch_dir(place)])
    bench.settle()
    bench.hinted(lambda: (place / "a.ini").write_text("x"))


def test_what_is_no_longer_wanted_is_not_watched(bench, tmp_path):
    (tmp_path / "b").mkdir()
    bench.watch.update([watch_dir(tmp_path), watch_dir(tmp_path / "b")])
    bench.watches(tmp_path, tmp_path / "b")
    bench.watch.update([watch_dir(tmp_path / "b")])
    bench.watches(tmp_path / "b")
    before = bench.settle()
    (tmp_path / "a.ini").write_text("x")
    assert bench.settle() == before


def test_above_the_limit_the_rest_is_scanned_only(tmp_path):
    bench = Bench(limit=2)
    for name in "abc":
        (tmp_path / name).mkdir()
    wanted = [watch_dir(tmp_path / name) for name in "abc"]
    for _ in range(2):
        bench.watch.update(wanted)
        bench.watches(tmp_path / "a", tmp_path / "b")
    bench.watch.close()
    (warning,) = bench.warnings
    assert "3 directories" in warning


class _Exhausted:
    """An observer whose user has no inotify instances left."""

    def __init__(self, error, after=0):
        self.error = error
        self.after = after
        self.tries = 0

    def start(self):
        pass

    def stop(self):
        pass

    def join(self, timeout):
        pass

    def schedule(self, handler, path, *, recursive):
        self.tries += 1
        if self.tries > self.after:
            raise self.error
        return object()

    def unschedule(self, _watch):
        raise KeyError("nothing of that kind")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(24, "inotify instance limit reached"), "max_user_instances"),
        (OSError(28, "inotify watch limit reached"), "max_user_watches"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (RuntimeError("anything"), "anything"),
    ],
)
def test_exhausted_limits_are_one_warning_and_nothing_else(tmp_path, monkeypatch, error, remedy):
    observer = _Exhausted(error)
    monkeypatch.setattr(watch, "Observer", lambda: observer)
    bench = Bench()
    for _ in range(3):
        bench.watch.update([watch_dir(tmp_path)])
        wait_until(lambda: bench.warnings)
    bench.watch.close()
    assert observer.tries == 1
    (warning,) = bench.warnings
    assert remedy in warning
    assert "scanned only" in warning


def test_what_could_not_be_watched_is_tried_again_later(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "RETRY", 0.05)
    observer = _Exhausted(OSError(24, "no"))
    monkeypatch.setattr(watch, "Observer", lambda: observer)
    bench = Bench()
    bench.watch.update([watch_dir(tmp_path)])
    wait_until(lambda: observer.tries >= 3)
    observer.after = 10**9
    bench.watches(tmp_path)
    bench.watch.close()
    assert len(bench.warnings) == 1


def test_an_observer_that_cannot_start_is_a_warning(tmp_path, monkeypatch):
    def none():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(watch, "Observer", none)
    bench = Bench()
    bench.watch.update([watch_dir(tmp_path)])
    wait_until(lambda: bench.warnings)
    bench.watch.close()
    assert bench.watch.watched() == []


def test_a_directory_that_went_meanwhile_is_no_failure(bench, tmp_path):
    (tmp_path / "a").mkdir()
    gone = watch_dir(tmp_path / "a")
    (tmp_path / "a").rmdir()
    bench.watch.update([gone, watch_dir(tmp_path)])
    bench.watches(tmp_path)
    assert not bench.warnings


def test_close_ends_all_threads(tmp_path):
    before = set(threading.enumerate())
    bench = Bench()
    bench.watch.update([watch_dir(tmp_path)])
    bench.watches(tmp_path)
    bench.watch.close()
    wait_until(lambda: set(threading.enumerate()) <= before, message=lambda: str(threading.enumerate()))
