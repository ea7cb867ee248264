"""Which form of a file a client gets: compressed or not, and of what type.

Pure but for `Types`, which reads the machine's tables when it is first asked. The one danger is a compressed form for a
client that cannot read it: what a client does not plainly accept is not sent.
"""

from __future__ import annotations

import os

CODINGS = (("br", b".br"), ("zstd", b".zst"), ("gzip", b".gz"))
"""Content codings and the ends of the siblings that hold them, the smallest first (RFC 7932, RFC 8878, RFC 1952)."""
SYSTEM_TYPES = "/etc/mime.types"
UNKNOWN = "application/octet-stream"
"""For names without a known end: a browser downloads it, and does not guess that it is a page."""
_PACKED = {".gz": "application/gzip", ".br": UNKNOWN, ".zst": "application/zstd"}


def codings(accept: str) -> tuple[tuple[str, bytes], ...]:
    """Return those of `CODINGS` that ``Accept-Encoding: accept`` wants, best first (RFC 9110 section 12.5.3)."""
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (word.strip(" \t") for word in part.split(";"))
        weights["gzip" if name == "x-gzip" else name] = _weight(parameters)
    rest = weights.get("*", 0.0)
    plain = weights.get("identity", 0.0)
    wanted = [(weights.get(name, rest), number) for number, (name, _) in enumerate(CODINGS)]
    return tuple(
        CODINGS[number]
        for weight, number in sorted(wanted, key=lambda pair: (-pair[0], pair[1]))
        if weight > 0 and weight >= plain
    )


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0


class Types:
    """Content types by the end of a file's name: the standard library's, /etc/mime.types, then `files`."""

    def __init__(self, files: tuple[str, ...] = (), system: str = SYSTEM_TYPES) -> None:
        self.problems: list[str] = []
        """What there is to say of `files`, once a type was asked for."""
        self._files = files
        self._system = system
        self._known: dict[str, str] | None = None

    def of(self, name: bytes) -> str:
        """Return the type of the file `name`."""
        if self._known is None:
            self._known = self._read()
        end = os.path.splitext(os.fsdecode(name))[1]
        return self._known.get(end) or self._known.get(end.lower(), UNKNOWN)

    def _read(self) -> dict[str, str]:
        import mimetypes  # noqa: PLC0415 (only who serves files pays for it)

        known = {**mimetypes.types_map, **_PACKED}
        for file in (self._system, *self._files):
            try:
                with open(file, encoding="utf-8", errors="replace") as lines:
                    for line in lines:
                        kind, *ends = line.partition("#")[0].split()[:100] or [""]
                        if "/" in kind and kind.isprintable() and kind.isascii():
                            known.update((f".{end.lstrip('.')}", kind) for end in ends)
            except OSError as error:
                if file != self._system:
                    self.problems.append(f"mime-file = {file}: {error.strerror}")
        return known
