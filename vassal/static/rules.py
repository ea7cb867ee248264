"""Which files a request may mean: the static options, compiled.

Pure: nothing here looks at the file system. The one danger is a path that means something else there than it seems to
here, so one with ``..``, NUL or an encoded slash in it means no file at all.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vassal.config.settings import Settings

LONGEST = 4095
"""Bytes of a path that the kernel takes (PATH_MAX without its NUL)."""
FILE, PATH, URI, TYPE = range(4)
"""What the pattern of an `Expiry` is searched in."""
_DOTS = re.compile(r"(?:^|/)\.{1,2}(?:/|$)").search
_ENCODED = re.compile(r"[^?]*?%(?:2[fF]|00)").match


@dataclass(frozen=True, slots=True)
class Root:
    """One place that files come from.

    Attributes:
        url: what a request's path begins with, without a slash at its end; ``""``: every path.
        path: an absolute path, without a slash at its end. A directory or, for one URL, a file.
        whole: the whole of the request's path follows `path`, not only what follows `url` (static-map2).
    """

    url: str
    path: bytes
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Expiry:
    """`age` seconds of caching where `pattern` is found in `subject`, counted from now or from the file's change."""

    subject: int
    pattern: re.Pattern[str]
    age: int
    from_change: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """All static options of a vassal. Paths are absolute bytes."""

    roots: tuple[Root, ...] = ()
    docroot: bool = False
    index: tuple[bytes, ...] = ()
    skip: tuple[bytes, ...] = ()
    safe: tuple[bytes, ...] = ()
    expiries: tuple[Expiry, ...] = ()
    packed_all: bool = False
    packed_below: tuple[bytes, ...] = ()
    packed_ends: tuple[bytes, ...] = ()
    packed_names: tuple[re.Pattern[str], ...] = ()
    remember: int = 0
    mime_files: tuple[str, ...] = ()
    header: str = ""
    """The field by which the web server is asked to send the file (file-serve-mode); ``""``: we send it."""

    @property
    def any(self) -> bool:
        """Whether there is anything to serve."""
        return bool(self.roots or self.docroot)

    @property
    def negotiates(self) -> bool:
        """Whether some files may have compressed siblings."""
        return bool(self.packed_all or self.packed_below or self.packed_ends or self.packed_names)

    def skips(self, name: bytes) -> bool:
        """Whether `name` ends in one of static-skip-ext."""
        return bool(self.skip) and name.endswith(self.skip)

    def packs(self, name: bytes) -> bool:
        """Whether compressed siblings of the file `name` are looked for."""
        return self.packed_all or (
            name.startswith(self.packed_below)
            or name.endswith(self.packed_ends)
            or any(pattern.search(os.fsdecode(name)) for pattern in self.packed_names)
        )

    def candidates(self, path: str, docroot: str = "") -> Iterator[tuple[bytes, bytes]]:
        """Yield (root, rest) for a request's path, in the order in which they are tried; root + rest is the file.

        Args:
            path: PATH_INFO (PEP 3333: decoded once, as latin-1); `acceptable`.
            docroot: DOCUMENT_ROOT where it may be believed, or ``""``.
        """
        for root in self.roots:
            if path.startswith(root.url):
                rest = path[len(root.url) :]
                # "/static" is no reason to look at "/static-private".
                if rest == "" or rest[0] == "/":
                    yield root.path, (path if root.whole else rest).encode("latin-1")
        if self.docroot and docroot[:1] == "/":
            yield docroot.rstrip("/").encode("latin-1"), path.encode("latin-1")

    def expiry(self, name: bytes, path: str, uri: str, kind: str) -> Expiry | None:
        """Return the first rule for a file; its patterns are searched anywhere in their subject."""
        subjects = (os.fsdecode(name), path, uri, kind)
        for rule in self.expiries:
            if rule.pattern.search(subjects[rule.subject]):
                return rule
        return None


def acceptable(path: str, uri: str) -> bool:
    """Tell whether a request's path may mean a file: no dots to climb by, no NUL, no slash that came encoded."""
    return (
        path[:1] == "/"
        and len(path) <= LONGEST
        and "\0" not in path
        and not ("/." in path and _DOTS(path))
        and not ("%" in uri and _ENCODED(uri))
    )


def contains(root: bytes, real: bytes) -> bool:
    """Tell whether the real path `real` is `root` or lies below it; both without a slash at their end."""
    return real == root or real.startswith(root if root == b"/" else root + b"/")


def compile_rules(settings: Settings, base: str) -> Rules:
    """Return the rules of a vassal's file; `base` is where relative paths begin."""

    def place(text: str) -> bytes:
        return os.fsencode(os.path.join(base, text)).rstrip(b"/")

    roots = [Root("", place(text)) for text in settings.check_static]
    roots += [Root(url.rstrip("/"), place(path), whole) for url, path, whole in settings.static_map]
    mode = settings.file_serve_mode or ""
    return Rules(
        roots=tuple(roots),
        docroot=settings.check_static_docroot,
        index=tuple(os.fsencode(name.strip("/")) for name in settings.static_index),
        skip=tuple(map(os.fsencode, settings.static_skip_ext)),
        safe=tuple(place(text) or b"/" for text in settings.static_safe),
        expiries=_expiries(settings),
        packed_all=settings.static_gzip_all,
        packed_below=tuple(map(place, settings.static_gzip_dir)),
        packed_ends=tuple(map(os.fsencode, settings.static_gzip_ext)),
        packed_names=tuple(map(re.compile, settings.static_gzip)),
        remember=settings.static_cache_paths,
        mime_files=tuple(os.path.join(base, name) for name in settings.mime_file),
        header=_HEADERS.get(mode, ""),
    )


_HEADERS = {
    "x-sendfile": "X-Sendfile",
    "xsendfile": "X-Sendfile",
    "x-accel-redirect": "X-Accel-Redirect",
    "x-accel": "X-Accel-Redirect",
    "nginx": "X-Accel-Redirect",
}


def _expiries(settings: Settings) -> tuple[Expiry, ...]:
    found = []
    for subject, now, change in (
        (FILE, settings.static_expires, settings.static_expires_mtime),
        (PATH, settings.static_expires_path_info, settings.static_expires_path_info_mtime),
        (URI, settings.static_expires_uri, settings.static_expires_uri_mtime),
        (TYPE, settings.static_expires_type, settings.static_expires_type_mtime),
    ):
        for ages, from_change in ((now, False), (change, True)):
            for text, age in ages:
                pattern = rf"\A{re.escape(text)}\Z" if subject == TYPE else text
                found.append(Expiry(subject, re.compile(pattern), age, from_change))
    return tuple(found)
