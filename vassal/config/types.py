"""The types of option values: text to value, or what would have been allowed.

Each type says in words what it takes, for messages and for the reference. The one thing that can go wrong here is to
guess: a text that is not clearly a value is refused, with what is allowed.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_TRUE = frozenset(("", "1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_AMOUNT = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,6}))?\s*([kmg]?)(?:i?b)?", re.IGNORECASE)
_OCTAL = re.compile(r"(?:0o)?[0-7]{3,4}")
# Possessive and behind no blank: a long run of blanks is looked at once.
_COMMENT = re.compile(r"(?:^|(?<!\s)\s++)[;#].*", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}")
_PATTERN_CHARS = 4096
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True, eq=False)
class Type:
    """How one kind of value is read.

    Attributes:
        name: for the reference: ``number``, ``flag``, ``list of texts``.
        read: text to value; raises ValueError with what is allowed. Its second argument takes warnings.
        many: each line adds one value; else the last line wins.
        clean: a comment after the value (`` ;`` or `` #``) is cut off, with a warning.
        bare: the text that a key without a value stands for; None: it then keeps its default, with a warning.
        unit: ``seconds``, ``bytes`` …, or "".
    """

    name: str
    read: Callable[[str, Callable[[str], None]], Any]
    many: bool = False
    clean: bool = False
    bare: str | None = None
    unit: str = ""
    words: tuple[str, ...] = field(default=())


def uncommented(text: str) -> str:
    """Return `text` without a comment after it; ``;`` and ``#`` count after white space only."""
    return _COMMENT.sub("", text)


# --- single values -------------------------------------------------------------------------------------------------


def _flag(text: str, warn: Callable[[str], None]) -> bool:
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    if _NUMBER.fullmatch(word):
        warn(f"{text} counts as true: write true or false")
        return True
    raise ValueError("allowed are true, yes, on, 1 and false, no, off, 0, or the name alone for true")


FLAG = Type("flag", _flag, clean=True, bare="")


def number(minimum: int = 0, maximum: int | None = None, unit: str = "", bare: str | None = None) -> Type:
    """Return the type of whole numbers from `minimum` to `maximum`, both included."""
    allowed = f"a whole number from {minimum}" + (f" to {maximum}" if maximum is not None else " on")
    if unit:
        allowed += f" ({unit})"

    def read(text: str, _: Callable[[str], None]) -> int:
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"expected {allowed}")
        value = int(text)
        if value < minimum or (maximum is not None and value > maximum):
            raise ValueError(f"expected {allowed}")
        return value

    return Type("number", read, clean=True, unit=unit, bare=bare)


def seconds(minimum: int = 0, bare: str | None = None) -> Type:
    """Return the type of whole seconds."""
    return number(minimum, 10**9, "seconds", bare)


def amount(unit: str, minimum: int = 0) -> Type:
    """Return the type of sizes in `unit` (``bytes`` or ``MiB``); a suffix k, m or g says another one."""
    scale = 1 if unit == "bytes" else 1 << 20

    def read(text: str, _: Callable[[str], None]) -> int:
        match = _AMOUNT.fullmatch(text)
        allowed = f"expected a size in {unit} from {minimum} on, or one with k, m or g"
        if match is None:
            raise ValueError(allowed)
        whole, fraction, suffix = match.groups()
        factor = _FACTORS[suffix.lower()] if suffix else scale
        exact = int(whole) * factor + int((fraction or "0").ljust(6, "0")) * factor // 1_000_000
        value = -(-exact // scale)
        if value < minimum:
            raise ValueError(allowed)
        return value

    return Type("size", read, clean=True, unit=unit)


BYTES = amount("bytes")
MEBIBYTES = amount("MiB")


def _mode(text: str, _: Callable[[str], None]) -> int:
    if text.lower() in _TRUE:
        return 0o666
    if _OCTAL.fullmatch(text):
        return int(text.removeprefix("0o"), 8)
    raise ValueError("expected three or four octal digits such as 660, or the name alone for 666")


MODE = Type("mode", _mode, clean=True, bare="")


def _mask(text: str, _: Callable[[str], None]) -> int:
    if re.fullmatch(r"(?:0o)?[0-7]{1,4}", text) and int(text.removeprefix("0o"), 8) <= 0o777:
        return int(text.removeprefix("0o"), 8)
    raise ValueError("expected octal digits such as 022")


MASK = Type("mode", _mask, clean=True)


def _text(text: str, _: Callable[[str], None]) -> str:
    return text


TEXT = Type("text", _text)
PATH = Type("path", _text)
TEXT_OR_BARE = Type("text", _text, bare="")


def choice(*words: str) -> Type:
    """Return the type of one of `words`."""

    def read(text: str, _: Callable[[str], None]) -> str:
        if text.lower() in words:
            return text.lower()
        raise ValueError(
            f"allowed are {', '.join(words[:-1])} and {words[-1]}" if words[1:] else f"allowed is {words[0]}"
        )

    return Type("choice", read, clean=True, words=words)


def _owner(text: str, _: Callable[[str], None]) -> str:
    if re.fullmatch(r"[^\s:]+(?::[^\s:]+)?|:[^\s:]+", text):
        return text
    raise ValueError("expected USER, USER:GROUP or :GROUP")


OWNER = Type("owner", _owner)


def _account(text: str, _: Callable[[str], None]) -> str:
    if re.fullmatch(r"\S+", text):
        return text
    raise ValueError("expected one name or number")


ACCOUNT = Type("account", _account, clean=True)


def check_address(text: str) -> None:
    """Judge an address as far as its text goes; whether it can be bound shows later.

    Raises:
        ValueError: it can be none; the text says why.
    """
    if text.startswith("=") or "://" in text:
        raise ValueError("shared sockets and descriptors are not used here: write HOST:PORT, a path or @NAME")
    if "/" in text or text.startswith("@"):
        return
    host, colon, port = text.rpartition(":")
    if not colon:
        return
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError("the port must be a number from 0 to 65535")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("an IPv6 address stands in brackets: [::1]:8000")


def _address(text: str, warn: Callable[[str], None]) -> str:
    check_address(text)
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+){0,3}", text):
        warn(f"{text} has no colon and is the path of a UNIX socket: for a port write :{text}")
    return text


