"""The manual pages, made from the texts of `--help` and of the option tables: ``python packaging/manuals.py PAGE``.

PAGE is ``emperor``, ``vassal`` or ``emperor.ini``; the page goes to standard output. Built with the package, not kept.
The one danger is roff's own marks in a text: a line that begins with a full stop would vanish. `_text` disarms them.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import emperor.cli
import vassal.cli
from emperor.options import OPTIONS
from emperor.reference import FAMILIES, default_of, defaults_of, value_of
from emperor.settings import EmperorSettings
from vassal import __version__
from vassal.config import Settings
from vassal.config.option import SUPPORTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vassal.config.option import Option

FILES = (
    ("/etc/emperor/emperor.ini", "the emperor's own configuration: emperor.ini(5)"),
    ("/etc/emperor/vassals/", "one file for each app, where the emperor looks unless it is told otherwise"),
    ("/etc/default/emperor", "arguments and environment of the service"),
    ("/run/emperor/control.sock", "control socket of an emperor that root runs"),
    ("/var/log/emperor/NAME.log", "what the vassal NAME writes"),
)
EXITS = (
    ("0", "done; status exits with 0 whatever it shows"),
    ("1", "it failed: an unknown name, a reload that was rolled back, a check that found errors"),
    ("2", "wrong usage"),
    ("3", "no emperor answers on the control socket"),
)
SIGNALS = (
    ("SIGHUP", "reload every vassal"),
    ("SIGUSR1", "write the fleet's status to the emperor's log"),
    ("SIGURG", "forget all backoff: what waits for a retry is tried now"),
    ("SIGTERM, SIGINT, SIGQUIT", "stop all vassals gracefully and exit; a second one kills what is left"),
)


def _text(text: str) -> str:
    """Return `text` as roff shows it: backslashes, hyphens and quotes kept, no line taken for a request."""
    text = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    )
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def _head(page: str, section: int, line: str) -> list[str]:
    title = f'.TH {page.upper()} {section} "" "Emperor {__version__}" "Emperor"'
    return [title, ".SH NAME", f"{_text(page)} \\- {_text(line)}"]


def _rows(rows: Iterable[tuple[str, str]]) -> list[str]:
    lines = []
    for term, text in rows:
        lines += [".TP", f"\\fB{_text(term)}\\fR", _text(text)]
    return lines


def _paragraphs(text: str) -> list[str]:
    lines = []
    for paragraph in text.split("\n\n"):
        lines += [".PP", _text(" ".join(paragraph.split()))]
    return lines


def _command(command: Any, context: Any) -> tuple[str, list[tuple[str, str]]]:
    """Return the usage of a click command, and the options of its help, each with its text."""
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    return " ".join(command.collect_usage_pieces(context)), [record for record in records if record and record[1]]


def emperor_page() -> list[str]:
    """Return emperor(1), a line each."""
    group: Any = emperor.cli.main
    context = group.make_context("emperor", [], resilient_parsing=True)
    lines = _head("emperor", 1, "supervise a fleet of Python web apps")
    lines += [".SH SYNOPSIS", ".B emperor", "\\fICOMMAND\\fR [\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]", ".SH DESCRIPTION"]
    lines += _paragraphs(group.help)
    lines += [".SH COMMANDS"]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        usage, options = _command(command, command.make_context(name, [], parent=context, resilient_parsing=True))
        lines += [f".SS emperor {name} {_text(usage)}", *_paragraphs(command.help), *_rows(options)]
    lines += [".SH OPTIONS", *_rows(_command(group, context)[1])]
    lines += [".SH SIGNALS", *_rows(SIGNALS), ".SH EXIT STATUS", *_rows(EXITS), ".SH FILES", *_rows(FILES)]
    return [*lines, ".SH SEE ALSO", ".BR vassal (1),", ".BR emperor.ini (5)"]


def vassal_page() -> list[str]:
    """Return vassal(1), a line each."""
    command: Any = vassal.cli.main
    usage, options = _command(command, command.make_context("vassal", [], resilient_parsing=True))
    lines = _head("vassal", 1, "serve one Python web app, without an emperor")
    lines += [".SH SYNOPSIS", ".B vassal", _text(usage), ".SH DESCRIPTION", *_paragraphs(command.help)]
    lines += [".SH OPTIONS", *_rows(options)]
    return [*lines, ".SH SEE ALSO", ".BR emperor (1),", ".BR emperor.ini (5)"]


def ini_page() -> list[str]:
    """Return emperor.ini(5), a line each: the options of the emperor's file, and those of a vassal's."""
    lines = _head("emperor.ini", 5, "configuration of the emperor and of its vassals")
    lines += [".SH DESCRIPTION", *_paragraphs(_LANGUAGE), ".SH THE EMPEROR'S FILE", *_paragraphs(_EMPERORS)]
    lines += _options(OPTIONS, defaults_of(EmperorSettings))
    lines += [".SH A VASSAL'S FILE", *_paragraphs(_VASSALS)]
    for title, rows in FAMILIES:
        lines += [f".SS {title}", *_options(rows, defaults_of(Settings))]
    lines += [".SH FILES", *_rows(FILES[:3])]
    return [*lines, ".SH SEE ALSO", ".BR emperor (1),", ".BR vassal (1)"]


_LANGUAGE = """Lines of the form "option = value" in sections; a line that begins with ; or # is a comment. Of an
option that takes one value the last line counts, lists add up. Sizes take k, m and g. A flag is true where its name
stands alone.

%d is the directory of the file, %n its name without extension, %(NAME) an earlier value of the same file, $(NAME) a
variable of the environment, @(FILE) the content of a file. "emperor check FILE" tells mistakes; "emperor explain FILE"
shows what applies, and the line it comes from."""
_EMPERORS = "The section is [emperor], or [uwsgi]. It is read at the emperor's start."
_VASSALS = "The section is [uwsgi], or [vassal]. It is read at each start and reload of the vassal: touch the file."


def _options(rows: Iterable[Option], values: Mapping[str, Any]) -> list[str]:
    lines = []
    for row in rows:
        if row.verdict != SUPPORTED:
            continue
        value, default = value_of(row).replace("`", "").replace("\\|", "|"), default_of(row, values)
        lines += [".TP", f"\\fB{_text(row.name)}\\fR" + (f" = \\fI{_text(value)}\\fR" if value else "")]
        more = [f"Also {', '.join(row.aliases)}."] if row.aliases else []
        more += [f"Default: {default}."] if default else []
        lines.append(_text(" ".join([row.help.rstrip(".") + ".", *more])))
    return lines


PAGES = {"emperor": emperor_page, "vassal": vassal_page, "emperor.ini": ini_page}


def main(arguments: list[str]) -> int:
    """Write the page that is named to standard output; return the exit status."""
    if len(arguments) != 1 or arguments[0] not in PAGES:
        sys.stderr.write(f"usage: python packaging/manuals.py {' | '.join(PAGES)}\n")
        return 2
    sys.stdout.write("\n".join(PAGES[arguments[0]]()) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
