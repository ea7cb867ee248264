"""`emperor check` and `emperor explain`: what is told about files that are never run."""

import os
import pwd
import socket
import stat
import tempfile

import pytest

from emperor import check as module
from emperor import onbehalf
from emperor.check import check_paths, explain
from emperor.disk import Claim
from emperor.settings import EmperorSettings
from vassal.config import ConfigError, Inject

ROOT = os.geteuid() == 0


class Files:
    def __init__(self, root):
        self.root = root

    def write(self, lines="", name="app.ini", section="uwsgi", *, idle=False):
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        work = (
            "" if idle or section != "uwsgi" else "import = os\n"
        )  # a vassal with nothing to do is a mistake of its own
        path.write_text(f"[{section}]\n{lines}{work}")
        return str(path)

    def told(self, lines, **options):
        return [(n.line, n.level, n.option) for n in check_paths([self.write(lines)], **options)]

    def messages(self, lines, **options):
        return [n.message for n in check_paths([self.write(lines)], **options)]


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path.resolve())


def test_nothing_to_say_about_a_good_file(files):
    assert files.told("module = shop.wsgi\nprocesses = 2\nhttp-socket = :8000\nchdir = %d\nlogto = app.log\n") == []


@pytest.mark.parametrize("text", ["", "[uwsgi]\n", "[uwsgi]\nprocesses = 4\nhttp-socket = :8000\n"])
def test_a_file_that_was_cut_short_gives_nothing_to_do(tmp_path, text):
    path = tmp_path / "app.ini"
    path.write_text(text)
    (note,) = check_paths([str(path)])
    assert (note.line, note.level) == (None, "error")
    assert "cut short" in note.message
    path.write_text(text + "\n[uwsgi]\nhook-asap = exec:true\n")
    assert check_paths([str(path)]) == []


def test_all_mistakes_are_told_at_once_by_line(files):
    assert files.told("threads = many\nroute = x\nproceses = 3\nharakiri = 3 # s\nworkers = 0\n") == [
        (2, "error", "threads"),
        (3, "error", "route"),
        (4, "warning", "proceses"),
        (5, "warning", "harakiri"),
        (6, "error", "workers"),
    ]


def test_strict_makes_errors_of_unknown_options_only(files):
    assert files.told("proceses = 3\nharakiri = 3 # s\n", strict=True) == [
        (2, "error", "proceses"),
        (3, "warning", "harakiri"),
    ]


def test_an_include_that_is_missing_is_told_and_the_rest_is_read(files):
    assert files.told("site = shop\nini = none.ini\nthreads = many\n") == [
        (2, "info", "site"),
        (3, "error", "ini"),
        (4, "error", "threads"),
    ]


@pytest.mark.parametrize(
    ("lines", "level"),
    [
        ("chdir = none\n", "error"),
        ("wsgi-file = none.py\nsocket = :1\n", "error"),
        ("virtualenv = none\n", "error"),
        ("python = ./none/python\n", "error"),
        ("logto = none/app.log\n", "error"),
        ("pidfile = none/app.pid\n", "error"),
        ("socket = none/app.sock\n", "error"),
        ("pythonpath = none\n", "warning"),
        ("pythonpath = none/*\n", "warning"),
        ("touch-reload = none\n", "warning"),
        ("chdir2 = none\n", "warning"),
    ],
)
def test_missing_paths(files, lines, level):
    notes = check_paths([files.write(lines)])
    assert [(n.line, n.level, n.option) for n in notes] == [(2, level, lines.split(" = ")[0])]
    assert f"{files.root}/none" in notes[0].message or f"{files.root}/./none" in notes[0].message


def test_an_app_that_nobody_can_call(files):
    lines = "module = shop\nprocesses = 2\n"
    assert files.told(lines) == [(None, "warning", "socket")]
    assert files.told(lines, emperor=EmperorSettings(on_demand_directory="/run/apps")) == []
    assert files.told("attach-daemon = ./worker\n") == []


def test_a_hook_may_make_a_directory_that_is_missing(files):
    lines = "socket = %d/run/app.sock\nlogto = %d/log/app.log\n"
    assert files.told(lines) == [(2, "error", "socket"), (3, "error", "logto")]
    lines += "hook-asap = exec:install -d %d/run %d/log\n"
    assert files.told(lines) == [(2, "warning", "socket"), (3, "warning", "logto")]


