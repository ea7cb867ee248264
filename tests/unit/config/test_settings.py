"""The emperor's own file: places, whose identity is meant, and what every vassal gets."""

import os

import pytest

from emperor.settings import EmperorSettings, load_emperor
from vassal.config import ConfigError, Inject, load_vassal


class Files:
    def __init__(self, root):
        self.root = root

    def write(self, text, name="emperor.ini"):
        path = self.root / name
        path.write_text(text)
        return str(path)

    def load(self, lines="", *, section="emperor", sets=(), places=(), environ=None):
        path = self.write(f"[{section}]\n{lines}")
        return load_emperor(path, sets=sets, places=places, environ=environ or {})


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def test_no_file_and_nothing_said():
    assert load_emperor(None, sets=(), places=("/a", "/b"), environ={}) == EmperorSettings(places=("/a", "/b"))


@pytest.mark.parametrize("section", ["emperor", "uwsgi"])
def test_values(files, section):
    settings = files.load(
        "emperor = /etc/vassals\nemperor = glob:///home/*/vassals/*.ini\nemperor-freq = 0.5\nemperor-tyrant = true\n"
        "emperor-nofollow\nemperor-extra-extension = .conf\nemperor-throttle = 200\nemperor-max-throttle = 5000\n"
        "vassals-uid = www-data\nvassals-gid = www-data\nemperor-log-dir = /var/log/emperor\ncontrol = /run/e.sock\n"
        "emperor-required-heartbeat = 5\nfork-server = false\n",
        section=section,
    )
    assert settings.places == ("/etc/vassals", "glob:///home/*/vassals/*.ini")
    assert (settings.freq, settings.tyrant, settings.nofollow, settings.fork_server) == (0.5, True, True, False)
    assert settings.extra_extensions == (".conf",)
    assert (settings.throttle_ms, settings.max_throttle_ms, settings.required_heartbeat) == (200, 5000, 5)
    assert (settings.vassals_uid, settings.vassals_gid) == ("www-data", "www-data")
    assert (settings.log_dir, settings.control) == ("/var/log/emperor", "/run/e.sock")
    assert settings.notes == ()


def test_debians_file_loads(files):
    settings = files.load(
        "autoload = true\nmaster = true\nworkers = 2\nno-orphans = true\nlog-date = true\n"
        "emperor = /etc/uwsgi-emperor/vassals\nuid = www-data\ngid = www-data\n",
        section="uwsgi",
    )
    assert settings.places == ("/etc/uwsgi-emperor/vassals",)
    assert (settings.vassals_uid, settings.vassals_gid) == ("www-data", "www-data")
    said = {note.option: note for note in settings.notes}
    assert {"uid", "gid"} <= said.keys()
    assert all(note.level in ("info", "warning") for note in settings.notes)
    assert said["uid"].line == 8
    assert said["uid"].level == "warning"
    assert "vassals-uid" in said["uid"].message


def test_vassals_uid_wins_over_uid(files):
    assert files.load("vassals-uid = app\nuid = www-data\n").vassals_uid == "app"


def test_relative_paths_are_seen_from_the_file(files):
    settings = files.load("emperor = vassals\nemperor = dir://more\nemperor-log-dir = log\ncontrol = c.sock\n")
    root = str(files.root)
    assert settings.places == (f"{root}/vassals", f"dir://{root}/more")
    assert (settings.log_dir, settings.control) == (f"{root}/log", f"{root}/c.sock")


def test_places_of_the_command_line_come_instead_of_the_files(files):
    assert files.load("emperor = /a\n", places=("/b",)).places == ("/b",)


def test_sets_win_over_the_file(files):
    settings = files.load("emperor-freq = 5\nemperor = /%(where)\n", sets=(("emperor-freq", "1"), ("where", "srv")))
    assert settings.freq == 1.0
    assert settings.places == ("/srv",)


def test_a_bad_set_says_that_it_was_one(files):
    with pytest.raises(ConfigError, match="emperor-freq = soon: expected") as caught:
        files.load(sets=(("emperor-freq", "soon"),))
    assert caught.value.file == "--set"
    assert not caught.value.line


def test_what_every_vassal_gets(files, tmp_path):
    for name, lines in (("first", "processes = 2\nthreads = 2\n"), ("last", "harakiri = 9\n")):
        (tmp_path / f"{name}.ini").write_text(f"[uwsgi]\n{lines}")
    settings = files.load("vassals-include-before = first.ini\nvassals-include = last.ini\nvassal-set = listen=7\n")
    root = str(tmp_path)
    assert settings.inject == Inject(
        before=(("include", f"{root}/first.ini"),), after=(("include", f"{root}/last.ini"),), sets=(("listen", "7"),)
    )
    (tmp_path / "app.ini").write_text("[uwsgi]\nthreads = 3\nharakiri = 1\n")
    vassal = load_vassal(str(tmp_path / "app.ini"), environ={}, inject=settings.inject).settings
    assert (vassal.processes, vassal.threads, vassal.harakiri, vassal.listen) == (2, 3, 9, 7)


def test_defaults_for_vassals_that_say_nothing(files, tmp_path):
    settings = files.load("reload-strategy = drain\nloyalty = 3\nstart-timeout = 9\n")
    (tmp_path / "a.ini").write_text("[uwsgi]\n")
    (tmp_path / "b.ini").write_text("[uwsgi]\nreload-strategy = overlap\nloyalty = 4\n")
    one, other = (
        load_vassal(str(tmp_path / name), environ={}, inject=settings.inject).settings for name in ("a.ini", "b.ini")
    )
    assert (one.reload_strategy, one.loyalty, one.start_timeout) == ("drain", 3, 9)
    assert (other.reload_strategy, other.loyalty, other.start_timeout) == ("overlap", 4, 9)


@pytest.mark.parametrize(
    ("lines", "option", "told"),
    [
        ("emperor-freq = 0\n", "emperor-freq", "0.1"),
        ("emperor-throttle = 1s\n", "emperor-throttle", "milliseconds"),
        ("reload-strategy = fast\n", "reload-strategy", "overlap, drain and chain"),
        ("emperor-broodlord = 3\n", "emperor-broodlord", "refused"),
        ("emperor-wrapper = /bin/x\n", "emperor-wrapper", "refused"),
        ("attach-daemon = redis-server\n", "attach-daemon", "refused"),
        ("cron = 0 0 -1 -1 -1 true\n", "cron", "refused"),
        ("strict = true\nemperor-frequency = 3\n", "emperor-frequency", "did you mean"),
    ],
)
def test_mistakes(files, lines, option, told):
    with pytest.raises(ConfigError, match=told) as caught:
        files.load(lines)
    assert caught.value.option == option
    assert caught.value.line == lines.count("\n") + 1


@pytest.mark.parametrize("line", ["harakiri = 30", "module = app", "socket = :8000"])
def test_a_vassals_option_is_told_and_does_nothing(files, line):
    settings = files.load(f"emperor = /a\n{line}\n")
    (note,) = settings.notes
    assert note.level == "warning"
    assert "has no effect" in note.message


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_emperor(str(tmp_path / "none.ini"), sets=(), places=(), environ={})


def test_the_working_directory_counts_without_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_emperor(None, sets=(("control", "c.sock"),), places=(), environ={})
    assert settings.control == os.path.join(os.getcwd(), "c.sock")
