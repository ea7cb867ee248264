"""One app with a path for everything that a worker must cope with."""

import collections
import hashlib
import io
import json
import os
import resource
import sys
import tempfile
import threading
import time
from wsgiref.validate import validator

BIG = bytes(n * n % 251 for n in range(1024)) * 1024
LARGE = 50 * 1024 * 1024
KEPT = collections.deque(maxlen=1)


class Text(str):
    """As the strings that some frameworks mark as safe."""

    __slots__ = ()

    def __str__(self):
        return self


class Closing:
    """An iterable that tells in a file that its close() was called."""

    def __init__(self, pieces, path):
        self.pieces = iter(pieces)
        self.path = path

    def __iter__(self):
        return self.pieces

    def close(self):
        with open(self.path, "a") as file:
            file.write("closed\n")


def answer(start, body, status="200 OK", kind="text/plain", *more):
    start(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *more])
    return [body]


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/").replace("/", "_") or "hello"
    return globals()["do_" + name](environ, start_response)


def do_hello(environ, start):
    return answer(start, b"hello")


def do_environ(environ, start):
    plain = {k: v for k, v in environ.items() if isinstance(v, (str, bool, int))}
    return answer(start, json.dumps(plain).encode(), "200 OK", "application/json")


def do_keys(environ, start):
    return answer(start, json.dumps(sorted(environ)).encode())


def do_process(environ, start):
    found = {"argv": sys.argv, "imported": "this_is_imported" in sys.modules}
    return answer(start, json.dumps(found).encode())


def do_echo(environ, start):
    return answer(start, environ["wsgi.input"].read())


def do_sha(environ, start):
    digest = hashlib.sha256()
    while piece := environ["wsgi.input"].read(65536):
        digest.update(piece)
    return answer(start, digest.hexdigest().encode())


def do_lines(environ, start):
    lines = list(environ["wsgi.input"])
    return answer(start, b"|".join(lines))


def do_ignore(environ, start):
    KEPT.append(environ["wsgi.input"])
    return answer(start, b"ignored")


def do_ignored(environ, start):
    """Read what the last request to /ignore did not, as a thread of the app might."""
    try:
        return answer(start, KEPT.pop().read())
    except OSError as error:
        return answer(start, str(error).encode())


def do_wrapped(environ, start):
    with io.TextIOWrapper(environ["wsgi.input"], "utf-8") as text:
        return answer(start, "|".join(text).encode())


def do_thread(environ, start):
    name = threading.current_thread() is threading.main_thread()
    return answer(start, b"main" if name else b"other")


def do_sleep(environ, start):
    time.sleep(float(environ["QUERY_STRING"] or 1))
    return answer(start, b"slept")


def do_spin(environ, start):
    end = time.monotonic() + float(environ["QUERY_STRING"])
    while time.monotonic() < end:
        pass
    return answer(start, b"spun")


def do_gil(environ, start):
    import ctypes

    ctypes.PyDLL(None).sleep(int(environ["QUERY_STRING"]))  # a PyDLL keeps the GIL
    return answer(start, b"held")


def do_raise(environ, start):
    raise RuntimeError("the secret of the app")


def do_exit(environ, start):
    sys.exit(3)


def do_late(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])

    def pieces():
        yield b"first"
        raise RuntimeError("too late")

    return pieces()


def do_late_length(environ, start):
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "100")])

    def pieces():
        yield b"first"
        raise RuntimeError("too late")

    return pieces()


