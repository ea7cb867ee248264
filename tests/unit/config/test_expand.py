"""Placeholders, arithmetic, environment, files and commands in values; and that none of them grows without end."""

import os
import signal
import time

import pytest

from vassal.config.arithmetic import number, pipeline
from vassal.config.bounded import BoundsError, run
from vassal.config.errors import ConfigError
from vassal.config.inject import Inject

# --- placeholders ----------------------------------------------------------------------------------------------------


def test_any_option_is_a_placeholder_wherever_it_stands(place):
    assert place.values("socket = %(base)/%(processes).sock\nbase = /run\nprocesses = 4")["socket"] == "/run/4.sock"


def test_the_first_definition_wins(place):
    assert place.pairs("[uwsgi]\na = 1\na = 2\nb = %(a)")[-1] == ("b", "1")


def test_a_placeholder_may_need_others(place):
    assert place.values("a = %(b)!\nb = <%(c)>\nc = x")["a"] == "<x>!"


@pytest.mark.parametrize("word", ["set-placeholder", "set-ph"])
def test_a_set_placeholder_is_no_option(place, word):
    reading = place.read(f"[uwsgi]\n{word} = base = x=y\n{word} = lost=1\nchdir = %(base )")
    assert [(entry.option, entry.value) for entry in reading.entries] == [("chdir", "x=y")]
    assert [(entry.option, entry.value) for entry in reading.placeholders] == [("base", "x=y"), ("lost", "1")]
    assert [(note.level, note.line, note.option) for note in reading.notes] == [("info", 3, "lost")]


def test_set_gives_an_option(place):
    assert place.pairs("[uwsgi]\nset = processes=4\nset = env=A=%n") == [("processes", "4"), ("env", "A=app")]


@pytest.mark.parametrize("word", ["set", "set-ph"])
def test_set_needs_a_name_and_a_value(place, word):
    with pytest.raises(ConfigError, match=r"expected .* = name=value") as caught:
        place.read(f"[uwsgi]\n{word} = nothing")
    assert (caught.value.line, caught.value.option) == (2, word)


def test_what_nothing_defines_stays_and_is_told(place):
    reading = place.read("[uwsgi]\nsocket = /tmp/%(nam).sock\nlog-format = %(method) %(uri)\nname = x")
    assert reading.entries[0].value == "/tmp/%(nam).sock"
    assert reading.entries[1].value == "%(method) %(uri)"
    assert [(note.line, note.option, "%(nam)" in note.message) for note in reading.notes] == [(2, "socket", True)]
    assert reading.referenced == {"nam", "method", "uri"}


@pytest.mark.parametrize("text", ["a (b) c", "%(", "$(", "@(", "%(a", "50%%", "sh -c '(a; b)'", "%()", "((("])
def test_other_parentheses_stay(place, text):
    assert place.values(f"x = {text}")["x"] == text.replace("%%", "%")


def test_placeholders_that_need_each_other_are_refused_with_the_chain(place):
    with pytest.raises(ConfigError, match="a -> b -> a"):
        place.read("[uwsgi]\nx = %(a)\na = %(b)\nb = %(a)")
    with pytest.raises(ConfigError, match="a -> a"):
        place.read("[uwsgi]\na = %(a):more")


def test_doubling_is_bounded(place):
    lines = "\n".join(f"a{i} = %(a{i + 1})%(a{i + 1})" for i in range(40))
    with pytest.raises(ConfigError, match="more than 1048576 characters"):
        place.read(f"[uwsgi]\n{lines}\na40 = xxxxxxxx")


def test_depth_is_bounded(place):
    with pytest.raises(ConfigError, match="deep"):
        place.read("[uwsgi]\na = " + "%(" * 5000 + "x" + ")" * 5000)
    chain = "\n".join(f"a{i} = %(a{i + 1})" for i in range(5000))
    with pytest.raises(ConfigError, match="deep"):
        place.read(f"[uwsgi]\n{chain}\na5000 = x")


