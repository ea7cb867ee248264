"""Answers requests for files from the loop: no thread of the app is needed, none waits for the client.

Only the leader calls this. The one danger is the cache: whatever it holds was found inside its root a moment ago, and
is used only while the path leads to the same inode, unchanged.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vassal import logs, scoreboard
from vassal.out import FileSpan, Out
from vassal.response import Response
from vassal.static.choice import Types, codings
from vassal.static.entry import Entry, identity
from vassal.static.opening import Place, Roots, look
from vassal.static.ranges import CONDITIONS, WHOLE, judge
from vassal.static.rules import URI, Rules, acceptable, compile_rules

if TYPE_CHECKING:
    from vassal.config.settings import Settings
    from vassal.connection import Connection
    from vassal.crew import Member
    from vassal.loop import Loop
    from vassal.static.ranges import Verdict

SMALL = 64 * 1024
"""Bytes up to which a file is kept in memory."""
MEMORY = 4 * 1024 * 1024
"""Bytes of all files kept in memory by one worker."""
ENTRIES = 1024
FRESH = 1.0
"""Seconds that a resolved path is believed without static-cache-paths, as long as it leads to the same file."""
SETTLED = 1.0
"""Seconds that a file must have been left alone before it is kept: within a tick of the kernel's clock it may change
twice and look the same."""
_METHODS = frozenset({"GET", "HEAD"})
_STATUS = {
    200: b"HTTP/1.1 200 OK\r\n",
    206: b"HTTP/1.1 206 Partial Content\r\n",
    304: b"HTTP/1.1 304 Not Modified\r\n",
    412: b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n",
    416: b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n",
}
_SHORT = 503
_UNSAFE = re.compile(rb"[\x00-\x1f\x7f]").search


def prepare(settings: Settings, loop: Loop) -> Static | None:
    """Return what serves the files of a vassal; None: its file names none. Relative paths begin where we are now."""
    rules = compile_rules(settings, os.getcwd())
    return Static(rules, loop) if rules.any else None


class Static:
    """All files that a worker serves."""

    def __init__(self, rules: Rules, loop: Loop) -> None:
        self.rules = rules
        self.loop = loop
        self.roots = Roots(rules.safe)
        self.types = Types(rules.mime_files)
        self.kept: dict[Any, Entry] = {}
        self._bytes = 0
        self._by_uri = any(rule.subject == URI for rule in rules.expiries)
        self._keyed = rules.negotiates or rules.docroot or self._by_uri
        self._trust_for = float(rules.remember) or FRESH

    def serve(self, conn: Connection, me: Member) -> bool:
        """Answer the request that `conn` holds if it means a file; False: it does not, and nothing was done."""
        request = conn.request
        assert request is not None  # noqa: S101 (what it means to be given to us)
        environ = request.environ
        if environ["REQUEST_METHOD"] not in _METHODS:
            return False
        path = environ["PATH_INFO"]
        uri = environ.get("REQUEST_URI", "")
        if not acceptable(path, uri):
            return False
        docroot = environ.get("DOCUMENT_ROOT", "") if self.rules.docroot and not conn.port.tcp else ""
        key = path
        if self._keyed:
            key = path, environ.get("HTTP_ACCEPT_ENCODING", ""), docroot, uri if self._by_uri else ""
        entry = self.kept.get(key)
        fd = -1
        fresh = False
        if entry is not None and me.now < entry.until:
            if entry.body is None and not self.rules.header and request.plain:
                fd = self._open_again(entry)
                fresh = fd >= 0
            else:
                fresh = entry.unchanged()
        if entry is None or not fresh:
            try:
                found = self._find(key, path, docroot, environ, me.now)
            except OSError as error:
                self.loop.say_once("static", f"cannot open files: {error.strerror}")
                conn.answer(_SHORT, me)
                return True
            if found is None:
                return False
            entry, fd = found
        me.requests += 1
        me.counts[scoreboard.FILES] += 1
        if (
            entry.body is not None
            and request.plain
            and not self.loop.retiring
            and environ.keys().isdisjoint(CONDITIONS)
        ):
            self._send_kept(conn, entry, me)
        else:
            self._answer(conn, entry, fd, me)
        return True

    # --- finding -------------------------------------------------------------------------------------------------

    def _find(self, key: Any, path: str, docroot: str, environ: dict[str, Any], now: float) -> tuple[Entry, int] | None:
        """Return the entry for a request and, unless it holds the bytes, a descriptor that the caller closes.

        Raises:
            OSError: the machine is short of something.
        """
        self._forget(key)
        if self.rules.skips(path.encode("latin-1")):
            return None
        for root, rest in self.rules.candidates(path, docroot):
            name, place = self._resolve(root, rest, now)
            if place is None:
                continue
            try:
                coding = ""
                original = place.real
                varies = self.rules.negotiates and self.rules.packs(original)
                if varies:
                    coding, name, place = self._packed(root, name, place, environ, now)
                kind = self.types.of(original)
                self._complain()
                entry = Entry(
                    path=name,
                    real=place.real,
                    found=place.facts,
                    kind=kind,
                    coding=coding,
                    varies=varies,
                    expiry=self.rules.expiry(original, path, environ.get("REQUEST_URI", ""), kind),
                    until=now + self._trust_for,
                )
                try:
                    fd = place.open()
                except PermissionError:
                    continue
            finally:
                place.close()
            return entry, self._keep(key, entry, fd)
        return None

    def _resolve(self, root: bytes, rest: bytes, now: float) -> tuple[bytes, Place | None]:
        """Return the path and place of an ordinary file at root + rest, or of a directory's index."""
        name = root + rest or b"/"
        place = self._inside(root, name, now)
        if place is not None and place.directory:
            place.close()
            place = None
            for index in self.rules.index:
                inner = name.rstrip(b"/") + b"/" + index
                place = self._inside(root, inner, now)
                if place is not None and place.regular:
                    name = inner
                    break
                if place is not None:
                    place.close()
                    place = None
        if place is not None and (not place.regular or self.rules.skips(place.real)):
            place.close()
            place = None
        return name, place

    def _inside(self, root: bytes, name: bytes, now: float) -> Place | None:
        place = look(name)
        if place is None:
            return None
        try:
            if self.roots.holds(root, place.real, now):
                return place
        except BaseException:
            place.close()
            raise
        place.close()
        self.loop.say_once(
            "outside", f"a static path leads to {place.real!r}, outside of {root!r} and of static-safe: not served"
        )
        return None

    def _packed(
        self, root: bytes, name: bytes, place: Place, environ: dict[str, Any], now: float
    ) -> tuple[str, bytes, Place]:
        """Return the compressed sibling that the client likes best, or what was given."""
        for coding, end in codings(environ.get("HTTP_ACCEPT_ENCODING", "")):
            sibling = self._inside(root, name + end, now)
            if sibling is None:
                continue
            if sibling.regular:
                place.close()
                return coding, name + end, sibling
            sibling.close()
        return "", name, place

    def _complain(self) -> None:
        for problem in self.types.problems:
            logs.say(problem)
        self.types.problems.clear()

    # --- keeping -------------------------------------------------------------------------------------------------

    def _keep(self, key: Any, entry: Entry, fd: int) -> int:
        """Keep `entry` for the next request, with its bytes if they are few; return `fd`, or -1 if it is not needed."""
        size = entry.facts.size
        if size <= SMALL and not self.rules.header:
            try:
                body = os.pread(fd, size + 1, 0)
            except OSError:
                os.close(fd)
                raise
            if len(body) == size:
                entry.body = body
        changed = max(entry.identity[3], entry.identity[4]) / 1e9
        if time.time() - changed >= SETTLED:
            held = len(entry.body or b"")
            if len(self.kept) >= ENTRIES or self._bytes + held > MEMORY:
                self.kept.clear()
                self._bytes = 0
            self.kept[key] = entry
            self._bytes += held
        if entry.body is None:
            return fd
        os.close(fd)
        return -1

    def _forget(self, key: Any) -> None:
        entry = self.kept.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry.body or b"")

    # --- answering -----------------------------------------------------------------------------------------------

    def _send_kept(self, conn: Connection, entry: Entry, me: Member) -> None:
        """The common case: a small file, whole, to a client that keeps its connection."""
        body = entry.body
        assert body is not None  # noqa: S101 (what the caller has seen)
        head = self._head(entry)
        data = b"".join((head, self.loop.stamp.keep, body))
        if self.loop.log is not None:
            self.loop.log.file(conn, head, len(data) - len(body), len(body), me)
        self.loop.outbox.deliver(conn, data, me, keep=True, linger=True)

    def _head(self, entry: Entry) -> bytes:
        return b"%bContent-Type: %b\r\nContent-Length: %d\r\nAccept-Ranges: bytes\r\n%b" % (
            _STATUS[200],
            entry.kind.encode("latin-1"),
            entry.facts.size,
            entry.fields(int(time.time())),
        )

    def _answer(self, conn: Connection, entry: Entry, fd: int, me: Member) -> None:
        """Every other case; `fd` is ours to close."""
        request = conn.request
        assert request is not None  # noqa: S101 (see `serve`)
        verdict = WHOLE
        if not request.environ.keys().isdisjoint(CONDITIONS):
            verdict = judge(request.environ, entry.facts, head=request.head_only)
        response = Response(self.loop.gateway, conn, request, me)
        out = Out()
        try:
            if self.rules.header and verdict.status in (200, 206) and not _UNSAFE(entry.real):
                self._hand_over(response, entry)
                pieces: list[bytes | tuple[int, int]] = []
            else:
                pieces = self._parts(response, entry, verdict)
            head = response.head(None)
            out.put_whole(memoryview(head))
            if not request.head_only:
                if entry.body is None and fd < 0 and any(type(piece) is tuple for piece in pieces):
                    fd = self._open_again(entry)
                    if fd < 0:
                        raise FileNotFoundError
                fd = _put(out, pieces, entry.body, fd)
        except OSError:
            out.close()
            conn.answer(_SHORT, me)
            return
        finally:
            if fd >= 0:
                os.close(fd)
        if self.loop.log is not None:
            self.loop.log.file_later(conn, response, len(head), me)
        conn.send_later(me, out, keep=not response.close, linger=request.keep_alive)

    def _open_again(self, entry: Entry) -> int:
        """Return a descriptor of the file that `entry` tells of; -1: it is another one now, or cannot be opened."""
        try:
            place = look(entry.path, resolve=False)
            if place is None:
                return -1
            try:
                # The same inode was judged a moment ago, so where it lies need not be asked again.
                return place.open() if identity(place.facts) == entry.identity else -1
            finally:
                place.close()
        except OSError:
            return -1

    def _hand_over(self, response: Response, entry: Entry) -> None:
        """Ask the web server to send the file (file-serve-mode): it knows the conditions, we only name the file."""
        where = quote(entry.real, safe="/ !$&'()*+,;=:@~").encode()
        lines = b"Content-Type: %b\r\nContent-Length: 0\r\n" % entry.kind.encode("latin-1")
        name = self.rules.header.encode()
        response.length = 0
        response.parts = [_STATUS[200], lines, entry.fields(int(time.time())), b"%b: %b\r\n" % (name, where)]

    def _parts(self, response: Response, entry: Entry, verdict: Verdict) -> list[bytes | tuple[int, int]]:
        """Give `response` its head; return the body: bytes, and (first byte, bytes) of the file."""
        size = entry.facts.size
        kind = entry.kind.encode("latin-1")
        fields = entry.fields(int(time.time()))
        response.length = 0
        if verdict.status == 200:
            response.length = size
            response.parts = [self._head(entry)]
            return [(0, size)] if size else []
        if verdict.status == 206 and len(verdict.spans) == 1:
            first, length = verdict.spans[0]
            response.length = length
            about = b"Content-Type: %b\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n"
            response.parts = [_STATUS[206], about % (kind, length, first, first + length - 1, size), fields]
            return [(first, length)]
        if verdict.status == 206:
            return self._multipart(response, entry, verdict.spans)
        if verdict.status == 416:
            response.parts = [_STATUS[416], b"Content-Range: bytes */%d\r\n" % size]
        else:
            response.bodyless = verdict.status == 304
            response.length = None if response.bodyless else 0
            response.parts = [_STATUS[verdict.status], fields]
        return []

    def _multipart(
        self, response: Response, entry: Entry, spans: tuple[tuple[int, int], ...]
    ) -> list[bytes | tuple[int, int]]:
        """Several ranges (RFC 9110 section 14.6)."""
        boundary = os.urandom(12).hex().encode()
        size = entry.facts.size
        pieces: list[bytes | tuple[int, int]] = []
        total = 0
        for first, length in spans:
            about = b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"
            head = about % (boundary, entry.kind.encode("latin-1"), first, first + length - 1, size)
            pieces += [head, (first, length)]
            total += len(head) + length
        end = b"\r\n--%b--\r\n" % boundary
        pieces.append(end)
        response.length = total + len(end)
        about = b"Content-Type: multipart/byteranges; boundary=%b\r\nContent-Length: %d\r\n"
        response.parts = [_STATUS[206], about % (boundary, response.length), entry.fields(int(time.time()))]
        return pieces


def _put(out: Out, pieces: list[bytes | tuple[int, int]], body: bytes | None, fd: int) -> int:
    """Append `pieces` to `out`; each part of the file gets a descriptor of its own. Return `fd`, -1 if it was used up.

    Raises:
        OSError: no descriptors are left.
    """
    if body is None and len(pieces) == 1 and isinstance(pieces[0], tuple):
        out.put_file(FileSpan(fd, *pieces[0]))
        return -1
    for piece in pieces:
        if isinstance(piece, bytes):
            out.put_whole(memoryview(piece))
        elif body is not None:
            out.put_whole(memoryview(body)[piece[0] : piece[0] + piece[1]])
        else:
            out.put_file(FileSpan(os.dup(fd), *piece))
    return fd
