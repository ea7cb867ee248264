"""py-auto-reload: which files are watched, and that each change counts once."""

import os
from types import ModuleType

import pytest

from tests.harness import touch_file
from vassal import autoreload
from vassal.config import Settings


class Sleeping(ModuleType):
    """A module that would load itself if anybody asked it for anything."""

    def __getattr__(self, name):
        raise AssertionError(f"asked for {name}")


@pytest.fixture
def modules(tmp_path):
    found = {"sleeping": Sleeping("sleeping"), "none": None}
    for name in ("app", "app.views", "settings", "vassal.master"):
        found[name] = ModuleType(name)
        found[name].__file__ = str(tmp_path / f"{name}.py")
        (tmp_path / f"{name}.py").touch()
    found["app.views"].__file__ += "c"
    return found


def test_a_change_counts_once(modules, tmp_path):
    watch = autoreload.Watch(["settings"])
    assert watch.look(modules) is None
    touch_file(tmp_path / "app.views.py")
    assert watch.look(modules) == f"module app.views ({tmp_path}/app.views.py) has changed"
    assert watch.look(modules) is None


def test_who_is_away_is_waited_for(modules, tmp_path):
    watch = autoreload.Watch([])
    watch.look(modules)
    (tmp_path / "app.py").unlink()
    assert watch.look(modules) is None
    (tmp_path / "app.py").write_text("new")
    assert "module app " in watch.look(modules)


@pytest.mark.parametrize("name", ["settings", "vassal.master"])
def test_who_is_left_aside(modules, tmp_path, name):
    watch = autoreload.Watch(["settings"])
    watch.look(modules)
    touch_file(tmp_path / f"{name}.py")
    assert watch.look(modules) is None


def test_a_module_that_comes_later_is_watched_from_then_on(modules, tmp_path):
    watch = autoreload.Watch([])
    later = modules.pop("app")
    watch.look(modules)
    modules["app"] = later
    assert watch.look(modules) is None
    touch_file(tmp_path / "app.py")
    assert watch.look(modules) is not None


def test_workers_inherit_what_the_master_has_loaded(monkeypatch):
    monkeypatch.setattr(autoreload, "_watch", [])
    autoreload.loaded(Settings())
    assert not autoreload._watch
    autoreload.loaded(Settings(py_auto_reload=1))
    first = autoreload._watch[0]
    assert os.path.realpath(__file__) in {os.path.realpath(path) for path in first._known}
    autoreload.loaded(Settings(py_auto_reload=1))
    assert autoreload._watch == [first]
