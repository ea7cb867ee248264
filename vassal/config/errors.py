"""What goes wrong in a configuration, and what is said about it.

The one danger is a message that does not say where: whoever raises knows the file, and passes it on.
"""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = ("info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Note:
    """One remark on one line of a file that can be used all the same; `level` is one of `LEVELS`."""

    file: str
    line: int | None
    """Counted from 1; None where the whole file is meant."""
    level: str
    option: str | None
    message: str


class ConfigError(Exception):
    """A configuration that cannot be used; ``str()`` of it is ``file:line: message``.

    Attributes:
        file: the file that holds the mistake, or ``environment`` or ``vassal-set``.
        line: counted from 1; None (or 0) where the mistake has no line of its own.
        option: the option concerned, or None.
        message: what is wrong and what to do about it, without the place.
    """

    def __init__(self, file: str, line: int | None, option: str | None, message: str) -> None:
        super().__init__(file, line, option, message)
        self.file = file
        self.line = line
        self.option = option
        self.message = message

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.message}"

    def note(self) -> Note:
        """Return the same as a note of level ``error``."""
        return Note(self.file, self.line or None, "error", self.option or None, self.message)