def test_what_is_there_but_of_another_kind(files):
    (files.root / "file").touch()
    assert files.told("chdir = file\nlogto = file/x.log\nwsgi-file = .\nsocket = :1\n") == [
        (2, "error", "chdir"),
        (3, "error", "logto"),
        (4, "error", "wsgi-file"),
    ]


def test_paths_are_seen_from_where_the_vassal_sees_them(files):
    (files.root / "src" / "run").mkdir(parents=True)
    (files.root / "src" / "app.py").touch()
    (files.root / "log").mkdir()
    assert files.told("wsgi-file = app.py\nsocket = run/a.sock\nlogto = log/a.log\nchdir = src\n") == []
    assert [option for _, _, option in files.told("chdir = src\nlogto = run/a.log\nsocket = log/a.sock\n")] == [
        "logto",
        "socket",
    ]


def test_only_the_value_that_counts_is_looked_for(files):
    notes = check_paths([files.write("chdir = none\nchdir = .\n")])
    assert [n.level for n in notes] == ["warning"]


def test_variables_that_show_at_the_start_only_are_left_alone(files):
    notes = check_paths([files.write("chdir = /srv/$(NEVER_SET_HERE)\nlogto = @(exec://echo /none/x)\n")])
    assert all(n.level != "error" for n in notes)


def test_a_socket_path_that_the_kernel_cannot_take(files):
    (message,) = files.messages(f"socket = /tmp/{'x' * 120}\n")
    assert "kernel takes 107" in message


def test_commands_run_only_when_they_may(files):
    line = f"processes = @(exec://touch {files.root}/ran && echo 3)\n"
    files.told(line)
    assert not (files.root / "ran").exists()
    files.told(line, allow_exec=True)
    assert (files.root / "ran").exists()


def test_sockets_that_two_vassals_name(files):
    first = files.write("socket = run.sock\nhttp = :8000\n", "a.ini")
    second = files.write("chdir = .\nsocket = ./run.sock\nhttp = 127.0.0.1:8000\nhttp = :8001\n", "b.ini")
    notes = check_paths([str(files.root)])
    assert [(n.file, n.line, n.level, n.option) for n in notes] == [
        (second, 3, "error", "socket"),
        (second, 4, "error", "http"),
    ]
    assert f"{first}:2" in notes[0].message
    assert [n.level for n in check_paths([second])] == ["warning", "warning"]
    assert [(n.file, n.level) for n in check_paths([first])] == [(first, "warning"), (first, "warning")]


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "0.0.0.0:80", True),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        (":::80", "127.0.0.1:80", True),
        ("::1:80", "127.0.0.1:80", False),
        ("::1:80", "0.0.0.0:80", False),
        ("/a", "/a", True),
        ("/a", "/b", False),
        ("@a", "/a", False),
    ],
)
@pytest.mark.parametrize("swap", [False, True])
def test_which_addresses_collide(one, other, collide, swap):
    def claim(text, shared=False):
        host, _, port = text.rpartition(":")
        return Claim(text, host, int(port) if host else 0, "socket", "f", 1, shared)

    pair = (claim(other), claim(one)) if swap else (claim(one), claim(other))
    assert pair[0].collides(pair[1]) is collide


def test_ports_that_both_share_do_not_collide():
    one, other = (Claim("0.0.0.0:80", "0.0.0.0", 80, "http", name, 1, True) for name in "ab")
    assert not one.collides(other)


def test_what_the_emperor_adds_is_checked_too(files):
    extra = files.write("harakiri = soon\n", "extra/more.ini")
    emperor = EmperorSettings(inject=Inject(after=(("include", extra),), sets=(("threads", "x"),)))
    notes = check_paths([files.write("")], emperor=emperor)
    assert {(n.option, n.level) for n in notes} == {("harakiri", "error"), ("threads", "error")}


def test_an_emperors_own_file_is_checked_as_one(files):
    notes = check_paths([files.write("emperor = /etc/vassals\nemperor-freq = 0\n", "emperor.ini", "emperor")])
    assert [(n.level, n.option) for n in notes] == [("info", None), ("error", "emperor-freq")]
    notes = check_paths([files.write("emperor = /etc/vassals\nuid = www-data\n", "emperor.ini", idle=True)])
    assert [n.level for n in notes] == ["info"]
    notes = check_paths([files.write("emperor = /etc/vassals\nmodule = app\n", "app.ini")])
    assert {(n.level, n.option) for n in notes} == {("warning", "emperor"), ("warning", "socket")}