# --- arithmetic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("foo + bar + 3", "50"),
        ("foo + bar + 3 * 2", "100"),
        ("foo ++", "18"),
        ("foo --", "16"),
        ("two nine ++", "30"),
        ("two nine", "29"),
        ("foo - bar", "-13"),
        ("foo - bar / 2", "-6"),
        ("foo / zero", "0"),
        ("foo + lost", "17"),
        ("  foo   +   1 ", "18"),
        ("size * 2", "256"),
        ("++", ""),
        ("+ foo", "17"),
        ("negative * 3", "-15"),
    ],
)
def test_arithmetic_goes_from_left_to_right(expression, result):
    names = {"foo": "17", "bar": "30", "two": "2", "nine": "9", "zero": "0", "size": "128M", "negative": "-5"}
    assert pipeline(expression, names.get) == result


def test_numbers_are_held_to_64_bits():
    assert number("9223372036854775807") == (1 << 63) - 1
    for expression in ("9223372036854775807 + 1", "99999999999999999999 * 2", "9223372036854775807 ++"):
        with pytest.raises(ArithmeticError, match="64 bits"):
            pipeline(expression, lambda name: None)


def test_arithmetic_in_a_value(place):
    cores = os.sysconf("SC_NPROCESSORS_ONLN")
    assert place.values("processes = %(%k + 1)\nb = %(processes * 2)") == {
        "processes": str(cores + 1),
        "b": str(2 * (cores + 1)),
    }
    with pytest.raises(ConfigError, match="64 bits") as caught:
        place.values("a = %(9223372036854775807 + 1)")
    assert caught.value.line == 2


def test_a_name_that_is_missing_in_arithmetic_is_told(place):
    (note,) = place.read("[uwsgi]\na = %(lost + 1)").notes
    assert "lost is not defined" in note.message


# --- environment -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(HOME)/x", "/home/u/x"),
        ("$(EMPTY)", ""),
        ("$(EMPTY:-d)", "d"),
        ("$(EMPTY-d)", ""),
        ("$(LOST:-d)", "d"),
        ("$(LOST-a:-b)", "a:-b"),
        ("$(LOST:-)", ""),
        ("$(LOST:-$(HOME))", "/home/u"),
        ("$(LOST)", "$(LOST)"),
        ("$(date -u)", "$(date -u)"),
        ("$((1 + 2))", "$((1 + 2))"),
        ("${HOME}", "${HOME}"),
        ("%(home)", "/home/u"),
    ],
)
def test_environment(place, text, result):
    environ = {"HOME": "/home/u", "EMPTY": ""}
    assert place.values(f"home = $(HOME)\nx = {text}", environ=environ)["x"] == result


def test_a_variable_that_is_not_set_is_told(place):
    (note,) = place.read("[uwsgi]\nmodule = $(APP)\nx = $(ls)", environ={"ls": ""}).notes
    assert (note.line, "$(APP:-value)" in note.message) == (2, True)


def test_what_the_environment_holds_is_data(place):
    environ = {"A": "%(b) @(exec://echo bad) $(B) %n"}
    assert place.values("a = $(A)\nb = 1", environ=environ)["a"] == environ["A"]


# --- files and commands ----------------------------------------------------------------------------------------------


def test_a_file_in_a_value(place):
    path = place.write("secret", "s3cret\n")
    reading = place.read(
        "[uwsgi]\nname = secret\nenv = KEY=@(secret)\nb = @(%d/%(name))\nc = <@($(NAME))>", environ={"NAME": path}
    )
    assert [entry.value for entry in reading.entries] == ["secret", "KEY=s3cret", "s3cret", "<s3cret>"]
    assert path in reading.files


def test_what_a_file_holds_is_data(place):
    place.write("text", "%(b) $(A) @(exec://echo bad)\n\n")
    assert place.values("a = @(text)\nb = 1")["a"] == "%(b) $(A) @(exec://echo bad)\n"


def test_files_are_bounded_and_regular(place):
    place.write("big", "x" * 65537)
    place.write("nul", "a\0b")
    os.mkfifo(place.root / "fifo")
    for name, part in (("big", "65536"), ("nul", "NUL"), ("fifo", "not a regular file"), ("lost", "No such file")):
        with pytest.raises(ConfigError, match=part) as caught:
            place.values(f"a = @({name})")
        assert (caught.value.line, caught.value.option) == (2, "a")


