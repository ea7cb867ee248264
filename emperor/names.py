"""Names of vassals: the file's stem, or the shortest path that tells it apart.

The danger here: a name that changes under a living vassal would stop one site and start another under its listeners. A
name is given once and kept until `release`.
"""

from __future__ import annotations

import os

from emperor.places import EXTENSIONS, stem_of


def printable(text: str) -> str:
    """`text` with all that does not print (control characters, bytes that are no UTF-8) written as escapes.

    Names end in process titles, logs and terminals: a line feed or an escape sequence in a file's name must not.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def file_name(name: str) -> str:
    """What vassal `name` is called where files are named after vassals: no two may share one, on purpose or not.

    A tenant could otherwise call a file so that it is given another tenant's log, or stands at another one's door.
    """
    return name.replace("%", "%25").replace("/", "%2F")


class Namer:
    """Gives each path its name. Pure: knows nothing but what it was asked.

    Args:
        extensions: Extensions that are cut off, each with its dot.
    """

    def __init__(self, extensions: tuple[str, ...] = EXTENSIONS) -> None:
        self._extensions = extensions
        self._by_path: dict[str, str] = {}
        self._by_name: dict[str, str] = {}

    def name(self, path: str) -> str:
        """The name of `path`: the one it has, or a new one, unlike any other in use.

        Args:
            path: Absolute and normalised.
        """
        known = self._by_path.get(path)
        if known is None:
            known = self._choose(path)
            self._by_path[path] = known
            self._by_name[known] = path
        return known

    def path(self, name: str) -> str | None:
        """The path that bears `name`, or None."""
        return self._by_name.get(name)

    def release(self, name: str) -> None:
        """Forget a name, once its vassal is gone for good; an unknown one is ignored."""
        path = self._by_name.pop(name, None)
        if path is not None:
            del self._by_path[path]

    def _bare(self, path: str) -> list[str]:
        head, tail = os.path.split(path)
        return (
            [*head.strip("/").split("/"), stem_of(tail, self._extensions)]
            if head != "/"
            else [stem_of(tail, self._extensions)]
        )

    def _choose(self, path: str) -> str:
        bare = self._bare(path)
        if bare[-1] and printable(bare[-1]) not in self._by_name:
            return printable(bare[-1])
        others = [self._bare(other) for other in self._by_path]
        if bare not in others:
            for length in range(2, len(bare) + 1):
                tail = bare[-length:]
                name = printable("/".join(tail))
                if name not in self._by_name and all(other[-length:] != tail for other in others):
                    return name
        # Only the extension tells them apart (blog.ini, blog.yaml), or a fancy name took the tail.
        full = path.strip("/").split("/")
        for length in range(1, len(full) + 1):
            name = printable("/".join(full[-length:]))
            if name not in self._by_name:
                return name
        number = 2
        while (name := f"{printable(path.strip('/'))}#{number}") in self._by_name:
            number += 1
        return name
