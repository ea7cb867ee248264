"""The emperor's settings: the words of its file, the command line over them, and what belongs into another file."""

import dataclasses

import pytest

from emperor.options import OPTIONS
from emperor.settings import EMPEROR, EmperorSettings, load_emperor, read_emperor
from vassal.config import ConfigError, Inject, load_vassal
from vassal.config.option import ACCEPTED, REFUSED, VERDICTS
from vassal.config.table import VASSAL

DEBIAN = """\
[uwsgi]
autoload = true
master = true
workers = 2
no-orphans = true
log-date = true
emperor = /etc/uwsgi-emperor/vassals
uid = www-data
gid = www-data
"""
GATHERED = {"uid", "gid", "vassal_set"} | {
    f"vassals_{kind}{when}" for kind in ("inherit", "include") for when in ("", "_before")
}
"""Fields of rows that end in another field of the settings."""


@pytest.fixture
def load(tmp_path):
    def do(text, *, sets=(), places=(), environ=None, name="emperor.ini"):
        path = tmp_path / name
        path.write_text(text)
        return load_emperor(str(path), sets=sets, places=places, environ=environ or {})

    return do


def said(settings, option):
    return [(note.line, note.level, note.message) for note in settings.notes if note.option == option]


def test_without_a_file_there_are_the_defaults():
    assert load_emperor(None, sets=(), places=["/srv/vassals"], environ={}) == EmperorSettings(places=("/srv/vassals",))


def test_the_default_file_of_debians_uwsgi_emperor_loads(load):
    settings = load(DEBIAN)
    assert settings.places == ("/etc/uwsgi-emperor/vassals",)
    assert (settings.vassals_uid, settings.vassals_gid) == ("www-data", "www-data")
    levels = {note.option: note.level for note in settings.notes}
    assert levels == {
        "autoload": "info",
        "master": "info",
        "no-orphans": "info",
        "workers": "warning",
        "log-date": "warning",
        "uid": "warning",
        "gid": "warning",
    }
    ((line, _, message),) = said(settings, "uid")
    assert line == 8
    assert "vassals-uid" in message


def test_the_default_file_of_fedoras_uwsgi_loads(load):
    settings = load(
        """\
[uwsgi]
uid = uwsgi
gid = uwsgi
pidfile = /run/uwsgi/uwsgi.pid
emperor = /etc/uwsgi.d
stats = /run/uwsgi/stats.sock
chmod-socket = 660
emperor-tyrant = true
cap = setgid,setuid
"""
    )
    assert (settings.places, settings.tyrant, settings.vassals_uid) == (("/etc/uwsgi.d",), True, "uwsgi")
    ((line, level, message),) = said(settings, "cap")
    assert (line, level, "CapabilityBoundingSet=" in message) == (9, "warning", True)


def test_vassals_uid_wins_over_uid(load):
    settings = load("[emperor]\nuid = a\nvassals-uid = b\ngid = c\n")
    assert (settings.vassals_uid, settings.vassals_gid) == ("b", "c")


def test_both_sections_count(load):
    settings = load("[uwsgi]\nemperor = /a\n[emperor]\nemperor = /b\n[vassal]\nemperor = /c\n")
    assert settings.places == ("/a", "/b")


def test_typed_values(load):
    settings = load(
        "[emperor]\nemperor-freq = 0.5\nemperor-tyrant\nemperor-nofollow = yes\nemperor-extra-ext = conf\n"
        "emperor-extra-extension = .cfg\nemperor-throttle = 200\nemperor-max-throttle = 9000\nfork-server = off\n"
        "emperor-required-heartbeat = 7\nreload-strategy = drain\nloyalty = 3\n"
        "start-timeout = 9\ncontrol = /run/e.sock\n"
    )
    assert settings == EmperorSettings(
        freq=0.5,
        tyrant=True,
        nofollow=True,
        extra_extensions=("conf", ".cfg"),
        throttle_ms=200,
        max_throttle_ms=9000,
        fork_server=False,
        required_heartbeat=7,
        reload_strategy="drain",
        loyalty=3,
        start_timeout=9,
        control="/run/e.sock",
        inject=Inject(sets=(("reload-strategy", "drain"), ("loyalty", "3"), ("start-timeout", "9"))),
    )


