"""From a vassal's file to its settings: what counts, what is told, what is refused."""

import os
import subprocess
import sys

import pytest

from tests.harness import ROOT
from vassal.config import ConfigError, Inject, Settings, SocketSpec, load_vassal


class Files:
    def __init__(self, root):
        self.root = root

    def write(self, text, name="app.ini"):
        path = self.root / name
        path.write_text(text)
        return str(path)

    def load(self, lines="", **options):
        return load_vassal(self.write("[uwsgi]\n" + lines), **{"environ": {}, **options})

    def settings(self, lines="", **options):
        return self.load(lines, **options).settings

    def notes(self, lines, **options):
        return [(n.line, n.level, n.option, n.message) for n in self.load(lines, **options).notes]

    def error(self, lines, **options):
        with pytest.raises(ConfigError) as caught:
            self.load(lines, **options)
        return caught.value


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def test_nothing_said_gives_the_defaults(files):
    assert files.settings() == Settings()


def test_single_values_lists_and_aliases(files):
    settings = files.settings(
        "module = shop.wsgi:application\nworkers = 3\nthreads=4\nvenv = /srv/env\npythonpath = /a\npp = /b\n"
        "env = A=1\nenv = B=x=y\nmaster\nlazy-apps = yes\nvacuum = off\nbuffer-size = 64k\numask = 027\n"
    )
    assert (settings.module, settings.processes, settings.threads) == ("shop.wsgi:application", 3, 4)
    assert settings.virtualenv == "/srv/env"
    assert settings.pythonpath == ("/a", "/b")
    assert settings.env == (("A", "1"), ("B", "x=y"))
    assert (settings.master, settings.lazy_apps, settings.vacuum) == (True, True, False)
    assert settings.buffer_size == 65536
    assert settings.umask == 0o027


def test_the_last_of_a_single_value_wins_whatever_its_name(files):
    loaded = files.load("workers = 2\nprocesses = 5\n")
    assert loaded.settings.processes == 5
    (note,) = loaded.notes
    assert (note.line, note.level, note.option) == (3, "warning", "processes")
    assert "wins over workers = 2 of line 2" in note.message


def test_the_same_value_twice_is_not_worth_a_word(files):
    assert files.notes("threads = 2\nthreads = 2\n") == []


@pytest.mark.parametrize(("written", "mode"), [("chmod-socket", 0o666), ("chmod-socket = 660", 0o660), ("", None)])
def test_chmod_socket(files, written, mode):
    assert files.settings(written + "\n").chmod_socket == mode


@pytest.mark.parametrize(
    ("lines", "spoken"),
    [
        ("socket = :1\n", "uwsgi"),
        ("uwsgi-socket = :1\nprotocol = http\n", "uwsgi"),
        ("http-socket = :1\n", "http"),
        ("http = :1\nprotocol = uwsgi\n", "http"),
        ("protocol = http\nsocket = :1\n", "http"),
        ("socket = :1\nprotocol = http11\n", "http"),
    ],
)
def test_what_a_socket_speaks(files, lines, spoken):
    (socket,) = files.settings(lines).sockets
    assert (socket.protocol, socket.address) == (spoken, ":1")


def test_sockets_know_who_named_them(files):
    path = files.write("[uwsgi]\nsocket = /run/a.sock\nhttp = 127.0.0.1:8000\n")
    assert load_vassal(path, environ={}).settings.sockets == (
        SocketSpec("uwsgi", "/run/a.sock", path, 2),
        SocketSpec("http", "127.0.0.1:8000", path, 3),
    )


def test_an_address_twice_counts_once(files):
    loaded = files.load("socket = :1\nhttp = :1\n")
    assert [s.protocol for s in loaded.settings.sockets] == ["uwsgi"]
    assert "already named in line 2" in loaded.notes[0].message


@pytest.mark.parametrize(
    ("line", "value"), [("harakiri = 300  # seconds", 300), ("harakiri = 300 ; s", 300), ("harakiri = 300\t#", 300)]
)
def test_a_comment_after_a_number_is_cut_off_and_told(files, line, value):
    loaded = files.load(line + "\n")
    assert loaded.settings.harakiri == value
    ((number, level, option, message),) = [(n.line, n.level, n.option, n.message) for n in loaded.notes]
    assert (number, level, option) == (2, "warning", "harakiri")
    assert "is 300, what follows is cut off" in message


def test_a_comment_after_a_flag_does_not_turn_it_on(files):
    assert files.settings("vacuum = false ; note\n").vacuum is False


def test_a_comment_stays_in_a_text(files):
    assert files.settings("procname = shop #1\n").procname == "shop #1"
    loaded = files.load("chdir = /srv ; here\n")
    assert loaded.settings.chdir == "/srv ; here"
    assert "a line of its own" in loaded.notes[0].message


def test_a_bad_value_names_place_option_value_and_what_is_allowed(files):
    error = files.error("threads = many\n")
    assert (error.line, error.option) == (2, "threads")
    assert str(error).endswith("app.ini:2: threads = many: expected a whole number from 1 to 1024")


def test_the_shells_variables_are_explained(files):
    assert "$(WORKERS:-2)" in files.error("workers = ${WORKERS:-2}\n").message.replace("NAME", "WORKERS").replace(
        "default", "2"
    )


