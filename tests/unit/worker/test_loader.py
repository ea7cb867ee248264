import subprocess
import sys

import pytest

from tests.worker_settings import WorkerSettings
from vassal.loader import LoadError, load_apps


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def load(**settings):
    return load_apps(WorkerSettings(**settings))


def failure(**settings):
    with pytest.raises(LoadError) as caught:
        load(**settings)
    assert caught.value.stage == "load"
    assert "\n" not in caught.value.reason
    return caught.value


APP = "def {name}(environ, start_response):\n    return ['{name}']\n"


def test_modules_and_callables(project):
    (project / "shop").mkdir()
    (project / "shop" / "wsgi.py").write_text(APP.format(name="application") + APP.format(name="other"))
    assert load(module="shop.wsgi").default({}, None) == ["application"]
    assert load(module="shop.wsgi:other").default({}, None) == ["other"]
    assert load(module="shop.wsgi", callable="other").default({}, None) == ["other"]
    assert load(module="shop.wsgi:application").default({}, None) == ["application"]


def test_a_factory_is_called(project):
    (project / "made.py").write_text("def make():\n    return lambda e, s: ['made']\n")
    assert load(module="made:make()").default({}, None) == ["made"]


def test_files_of_the_same_name_coexist(project):
    mounts = []
    for name in ("a", "b", "c"):
        (project / name).mkdir()
        (project / name / "wsgi.py").write_text(f"def application(e, s):\n    return ['{name}']\n")
        mounts.append((f"/{name}", str(project / name / "wsgi.py")))
    apps = load(mount=tuple(mounts))
    assert {path: app({}, None) for path, app in apps.mounts} == {"/a": ["a"], "/b": ["b"], "/c": ["c"]}
    assert apps.default({}, None) == ["a"], "the first is the default, as in uWSGI"


def test_longer_mounts_come_first_and_the_root_is_the_default(project):
    (project / "m.py").write_text(APP.format(name="one") + APP.format(name="two") + APP.format(name="three"))
    apps = load(mount=(("/a/", "m:one"), ("/a/b", "m:two"), ("/", "m:three")))
    assert [path for path, _ in apps.mounts] == ["/a/b", "/a"]
    assert apps.default({}, None) == ["three"]


def test_a_file_with_its_callable(project):
    path = project / "x.py"
    path.write_text(APP.format(name="app"))
    assert load(wsgi_file=str(path), callable="app").default({}, None) == ["app"]
    assert load(wsgi_file=f"{path}:app").default({}, None) == ["app"]
    assert load(mount=(("/x", f"{path}:app"),)).mounts[0][1]({}, None) == ["app"]


def test_no_app_is_no_error_unless_one_is_needed():
    assert load().default is None
    assert "need-app" in failure(need_app=True).reason


def test_a_missing_module_names_the_path(project, monkeypatch):
    monkeypatch.chdir(project)
    reason = failure(module="nowhere.wsgi").reason
    assert "'nowhere'" in reason
    assert str(project) in reason
    assert "pythonpath" in reason


def test_a_missing_dependency_names_the_line_and_the_virtualenv(project):
    (project / "dep.py").write_text("import os\nimport surely_not_there\n")
    error = failure(module="dep", virtualenv="/srv/venv")
    assert "No module named 'surely_not_there'" in error.reason
    assert "dep.py:2" in error.reason
    assert "/srv/venv" in error.reason
    assert "import surely_not_there" in error.detail


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("1/0\n", "ZeroDivisionError"),
        ("def (:\n", "SyntaxError"),
        ("import sys\nsys.exit(3)\n", "sys.exit(3)"),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("import asyncio\nraise asyncio.CancelledError('too late')\n", "CancelledError: too late"),
        ("class Mute(Exception):\n    def __str__(self):\n        raise ValueError\nraise Mute\n", "Mute"),
        ("def __getattr__(name):\n    raise RuntimeError('no ' + name)\n", "RuntimeError: no application"),
        ("raise RuntimeError('two\\nlines')\n", "two lines"),
        ("application = 5\n", "'int'"),
        ("app = print\n", "callable = app"),
        ("x = 1\n", "no 'application'"),
    ],
)
@pytest.mark.parametrize("kind", ["module", "file"])
def test_what_can_be_wrong_with_an_app(project, source, part, kind):
    (project / "wrong.py").write_text(source)
    settings = {"module": "wrong"} if kind == "module" else {"wsgi_file": str(project / "wrong.py")}
    assert part in failure(**settings).reason


def test_a_missing_file(project):
    assert "no such file" in failure(wsgi_file=str(project / "none.py")).reason


def test_a_file_that_failed_is_loaded_anew(project):
    path = project / "mended.py"
    path.write_text("1/0\n")
    failure(wsgi_file=str(path))
    path.write_text("application = lambda e, s: ['mended, and longer']\n")
    assert load(wsgi_file=str(path)).default({}, None) == ["mended, and longer"]


@pytest.mark.parametrize(
    ("source", "callable_", "status"),
    [
        ("child = os.fork()\nif not child:\n    sys.exit(7)\n", None, 7),
        ("child = os.fork()\nif not child:\n    sys.exit()\n", None, 0),
        ("child = os.fork()\nif not child:\n    import surely_not_there\n", None, 1),
        ("child = os.fork()\n", None, 0),
        ("def make():\n    global child\n    child = os.fork()\n    return application\n", "make()", 0),
    ],
)
def test_what_an_app_forks_while_it_is_loaded_ends_and_plays_no_part(project, source, callable_, status):
    application = "import os, sys\ndef application(environ, start_response):\n    return []\n"
    (project / "forks.py").write_text(application + source)
    script = f"""
import os, sys
from tests.worker_settings import WorkerSettings
from vassal.loader import LoadError, load_apps
me = os.getpid()
sys.path.insert(0, {str(project)!r})
try:
    load_apps(WorkerSettings(module="forks", callable={callable_!r}))
except LoadError:
    pass
if os.getpid() != me:
    print("a copy has come back")
    os._exit(99)
print(os.waitstatus_to_exitcode(os.waitpid(sys.modules["forks"].child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == f"{status}\n", done.stderr


@pytest.mark.parametrize("target", ["blog.wsgi", "blog.wsgi:application"])
def test_a_mounted_module_may_be_called_wsgi(project, target):
    (project / "blog").mkdir()
    (project / "blog" / "wsgi.py").write_text(APP.format(name="application"))
    assert load(mount=(("/blog", target),)).mounts[0][1]({}, None) == ["application"]


def test_a_mounted_file_may_be_called_wsgi(project, monkeypatch):
    monkeypatch.chdir(project)
    (project / "trac.wsgi").write_text(APP.format(name="application") + APP.format(name="other"))
    assert load(mount=(("/t", "trac.wsgi"),)).mounts[0][1]({}, None) == ["application"]
    assert load(mount=(("/t", "trac.wsgi:other"),)).mounts[0][1]({}, None) == ["other"]