def test_directories_hold_only_what_an_emperor_would_serve(files):
    for name in ("a.ini", ".hidden.ini", "b.ini~", "c.txt"):
        files.write("threads = x\n", name)
    os.mkfifo(files.root / "fifo.ini")
    notes = check_paths([str(files.root)])
    assert [(os.path.basename(n.file), n.level) for n in notes] == [("fifo.ini", "error"), ("a.ini", "error")]
    extra = check_paths([str(files.root)], emperor=EmperorSettings(extra_extensions=(".txt",)))
    assert "c.txt" in {os.path.basename(n.file) for n in extra}


def test_an_xml_file_is_not_passed_over(files):
    files.write(name="vassals/a.xml")
    (note,) = check_paths([str(files.root / "vassals")])
    assert (note.level, os.path.basename(note.file)) == ("error", "a.xml")
    assert "xml is not read" in note.message


def test_an_empty_directory(files):
    (note,) = check_paths([str(files.root)])
    assert (note.file, note.level) == (str(files.root), "warning")


def test_what_cannot_be_read_is_an_error_note(files):
    os.mkfifo(files.root / "fifo.ini")
    paths = [str(files.root / "none.ini"), str(files.root / "fifo.ini")]
    assert [(n.file, n.level) for n in check_paths(paths)] == [(path, "error") for path in paths]


@pytest.mark.root
def test_who_could_not_read_it_is_told(shared):
    path = owned(f"{shared}/t.ini", "[uwsgi]\n", uid=65534, mode=0o000)
    (note,) = check_paths([path])
    assert note.option is None
    assert "Permission denied" in note.message
    assert "as nobody" in note.message


def test_a_file_named_twice_is_told_once(files):
    path = files.write("threads = x\n")
    assert len(check_paths([path, str(files.root), path])) == 1


# --- tyrants ------------------------------------------------------------------------------------------------


def test_what_a_tyrant_refuses(files):
    path = files.write("")
    os.chmod(path, 0o666)
    os.chmod(files.root, 0o755)
    messages = [n.message for n in check_paths([path], emperor=EmperorSettings(tyrant=True))]
    assert any(f"chmod o-w {path}" in message for message in messages)
    assert any(f"chmod g-w {path}" in message for message in messages)
    assert any("belongs to user root" in message for message in messages) is ROOT
    assert not any(str(files.root) + " must" in message for message in messages)
    os.chmod(path, 0o644)
    assert check_paths([path], emperor=EmperorSettings()) == []


# --- explain ------------------------------------------------------------------------------------------------


def test_explain_says_where_each_option_comes_from(files):
    extra = files.write("harakiri = 9 # s\n", "extra.ini", idle=True)
    lines = "for = a b\nenv = X%(_)=1\nendfor =\nworkers = 2\nmaster\nini = extra.ini\nprocesses = 3\n"
    path = files.write(lines, idle=True)
    rows = explain(path)
    assert [(r.option, r.value, r.file, r.line) for r in rows] == [
        ("env", "Xa=1", path, 3),
        ("env", "Xb=1", path, 3),
        ("master", "true", path, 6),
        ("harakiri", "9", extra, 2),
        ("processes", "3", path, 8),
    ]
    assert rows[0].via
    assert "turn 1" in rows[0].via[-1]
    assert f"{path}:7" in rows[3].via[-1]
    assert rows[4].via == ()


def test_of_a_variable_the_first_line_counts(files):
    rows = explain(files.write("site = one\nsite = two\nprocname = %(site)\n", idle=True))
    assert [(r.option, r.value) for r in rows] == [("site", "one"), ("procname", "one")]


def test_explain_with_what_the_emperor_adds(files):
    rows = explain(files.write(idle=True), emperor=EmperorSettings(inject=Inject(sets=(("threads", "2"),))))
    assert [(r.option, r.value, r.line) for r in rows] == [("threads", "2", None)]


def test_explain_fails_where_the_file_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError):
        explain(str(tmp_path / "none.ini"))


# --- on somebody's behalf -----------------------------------------------------------------------------------


def me():
    return onbehalf.user(os.geteuid(), os.getegid())


def test_data_comes_back():
    assert onbehalf.call(lambda: {"a": [1, None, "x"]}, me()) == {"a": [1, None, "x"]}


def test_a_mistake_in_the_child_is_an_error_here():
    def fail():
        raise RuntimeError("went wrong")

    with pytest.raises(onbehalf.OnBehalfError, match="RuntimeError: went wrong"):
        onbehalf.call(fail, me())