def test_an_unknown_option_is_told_with_what_was_meant(files):
    assert files.notes("proceses = 4\n") == [
        (2, "warning", "proceses", "unknown option 'proceses': did you mean 'processes'?")
    ]


def test_a_name_that_is_referred_to_is_a_variable(files):
    loaded = files.load("site = shop\nprocname = %(site)\n")
    assert loaded.settings.procname == "shop"
    assert loaded.notes == ()


@pytest.mark.parametrize("strict", ["strict", "strict = true", "strict = 1 ; yes"])
def test_strict_makes_unknown_options_errors_wherever_it_stands(files, strict):
    error = files.error(f"proceses = 4\n{strict}\n")
    assert (error.line, error.option) == (2, "proceses")


def test_strict_may_be_taken_back(files):
    assert files.notes("strict = true\nproceses = 4\nstrict = false\n")[-1][1] == "warning"


def test_a_refused_option_is_an_error_with_what_to_do_instead(files):
    error = files.error("route = ^/admin deny:\n")
    assert (error.line, error.option) == (2, "route")
    assert "is refused" in error.message
    assert "ignore-refused = route" in error.message


@pytest.mark.parametrize(
    "ignored", ["ignore-refused = route", "ignore-refused = gevent, route", "ignore-refused=gevent route"]
)
def test_a_refusal_can_be_ignored_by_name(files, ignored):
    ((line, level, option, message),) = files.notes(f"route = ^/x deny:\n{ignored}\n")
    assert (line, level, option) == (2, "warning", "route")
    assert "ignored as ignore-refused says" in message
    assert files.error(f"mules = 2\n{ignored}\n").option == "mules"


def test_options_without_effect_are_remarked(files):
    ((_, level, option, message),) = files.notes("thunder-lock = true\n")
    assert (level, option) == ("info", "thunder-lock")
    assert "has no effect" in message


@pytest.mark.parametrize("name", ["emperor", "emperor-tyrant", "vassals-include"])
def test_an_emperors_option_in_a_vassals_file_is_a_warning(files, name):
    loaded = files.load(f"{name} = /etc/vassals\n")
    ((level, option),) = [(n.level, n.option) for n in loaded.notes]
    assert (level, option) == ("warning", name)
    assert loaded.settings == Settings()


def test_plugins(files):
    assert [level for _, level, _, _ in files.notes("plugins = python3,http\n")] == ["info"]
    assert "php" in files.error("plugins = php\n").message


def test_a_key_without_value_keeps_the_default_where_it_says_nothing(files):
    loaded = files.load("harakiri\n")
    assert loaded.settings.harakiri == 0
    assert "has no value" in loaded.notes[0].message


def test_the_first_mistake_is_raised_and_a_fallback_takes_over(files):
    spare = files.write("[uwsgi]\nprocesses = 7\n", "spare.ini")
    loaded = files.load("threads = many\nfallback-config = spare.ini\n")
    assert loaded.settings.processes == 7
    assert [(n.level, n.line) for n in loaded.notes] == [("error", 2)]
    assert spare in loaded.files


def test_what_the_emperor_adds(files):
    after = files.write("[uwsgi]\nharakiri = 60\n", "after.ini")
    inject = Inject(after=(("include", after),), sets=(("processes", "4"), ("threads", "2")))
    loaded = files.load("threads = 8\nharakiri = 5\n", inject=inject)
    assert (loaded.settings.processes, loaded.settings.threads, loaded.settings.harakiri) == (4, 8, 60)
    assert set(loaded.files) == {str(files.root / "app.ini"), after}


def test_the_environment_adds(files):
    settings = files.settings("threads = 8\n", environ={"UWSGI_VASSAL_PROCESSES": "3", "UWSGI_VASSAL_THREADS": "2"})
    assert (settings.processes, settings.threads) == (3, 8)


def test_an_open_descriptor_is_read_and_the_path_is_not(files, tmp_path):
    other = tmp_path / "other.ini"
    other.write_text("[vassal]\nprocesses = 6\n")
    with other.open("rb") as file:
        loaded = load_vassal(str(tmp_path / "gone.ini"), fd=file.fileno(), name="shop", environ={})
    assert loaded.settings.processes == 6
    assert loaded.files[0] == str(tmp_path / "gone.ini")


def test_a_command_that_may_not_run_leaves_its_option_alone(files):
    loaded = files.load("processes = @(exec://echo 4)\n", allow_exec=False)
    assert loaded.settings.processes == 1
    assert files.settings("processes = @(exec://echo 4)\n").processes == 4


def test_what_cannot_be_read_is_an_error_of_ours(tmp_path):
    with pytest.raises(ConfigError):
        load_vassal(str(tmp_path / "none.ini"), environ={})
    fifo = tmp_path / "fifo.ini"
    os.mkfifo(fifo)
    with pytest.raises(ConfigError, match="not a regular file"):
        load_vassal(str(fifo), environ={})


def test_a_start_does_not_pay_for_what_it_does_not_use(files):
    path = files.write("[uwsgi]\nmodule = app\nprocesses = 2\nhttp-socket = 127.0.0.1:0\nenv = A=1\n")
    code = (
        "from vassal.config import load_vassal; load_vassal(sys.argv[1])\n"
        "print(*sorted({'difflib', 'json', 'yaml', 'subprocess', 'ipaddress'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}", path],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert done.stdout.split() == []