def do_excinfo(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    try:
        raise ValueError("changed my mind")
    except ValueError:
        start("500 Oh", [("Content-Type", "text/plain"), ("Content-Length", "2")], sys.exc_info())
    return [b"oh"]


def do_twice(environ, start):
    start("200 OK", [])
    start("200 OK", [])
    return [b"x"]


def do_nostart(environ, start):
    return [b"x"]


def do_cleared(environ, start):
    """An app that spoils its environ before it fails, or is stuck."""
    wait = environ["QUERY_STRING"]
    environ.clear()
    if not wait:
        raise RuntimeError("the secret of the app")
    time.sleep(float(wait))


def do_bytes(environ, start):
    start(Text("200 OK"), [(Text("Content-Type"), Text("text/plain"))])
    return b"bytes"


def do_none(environ, start):
    start("200 OK", [])


def do_text(environ, start):
    start("200 OK", [])
    return ["text"]


def do_write(environ, start):
    write = start("200 OK", [("Content-Type", "text/plain")])
    write(b"one ")
    write(b"")
    write(b"two ")
    return [b"three"]


def do_tail(environ, start):
    """The body is complete at once; the app goes on for a while, and may fail then."""
    wait, _, size = environ["QUERY_STRING"].partition(",")
    body = b"x" * int(size or 4)
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])

    def pieces():
        yield body
        if wait == "raise":
            raise RuntimeError("after the end")
        if wait == "more":
            yield b"too much"
        else:
            time.sleep(float(wait))

    return pieces()


def do_generator(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    yield from (b"", b"a", b"b" * 10, b"", b"c")


def do_lazy(environ, start):
    """start_response is called when the first piece is asked for."""

    def pieces():
        start("201 Created", [("Content-Type", "text/plain")])
        yield b"lazy"

    return pieces()


def do_pieces(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"a", b"b", b"c"]


def do_empty(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return []


def do_204(environ, start):
    start("204 No Content", [])
    return [b"not allowed"]


def do_304(environ, start):
    start("304 Not Modified", [("ETag", '"x"')])
    return []


def do_short(environ, start):
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [b"short"]


def do_long(environ, start):
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"longer than that"]


def do_badheader(environ, start):
    start("200 OK", [("X-Split", "a\r\nSet-Cookie: b=c")])
    return [b"x"]


def do_badname(environ, start):
    start("200 OK", [("X Bad", "a")])
    return [b"x"]


def do_badstatus(environ, start):
    start("200 OK\r\nX: y", [])
    return [b"x"]


def do_own(environ, start):
    return answer(
        start, b"x", "200 OK", "text/plain", ("Date", "yesterday"), ("Server", "mine"), ("Transfer-Encoding", "chunked")
    )


def do_close(environ, start):
    return answer(start, b"x", "200 OK", "text/plain", ("Connection", "close"))


def do_cookies(environ, start):
    return answer(start, b"x", "200 OK", "text/plain", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))


def do_closing(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return Closing([b"x", b"y"], environ["QUERY_STRING"])


def do_closing_raise(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])

    def pieces():
        yield b"x"
        raise RuntimeError("in the middle")

    return Closing(pieces(), environ["QUERY_STRING"])


class _Regret(list):
    def close(self):
        raise KeyError("too late")


def do_regret(environ, start):
    """4 MiB, whole, and then something goes wrong."""
    kind = environ["QUERY_STRING"]
    body = [b"x" * 65536] * 64
    start("200 OK", [("Content-Length", str(64 * 65536))])
    if kind == "file":
        file = tempfile.TemporaryFile()  # noqa: SIM115 (the server closes it: that is what is tested)
        file.write(b"".join(body))
        file.seek(0)
        file.close = _Regret().close
        return environ["wsgi.file_wrapper"](file)
    if kind == "generator":

        def pieces():
            yield from body
            raise KeyError("too late")

        return pieces()
    return _Regret(body)


def do_fork(environ, start):
    """The child goes on as QUERY_STRING says; ``/reaped`` tells how it ended."""
    FORKED[0] = os.fork()
    if not FORKED[0]:
        match environ["QUERY_STRING"]:
            case "exit":
                sys.exit(7)
            case "raise":
                raise RuntimeError("a child's end")
            case "generator":
                start("200 OK", [])
                return (piece for piece in (b"from ", b"the child"))
        return answer(start, b"from the child")
    return answer(start, b"from the parent")


FORKED = [0]


def do_reaped(environ, start):
    return answer(start, str(os.waitstatus_to_exitcode(os.waitpid(FORKED[0], 0)[1])).encode())


