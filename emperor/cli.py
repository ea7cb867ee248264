"""The command `emperor`: reads the command line, and hands over.

Commands import what they need when they run: `emperor status` loads neither the monitor nor the daemon.

The danger here: exit codes. Scripts rely on them: 0 done, 1 the thing failed, 2 wrong usage, 3 no emperor answers. What
a command raises gets its code in `_Commands.invoke`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from emperor.control import ANYBODY, ControlError, NoEmperor, Outcome, UnknownVassal, default_path
from emperor.control_client import TIMEOUT, ControlClient
from emperor.names import printable
from vassal import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from emperor.settings import EmperorSettings
    from vassal.config import Note

DEFAULT_INI = "/etc/emperor/emperor.ini"
TAB_TIMEOUT = 2.0  # s; an emperor that hangs must not take the shell along
FOLLOW_PAUSE = 0.1  # s; between two looks at a log that is followed

FAILED, WRONG_USAGE, NOBODY = 1, 2, 3


class _Commands(click.Group):
    """Turns what a command raises into its message and exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command.

        Raises:
            SystemExit: With the exit code, if it failed.
        """
        try:
            return super().invoke(ctx)
        except NoEmperor as error:
            raise _leave(NOBODY, str(error)) from None
        except UnknownVassal as error:
            raise _leave(FAILED, f"{error}: `emperor status` lists all") from None
        except ControlError as error:
            raise _leave(FAILED, str(error)) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # nobody reads on: click's affair
                raise
            lost = isinstance(error, FileNotFoundError) and error.filename is None  # getcwd(2)
            _discard_output()
            raise _leave(FAILED, "the current directory is gone: cd elsewhere" if lost else str(error)) from None


def _leave(code: int, message: str) -> SystemExit:
    click.echo(f"emperor: {printable(message)}", err=True)
    return SystemExit(code)


@contextlib.contextmanager
def _config_errors() -> Iterator[None]:
    from vassal.config import ConfigError

    try:
        yield
    except ConfigError as error:
        raise _leave(FAILED, str(error)) from None


def _control_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--control",
        metavar="PATH",
        envvar="EMPEROR_CONTROL",
        help="Control socket of the emperor (environment: EMPEROR_CONTROL).",
    )(command)


def _ini_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option("--ini", metavar="FILE", type=click.Path(exists=True, dir_okay=False), help=text)


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_exec_option = click.option("--exec", "allow_exec", is_flag=True, help="Run @(exec://...) commands of the file.")


def _client(control: str | None, timeout: float = TIMEOUT) -> ControlClient:
    return ControlClient(control or default_path(os.environ, serving=False), timeout=timeout)


def _complete_names(ctx: click.Context, _parameter: click.Parameter, start: str) -> list[str]:
    """The vassals whose names begin so; nobody is told that no emperor answers: the shell asks at each Tab."""
    try:
        rows = _client(ctx.params.get("control"), TAB_TIMEOUT).status(None)
    except ControlError:
        return []
    given = ctx.params.get("names") or ()
    return [row["name"] for row in rows if row["name"].startswith(start) and row["name"] not in given]


def _width() -> int:
    return shutil.get_terminal_size((120, 24)).columns


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="emperor")
def main() -> None:
    """Supervise a fleet of Python web apps: one configuration file is one app."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without UTF-8, and a name that needs it


