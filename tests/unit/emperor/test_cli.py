"""The command line: what it asks of whom, what it prints, and its exit codes."""

import asyncio
import contextlib
import dataclasses
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import types
from types import SimpleNamespace

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from emperor import cli, launch
from emperor.control import ANYBODY, ControlServer, Outcome, UnknownVassal
from emperor.logtail import Follower, harmless, open_log, start_of_last
from tests.harness import wait_until
from vassal.config import Note


class Fleet:
    """A handler whose reload of "bad" fails."""

    def __init__(self):
        self.calls = []
        self.more = ()
        self.log = None
        self.owner = ANYBODY

    def _outcomes(self, names):
        for name in names:
            if name not in ("good", "bad"):
                raise UnknownVassal(name)
        return [
            Outcome(name, name == "good", 2, "serves" if name == "good" else "rolled back: \x1b[m") for name in names
        ]

    async def status(self, names):
        self._outcomes(names or ())
        facts = {"state": "running", "since": 0.0, "pid": os.getpid(), "rss": None}
        return [{"name": name, **facts} for name in names or ("good", "bad", *self.more)]

    async def reload(self, names, *, wait, strategy):
        self.calls.append((names, wait, strategy))
        return self._outcomes(names or ("good",))

    async def stop(self, names):
        return self._outcomes(names)

    async def start(self, names):
        return self._outcomes(names)

    def log_place(self, name):
        self._outcomes([name])
        return None if self.log is None else (self.log, self.owner)


