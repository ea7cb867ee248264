"""Hooks as text: what a line says, in which order the lines run, and what is told of them."""

import pytest

from vassal import hooks
from vassal.config import Settings
from vassal.config.line_types import HOOKS, TOUCH_EXECS


def nothing(_warning):
    raise AssertionError("no warning was expected")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("exec:./manage.py migrate", ("exec", "./manage.py migrate", False)),
        ("exec: a:b ", ("exec", "a:b", False)),
        ("!exec:echo secret", ("exec", "echo secret", True)),
        ("safeexec:false", ("safeexec", "false", False)),
        ("print:", ("print", "", False)),
        ("write:/proc/sys/vm/max_map_count 262144", ("write", "/proc/sys/vm/max_map_count 262144", False)),
        ("chmod:/run/x 660", ("chmod", "/run/x 660", False)),
        ("unix_signal:15 gracefully_kill_them_all", ("unix_signal", "15 gracefully_kill_them_all", False)),
    ],
)
def test_what_a_line_says(text, parsed):
    assert hooks.hook(text) == parsed
    assert HOOKS.read(text, nothing) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("./manage.py migrate", "expected ACTION:ARGUMENT"),
        ("exec:", "expected exec:COMMAND"),
        ("write:/tmp/x", "expected write:FILE TEXT"),
        ("chmod:/tmp/x rw", "expected chmod:FILE MODE"),
        ("unix_signal:15 reap_them_all", "expected unix_signal:15 gracefully_kill_them_all"),
        ("callint:putenv A=B", "callint: is not offered in a hook: use exec, safeexec, print"),
        ("cd:/srv", "use chdir = DIRECTORY"),
        ("mount:proc none /proc", "use exec:mount"),
    ],
)
def test_what_is_not_offered_is_refused_with_what_is(text, said):
    with pytest.raises(ValueError, match=r"expected|is not offered") as caught:
        HOOKS.read(text, nothing)
    assert said in str(caught.value)


def test_touch_exec_has_a_file_and_a_command():
    assert TOUCH_EXECS.read("/srv/x  make all", nothing) == ("/srv/x", "make all")
    with pytest.raises(ValueError, match="FILE COMMAND"):
        TOUCH_EXECS.read("/srv/x", nothing)


def test_exec_lines_come_after_hook_lines():
    settings = Settings(exec_pre_app=("one",), hook_pre_app=("exec:two", "print:three"), exec_asap=("four",))
    found = hooks.of(settings, "pre-app")
    assert [(one.option, one.argument) for one in found] == [
        ("hook-pre-app", "two"),
        ("hook-pre-app", "three"),
        ("exec-pre-app", "one"),
    ]
    assert hooks.of(settings, "as-user") == []


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("exec:a b", ("a b",)),
        ("write:/x a  b", ('printf %s "$2" >"$1"', "sh", "/x", "a  b")),
        ("appendn:/x $(id)", ('printf "%s\\n" "$2" >>"$1"', "sh", "/x", "$(id)")),
        ("create:/a b", (': >"$1"', "sh", "/a b")),
        ("chmod:/a b 640", ('chmod -- "$2" "$1"', "sh", "/a b", "640")),
        ("chown:/a b u g", ('chown -- "$2:$3" "$1"', "sh", "/a b", "u", "g")),
    ],
)
def test_every_action_is_one_process_and_no_argument_is_shell_but_a_commands(text, arguments):
    assert hooks.parse("hook-asap", text).arguments == ("/bin/sh", "-c", *arguments)


@pytest.mark.parametrize("text", ["print:hello", "log:hello", "unix_signal:15 gracefully_kill_them_all"])
def test_what_needs_no_process_has_none(text):
    assert hooks.parse("hook-asap", text).arguments == ()


def test_what_messages_show():
    assert hooks.parse("hook-asap", "exec:a").shown == "hook-asap = exec:a"
    assert hooks.parse("exec-asap", "a").shown == "exec-asap = a"
    assert "token" not in hooks.parse("hook-asap", "!exec:curl token").shown
    assert len(hooks.parse("exec-asap", "a" * 10_000).shown) < 400


def test_hooks_have_the_environment_that_the_app_will_have(monkeypatch):
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("GONE", "1")
    environ = hooks.environment(Settings(env=(("MADE", "2"), ("KEPT", "3")), unenv=("GONE",)))
    assert (environ["MADE"], environ["KEPT"], "GONE" in environ) == ("2", "3", False)
