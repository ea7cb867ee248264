r"""What clients sent, made fit for a line of a log.

The one danger is a line that is two, or a terminal that obeys: whoever reads the log must be able to believe that each
line was written by the server. So everything that does not print, and what would end a quoted field, is written as
``\xNN`` (nginx and Apache do the same), or as JSON writes it where the line is JSON.
"""

from __future__ import annotations

import json

_KEPT = 4096
_KEPT_LENGTH = 256


def plain(value: object) -> str:
    r"""Return `value` with ``\``, ``"`` and all that does not print as ``\\xNN``, one for each byte of its UTF-8.

    A text of the environ holds bytes as latin-1 (PEP 3333); where they are UTF-8 they are shown as what they mean.
    """
    text = value if isinstance(value, str) else str(value)
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    text = _meant(text)
    return "".join(char if char.isprintable() and char not in '"\\' else _bytes(char) for char in text)


def as_json(value: object) -> str:
    """Return `value` as JSON writes it between quotes, in ASCII."""
    text = value if isinstance(value, str) else str(value)
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    text = _meant(text)
    try:
        data = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        data = text.encode(errors="backslashreplace")
    return json.dumps(data.decode(errors="backslashreplace"))[1:-1]


def _meant(text: str) -> str:
    try:
        return text.encode("latin-1").decode(errors="surrogateescape")
    except UnicodeEncodeError:  # no text of PEP 3333: an app has put it there
        return text


def _bytes(char: str) -> str:
    try:
        data = char.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        data = char.encode(errors="surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in data)


class Escaped(dict[str, str]):
    """Texts to what is written for them, made once for each: most fields are the same in many requests."""

    def __init__(self, escape: str = "plain", empty: str = "-") -> None:
        """`escape`: ``plain`` or ``json``; `empty`: what is written for an empty text."""
        super().__init__()
        self._escape = as_json if escape == "json" else plain
        self.empty = empty

    def __missing__(self, value: str) -> str:
        made = self._escape(value) or self.empty
        if len(self) >= _KEPT:
            self.clear()
        if len(value) <= _KEPT_LENGTH:
            self[value] = made
        return made