def test_the_emperors_defaults_reach_vassals_that_name_none(load, tmp_path):
    inject = load("[emperor]\nreload-strategy = chain\nloyalty = 3\n").inject
    (tmp_path / "silent.ini").write_text("[uwsgi]\nprocesses = 1\n")
    (tmp_path / "own.ini").write_text("[uwsgi]\nreload-strategy = drain\n")
    silent, own = (load_vassal(str(tmp_path / name), environ={}, inject=inject) for name in ("silent.ini", "own.ini"))
    assert (silent.settings.reload_strategy, silent.settings.loyalty) == ("chain", 3)
    assert (own.settings.reload_strategy, own.settings.loyalty) == ("drain", 3)
    assert own.notes == ()


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("emperor-freq = 0", "0.1"),
        ("emperor-freq = soon", "seconds"),
        ("emperor-throttle = -1", "milliseconds"),
        ("emperor-tyrant = perhaps", "true"),
        ("reload-strategy = blue-green", "overlap, drain and chain"),
        ("vassal-set = processes", "NAME=VALUE"),
        ("emperor-stats = :port", "port"),
        ("hook-as-emperor = mount:proc none /proc", "exec:"),
    ],
)
def test_a_bad_value_names_file_line_value_and_what_is_allowed(load, tmp_path, line, allowed):
    with pytest.raises(ConfigError) as caught:
        load(f"[emperor]\nemperor = /a\n{line}\n")
    error = caught.value
    assert (error.file, error.line, error.option) == (str(tmp_path / "emperor.ini"), 3, line.split(" ", 1)[0])
    assert line in error.message
    assert allowed in error.message


def test_templates_are_absolute_and_inherited_ones_come_first(load, tmp_path):
    settings = load(
        "[emperor]\nvassals-include-before = b.ini\nvassals-inherit-before = a.ini\nvassals-include = /etc/d.ini\n"
        "vassals-inherit = sub/c.ini\nvassal-set = processes=2\nvassals-set = env=A=1\n"
    )
    assert settings.inject == Inject(
        before=(("inherit", str(tmp_path / "a.ini")), ("include", str(tmp_path / "b.ini"))),
        after=(("inherit", str(tmp_path / "sub/c.ini")), ("include", "/etc/d.ini")),
        sets=(("processes", "2"), ("env", "A=1")),
    )
    assert Inject.from_json(settings.inject.to_json()) == settings.inject


def test_a_magic_variable_for_the_vassals_is_written_with_two_percent_signs(load):
    settings = load("[emperor]\nvassal-set = socket=/run/%%n.sock\n")
    assert settings.inject.sets == (("socket", "/run/%n.sock"),)


def test_relative_places_are_those_of_the_file(load, tmp_path):
    settings = load("[emperor]\nemperor = vassals\nemperor = glob://*/x.ini\nemperor = %dmore\nemperor-log-dir = log\n")
    root = str(tmp_path)
    assert settings.places == (f"{root}/vassals", f"glob://{root}/*/x.ini", f"{root}/more")
    assert settings.log_dir == f"{root}/log"


@pytest.mark.parametrize("place", ["pg://host=127.0.0.1;SELECT 1", "zmq://tcp://127.0.0.1:5000", "mongodb://x"])
def test_a_place_of_another_kind_is_refused_by_its_line(load, place):
    with pytest.raises(ConfigError) as caught:
        load(f"[uwsgi]\nemperor = /etc/vassals\nemperor = {place}\n")
    assert (caught.value.line, caught.value.option) == (3, "emperor")
    assert "only dir://DIRECTORY, glob://PATTERN" in caught.value.message


def test_places_of_the_command_line_replace_those_of_the_file(load):
    assert load("[emperor]\nemperor = /a\n", places=["b", "/c"]).places == ("b", "/c")


def test_sets_win_over_the_file(load):
    settings = load("[emperor]\nemperor-freq = 5\nemperor-throttle = 1\n", sets=[("emperor-freq", "2")])
    assert (settings.freq, settings.throttle_ms) == (2.0, 1)


def test_a_line_that_cannot_be_read_is_a_mistake(load):
    with pytest.raises(ConfigError, match=r"emperor\.ini:3: no option in front of '='"):
        load("[emperor]\nemperor = /x\n= /y\n")


def test_a_set_may_define_a_placeholder(load):
    settings = load("[emperor]\nroot = /a\nemperor = %(root)/vassals\n", sets=[("root", "/b")])
    assert settings.places == ("/b/vassals",)