def test_a_child_that_dies_gave_no_answer():
    with pytest.raises(onbehalf.OnBehalfError, match="no answer"):
        onbehalf.call(lambda: os._exit(3), me())


def test_a_child_that_says_too_much(monkeypatch):
    monkeypatch.setattr(onbehalf, "MAX_ANSWER", 1000)
    with pytest.raises(onbehalf.OnBehalfError, match="more than 1000 bytes"):
        onbehalf.call(lambda: "x" * 5000, me())


def test_a_child_that_never_answers_is_killed(monkeypatch):
    forked = []
    fork = os.fork

    def noting():
        forked.append(fork())
        return forked[-1]

    monkeypatch.setattr(os, "fork", noting)
    monkeypatch.setattr(onbehalf, "PATIENCE", 0.2)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(onbehalf.OnBehalfError, match="no answer within"):
        onbehalf.call(lambda: theirs.recv(1), me())
    with pytest.raises(ProcessLookupError):
        os.kill(forked[0], 0)


def test_there_is_no_such_user():
    with pytest.raises(onbehalf.OnBehalfError, match="no user nobody-of-that-name"):
        onbehalf.named("nobody-of-that-name")
    assert onbehalf.named("4242").uid == 4242


# --- run by root --------------------------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path):
    """A directory that everybody can enter."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="check-") as name:
        os.chmod(name, 0o755)
        yield name


def owned(path, text, *, uid=0, gid=0, mode=0o644):
    with open(path, "w") as file:
        file.write(text)
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    return path


@pytest.mark.root
def test_root_reads_a_tenants_file_as_the_tenant(shared):
    nobody = pwd.getpwnam("nobody")
    path = owned(
        f"{shared}/t.ini",
        "[uwsgi]\nprocname = @(exec://id -u):$(HOME)\nenv = S=@(/etc/shadow)\nini = secret.ini\n",
        uid=nobody.pw_uid,
    )
    owned(f"{shared}/secret.ini", "[uwsgi]\nthreads = x\n", mode=0o600)
    errors = [n for n in check_paths([path], allow_exec=True) if n.level == "error"]
    assert errors
    assert all("Permission denied" in n.message for n in errors)
    assert all(n.option for n in errors)
    owned(path, "[uwsgi]\nprocname = @(exec://id -u):$(HOME)\n", uid=nobody.pw_uid)
    (row,) = explain(path, allow_exec=True)
    assert row.value == f"{nobody.pw_uid}:{nobody.pw_dir}"


@pytest.mark.root
def test_root_does_not_run_what_others_could_write(shared):
    other = owned(f"{shared}/other.ini", f"[uwsgi]\nprocname = @(exec://touch {shared}/ran)\n", uid=65534)
    path = owned(f"{shared}/mine.ini", "[uwsgi]\nini = other.ini\nimport = os\n")
    (note,) = [n for n in check_paths([path], allow_exec=True) if n.level == "error"]
    assert "belongs to" in note.message
    assert not os.path.exists(f"{shared}/ran")
    owned(other, "[uwsgi]\nthreads = 2\n")
    assert [r.option for r in explain(path)] == ["threads", "import"]


@pytest.mark.root
@pytest.mark.parametrize(("mode", "gid"), [(0o646, 0), (0o664, 65534)])
def test_a_file_of_roots_that_others_can_write_is_not_read_by_root(shared, mode, gid):
    path = owned(f"{shared}/x.ini", "[uwsgi]\nprocname = @(exec://id -u)\n", mode=mode, gid=gid)
    (row,) = explain(path, allow_exec=True)
    assert row.value == str(module.NOBODY)
    (row,) = explain(path, allow_exec=True, emperor=EmperorSettings(vassals_uid="4242"))
    assert row.value == "4242"
    assert explain(owned(path, "[uwsgi]\nprocname = @(exec://id -u)\n"), allow_exec=True)[0].value == "0"


def test_who_reads_what():
    def facts(uid, gid, mode):
        return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))

    assert module.reader_of(facts(0, 0, 0o644), None).uid == 0
    assert module.reader_of(facts(0, 0, 0o664), None).uid == 0
    assert module.reader_of(facts(0, 4, 0o664), None).uid == module.NOBODY
    assert module.reader_of(facts(4242, 0, 0o666), None).uid == 4242
    assert module.reader_of(facts(0, 0, 0o666), EmperorSettings(vassals_uid="4243")).uid == 4243