def _parse_sets(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> tuple[Any, ...]:
    pairs = []
    for value in values:
        key, equals, rest = value.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{value!r} is not KEY=VALUE")
        pairs.append((key.strip(), rest.strip()))
    return tuple(pairs)


@main.command()
@click.argument("places", metavar="[PLACE]...", nargs=-1, type=click.Path())
@_ini_option(f"The emperor's own configuration (default without a PLACE: {DEFAULT_INI}).")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, callback=_parse_sets, help="Set an option.")
@_control_option
def run(places: tuple[str, ...], ini: str | None, sets: tuple[tuple[str, str], ...], control: str | None) -> None:
    """Run the emperor in the foreground, on each PLACE: a directory, a glob or one file."""
    from emperor import launch
    from emperor.places import PlaceError, parse_place
    from emperor.settings import load_emperor

    launch.stand()
    if ini is None and not places:
        if not os.path.exists(DEFAULT_INI):
            raise click.UsageError(f"nothing to watch: give a PLACE or --ini FILE ({DEFAULT_INI} does not exist)")
        ini = DEFAULT_INI
    with _config_errors():
        settings = load_emperor(ini, sets=sets, places=places, environ=os.environ)
    if not settings.places:
        for note in settings.notes:  # a mistake there may be why
            click.echo(_note_line(note), err=True)
        raise click.UsageError(f"nothing to watch: give a PLACE, or an `emperor = PLACE` line in {ini}")
    try:
        for place in settings.places:
            parse_place(place)
    except PlaceError as error:
        raise click.UsageError(str(error)) from None
    raise SystemExit(_run(settings, control))


def _run(settings: EmperorSettings, control: str | None) -> int:
    from emperor import launch

    if settings.logto is None:  # else it would have the standard error from before
        launch.early()
    try:
        return _be_emperor(settings, control)
    finally:
        launch.drop()


def _be_emperor(settings: EmperorSettings, control: str | None) -> int:
    from emperor.daemon import run as run_daemon

    path = control or settings.control or default_path(os.environ, serving=True)
    return run_daemon(dataclasses.replace(settings, control=path))


@main.command()
@click.argument("name", required=False, shell_complete=_complete_names)
@_json_option
@_control_option
def status(name: str | None, as_json: bool, control: str | None) -> None:  # noqa: FBT001  # click gives flags by name
    """Show the fleet, or one vassal in detail."""
    from emperor.report import rss_of, status_rows, vassal_detail

    rows = _client(control).status([name] if name is not None else None)
    sizes = rss_of(row["pid"] for row in rows if row.get("pid") and row.get("rss") is None)
    rows = [{**row, "rss": sizes[row["pid"]]} if row.get("pid") in sizes else row for row in rows]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif name is not None:
        for row in rows:
            click.echo(vassal_detail(row, width=_width()), nl=False)
    else:
        click.echo(status_rows(rows, width=_width()), nl=False)


@main.command()
@click.argument("names", metavar="NAME...", nargs=-1, shell_complete=_complete_names)
@click.option("--all", "everyone", is_flag=True, help="Reload the whole fleet.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the outcome.")
@click.option(
    "--strategy",
    type=click.Choice(["overlap", "drain", "chain"]),
    help="How, this once; default: each vassal's reload-strategy.",
)
@_control_option
def reload(  # as above
    names: tuple[str, ...],
    everyone: bool,  # noqa: FBT001
    no_wait: bool,  # noqa: FBT001
    strategy: str | None,
    control: str | None,
) -> None:
    """Reload vassals: a new generation takes over, or the old one goes on."""
    if everyone == bool(names):
        raise click.UsageError("give either NAME... or --all")
    _print_outcomes(_client(control).reload(list(names) or None, wait=not no_wait, strategy=strategy))


@main.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=_complete_names)
@_control_option
def stop(names: tuple[str, ...], control: str | None) -> None:
    """Stop vassals and hold them, through touches, until `start`."""
    _print_outcomes(_client(control).stop(list(names)))


@main.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=_complete_names)
@_control_option
def start(names: tuple[str, ...], control: str | None) -> None:
    """Start vassals that were stopped, are broken or back off."""
    _print_outcomes(_client(control).start(list(names)))


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        click.echo(printable(f"{outcome.name}: {outcome.text}"), err=not outcome.ok)
    if not all(outcome.ok for outcome in outcomes):
        raise SystemExit(FAILED)


@main.command()
@click.argument("name", required=False, shell_complete=_complete_names)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option(
    "-n", "--lines", metavar="LINES", default=10, show_default=True, type=click.IntRange(min=0), help="How many lines."
)
@click.option("--reopen", is_flag=True, help="Open log files again, after they were renamed: NAME's, or all.")
@_control_option
def logs(name: str | None, follow: bool, lines: int, reopen: bool, control: str | None) -> None:  # noqa: FBT001  # click gives flags by name
    """Print the end of a vassal's log, or open log files again."""
    if reopen:
        outcomes = _client(control).reopen_logs(None if name is None else [name])
        _print_outcomes([outcome for outcome in outcomes if name is not None or not outcome.ok])
    elif name is None:
        raise click.UsageError("give a NAME, or --reopen")
    else:
        _print_log(name, follow=follow, lines=lines, control=control)