def do_hog(environ, start):
    """Takes all memory that there is, and asks for more."""
    with open("/proc/self/statm") as file:
        room = int(file.read().split()[0]) * resource.getpagesize() + 64 * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
    mine, size = [], 1024 * 1024
    while size:
        try:
            mine.append(bytearray(size))
        except MemoryError:
            size //= 2
    raise MemoryError


def do_sabotage(environ, start):
    """Breaks the server itself: whoever takes the lead fails."""
    start.__self__.gateway.loop.stamp = None
    time.sleep(60)


def do_big(environ, start):
    return answer(start, BIG)


def do_stream(environ, start):
    """QUERY_STRING pieces of 64 KiB."""
    count = int(environ["QUERY_STRING"])
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(count * 65536))])
    return (bytes([n % 251]) * 65536 for n in range(count))


def do_endless(environ, start):
    write = start("200 OK", [("Content-Type", "text/plain")])
    while True:
        write(b"x" * 65536)


WRITTEN = ["nothing"]


def do_writes(environ, start):
    """Writes until it is told that nobody listens, or a lot; /written tells which."""
    write = start("200 OK", [("Content-Type", "text/plain")])
    try:
        for _ in range(3000):
            write(b"x" * 4096)
            time.sleep(0.001)
    except OSError as error:
        WRITTEN[0] = type(error).__name__
        raise
    WRITTEN[0] = "all"
    return []


def do_written(environ, start):
    return answer(start, WRITTEN[0].encode())


def do_kind(environ, start):
    return answer(start, b"BytesIO" if isinstance(environ["wsgi.input"], io.BytesIO) else b"file")


def do_file(environ, start):
    """A file of LARGE bytes by file_wrapper."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the server closes it: that is what is tested)
    file.truncate(LARGE)
    file.seek(LARGE - 4)
    file.write(b"tail")
    file.seek(int(environ["QUERY_STRING"] or 0))
    start("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](file)


def do_filelike(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"filelike " * 10000), 100)


def do_fileshort(environ, start):
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the server closes it: that is what is tested)
    file.write(b"0123456789")
    file.seek(2)
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "50")])
    return environ["wsgi.file_wrapper"](file)


def do_proc(environ, start):
    """A file that has no size, but something to say."""
    start("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](open("/proc/self/status", "rb"))


def do_filelength(environ, start):
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the server closes it: that is what is tested)
    file.write(b"0123456789")
    file.seek(2)
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return environ["wsgi.file_wrapper"](file)


@validator
def do_valid(environ, start):
    """An app that wsgiref.validate finds nothing wrong with: neither with it, nor with its server."""
    body = (
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if environ["REQUEST_METHOD"] == "POST"
        else b""
    )
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].flush()
    kind = environ["QUERY_STRING"]
    headers = [("Content-Type", "text/plain")]
    if kind == "write":
        write = start("200 OK", headers)
        write(b"written ")
        return [body]
    if kind == "generator":
        start("200 OK", headers)
        return (piece for piece in (b"valid ", body))
    if kind == "readline":
        start("200 OK", headers)
        return [b"valid ", environ["wsgi.input"].readline(10), *environ["wsgi.input"].readlines(10)]
    start("200 OK", headers)
    return [b"valid " + body]


def do_aware(environ, start):
    """An app that makes no body for a HEAD request."""
    start("200 OK", [("Content-Type", "text/plain")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"hello"]


def do_events(environ, start):
    """A stream that ends when its client leaves; its status is the query."""
    start(environ["QUERY_STRING"].replace("%20", " ") or "200 OK", [("Content-Type", "text/event-stream")])
    while True:
        yield b"data: x\n\n"
        time.sleep(0.01)


def do_padded(environ, start):
    start("200 OK", [("Content-Length", " 5 ")])
    return [b"hello"]


do_valid.__name__ = "do_valid"


def do_look(environ, start):
    """What of a request reached us, as JSON; bytes as latin-1."""
    seen = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "body": environ["wsgi.input"].read().decode("latin-1"),
        "headers": {k: v for k, v in environ.items() if k.startswith(("HTTP_", "CONTENT_"))},
    }
    return answer(start, json.dumps(seen).encode())