@pytest.mark.parametrize("name", ["http://127.0.0.1/x", "fd://3", "sym://x", "file:///etc/passwd"])
def test_other_schemes_are_refused(place, name):
    with pytest.raises(ConfigError, match="is not supported"):
        place.values(f"a = @({name})")


def test_the_reader_that_is_given_reads_files(place):
    def read(path):
        raise PermissionError(13, f"not you: {os.path.basename(path)}")

    place.write("app.ini", "[uwsgi]\na = @(x)")
    descriptor = os.open(place.root / "app.ini", os.O_RDONLY)
    try:
        with pytest.raises(ConfigError, match="not you: x"):
            place.read(fd=descriptor, read=read)
    finally:
        os.close(descriptor)


def test_a_command_in_a_value(place):
    lines = "a = @(exec://echo $NAME; pwd; cat)\nb = %(a)"
    values = place.values(lines, environ={"NAME": "x", "PATH": os.environ["PATH"]})
    assert values["a"] == values["b"] == f"x\n{place.root}"


def test_a_command_runs_once_however_often_it_is_written(place):
    place.write("c.ini", "[uwsgi]")
    command = "@(exec://echo x >>ran)"
    place.values(f"a = {command}\nb = {command}\ninclude = {command}c.ini", environ=dict(os.environ))
    assert (place.root / "ran").read_text() == "x\n"


def test_commands_that_are_not_allowed_stay_as_written(place):
    reading = place.read("[uwsgi]\na = @(exec://touch ran)", allow_exec=False)
    assert reading.entries[0].value == "@(exec://touch ran)"
    assert [note.level for note in reading.notes] == ["info"]
    assert not (place.root / "ran").exists()


def test_a_command_that_fails_is_told(place):
    reading = place.read("[uwsgi]\na = @(exec://echo x; exit 3)")
    assert reading.entries[0].value == "x"
    assert "status 3" in reading.notes[0].message


def test_commands_are_bounded(place, monkeypatch):
    with pytest.raises(ConfigError, match="printed more than 65536 bytes"):
        place.values("a = @(exec://yes)", environ=dict(os.environ))
    with pytest.raises(ConfigError, match="more than 20 commands"):
        place.values("\n".join(f"a = @(exec://echo {i})" for i in range(21)), environ=dict(os.environ))
    monkeypatch.setattr("vassal.config.expand.AT_SECONDS", 0.2)
    with pytest.raises(ConfigError, match=r"took more than 0\.2 s"):
        place.values("a = @(exec://sleep 60)", environ=dict(os.environ))


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("script", ["sleep 300 >/dev/null & echo $!", "sleep 300 & echo $! >&2; echo $! >pid; wait"])
def test_a_command_leaves_no_process_behind(tmp_path, script):
    try:
        _, output = run(("/bin/sh", "-c", script), seconds=0.5, size=100, directory=str(tmp_path))
        pid = int(output)
    except BoundsError:
        pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def test_a_command_that_dies_or_does_not_exist():
    assert run(("/bin/sh", "-c", "kill -TERM $$"), seconds=10, size=100) == (-signal.SIGTERM, b"")
    with pytest.raises(BoundsError, match="cannot be run"):
        run(("/no/such/program",), seconds=10, size=100)


# --- what an emperor adds --------------------------------------------------------------------------------------------


def test_inject_survives_json():
    inject = Inject((("inherit", "/a.ini"),), (("include", "/b.ini"),), (("processes", "2"),))
    assert Inject.from_json(inject.to_json()) == inject
    assert Inject.from_json({}) == Inject()


@pytest.mark.parametrize(
    "data", [{"before": [["ini", "/a"]]}, {"before": ["/a"]}, {"sets": [["a", 1]]}, {"after": "x"}, {"sets": [["a"]]}]
)
def test_inject_of_another_shape_is_refused(data):
    with pytest.raises(ValueError, match=r"expected|is read by"):
        Inject.from_json(data)