def _print_log(name: str, *, follow: bool, lines: int, control: str | None) -> None:
    from emperor import onbehalf
    from emperor.logtail import Follower, harmless

    place = _client(control).log_place(name)
    if place is None:
        raise _leave(FAILED, f"{name} writes to the emperor's own output: set emperor-log-dir, or logto in its file")
    path, owner = place
    output = sys.stdout.buffer
    write = (lambda data: output.write(harmless(data))) if sys.stdout.isatty() else output.write
    try:
        if owner != ANYBODY and os.geteuid() == 0:  # its file has named it: root opens no path of a tenant's
            onbehalf.become(onbehalf.user(owner))
        if not follow:
            os.lstat(path)
        follower = Follower(path, write, lines)
        try:
            follower.step()
            output.flush()
            while follow:
                if follower.step():
                    output.flush()
                else:
                    time.sleep(FOLLOW_PAUSE)
        finally:
            follower.close()
    except KeyboardInterrupt:
        raise SystemExit(0) from None
    except BrokenPipeError:
        _discard_output()
    except FileNotFoundError:
        raise _leave(FAILED, f"{name} has logged nothing yet: {path} does not exist") from None
    except OSError as error:
        raise _leave(FAILED, f"cannot read the log of {name}: {error}") from None


def _discard_output() -> None:
    """Nobody reads on (`logs | head`), or the disk is full: the flush at exit must not complain, too."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@main.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--strict", is_flag=True, help="Take unknown options for errors.")
@_json_option
@_ini_option("Apply this emperor's includes and sets.")
@_exec_option
def check(paths: tuple[str, ...], strict: bool, as_json: bool, ini: str | None, allow_exec: bool) -> None:  # noqa: FBT001  # as above
    """Check vassal files, or all in directories, without running them."""
    from emperor.check import check_paths

    with _config_errors():
        notes = check_paths(paths, strict=strict, emperor=_emperor_of(ini), allow_exec=allow_exec)
    if as_json:
        click.echo(json.dumps([_note_facts(note) for note in notes], indent=2))
    else:
        for note in notes:
            click.echo(_note_line(note))
    if any(note.level == "error" for note in notes):
        raise SystemExit(FAILED)


def _note_line(note: Note) -> str:
    where = note.file if note.line is None else f"{note.file}:{note.line}"
    return printable(f"{where}: {note.level}: {note.message}")


def _note_facts(note: Note) -> dict[str, Any]:
    return {
        "file": note.file,
        "line": note.line,
        "level": note.level,
        "option": note.option,
        "message": note.message,
    }


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@_json_option
@_ini_option("Apply this emperor's includes and sets.")
@_exec_option
def explain(file: str, as_json: bool, ini: str | None, allow_exec: bool) -> None:  # noqa: FBT001  # as above
    """Show every setting of a vassal file, and the line that gave it."""
    from emperor.check import explain as explain_file

    with _config_errors():
        rows = explain_file(file, emperor=_emperor_of(ini), allow_exec=allow_exec)
    if as_json:
        facts = [{"option": r.option, "value": r.value, "file": r.file, "line": r.line} for r in rows]
        click.echo(json.dumps(facts, indent=2))
        return
    settings = [printable(f"{row.option} = {row.value}") for row in rows]
    column = min(max(map(len, settings), default=0), 60)
    for setting, row in zip(settings, rows, strict=True):
        where = row.file if row.line is None else f"{row.file}:{row.line}"
        way = f" (through {', '.join(row.via)})" if row.via else ""
        click.echo(f"{setting:<{column}}  # {printable(where + way)}")


def _emperor_of(ini: str | None) -> EmperorSettings | None:
    from emperor.settings import load_emperor

    return None if ini is None else load_emperor(ini, sets=(), places=(), environ=os.environ)
