"""``log-encoder``: what is done to each line on its way to where it is kept (uWSGI's LogEncoders page).

Pure. The one danger is JSON that is none: what stands for ``${msg}`` is escaped as JSON wants it.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("prefix", "suffix", "nl", "format", "json", "gzip", "compress")
JSON_LINE = '{"unix":${unix},"micros":${micros},"msg":"${msg}"}'
"""What ``json`` without arguments makes."""
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_KNOWN = ("msg", "msgnl", "unix", "micros", "millis")


@dataclass(frozen=True, slots=True)
class Encoder:
    """One step. `only`: the name of the logger that it is for, ``""`` for all. `binary`: what comes out is no text."""

    encode: Callable[[bytes], bytes]
    only: str = ""
    binary: bool = False


def _local(form: str, moment: float) -> str:
    return time.strftime(form, time.localtime(moment))


def parse(text: str, strftime: Callable[[str, float], str] = _local) -> Encoder:
    """Return the encoder of one line ``NAME[:LOGGER] [ARGUMENTS]``.

    `strftime` makes a text of a form and epoch seconds.

    Raises:
        ValueError: no such encoder, or a variable that it does not know.
    """
    head, _, arguments = text.partition(" ")
    name, _, only = head.partition(":")
    if name not in NAMES:
        raise ValueError(f"there is no log encoder {name!r}: allowed are {', '.join(NAMES)}")
    if name in ("format", "json"):
        template = arguments or (JSON_LINE if name == "json" else "${msgnl}")
        return Encoder(_template(template, strftime, as_json=name == "json"), only)
    raw = arguments.encode()
    steps: dict[str, Callable[[bytes], bytes]] = {
        "prefix": lambda line: raw + line,
        "suffix": lambda line: line + raw,
        "nl": lambda line: line + b"\n",
        "gzip": _gzip,
        "compress": zlib.compress,
    }
    return Encoder(steps[name], only, binary=name in ("gzip", "compress"))


def _gzip(line: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(line) + packer.flush()


def _template(text: str, strftime: Callable[[str, float], str], *, as_json: bool) -> Callable[[bytes], bytes]:
    pieces = _VARIABLE.split(text)
    for name in pieces[1::2]:
        if name not in _KNOWN and not name.startswith("strftime:"):
            raise ValueError(f"${{{name}}} is unknown: allowed are {', '.join(_KNOWN)} and strftime:FORM")

    def value(name: str, line: str, now: float) -> str:
        if name in ("msg", "msgnl"):
            shown = line.removesuffix("\n") if name == "msg" else line
            return json.dumps(shown)[1:-1] if as_json else shown
        if name.startswith("strftime:"):
            shown = strftime(name.removeprefix("strftime:"), now)
            return json.dumps(shown)[1:-1] if as_json else shown
        return str(int(now * {"unix": 1, "millis": 1000, "micros": 1000000}[name]))

    def encode(line: bytes) -> bytes:
        text = line.decode(errors="backslashreplace")
        now = time.time()
        parts = [value(piece, text, now) if odd % 2 else piece for odd, piece in enumerate(pieces)]
        return "".join(parts).encode(errors="backslashreplace")

    return encode