def test_a_set_that_sets_nothing_is_told(load):
    settings = load("[emperor]\nemperor = %(root)/v\n", sets=[("root", "/b"), ("emperor-frq", "5"), ("zzz", "1")])
    assert [(note.file, note.level, note.option) for note in settings.notes] == [
        ("--set", "warning", "emperor-frq"),
        ("--set", "warning", "zzz"),
    ]
    assert settings.notes[0].message == "unknown option 'emperor-frq': did you mean 'emperor-freq'?"
    (note,) = load_emperor(None, sets=[("emperor-frq", "5")], places=("/v",), environ={}).notes
    assert "did you mean 'emperor-freq'" in note.message


def test_a_mistake_of_the_command_line_says_so():
    with pytest.raises(ConfigError) as caught:
        load_emperor(None, sets=[("emperor-freq", "x")], places=(), environ={})
    assert caught.value.file == "--set"


def test_the_environment_of_vassals_does_not_reach_the_emperor(load):
    settings = load("[emperor]\nemperor = $(PLACE)\n", environ={"PLACE": "/a", "UWSGI_VASSAL_EMPEROR": "/b"})
    assert settings.places == ("/a",)


def test_options_of_vassals_warn(load):
    ((line, level, message),) = said(load("[emperor]\nmodule = shop.wsgi\n"), "module")
    assert (line, level) == (2, "warning")
    assert "vassal-set" in message


@pytest.mark.parametrize("line", ["cron = 0 0 -1 -1 -1 true", "attach-daemon = redis-server", "static-map = /s=/srv/s"])
def test_what_would_be_missed_is_refused(load, line):
    with pytest.raises(ConfigError, match="is refused"):
        load(f"[emperor]\n{line}\n")


@pytest.mark.parametrize(
    "line", ["fastrouter = :80", "emperor-use-clone = fs,pid", "emperor-magic-exec", "route = a b"]
)
def test_refused_options_of_uwsgis_emperor(load, line):
    with pytest.raises(ConfigError, match="is refused") as caught:
        load(f"[emperor]\n{line}\n")
    assert caught.value.line == 2
    name = line.split(" ", 1)[0]
    assert said(load(f"[emperor]\nignore-refused = {name}\n{line}\n"), name)[0][1] == "warning"


def test_unknown_options_are_told_and_under_strict_refused(load):
    ((_, level, message),) = said(load("[emperor]\nemperor-frequency = 3\n"), "emperor-frequency")
    assert level == "warning"
    assert "unknown option 'emperor-frequency': did you mean 'emperor-freq'?" in message
    with pytest.raises(ConfigError, match="unknown option"):
        load("[emperor]\nstrict\nemperor-frequency = 3\n")


def test_reading_for_a_check_collects_all_mistakes(tmp_path):
    path = tmp_path / "emperor.ini"
    path.write_text("[emperor]\nemperor-freq = x\nemperor-throttle = y\n")
    _, build = read_emperor(str(path), sets=(), environ={})
    assert [(note.line, note.level) for note in build.notes] == [(2, "error"), (3, "error")]


# --- the table ------------------------------------------------------------------------------------------------------


def test_every_row_has_a_field_of_its_type():
    fields = {field.name: field.type for field in dataclasses.fields(EmperorSettings)}
    for row in EMPEROR.options:
        if row.type is None or row.field in GATHERED:
            continue
        kind = fields[row.field].removesuffix(" | None")
        if row.type.many:
            assert kind.startswith("tuple"), row.name
        else:
            numbers = "float" if row.name == "emperor-freq" else "int"
            assert kind == {"flag": "bool", "number": numbers, "mode": "int"}.get(row.type.name, "str"), row.name


def test_every_field_has_a_row():
    given = {row.field for row in EMPEROR.options} | {"inject", "notes"}
    assert {field.name for field in dataclasses.fields(EmperorSettings)} <= given


def test_rows_without_effect_say_why():
    for row in OPTIONS:
        assert row.verdict in VERDICTS
        if row.verdict in (ACCEPTED, REFUSED):
            assert row.reason, row.name
        else:
            assert row.help, row.name
        if row.verdict == REFUSED:
            assert row.instead, row.name


def test_every_option_of_uwsgi_has_a_verdict_in_an_emperors_file():
    from vassal.config.uwsgi_names import NAMES

    assert [name for name in NAMES if EMPEROR.find(name) is None] == []


def test_emperors_options_are_known_in_a_vassals_file():
    for row in OPTIONS:
        for name in (row.name, *row.aliases):
            if name != "control":
                assert VASSAL.find(name) is not None, name
