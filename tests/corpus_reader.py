"""Reads tests/corpus/http: see the README there."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus" / "http"
_ESCAPE = re.compile(rb"\\(?:([rnt\\])|x([0-9a-f]{2}))")
_NAMED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


@dataclass(frozen=True)
class Case:
    name: str
    raw: bytes
    expected: tuple[Any, ...]
    """A status, or what the app sees of each request."""


def cases(kind: str) -> list[Case]:
    """All cases of ``valid`` or ``invalid``, by name."""
    return [_read(path) for path in sorted((CORPUS / kind).glob("*.http"))]


def _read(path: Path) -> Case:
    raw = bytearray()
    expected = []
    for line in path.read_bytes().splitlines():
        if line.startswith(b"# expect: "):
            expected.append(json.loads(line.removeprefix(b"# expect: ")))
        elif not line.startswith(b"#"):
            raw += _ESCAPE.sub(lambda match: _NAMED[match[1]] if match[1] else bytes.fromhex(match[2].decode()), line)
    assert expected, f"{path} expects nothing"
    return Case(path.stem, bytes(raw), tuple(expected))