ADDRESS = Type("address", _address)


def _regex(text: str, _: Callable[[str], None]) -> str:
    if len(text) > _PATTERN_CHARS:
        raise ValueError(f"a regular expression of at most {_PATTERN_CHARS} characters is expected")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from None
    return text


# --- one value a line ----------------------------------------------------------------------------------------------


TEXTS = Type("list of texts", _text, many=True)
PATHS = Type("list of paths", _text, many=True)
ACCOUNTS = Type("list of accounts", _account, many=True, clean=True)
ADDRESSES = Type("list of addresses", _address, many=True)
REGEXES = Type("list of regular expressions", _regex, many=True)


def _pair(text: str, _: Callable[[str], None]) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError("expected NAME=VALUE")
    return name.strip(), value


PAIRS = Type("list of NAME=VALUE", _pair, many=True)


def _maps(*, whole: bool) -> Type:
    def read(text: str, _: Callable[[str], None]) -> tuple[str, str, bool]:
        # uWSGI takes a line without "=" for a path that is both the URL and the directory.
        name, equals, value = text.partition("=")
        return (name, value, whole) if equals else (text, text, whole)

    return Type("list of URL=DIRECTORY", read, many=True)


MAPS = _maps(whole=False)
WHOLE_MAPS = _maps(whole=True)
"""Of static-map2, where the whole of a request's path follows the directory."""


def _header(text: str, warn: Callable[[str], None]) -> str:
    name, colon, value = text.partition(":")
    if name.lower() in ("content-length", "transfer-encoding", "trailer", "date"):
        raise ValueError("this field is the server's own to set")
    if name.lower() in ("connection", "keep-alive"):
        warn(f"{name} is left out, since it says what the server does: http-keepalive = SECONDS keeps connections open")
    if not colon or not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name):
        raise ValueError("expected NAME: VALUE")
    if not value.isprintable() and any(char in "\r\n\0" for char in value):
        raise ValueError("a header holds no line end")
    return text


HEADERS = Type("list of headers", _header, many=True)


def _networks(text: str, _: Callable[[str], None]) -> str:
    import ipaddress  # noqa: PLC0415 - few files name networks, every start would pay

    for word in text.replace(",", " ").split():
        if word not in ("*", "none"):
            try:
                ipaddress.ip_network(word, strict=False)
            except ValueError:
                raise ValueError(f"{word} is neither an address nor a network such as 10.0.0.0/8") from None
    return text


NETWORKS = Type("list of networks", _networks, many=True, clean=True)


def _expiry(text: str, _: Callable[[str], None]) -> tuple[str, int]:
    # The seconds stand last: a pattern may hold blanks and "=".
    pattern = text.rstrip("0123456789")
    digits = text[len(pattern) :]
    kept = pattern.rstrip(" \t=")
    if not kept or kept == pattern or not 0 < len(digits) <= 18:
        raise ValueError("expected a pattern, a blank and seconds")
    return kept, int(digits)


def _regex_expiry(text: str, warn: Callable[[str], None]) -> tuple[str, int]:
    pattern, age = _expiry(text, warn)
    return _regex(pattern, warn), age


EXPIRIES = Type("list of PATTERN SECONDS", _regex_expiry, many=True, clean=True, unit="seconds")
TYPE_EXPIRIES = Type("list of TYPE=SECONDS", _expiry, many=True, clean=True, unit="seconds")
