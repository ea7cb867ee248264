"""Files from a real worker: what is served, in which form, and what never is."""

import contextlib
import os
import socket
import stat
import threading
import time
from email.utils import formatdate

import pytest

from tests.clients import HttpClient, uwsgi_request
from tests.harness import wait_until
from tests.integration.worker.conftest import make_listeners

OLD = 1_700_000_000
BIG = bytes(range(256)) * 4096 * 4


def put(path, data=b"x", mtime=OLD):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (mtime, mtime))
    return path


@pytest.fixture
def tree(tmp_path):
    """`root` is served; what lies beside it is not."""
    root = tmp_path / "root"
    put(root / "a.css", b"body{}")
    put(root / "big.bin", BIG)
    put(root / "empty.txt", b"")
    put(root / "dir" / "index.html", b"<index>")
    put(root / "bare" / "other.txt", b"other")
    put(tmp_path / "secret.txt", b"secret")
    put(tmp_path / "root-private" / "b.css", b"private")
    return root


@pytest.fixture
def serve(start_worker, tree):
    def start(**options):
        options.setdefault("static_map", [("/static", str(tree), False)])
        return start_worker(module="files_app:application", **options)

    return start


def from_app(response):
    return response.header("X-App") == "yes"


def test_a_file_with_its_fields(serve):
    worker = serve()
    with worker.client() as client:
        for _ in range(3):  # found, and then remembered
            answer = client.get("/static/a.css")
            assert (answer.status, answer.body) == (200, b"body{}")
            assert answer.header("Content-Type") == "text/css"
            assert answer.header("Last-Modified") == formatdate(OLD, usegmt=True)
            assert answer.header("ETag").startswith('"')
            assert answer.header("Accept-Ranges") == "bytes"
            assert answer.all("Date")
            assert answer.header("Expires") is None
        head = client.request("HEAD", "/static/a.css")
        assert (head.status, head.header("Content-Length"), head.body) == (200, "6", b"")
        assert client.get("/static/big.bin").body == BIG
        assert client.get("/static/empty.txt").body == b""
        assert client.get("/static/a.css").body == b"body{}"


def test_what_is_no_file_goes_to_the_app(serve, tree):
    worker = serve()
    with worker.client() as client:
        for target in ("/", "/a.css", "/static", "/static/", "/static/none", "/static/a.css/", "/static/bare", "/st"):
            assert from_app(client.get(target)), target
        assert from_app(client.request("POST", "/static/a.css", body=b"x"))
        assert from_app(client.request("DELETE", "/static/a.css"))
        put(tree / "none", b"now")
        assert client.get("/static/none").body == b"now"
        (tree / "none").unlink()
        assert from_app(client.get("/static/none"))


def test_a_get_with_a_body_gets_its_file(serve):
    with serve().client() as client:
        assert client.request("GET", "/static/a.css", body=b"ignored").body == b"body{}"
        assert client.get("/static/a.css").body == b"body{}"


def test_a_changed_file_is_sent_changed(serve, tree):
    worker = serve()
    with worker.client() as client:
        assert client.get("/static/a.css").body == b"body{}"
        first = client.get("/static/a.css").header("ETag")
        for number in range(20):
            put(tree / "a.css", b"%06d" % number, OLD + number + 1)
            answer = client.get("/static/a.css")
            assert answer.body == b"%06d" % number
            assert answer.header("ETag") != first


HOSTILE = [
    "/static/../secret.txt", "/static/%2e%2e/secret.txt", "/static/..%2fsecret.txt", "/static/%2e%2e%2fsecret.txt",
    "/static/dir/../../secret.txt", "/static/./../secret.txt", "/static//../secret.txt", "/static-private/b.css",
    "/static/../root-private/b.css", "/static/a.css%00", "/static/a.css%00.txt", "/static%2fa.css",
    "/static/dir%2Findex.html",
    "/static/..", "/static/.", "/static/%252e%252e/secret.txt", "/static/..%5csecret.txt", "/../secret.txt",
    "/static/link.txt", "/static/linked/secret.txt", "/static/fifo", "/static/socket", "/static/device", "/static/dir",
    "/static/loop", "/static/" + "a" * 300, "/static/" + "a/" * 2400, "/static/fd/0", "/static/hidden.txt",
]  # fmt: skip


