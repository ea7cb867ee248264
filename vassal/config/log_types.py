"""The types of the log's options: loggers, encoders, formats, routes. What uses them reads the same text again.

The one thing that can go wrong here is to allow what cannot work: a log that goes nowhere is missed late.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vassal.config.types import Type
from vassal.logbook import specs

if TYPE_CHECKING:
    from collections.abc import Callable


def _format(text: str, warn: Callable[[str], None]) -> str:
    from vassal.logbook.formats import unknown  # noqa: PLC0415 (few files have one, every start would pay)

    strange = unknown(text)
    if strange:
        names = ", ".join(f"%({name})" for name in strange)
        warn(
            f"{names} {'is' if len(strange) == 1 else 'are'} unknown and printed as -; docs/logs.md lists the variables"
        )
    return text


LOG_FORMAT = Type("text", _format)


def _path(text: str, _: Callable[[str], None]) -> str:
    specs.of_logto(text)
    return text


LOG_PATH = Type("path", _path)


def _logger(text: str, _: Callable[[str], None]) -> str:
    specs.parse(text)
    return text


LOGGERS = Type("list of loggers", _logger, many=True)


def _socket(text: str, _: Callable[[str], None]) -> str:
    specs.parse(f"socket:{text}")
    return text


LOG_SOCKETS = Type("list of addresses", _socket, many=True)


def _encoder(text: str, _: Callable[[str], None]) -> str:
    from vassal.logbook import encoders  # noqa: PLC0415 (as above)

    encoders.parse(text)
    return text


ENCODERS = Type("list of encoders", _encoder, many=True)


def _route(text: str, _warn: Callable[[str], None]) -> str:
    _, pattern = specs.route(text)
    try:
        re.compile(pattern.encode())
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


LOG_ROUTES = Type("list of NAME REGEX", _route, many=True)


def log_file(text: str) -> str:
    """Return the path of the file that a ``logger`` line names, ``""`` where it names none."""
    spec = specs.parse(text)
    return spec.target if spec.kind == "file" else ""
