"""Places: where vassals are looked for, and one look at each.

A place is a directory, a glob pattern or a single file. `scan` looks once and says what lies there; it never raises for
the file system, and it reads no file's contents.

The danger here: "I cannot see it" taken for "it is gone" would stop healthy vassals when a directory loses a permission
bit or a server hiccups. Only ENOENT and ENOTDIR mean gone; all else is listed in `ScanResult.unseen`.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emperor.leases import Writer, writer_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emperor.manifest import Version

EXTENSIONS = (".ini", ".yaml", ".yml", ".json", ".js", ".xml")
"""Those of uWSGI's Emperor. XML is not read: such a vassal is broken, and says so, rather than missed in silence."""
_BACKUPS = re.compile(r"(~|\.sw[a-z]|\.bak|\.orig|\.rej|\.tmp|\.part|\.dpkg-[a-z]+|\.ucf-[a-z]+|\.rpm(new|save|orig))$")
_MAGIC = re.compile(r"[*?\[]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_GONE = (errno.ENOENT, errno.ENOTDIR)
_MAX_GLOB_DIRECTORIES = 4096  # what one pattern may visit in one scan; more is a mistake in the pattern

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


class PlaceError(ValueError):
    """A place that cannot be understood; the message says which and what would do."""


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that vassals are looked for.

    Attributes:
        text: As the user wrote it, for messages.
        kind: "path" (a directory or one file: what lies there decides at each scan), "directory" or "glob".
        path: Absolute path or pattern.
    """

    text: str
    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """How places are read.

    Attributes:
        nofollow: `emperor-nofollow`: a symbolic link's own time, inode and size count, not its target's.
        extra_extensions: `emperor-extra-extension`, with or without the leading dot.
    """

    nofollow: bool = False
    extra_extensions: tuple[str, ...] = ()

    def extensions(self) -> tuple[str, ...]:
        """All extensions that make a file a vassal, each with its dot."""
        return EXTENSIONS + tuple(e if e.startswith(".") else f".{e}" for e in self.extra_extensions if e)


@dataclass(frozen=True, slots=True)
class Found:
    """One candidate file as one scan saw it.

    Attributes:
        path: Absolute path.
        version: See `emperor.manifest.Version`.
        owner: (uid, gid) of the file that an open of `path` reaches.
        target: (device, inode) of that file, or None.
        problem: Why it cannot be served, or None for a regular file.
        writer: Whether somebody has it open for writing (only asked for files whose version is not settled yet).
        age: Seconds since its inode last changed, by this machine's clock; negative where a server's clock runs ahead.
    """

    path: str
    version: Version
    owner: tuple[int, int]
    target: tuple[int, int] | None = None
    problem: str | None = None
    writer: Writer = Writer.UNKNOWN
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class WatchDir:
    """A directory whose events are of interest.

    Attributes:
        path: Absolute path.
        identity: (device, inode) when it was looked at: another one means that it was replaced.
        names: Entry names of interest, or None for all that could be a vassal or lead to one.
    """

    path: str
    identity: tuple[int, int]
    names: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What one look at one place gave.

    Attributes:
        files: All candidates, by path.
        unseen: Paths and directories that could not be looked at: what was known at or below them stays.
        warnings: One sentence for each thing a person should know of.
        watch: Directories worth watching for this place.
    """

    files: Mapping[str, Found] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    watch: tuple[WatchDir, ...] = ()


def parse_place(text: str, *, cwd: str | None = None) -> Place:
    """Understand one PLACE.

    Args:
        text: A path, a glob pattern, `dir://PATH` or `glob://PATTERN`.
        cwd: What relative paths are relative to; the current directory by default.

    Raises:
        PlaceError: For an empty place, a NUL byte, or another scheme (uWSGI's `pg://`, `zmq://`, ...).
    """
    kind, rest = "path", text
    scheme = _SCHEME.match(text)
    if scheme:
        rest = text[scheme.end() :]
        kind = {"dir://": "directory", "glob://": "glob"}.get(scheme.group().lower(), "")
        if not kind:
            raise PlaceError(
                f"cannot watch {text!r}: only dir://DIRECTORY, glob://PATTERN, or a bare directory, pattern or file"
            )
    if not rest or "\0" in rest:
        raise PlaceError(f"cannot watch {text!r}: it names no path")
    path = os.path.normpath(os.path.join(cwd or os.getcwd(), rest))
    if path.startswith("//"):
        path = path[1:]
    if kind == "path" and _MAGIC.search(rest) and not os.path.lexists(path):
        kind = "glob"
    return Place(text, kind, path)


def stem_of(name: str, extensions: tuple[str, ...]) -> str:
    """`name` without the longest of `extensions` that it ends with; without its own where it ends with none."""
    best = max((e for e in extensions if name.endswith(e) and len(name) > len(e)), key=len, default="")
    return name[: -len(best)] if best else os.path.splitext(name)[0]


def is_candidate(name: str, extensions: tuple[str, ...]) -> bool:
    """Whether a directory entry called `name` may be a vassal: not hidden, no backup, a known extension."""
    if name.startswith((".", "#")) or _BACKUPS.search(name):
        return False
    return any(name.endswith(e) and len(name) > len(e) for e in extensions)


class _Look:
    """One scan in progress: collects what it meets."""

    def __init__(self, place: Place, options: PlaceOptions, settled: Mapping[str, Version]) -> None:
        self.place = place
        self.nofollow = options.nofollow
        self.extensions = options.extensions()
        self.settled = settled
        self.files: dict[str, Found] = {}
        self.unseen: list[str] = []
        self.warnings: list[str] = []
        self.watch: list[WatchDir] = []
        self.visited = 0

    def result(self) -> ScanResult:
        return ScanResult(self.files, tuple(self.unseen), tuple(self.warnings), tuple(self.watch))

    def cannot_see(self, path: str, error: OSError, *, shown: str | None = None) -> None:
        self.unseen.append(path)
        reason = error.strerror or str(error)
        self.warnings.append(f"cannot look at {shown or path}: {reason}; the vassals there stay as they are")

    def file(self, path: str) -> bool:
        """Look at one candidate; whether anything lies there."""
        try:
            own = os.lstat(path)
            target, problem = self.reached(path, own)
        except OSError as error:
            if error.errno not in _GONE:
                self.cannot_see(path, error)
            return False
        seen = target or own
        timed = own if self.nofollow else seen
        version = (timed.st_mtime_ns, timed.st_ino, timed.st_size, seen.st_uid, seen.st_gid)
        writer = Writer.NONE
        if not problem and self.settled.get(path) != version:
            writer = writer_of(path, (seen.st_dev, seen.st_ino))
        self.files[path] = Found(
            path=path,
            version=version,
            owner=(seen.st_uid, seen.st_gid),
            target=(target.st_dev, target.st_ino) if target else None,
            problem=problem,
            writer=writer,
            age=time.time() - max(timed.st_ctime, seen.st_ctime),
        )
        return True

    def reached(self, path: str, own: os.stat_result) -> tuple[os.stat_result | None, str | None]:
        """What `path` leads to, and why that cannot be served."""
        target: os.stat_result | None = own
        if stat.S_ISLNK(own.st_mode):
            try:
                target = os.stat(path)
            except OSError as error:
                if error.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
                    raise  # a server that hiccups: nothing was learnt
                leads = "nowhere" if error.errno in _GONE else f"to what cannot be looked at ({error.strerror})"
                return None, f"it is a symbolic link that leads {leads}: mend the link, or remove it"
        assert target is not None  # noqa: S101  # for mypy: assigned above or returned
        if stat.S_ISREG(target.st_mode):
            return target, None
        kind = _KINDS.get(stat.S_IFMT(target.st_mode), "something else")
        return target, f"it is {kind}, not a regular file: put a file in its place, or remove it"

    def entries(self, directory: str) -> list[str] | None:
        """Entry names, sorted; None where it does not exist, or cannot be seen (which is noted)."""
        self.visited += 1
        if self.visited > _MAX_GLOB_DIRECTORIES:
            raise OSError(errno.E2BIG, f"the pattern leads through more than {_MAX_GLOB_DIRECTORIES} directories")
        try:
            names = sorted(os.listdir(directory))
            # Without the x bit names can be listed and nothing behind them seen: that is "unseen", not "gone".
            os.stat(os.path.join(directory, "."))
        except OSError as error:
            if error.errno not in _GONE:
                self.cannot_see(directory, error)
            return None
        self.watch_directory(directory)
        return names

    def watch_directory(self, path: str, names: frozenset[str] | None = None) -> None:
        try:
            facts = os.stat(path)
        except OSError:
            return  # it went between two looks; the next scan meets that
        self.watch.append(WatchDir(path, (facts.st_dev, facts.st_ino), names))

    def missing(self, path: str) -> None:
        """Watch where `path` would appear: its nearest existing ancestor, for the one name that leads on."""
        parent, name = os.path.split(path)
        while parent != path and not os.path.isdir(parent):
            path = parent
            parent, name = os.path.split(path)
        self.watch_directory(parent, frozenset((name,)))

    def directory(self, path: str) -> bool:
        """Look at all candidates in a directory; whether it exists (or cannot be seen)."""
        before = len(self.unseen)
        names = self.entries(path)
        for name in names or ():
            if is_candidate(name, self.extensions):
                self.file(os.path.join(path, name))
        return names is not None or len(self.unseen) > before


def _expand(look: _Look, base: str, parts: list[str]) -> Iterator[str]:
    """Directories that the pattern `parts` below `base` leads to (the last component excluded)."""
    if len(parts) <= 1:
        yield base
        return
    head, rest = parts[0], parts[1:]
    if not _MAGIC.search(head):
        yield from _expand(look, os.path.join(base, head), rest)
        return
    for name in _matching(look.entries(base) or [], head):
        below = os.path.join(base, name)
        try:
            is_directory = stat.S_ISDIR(os.stat(below).st_mode)
        except OSError as error:
            if error.errno not in _GONE:
                look.cannot_see(below, error)
            continue
        if is_directory:
            yield from _expand(look, below, rest)


def _matching(names: list[str], pattern: str) -> list[str]:
    """As glob(3): a leading dot must be written out, case counts."""
    rule = re.compile(fnmatch.translate(pattern))
    return [n for n in names if rule.match(n) and (pattern.startswith(".") or not n.startswith("."))]


def _scan_glob(look: _Look) -> None:
    parts = look.place.path.split("/")[1:]
    found_directory = False
    for directory in _expand(look, "/", parts):
        if _MAGIC.search(parts[-1]):
            names = look.entries(directory)
        else:  # needs no listing: /home/*/vassal.ini works where only the x bit is given
            names = [parts[-1]] if os.path.isdir(directory) else None
            look.watch_directory(directory, frozenset((parts[-1],)))
        if names is None:
            continue
        found_directory = True
        for name in _matching(names, parts[-1]):
            if is_candidate(name, look.extensions):
                look.file(os.path.join(directory, name))
    if not found_directory and not look.unseen:
        fixed = "/"
        for part in parts[:-1]:
            if _MAGIC.search(part):
                break
            fixed = os.path.join(fixed, part)
        if not os.path.isdir(fixed):
            look.warnings.append(f"nothing matches {look.place.text} yet: {fixed} does not exist; waiting for it")
            look.missing(fixed)


def _scan_path(look: _Look) -> None:
    path = look.place.path
    try:
        is_directory = stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        if error.errno not in (*_GONE, errno.ELOOP):
            look.cannot_see(path, error)
            return
        is_directory = False
    if look.place.kind == "directory" or is_directory:
        exists = look.directory(path)
    else:
        exists = look.file(path) or bool(look.unseen)
        if exists:
            look.watch_directory(os.path.dirname(path), frozenset((os.path.basename(path),)))
    if not exists:
        look.warnings.append(f"{look.place.text} does not exist; waiting for it to appear")
        look.missing(path)


def scan(place: Place, options: PlaceOptions, settled: Mapping[str, Version]) -> ScanResult:
    """Look once at a place. May block for as long as the file system does: call it in a thread.

    Args:
        place: Where to look.
        options: How.
        settled: Versions already reported, by path: such files are not asked for writers (that takes an open).

    Returns:
        What lies there; never raises for what the file system does.
    """
    look = _Look(place, options, settled)
    try:
        if place.kind == "glob":
            _scan_glob(look)
        else:
            _scan_path(look)
    except OSError as error:  # what no rule above expected: nothing was learnt about this place
        look.cannot_see(place.path if place.kind != "glob" else "/", error, shown=place.text)
    return look.result()