def spoil(tree):
    """Everything in the root that must not be served."""
    (tree / "link.txt").symlink_to(tree.parent / "secret.txt")
    (tree / "linked").symlink_to(tree.parent)
    (tree / "loop").symlink_to("loop")
    (tree / "fd").symlink_to("/proc/self/fd")
    os.mkfifo(tree / "fifo")
    (tree / "device").symlink_to("/dev/zero")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tree / "socket"))
    with contextlib.suppress(PermissionError):
        os.mknod(tree / "real-device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (tree / "packed.css").write_bytes(b"plain")
    (tree / "packed.css.gz").symlink_to(tree.parent / "secret.txt")
    (tree / "indexed").mkdir()
    (tree / "indexed" / "index.html").symlink_to(tree.parent / "secret.txt")


@pytest.mark.parametrize("option", ["static_map", "check_static"])
def test_hostile_paths_reach_no_file(serve, tree, option):
    spoil(tree)
    maps = [("/static", str(tree), False)] if option == "static_map" else []
    check = [] if maps else [str(tree)]
    worker = serve(static_map=maps, check_static=check, static_gzip_all=True)
    for target in [*HOSTILE, "/static/real-device", "/static/indexed", "/static/indexed/"]:
        path = target if maps else target.removeprefix("/static") or "/"
        with worker.client() as client:
            answer = client.get(path)
        assert answer.status >= 400, (path, answer)
        for inside in (b"secret", b"private", b"\0\0\0\0"):
            assert inside not in answer.body, path
    with worker.client() as client:
        prefix = "/static" if maps else ""
        packed = client.get(f"{prefix}/packed.css", **{"Accept-Encoding": "gzip"})
        assert (packed.body, packed.header("Content-Encoding")) == (b"plain", None)
    worker.logs("outside of")


def test_an_index_that_leads_outside_is_not_served(serve, tree):
    spoil(tree)
    with serve(static_index=["index.html"]).client() as client:
        assert from_app(client.get("/static/indexed/"))
        assert client.get("/static/dir/").body == b"<index>"
        assert client.get("/static/dir").body == b"<index>"
        assert client.get("/static/dir/").header("Content-Type") == "text/html"
        assert from_app(client.get("/static/bare/"))


def test_static_safe_lets_links_out(serve, tree, tmp_path):
    spoil(tree)
    put(tmp_path / "safe" / "s.txt", b"safe")
    put(tmp_path / "safe-not" / "s.txt", b"not")
    (tree / "s.txt").symlink_to(tmp_path / "safe" / "s.txt")
    (tree / "n.txt").symlink_to(tmp_path / "safe-not" / "s.txt")
    with serve(static_safe=[str(tmp_path / "safe")]).client() as client:
        assert client.get("/static/s.txt").body == b"safe"
        assert from_app(client.get("/static/n.txt"))
        assert from_app(client.get("/static/link.txt"))


def test_a_link_that_changes_while_it_is_looked_at(serve, tree, tmp_path):
    """Nothing that a link points to for a moment slips through between check and use."""
    worker = serve()
    stop = threading.Event()

    def swap():
        number = 0
        while not stop.is_set():
            number += 1
            new = tree / f"new{number % 2}"
            new.unlink(missing_ok=True)
            new.symlink_to(tmp_path / "secret.txt" if number % 2 else tree / "a.css")
            new.rename(tree / "flips")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        with worker.client() as client:
            end = time.monotonic() + 10
            for _ in range(3000):
                seen.add(client.get("/static/flips").body)
                if time.monotonic() > end:
                    break
    finally:
        stop.set()
        thread.join()
    assert seen <= {b"body{}", b"app"}
    assert b"app" in seen


def test_a_root_that_is_a_link_may_move_to_another_release(serve, tmp_path):
    put(tmp_path / "r1" / "v.txt", b"one")
    put(tmp_path / "r2" / "v.txt", b"two")
    current = tmp_path / "current"
    worker = serve(static_map=[("/static", str(current), False)])
    with worker.client() as client:
        assert from_app(client.get("/static/v.txt")), "a directory may appear later"
        current.symlink_to("r1")
        assert client.get("/static/v.txt").body == b"one"
        (tmp_path / "next").symlink_to("r2")
        (tmp_path / "next").rename(current)
        assert client.get("/static/v.txt").body == b"two"


def test_conditions_and_ranges(serve):
    with serve().client() as client:
        whole = client.get("/static/big.bin")
        tag = whole.header("ETag")
        unchanged = client.get("/static/big.bin", **{"If-None-Match": tag})
        assert (unchanged.status, unchanged.body, unchanged.header("ETag")) == (304, b"", tag)
        assert unchanged.header("Content-Length") is None
        since = client.get("/static/big.bin", **{"If-Modified-Since": whole.header("Last-Modified")})
        assert since.status == 304
        assert client.get("/static/big.bin", **{"If-Match": '"x"'}).status == 412
        part = client.get("/static/big.bin", Range="bytes=100-299")
        assert (part.status, part.body) == (206, BIG[100:300])
        assert part.header("Content-Range") == f"bytes 100-299/{len(BIG)}"
        assert client.get("/static/a.css", Range="bytes=-2").body == b"{}"
        none = client.get("/static/a.css", Range="bytes=9-")
        assert (none.status, none.header("Content-Range")) == (416, "bytes */6")
        assert client.get("/static/a.css", Range="bytes=1-2", **{"If-Range": '"old"'}).status == 200
        resumed = client.get("/static/big.bin", Range=f"bytes={len(BIG) - 5}-", **{"If-Range": tag})
        assert resumed.body == BIG[-5:]
        head = client.request("HEAD", "/static/big.bin", headers={"Range": "bytes=0-1"})
        assert head.header("Content-Length") == str(len(BIG))


@pytest.mark.parametrize("name", ["a.css", "big.bin"])
def test_several_ranges(serve, tree, name):
    data = (tree / name).read_bytes()
    with serve().client() as client:
        answer = client.get(f"/static/{name}", Range="bytes=0-0, 2-3,-1")
        assert answer.status == 206
        kind, _, boundary = answer.header("Content-Type").partition("; boundary=")
        assert kind == "multipart/byteranges"
        parts = answer.body.split(b"--" + boundary.encode())
        assert parts[-1] == b"--\r\n"
        bodies = [part.partition(b"\r\n\r\n") for part in parts[1:-1]]
        assert [body[2] for body in bodies] == [data[:1] + b"\r\n", data[2:4] + b"\r\n", data[-1:] + b"\r\n"]
        assert f"Content-Range: bytes 2-3/{len(data)}".encode() in bodies[1][0]
        assert client.get("/static/a.css").status == 200


def test_compressed_siblings(serve, tree):
    for end in ("gz", "br", "zst"):
        put(tree / f"p.js.{end}", end.encode())
    put(tree / "p.js", b"plain")
    put(tree / "q.css.gz", b"gz")
    put(tree / "q.css", b"plain")
    worker = serve(static_gzip_ext=[".js"])

    def get(name, accept):
        with worker.client() as client:
            answers = [client.get(f"/static/{name}", **({"Accept-Encoding": accept} if accept else {})) for _ in "12"]
        assert answers[0].body == answers[1].body
        return answers[1]

    assert get("p.js", "gzip, br, zstd").body == b"br"
    assert get("p.js", "gzip, zstd").body == b"zst"
    gz = get("p.js", "gzip")
    assert (gz.body, gz.header("Content-Encoding"), gz.header("Vary")) == (b"gz", "gzip", "Accept-Encoding")
    plain = get("p.js", "")
    assert (plain.body, plain.header("Content-Encoding"), plain.header("Vary")) == (b"plain", None, "Accept-Encoding")
    assert gz.header("Content-Type") == plain.header("Content-Type")
    assert gz.header("ETag") != plain.header("ETag")
    assert get("p.js", "gzip;q=0").body == b"plain"
    other = get("q.css", "gzip")
    assert (other.body, other.header("Vary")) == (b"plain", None)


def test_caching_times(serve, tree):
    put(tree / "build" / "app.1a2b.js", b"js")
    worker = serve(
        static_expires_uri=[["/static/build/*", 2592000]],
        static_expires_type_mtime=[["text/css", 60]],
    )
    with worker.client() as client:
        built = client.get("/static/build/app.1a2b.js?x=1")
        assert built.header("Cache-Control") == "max-age=2592000"
        assert built.header("Expires").endswith("GMT")
        old = client.get("/static/a.css")
        assert old.header("Cache-Control") == "max-age=0"
        assert old.header("Expires") == formatdate(OLD + 60, usegmt=True)
        assert client.get("/static/empty.txt").header("Cache-Control") is None


def test_maps_in_their_order(serve, tmp_path):
    put(tmp_path / "one" / "x.txt", b"one")
    put(tmp_path / "two" / "s" / "x.txt", b"two")
    put(tmp_path / "two" / "s" / "y.txt", b"two")
    put(tmp_path / "three" / "s" / "x.txt", b"three")
    put(tmp_path / "icon.ico", b"icon")
    one, two = ("/s/", str(tmp_path / "one") + "/", False), ("/s", str(tmp_path / "two"), True)
    icon = ("/favicon.ico", str(tmp_path / "icon.ico"), False)
    for maps, answer in (([one, two, icon], b"one"), ([icon, two, one], b"two")):
        worker = serve(static_map=maps)
        with worker.client() as client:
            assert client.get("/s/x.txt").body == answer
            assert client.get("/s/y.txt").body == b"two"
            assert client.get("/favicon.ico").body == b"icon"
            assert client.get("/favicon.ico").header("Content-Type") == "image/vnd.microsoft.icon"
            assert from_app(client.get("/favicon.ico/x"))
    worker = serve(static_map=[one], check_static=[str(tmp_path / "three")])
    with worker.client() as client:
        assert client.get("/s/x.txt").body == b"three"


def test_skipped_ends_relative_paths_and_types(serve, tree, tmp_path):
    put(tree / "x.php", b"<?php")
    put(tree / "x.odd", b"odd")
    put(tree / "x.two", b"two")
    put(tree / "sub" / "index.php", b"<?php")
    put(tmp_path / "types", b"# odd ones\ntext/odd odd\n")
    worker = serve(
        static_map=[("/static", "root", False)],
        static_skip_ext=[".php"],
        static_index=["index.php"],
        mime_file=["types", "missing"],
    )
    with worker.client() as client:
        assert from_app(client.get("/static/x.php"))
        assert from_app(client.get("/static/sub/"))
        assert client.get("/static/x.odd").header("Content-Type") == "text/odd"
        assert client.get("/static/x.two").header("Content-Type") == "application/octet-stream"
    worker.logs("missing: No such file")


def test_the_docroot_counts_only_from_unix_sockets(serve, tree):
    worker = serve(static_map=[], check_static_docroot=True)
    assert uwsgi_request(worker.uwsgi, "/a.css", DOCUMENT_ROOT=str(tree)).body == b"app"
    with worker.client(worker.unix) as client:
        assert from_app(client.get("/a.css", **{"Document-Root": str(tree), "DOCUMENT_ROOT": str(tree)}))
    (http, uwsgi, unix), others = make_listeners(tree), make_listeners(tree)
    with contextlib.ExitStack() as stack:
        for sock in (http, uwsgi, unix, *others):
            stack.enter_context(sock)
        # The second of three speaks the uwsgi protocol.
        local = serve(static_map=[], check_static_docroot=True, listeners=[http, unix, others[2]])
        address = "@" + unix.getsockname()[1:].decode()
        for _ in range(2):
            assert uwsgi_request(address, "/a.css", DOCUMENT_ROOT=str(tree) + "/").body == b"body{}"
            assert uwsgi_request(address, "/a.css", DOCUMENT_ROOT=str(tree.parent)).body == b"app"
            assert uwsgi_request(address, "/secret.txt", DOCUMENT_ROOT=str(tree)).body == b"app"
            for root in ("", "root", "/", "/nowhere"):
                assert uwsgi_request(address, "/a.css", DOCUMENT_ROOT=root).body == b"app", root
        assert local.process.poll() is None


def test_the_uwsgi_protocol(serve):
    worker = serve()
    for _ in range(2):
        answer = uwsgi_request(worker.uwsgi, "/static/a.css")
        assert (answer.status, answer.body) == (200, b"body{}")
        assert uwsgi_request(worker.uwsgi, "/static/big.bin").body == BIG
    assert uwsgi_request(worker.uwsgi, "/static/../secret.txt").body == b"app"


@pytest.mark.parametrize("threads", [1, 2])
def test_files_do_not_wait_for_the_app(serve, threads):
    worker = serve(threads=threads)
    with contextlib.ExitStack() as stack:
        sleepers = [stack.enter_context(worker.client()) for _ in range(threads + 2)]
        for sleeper in sleepers:
            sleeper.send_request("GET", "/sleep?1.5")
        client = stack.enter_context(worker.client())
        began = time.monotonic()
        answers = 0
        while time.monotonic() - began < 0.7:
            assert client.get("/static/a.css").body == b"body{}"
            answers += 1
        assert client.get("/static/big.bin").body == BIG
        assert answers > 1
        for sleeper in sleepers:
            sleeper.sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sleeper.sock.recv(1)


def test_pipelined_files_and_app(serve):
    """Many files in one packet, behind a call that lost the lead: no recursion, no mix-up."""
    worker = serve()
    requests = [
        ("GET", "/sleep?0.1"),
        *[("GET", "/static/a.css"), ("GET", "/")] * 3,
        *[("GET", "/static/a.css")] * 1200,
    ]
    with worker.client() as client:
        answers = client.pipeline(requests)
    assert [a.body for a in answers[:7]] == [b"app", b"body{}", b"app", b"body{}", b"app", b"body{}", b"app"]
    assert {a.body for a in answers[7:]} == {b"body{}"}


def test_a_file_that_shrinks_while_it_is_sent_breaks_off(serve, tree):
    huge = tree / "huge.bin"
    with huge.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    worker = serve()
    with worker.client() as client:
        client.send_request("GET", "/static/huge.bin")
        client.sock.recv(10)
        os.truncate(huge, 1024)
        with pytest.raises(ConnectionError):
            client._exactly(200 * 1024 * 1024)
    with worker.client() as client:
        assert client.get("/static/huge.bin").body == bytes(1024)


def test_no_descriptor_is_left(serve, tree):
    spoil(tree)
    put(tree / "a.css.gz", b"gz")
    worker = serve(static_gzip_all=True, static_index=["index.html"])

    def count():
        return len(os.listdir(f"/proc/{worker.pid}/fd"))

    def ask():
        with worker.client() as client:
            for target in ("a.css", "big.bin", "dir/", "bare", "link.txt", "fifo", "none", "packed.css", "empty.txt"):
                for headers in ({}, {"Range": "bytes=0-0,2-2"}, {"Accept-Encoding": "gzip"}, {"If-None-Match": "*"}):
                    client.get(f"/static/{target}", **headers)
                    client.request("HEAD", f"/static/{target}", headers=headers)

    ask()
    wait_until(lambda: not _open(worker), message="no connection is open")
    before = count()
    ask()
    wait_until(lambda: count() <= before, message=lambda: f"{count()} descriptors instead of {before}")


def _open(worker):
    links = []
    for entry in os.scandir(f"/proc/{worker.pid}/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(entry.path))
    inodes = {f"socket:[{os.fstat(s.fileno()).st_ino}]" for s in (*worker.sockets, worker.channel)}
    return [link for link in links if link.startswith("socket:") and link not in inodes][1:]


@pytest.mark.parametrize(("mode", "field"), [("x-sendfile", "X-Sendfile"), ("nginx", "X-Accel-Redirect")])
def test_the_web_server_is_asked_to_send(serve, tree, mode, field):
    put(tree / "a b%.txt", b"x")
    with serve(file_serve_mode=mode).client() as client:
        answer = client.get("/static/a.css")
        assert (answer.body, answer.header(field)) == (b"", str(tree / "a.css"))
        assert answer.header("Content-Type") == "text/css"
        assert client.get("/static/a%20b%25.txt").header(field) == str(tree / "a b%25.txt")
        assert client.get("/static/a%20b%25.txt", Range="bytes=0-0").header(field) == str(tree / "a b%25.txt")


def test_retiring_ends_the_connection_after_the_file(serve):
    worker = serve()
    with worker.client() as client:
        client.get("/static/a.css")
        worker.retire()
        wait_until(lambda: not worker.listens(), message="it stops listening")
        assert client.get("/static/a.css").closes
        assert worker.wait() == 0


def test_clients_that_leave_in_the_middle(serve):
    worker = serve()
    for _ in range(10):
        client = HttpClient(worker.http)
        client.send_request("GET", "/static/big.bin")
        client.sock.recv(1)
        client.close()
    with worker.client() as client:
        assert client.get("/static/a.css").status == 200