@contextlib.contextmanager
def served(path, fleet):
    """A control server in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server = ControlServer(str(path), fleet)
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def fleet():
    return Fleet()


@pytest.fixture
def emperor(tmp_path, fleet):
    """Runs `emperor ARGUMENTS --control ...` against a served fleet."""
    path = tmp_path / "control.sock"
    with served(path, fleet):
        yield lambda *arguments: CliRunner().invoke(cli.main, arguments, env={"EMPEROR_CONTROL": str(path)})


def invoke(*arguments, **environ):
    return CliRunner().invoke(cli.main, arguments, env=environ)


def test_status_is_a_table_a_detail_or_json(emperor):
    done = emperor("status")
    assert (done.exit_code, done.stdout.split()[:2]) == (0, ["NAME", "STATE"])
    assert done.stdout.count("running") == 2
    assert "name:       good\n" in emperor("status", "good").stdout
    rows = json.loads(emperor("status", "--json").stdout)
    assert [row["name"] for row in rows] == ["good", "bad"]
    assert rows[0]["rss"] > 1 << 20
    assert [row["name"] for row in json.loads(emperor("status", "bad", "--json").stdout)] == ["bad"]


def test_a_terminal_without_utf8_gets_what_it_can_show(fleet, tmp_path):
    path = tmp_path / "control.sock"
    fleet.more = ("caf\xe9 \u20ac",)
    command = [sys.executable, "-c", "from emperor.cli import main; main()", "status", "--control", str(path)]
    with served(path, fleet):
        done = subprocess.run(
            command, env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, timeout=30, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"caf\xe9 \\u20ac  running" in done.stdout


def completed(arguments, start):
    shell = ShellComplete(cli.main, {}, "emperor", "_EMPEROR_COMPLETE")
    return [item.value for item in shell.get_completions(arguments, start)]


def test_the_shell_completes_the_names_of_vassals(tmp_path, fleet, monkeypatch):
    monkeypatch.setenv("EMPEROR_CONTROL", str(tmp_path / "control.sock"))
    assert completed(["status"], "") == []  # and no message: nobody asked for one
    with served(tmp_path / "control.sock", fleet):
        assert completed(["status"], "") == ["good", "bad"]
        assert completed(["logs"], "g") == ["good"]
        for command in ("reload", "stop", "start"):
            assert completed([command, "good"], "") == ["bad"]


def test_an_unknown_name_is_a_failure_that_names_it(emperor):
    for arguments in (["status", "x"], ["reload", "x"], ["stop", "good", "x"], ["start", "x"], ["logs", "x"]):
        done = emperor(*arguments)
        assert done.exit_code == 1
        assert "no vassal is called 'x'" in done.stderr
        assert not done.stdout


def test_reload_prints_the_outcome_and_fails_with_it(emperor, fleet):
    done = emperor("reload", "good")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "good: serves\n", "")
    done = emperor("reload", "good", "bad", "--no-wait")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "good: serves\n", "bad: rolled back: \\x1b[m\n")
    assert emperor("reload", "--all").exit_code == 0
    assert fleet.calls == [(["good"], True, None), (["good", "bad"], False, None), (None, True, None)]


def test_stop_and_start(emperor):
    assert emperor("stop", "good").stdout == emperor("start", "good").stdout == "good: serves\n"
    assert emperor("start", "bad").exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["reload"], ["reload", "--all", "x"], ["stop"], ["start"], ["logs"], ["logs", "a", "-n", "-1"], ["dance"],
        ["check"], ["check", "/nowhere"], ["explain"], ["run", "--set", "novalue", "/x"], ["run", "--ini", "/nowhere"],
    ],
)  # fmt: skip
def test_wrong_usage_is_two(arguments):
    assert invoke(*arguments).exit_code == 2


@pytest.mark.parametrize("arguments", [["status"], ["reload", "--all"], ["stop", "a"], ["start", "a"], ["logs", "a"]])
def test_nobody_there_is_three(tmp_path, arguments):
    done = invoke(*arguments, "--control", str(tmp_path / "none.sock"))
    assert done.exit_code == 3
    assert str(tmp_path / "none.sock") in done.stderr
    assert not done.stdout


def test_the_version_is_told():
    done = invoke("--version")
    assert (done.exit_code, done.stdout.split()[0]) == (0, "emperor,")


def test_status_loads_neither_daemon_nor_watchdog():
    code = (
        "import sys; from emperor import cli; "
        "print([name for name in ('watchdog', 'psutil', 'emperor.daemon') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


# --- run, check, explain: what they hand over


@dataclasses.dataclass(frozen=True)
class Settings:
    places: tuple[str, ...] = ("/e",)
    control: str | None = None
    notes: tuple[Note, ...] = ()
    logto: str | None = "/dev/null"  # where there is a log, no fork server is started before it is open


class ConfigError(Exception):
    """Stands in where the real one would be raised."""


@pytest.fixture
def behind(monkeypatch):
    """Replaces what `run`, `check` and `explain` call; records how they do."""
    calls = SimpleNamespace(
        loaded=[], ran=[], checked=[], explained=[], settings=Settings(), notes=[], rows=[], error=None
    )

    def load_emperor(ini, *, sets, places, environ):
        if calls.error:
            raise calls.error
        calls.loaded.append((ini, tuple(sets), tuple(places)))
        assert environ is os.environ
        return calls.settings

    def check_paths(paths, *, strict, emperor, allow_exec):
        calls.checked.append((tuple(paths), strict, emperor, allow_exec))
        return calls.notes

    def explain(path, *, emperor, allow_exec):
        calls.explained.append((path, emperor, allow_exec))
        return calls.rows

    def module(name, **contents):
        made = types.ModuleType(name)
        vars(made).update(contents)
        monkeypatch.setitem(sys.modules, name, made)

    monkeypatch.setattr(launch, "stand", lambda: None)  # which changes the process
    module("emperor.settings", load_emperor=load_emperor)
    module("emperor.check", check_paths=check_paths, explain=explain)
    module("emperor.daemon", run=lambda settings: calls.ran.append(settings) or 0)
    module("vassal.config", ConfigError=ConfigError)
    return calls


def test_run_hands_over_places_and_sets(behind, tmp_path):
    ini = tmp_path / "emperor.ini"
    ini.touch()
    arguments = ["run", "/e", "glob:///f/*.ini", "--ini", str(ini), "--set", "freq=1", "--set", "a = b=c"]
    assert invoke(*arguments, "--control", "/c").exit_code == 0
    assert behind.loaded == [(str(ini), (("freq", "1"), ("a", "b=c")), ("/e", "glob:///f/*.ini"))]
    assert behind.ran == [Settings(control="/c")]


def test_runs_control_socket_is_the_options_then_the_files_then_the_default(behind, tmp_path):
    behind.settings = Settings(control="/from-file")
    invoke("run", "/e", EMPEROR_CONTROL="/from-environment")
    invoke("run", "/e")
    behind.settings = Settings()
    invoke("run", "/e", XDG_RUNTIME_DIR=str(tmp_path))
    assert [settings.control for settings in behind.ran][:2] == ["/from-environment", "/from-file"]
    assert behind.ran[2].control.endswith("/control.sock")


def test_run_takes_the_default_file_only_without_places(behind, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "DEFAULT_INI", str(tmp_path / "emperor.ini"))
    done = invoke("run")
    assert done.exit_code == 2
    assert "nothing to watch" in done.stderr
    (tmp_path / "emperor.ini").touch()
    assert invoke("run", "--control", "/c").exit_code == 0
    assert invoke("run", "/e", "--control", "/c").exit_code == 0
    assert [ini for ini, _, _ in behind.loaded] == [str(tmp_path / "emperor.ini"), None]


@pytest.mark.parametrize("places", [(), ("pg://host",)])
def test_run_without_a_place_that_can_be_watched_is_wrong_usage(behind, places):
    behind.settings = Settings(places=places)
    assert invoke("run", "/e").exit_code == 2
    assert not behind.ran


def test_where_nothing_is_to_be_watched_the_remarks_on_the_file_say_why(behind):
    behind.settings = Settings(places=(), notes=(Note("/e.ini", 2, "warning", None, "unknown option 'emperor /x'"),))
    done = invoke("run", "/e")
    assert done.exit_code == 2
    assert "/e.ini:2: warning: unknown option 'emperor /x'\n" in done.stderr
    assert "nothing to watch" in done.stderr


def test_a_mistake_in_the_emperors_file_is_a_failure_with_its_place(behind):
    behind.error = ConfigError("/e.ini:3: no such option")
    done = invoke("run", "/e")
    assert (done.exit_code, done.stderr) == (1, "emperor: /e.ini:3: no such option\n")


def note(level, line=3, option="modul"):
    return SimpleNamespace(file="/e/a.ini", line=line, level=level, option=option, message="unknown option 'modul'")


def test_check_prints_notes_and_fails_on_errors_only(behind, tmp_path):
    file = tmp_path / "a.ini"
    file.touch()
    behind.notes = [note("warning"), note("info", line=None)]
    done = invoke("check", str(file))
    assert done.exit_code == 0
    assert done.stdout == (
        "/e/a.ini:3: warning: unknown option 'modul'\n/e/a.ini: info: unknown option 'modul'\n"
    )  # fmt: skip
    behind.notes = [note("error")]
    done = invoke("check", str(file), str(tmp_path), "--strict", "--json", "--exec", "--ini", str(file))
    assert done.exit_code == 1
    assert json.loads(done.stdout) == [
        {"file": "/e/a.ini", "line": 3, "level": "error", "option": "modul", "message": "unknown option 'modul'"}
    ]
    assert behind.checked == [
        ((str(file),), False, None, False),
        ((str(file), str(tmp_path)), True, behind.settings, True),
    ]


def test_explain_prints_where_each_value_comes_from(behind, tmp_path):
    file = tmp_path / "a.ini"
    file.touch()
    behind.rows = [
        SimpleNamespace(option="processes", value="4", file="/e/a.ini", line=2, via=("/e/all.ini",)),
        SimpleNamespace(option="env", value="A=1", file="(environment)", line=None, via=()),
    ]
    assert (
        invoke("explain", str(file)).stdout
        == "processes = 4  # /e/a.ini:2 (through /e/all.ini)\nenv = A=1      # (environment)\n"
    )
    assert json.loads(invoke("explain", str(file), "--json", "--exec").stdout)[0] == {
        "option": "processes", "value": "4", "file": "/e/a.ini", "line": 2,
    }  # fmt: skip
    assert behind.explained == [(str(file), None, False), (str(file), None, True)]


# --- logs


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        (b"", 3, b""),
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\n", 5, b"a\nb\n"),
        (b"a\n", 0, b""),
        (b"\n\n\n", 1, b"\n"),
        (b"x" * 200_000 + b"\n" + b"y" * 100_000, 1, b"y" * 100_000),
        (b"\n".join(b"%d" % n for n in range(100_000)), 2, b"99998\n99999"),
    ],
)
def test_the_last_lines_of_a_log(tmp_path, content, lines, expected):
    path = tmp_path / "log"
    path.write_bytes(content)
    with open_log(str(path)) as log:
        offset = start_of_last(log, lines)
    assert content[offset:] == expected


def test_following_survives_growth_truncation_rename_and_late_creation(tmp_path):
    path = tmp_path / "log"
    got = []
    follower = Follower(str(path), got.append, 1)
    assert not follower.step()
    path.write_bytes(b"one\ntwo\n")
    assert follower.step()
    with path.open("ab") as log:
        log.write(b"three\n")
    assert follower.step()
    path.write_bytes(b"cut\n")
    assert follower.step()
    with path.open("ab") as old:
        path.rename(tmp_path / "log.1")
        old.write(b"late\n")
    assert follower.step()
    assert not follower.step()
    path.write_bytes(b"anew\n")
    assert follower.step()
    assert not follower.step()
    follower.close()
    assert b"".join(got) == b"one\ntwo\nthree\ncut\nlate\nanew\n"


def test_a_log_that_is_no_file_is_refused_without_blocking(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(OSError, match="is no regular file"):
            open_log(str(path))


def test_logs_prints_the_end(emperor, fleet, tmp_path):
    fleet.log = str(tmp_path / "log")
    (tmp_path / "log").write_text("".join(f"{n}\n" for n in range(20)))
    assert emperor("logs", "good", "-n", "2").stdout == "18\n19\n"
    assert emperor("logs", "good").stdout.startswith("10\n")


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"plain \t caf\xc3\xa9\r\n", b"plain \t caf\xc3\xa9\r\n"),
        (b"\x1b[1;31mred\x1b[0m\n", b"\x1b[1;31mred\x1b[0m\n"),
        (b"\x1b]52;c;ZXZpbA==\x07", b"\\x1b]52;c;ZXZpbA==\\x07"),  # the clipboard
        (b"\x1b[2J\x1b[6n", b"\\x1b[2J\\x1b[6n"),  # the screen; an answer that is typed
        (b"hidden\rshown\x08\x7f\0", b"hidden\\x0dshown\\x08\\x7f\\x00"),
        (b"\xc2\x9b31m \xc2\xa9", b"\\xc2\\x9b31m \xc2\xa9"),  # CSI in one character
    ],
)
def test_a_log_commands_no_terminal(printed, shown):
    assert harmless(printed) == shown


def test_only_terminals_are_protected(fleet, tmp_path):
    fleet.log = str(tmp_path / "log")
    (tmp_path / "log").write_bytes(b"\x1b]0;title\x07\n")
    command = [sys.executable, "-c", "from emperor.cli import main; main()", "logs", "good"]
    path = tmp_path / "control.sock"
    ours, theirs = pty.openpty()
    with served(path, fleet):
        for stdout, expected in ((subprocess.PIPE, None), (theirs, b"\\x1b]0;title\\x07\r\n")):
            done = subprocess.run([*command, "--control", str(path)], stdout=stdout, timeout=30, check=True)
            assert (done.stdout or os.read(ours, 1000)) == (expected or b"\x1b]0;title\x07\n")
    os.close(ours)
    os.close(theirs)


@pytest.mark.root
def test_a_log_that_a_vassal_has_named_is_opened_with_its_rights(fleet, open_path):
    """A tenant's file may name what only root can read."""
    fleet.owner = 65534
    path = open_path / "control.sock"
    command = [sys.executable, "-c", "from emperor.cli import main; main()", "logs", "good", "--control", str(path)]
    with served(path, fleet):
        for name, mode, status in (("secret", 0o600, 1), ("log", 0o644, 0)):
            (open_path / name).write_text("a line\n")
            (open_path / name).chmod(mode)
            (open_path / f"{name}-link").symlink_to(name)
            fleet.log = str(open_path / f"{name}-link")
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            assert (done.returncode, done.stdout) == (status, "" if status else "a line\n"), done.stderr
            assert ("Permission denied" in done.stderr) == bool(status)


def test_logs_without_a_file_says_why(emperor, fleet, tmp_path):
    done = emperor("logs", "good")
    assert done.exit_code == 1
    assert "emperor-log-dir" in done.stderr
    fleet.log = str(tmp_path / "none")
    done = emperor("logs", "good")
    assert done.exit_code == 1
    assert "nothing yet" in done.stderr
    os.mkfifo(tmp_path / "fifo")
    fleet.log = str(tmp_path / "fifo")
    done = emperor("logs", "good", "-f")
    assert done.exit_code == 1
    assert "no regular file" in done.stderr


def test_logs_follows_until_interrupted(fleet, tmp_path):
    log = tmp_path / "log"
    log.write_text("old\n")
    fleet.log = str(log)
    path = tmp_path / "control.sock"
    command = [sys.executable, "-c", "from emperor.cli import main; main()", "logs", "good", "-f"]
    output = tmp_path / "output"
    with served(path, fleet), output.open("wb") as out:
        child = subprocess.Popen([*command, "--control", str(path)], stdout=out, stderr=subprocess.PIPE)
        try:
            wait_until(lambda: output.read_text() == "old\n", message=output.read_text)
            with log.open("a") as more:
                more.write("new\n")
            wait_until(lambda: output.read_text() == "old\nnew\n", message=output.read_text)
            child.send_signal(signal.SIGINT)
            _, errors = child.communicate(timeout=10)
        finally:
            child.kill()
            child.wait(10)
    assert (child.returncode, errors) == (0, b"")


def test_a_reader_who_has_enough_of_a_log_is_no_failure(fleet, tmp_path):
    log = tmp_path / "log"
    log.write_text("x" * 100 + "\n")
    fleet.log = str(log)
    path = tmp_path / "control.sock"
    command = [sys.executable, "-c", "from emperor.cli import main; main()", "logs", "good", "--control", str(path)]
    reading, writing = os.pipe()
    os.close(reading)
    with served(path, fleet):
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
