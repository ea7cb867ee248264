"""The log's decisions: how lines look, what is logged, where lines go, when a file is rotated. No processes."""

import fcntl
import gzip
import json
import os
import re
import socket
import time

import pytest

from vassal import zone
from vassal.config import Settings
from vassal.logbook import encoders, formats, outlet, specs
from vassal.logbook.chain import Chain, line_cutter
from vassal.logbook.escape import as_json, plain
from vassal.logbook.files import KEEP, REOPEN, ROTATE, Seen, backup_name, decide
from vassal.logbook.formats import DefaultLine, compile_format
from vassal.logbook.losses import Losses
from vassal.logbook.requests import RequestLog, Rules
from vassal.logbook.sinks import DatagramSink, DescriptorSink, JournalSink, Sink, SocketSink, SyslogSink
from vassal.logbook.variables import Clock, Entry, Place

LINE = re.compile(
    r"\[pid: \d+\|app: 0\|req: 1/4\] 192\.0\.2\.7 \(ann\) \{20 vars in 71 bytes\} "
    r"\[Wed Nov 25 07:05:22 2026\] GET /a\?b=c => generated 14 bytes in 12 msecs \(HTTP/1\.1 404\) 2 headers in 99 "
    r"bytes \(1 switches on core 3\)"
)
NOON = 1795590322
"""2026-11-25 07:05:22 UTC."""
ENVIRON = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/a?b=c",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "192.0.2.7",
    "REMOTE_USER": "ann",
    "HTTP_HOST": "example.org",
    "HTTP_USER_AGENT": "curl",
    "HTTP_COOKIE": "a=1; sid=abc; b=2",
    "CONTENT_LENGTH": "17",
}


TOLD = (65, 29, "HTTP/1.1")


def place(strftime="", east=0):
    clock = Clock(lambda _second: east, strftime)
    clock.ahead = NOON + 0.25
    return Place(clock, 2, beside=9)


def entry(environ=None, status=404, at=None, **facts):
    made = Entry(ENVIRON if environ is None else environ, status, 0.0, at or place())
    made.told = TOLD
    made.took, made.rsize, made.hsize, made.headers, made.core = 0.0125, 14, 99, 2, 3
    for name, value in facts.items():
        setattr(made, name, value)
    return made


class Kept(Sink):
    def __init__(self, name=""):
        super().__init__("kept", name)
        self.data = b""

    def write(self, data, lines):
        self.data += data


# --- lines -----------------------------------------------------------------------------------------------------------


def test_the_default_line_is_uwsgis():
    line = DefaultLine(place())
    line.own, line.others = 1, 3
    assert LINE.fullmatch(line(entry()))


def test_what_no_app_answered_has_no_number():
    line = DefaultLine(place(), micros=True)
    made = line(entry({}, 400, app=-1, told=(0, 0, "")))
    assert "|app: -1|req: -1/0] " in made
    assert "{0 vars in 0 bytes}" in made
    assert "]   => generated 14 bytes in 12500 micros ( 400)" in made


@pytest.mark.parametrize(
    ("form", "made"),
    [
        (
            '%(addr) - %(user) [%(ltime)] "%(method) %(uri) %(proto)" %(status) %(size) "%(referer)" "%(uagent)"',
            '192.0.2.7 - ann [25/Nov/2026:07:05:22 +0000] "GET /a?b=c HTTP/1.1" 404 113 "-" "curl"',
        ),
        ("%(rsize)/%(hsize)/%(cl)/%(micros)/%(msecs)/%(secs)", "14/99/17/12500/12/0.012500"),
        ("%(time) %(tmsecs) %(tmicros) %(iso)", f"{NOON} {NOON}250 {NOON}250000 2026-11-25T07:05:22.250+00:00"),
        ("%(wid) %(core) %(switches) %(vars) %(pktsize) %(headers)", "2 3 1 20 71 2"),
        ("%(modifier1)%(modifier2) %(werr)%(rerr)%(ioerr) %(ctime)", "00 000 Wed Nov 25 07:05:22 2026"),
        ("%(var.HTTP_HOST) %(var.NONE) %(cookie.sid) %(cookie.none) %(host)", "example.org - abc - example.org"),
        ("{curly} %(nosuch) %(metric.x) 100% %() )", "{curly} - - 100% %() )"),
        ("one\nline", "one line"),
    ],
)
def test_variables(form, made):
    assert compile_format(form)(entry()) == made


def test_ftime_has_the_form_of_log_date():
    at = place("%Y/%m/%d %H:%M %z", east=5400)
    assert compile_format("%(ftime)")(entry(at=at)) == "2026/11/25 08:35 +0130"
    assert compile_format("%(ftime)")(entry(at=place(east=-3600))) == "25/Nov/2026:06:05:22 -0100"


def test_memory_is_that_of_this_process():
    rss, small, vsz = map(int, compile_format("%(rss) %(rssM) %(vsz)")(entry()).split())
    assert vsz > rss > 1 << 20
    assert small == rss >> 20


def test_unknown_variables_are_named_once():
    assert formats.unknown("%(uri) %(who) %(who) %(var.X) %(metric.a) %(var.)") == ["who", "metric.a", "var."]


@pytest.mark.parametrize("form", ["json", '{"uri":"%(uri)","agent":"%(uagent)","status":%(status)}'])
def test_json_lines_are_json_whatever_clients_send(form):
    evil = {**ENVIRON, "REQUEST_URI": '/"},\n{\\', "HTTP_USER_AGENT": "caf\xc3\xa9 \xff\x1b[31m"}
    line = compile_format(form)(entry(evil))
    assert "\n" not in line
    assert line.isascii()
    found = json.loads(line)
    assert (found["uri"], found["status"]) == ('/"},\n{\\', 404)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("/plain?a=1", "/plain?a=1"),
        ("a\nb\r\x00\x1b[2J", r"a\x0ab\x0d\x00\x1b[2J"),
        ('say "no" \\', r"say \x22no\x22 \x5c"),
        ("caf\xc3\xa9", "café"),
        ("\xff\xfe", r"\xff\xfe"),
        ("\xe2\x80\xae", r"\xe2\x80\xae"),  # the override that turns text around
        ("日本", "日本"),  # an app's own text, which is no latin-1
        ("\ud800", r"\xed\xa0\x80"),
        (None, "None"),
    ],
)
def test_what_does_not_print_is_escaped(sent, shown):
    assert plain(sent) == shown
    assert json.loads(f'"{as_json(sent)}"') is not None


def test_one_request_is_one_line_even_in_the_default_line():
    evil = dict.fromkeys(("REQUEST_URI", "REQUEST_METHOD", "REMOTE_USER", "REMOTE_ADDR", "SERVER_PROTOCOL"), "a\nb\x1b")
    assert DefaultLine(place())(entry(evil)).isprintable()


def test_an_app_may_put_anything_into_the_environ():
    odd = {**ENVIRON, "REMOTE_USER": ["a", "list"], "REQUEST_URI": None}
    assert "(['a', 'list'])" in DefaultLine(place())(entry(odd))
    assert compile_format("%(user)")(entry(odd)) == "['a', 'list']"


# --- which requests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "facts", "wanted"),
    [
        (Rules(of_4xx=True), {}, True),
        (Rules(of_4xx=True), {"status": 500}, False),
        (Rules(of_5xx=True), {"status": 504}, True),
        (Rules(of_5xx=True), {}, False),
        (Rules(slow=12), {}, True),
        (Rules(slow=13), {}, False),
        (Rules(big=14), {}, True),
        (Rules(big=15), {}, False),
        (Rules(zero=True), {"rsize": 0}, True),
        (Rules(zero=True), {}, False),
        (Rules(ioerror=True), {"werr": 1}, True),
        (Rules(ioerror=True), {"rerr": 1}, True),
        (Rules(ioerror=True), {}, False),
        (Rules(sendfile=True), {"via": "via sendfile() "}, True),
        (Rules(sendfile=True), {}, False),
        (Rules(), {"status": 500, "rsize": 0, "werr": 1}, False),
    ],
)
def test_what_is_logged_in_spite_of_disable_logging(rules, facts, wanted):
    facts = {"status": 404, **facts}
    assert rules.wanted(entry(**facts)) is wanted


class Fake:
    def __init__(self, **facts):
        self.__dict__.update(facts)


def response(environ, status="200 OK"):
    conn = Fake(talk=Fake(told=TOLD), entry=None)
    return Fake(request=Fake(environ=environ, head_only=False), status=status, conn=conn)


ME = Fake(began=time.monotonic(), now=time.monotonic() + 0.25, number=0)


def test_alike_requests_differ_in_their_counters_and_times_only():
    kept = Kept()
    log = RequestLog(DefaultLine(place()), Chain([], kept), place())
    for uri in ("/a", "/a", "/b"):
        log.small(response({**ENVIRON, "REQUEST_URI": uri}), 133, 14, 6, ME)
    assert kept.data == b""
    log.flush()
    first, second, third = kept.data.decode().splitlines()
    assert first.replace("req: 1/1", "req: 2/2") == second
    assert "req: 3/3" in third
    assert " GET /b => generated 14 bytes in 250 msecs (HTTP/1.1 200) 3 headers in 119 bytes" in third
    assert "{20 vars in 67 bytes}" in third


def test_a_line_that_cannot_be_made_costs_no_other(capfd):
    kept = Kept()
    log = RequestLog(DefaultLine(place()), Chain([], kept), place())
    log.small(response({**ENVIRON, "REMOTE_USER": {"no": "hash"}}), 133, 14, 6, ME)
    log.small(response(ENVIRON), 133, 14, 6, ME)
    log.flush()
    assert kept.data.count(b"\n") == 2

    def broken(_entry):
        raise RuntimeError("a bug")

    log = RequestLog(broken, Chain([], kept), place())
    for _ in range(2):
        made = response(ENVIRON)
        log.small(made, 133, 14, 6, ME)
        log.done(made.conn)
    assert capfd.readouterr().err.count("a request cannot be logged") == 1


# --- where lines go --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("file:/var/log/a.log", specs.Spec("file", target="/var/log/a.log")),
        ("errors file:a.log", specs.Spec("file", "errors", "a.log")),
        (
            "file:logfile=/a,maxsize=100,backupname=/b",
            specs.Spec("file", target="/a", maxsize=100, backupname="/b"),
        ),
        ("stdio", specs.Spec("stdio")),
        ("file:/dev/stdout", specs.Spec("stdio")),
        ("syslog", specs.Spec("syslog", priority=30)),
        ("syslog:blog,local6", specs.Spec("syslog", tag="blog", priority=22 * 8 + 6)),
        ("rsyslog:192.0.2.1,blog,29", specs.Spec("rsyslog", target="192.0.2.1:514", tag="blog", priority=29)),
        ("socket:/run/x.sock", specs.Spec("socket", target="/run/x.sock")),
        ("socket:192.0.2.1:5050,me", specs.Spec("socket", target="192.0.2.1:5050", tag="me")),
        ("systemd", specs.Spec("systemd")),
    ],
)
def test_loggers(text, spec):
    assert specs.parse(text) == spec


@pytest.mark.parametrize(
    "text",
    ["", "fil:/a", "file:", "redislog:127.0.0.1:6379", "syslog:a,nofacility", "file:logfile=/a,size=3",
     "file:maxsize=3", "fd:x", "socket:nowhere", "rsyslog:h,t,900"],
)  # fmt: skip
def test_no_loggers(text):
    with pytest.raises(ValueError, match=r"."):
        specs.parse(text)


def test_logto_may_be_an_address():
    assert specs.of_logto("192.0.2.1:1717").kind == "socket"
    assert specs.of_logto("/var/log/a:b.log").kind == "file"


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({}, ""),
        ({"logto": "a.log"}, "/vassals/a.log"),
        ({"daemonize": "/var/log/a.log", "chdir": "app"}, "/var/log/a.log"),
        ({"logto": "/dev/stdout"}, ""),
        ({"logto": "192.0.2.1:1717"}, ""),
        ({"logger": ("syslog", "err file:err.log", "file:logs/a.log"), "chdir": "app"}, "/vassals/app/logs/a.log"),
        ({"logger": ("file:logfile=/x/a.log,maxsize=9",), "logto": "b.log"}, "/x/a.log"),
        ({"logger": ("syslog",)}, ""),
    ],
)
def test_where_people_find_the_log(options, path):
    assert outlet.readable(Settings(**options), "/vassals") == path


def test_lines_go_to_every_logger_without_a_name():
    one, two, named, base = Kept(), Kept(), Kept("errors"), Kept()
    chain = Chain([one, named, two], base, routes=[("errors", r"HTTP/1\.\d 500")])
    chain.write([b"GET / HTTP/1.1 200\n", b"GET / HTTP/1.1 500\n"])
    assert one.data == two.data == b"GET / HTTP/1.1 200\n"
    assert named.data == b"GET / HTTP/1.1 500\n"
    assert base.data == b""


def test_without_any_other_logger_lines_go_where_they_went():
    named, base = Kept("errors"), Kept()
    Chain([named], base, routes=[("errors", "x"), ("nobody", "y")]).write([b"y\n", b"x\n"])
    assert (named.data, base.data) == (b"x\n", b"y\n")


def test_drains_and_filters():
    base = Kept()
    Chain([], base, drains=["noise"], filters=["a", "b"]).write([b"a\n", b"a noise\n", b"c\n", b"b\n"])
    assert base.data == b"a\nb\n"


def test_encoders_follow_each_other():
    base = Kept()
    chain = [encoders.parse("format [${msg}]"), encoders.parse("prefix > "), encoders.parse("suffix <")]
    Chain([], base, encoders=chain).write([b"one\n"])
    assert base.data == b"> [one]<\n"


def test_encoders_for_one_logger():
    one, named = Kept(), Kept("b")
    Chain([one, named], Kept(), encoders=[encoders.parse("prefix:b X")], routes=[("b", "2")]).write([b"1\n", b"2\n"])
    assert (one.data, named.data) == (b"1\n", b"X2\n")


def test_json_and_compressed_lines():
    line = encoders.parse('json {"at":${unix},"ms":${millis},"year":"${strftime:%Y}","msg":"${msg}"}').encode
    found = json.loads(line(b'say "hi"\n\xff\n'))
    assert found["msg"] == 'say "hi"\n\\xff'
    assert found["year"] == time.strftime("%Y", time.localtime(found["at"]))
    assert json.loads(encoders.parse("json").encode(b"plain\n"))["msg"] == "plain"
    assert gzip.decompress(encoders.parse("gzip").encode(b"packed\n")) == b"packed\n"


@pytest.mark.parametrize("text", ["msgpack map:1", "", "json ${who}", "format ${}"])
def test_no_encoders(text):
    with pytest.raises(ValueError, match=r"log encoder|unknown"):
        encoders.parse(text)


def test_printed_bytes_become_lines():
    got = []
    take = line_cutter(got.extend, limit=8)
    for piece in (b"on", b"e\ntwo\nthr", b"ee", b"\n" + b"x" * 20, b""):
        take(piece)
    assert got == [b"one\n", b"two\n", b"three\n", b"xxxxxxxx\n", b"xxxxxxxx\n", b"xxxx\n"]


# --- files -----------------------------------------------------------------------------------------------------------

MINE, OTHER = (1, 10), (1, 11)


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (Seen(MINE, MINE, 1, 100), KEEP),
        (Seen(MINE, MINE, 1, 101), ROTATE),
        (Seen(OTHER, MINE, 1, 500), REOPEN),  # logrotate's create, or another generation has rotated
        (Seen(None, MINE, 1, 500), KEEP),  # renamed, no successor yet
        (Seen(None, MINE, 0, 500), REOPEN),  # deleted
        (Seen(OTHER, MINE, 0, 0), REOPEN),
    ],
)
def test_what_is_done_with_a_file(seen, verdict):
    assert decide(seen, 100) == verdict
    if verdict == ROTATE:
        assert decide(seen, 0) == KEEP


def test_backups_without_a_name_overwrite_none():
    there = {"/l.5", "/l.5.1"}
    assert backup_name("/l", "", 5, there.__contains__) == "/l.5.2"
    assert backup_name("/l", "/kept", 5, there.__contains__) == "/kept"


def test_losses_are_told_at_once_and_then_once_a_minute():
    losses = Losses()
    losses.add("a.log", 1, "full")
    assert losses.due(0.0) == ["1 log line was lost: a.log: full"]
    losses.add("a.log", 3, "full")
    losses.add("b.log", 2, "gone")
    assert losses.due(30.0) == ["2 log lines were lost: b.log: gone"]
    assert losses.waiting
    losses.add("a.log", 4, "still full")
    assert losses.due(60.0) == ["7 log lines were lost: a.log: still full"]
    assert not losses.waiting


# --- the zone --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zone_name", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kolkata"]
)
def test_the_forecast_knows_when_clocks_are_changed(monkeypatch, zone_name):
    monkeypatch.setenv("TZ", zone_name)
    time.tzset()
    try:
        told = zone.forecast(NOON)
        wanted = [(second, time.localtime(second).tm_gmtoff) for second in range(NOON, NOON + 2 * 366 * 86400, 1800)]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [(second, told(second)) for second, _ in wanted] == wanted


# --- places ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def inbox(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "inbox"))
        sock.settimeout(10)
        yield sock


def test_a_line_is_a_datagram(inbox, tmp_path, monkeypatch):
    target = str(tmp_path / "inbox")
    for constant in ("SYSLOG", "JOURNAL"):
        monkeypatch.setattr(f"vassal.logbook.sinks.{constant}", target)

    def sent(sink):
        sink.write(b"one\ntwo\n", 2)
        sink.close()
        first, second = inbox.recv(999), inbox.recv(999)
        clock = rb"\d\d:\d\d:\d\d"  # which may go on between the two
        assert re.sub(clock, b"", first.replace(b"one", b"two")) == re.sub(clock, b"", second)
        return first

    assert sent(SocketSink(specs.Spec("socket", target=target, tag="p:"))) == b"p:one"
    far = sent(SyslogSink(specs.parse(f"rsyslog:{target},blog,29"), "shop"))
    assert re.fullmatch(rb"<29>\w{3} [ \d]\d \d\d:\d\d:\d\d \S+ blog: one", far)
    near = sent(SyslogSink(specs.parse("syslog:,local0"), "shop"))
    assert re.fullmatch(rb"<134>\w{3} .{11} +shop\[%d\]: one" % os.getpid(), near)
    journal = sent(JournalSink(specs.Spec("systemd"), "shop"))
    assert journal == b"PRIORITY=6\nSYSLOG_IDENTIFIER=shop\nMESSAGE=one\n"


def test_a_socket_that_nobody_reads_loses_lines_and_one_that_comes_back_gets_them(inbox, tmp_path, monkeypatch):
    sink = DatagramSink("far", str(tmp_path / "inbox"))
    for _ in range(2000):
        sink.write(b"x" * 1000 + b"\n", 1)
    lost, why = sink.take_losses()
    assert 0 < lost < 2000
    assert why == "nobody reads it"
    assert sink.take_losses()[0] == 0
    inbox.close()
    (tmp_path / "inbox").unlink()
    sink.write(b"nobody\n", 1)
    sink.write(b"nobody\n", 1)
    assert sink.take_losses()[0] == 2
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(tmp_path / "inbox"))
        monkeypatch.setattr(sink, "_retry_at", 0.0)
        sink.write(b"back\n", 1)
        assert again.recv(99) == b"back"
    sink.close()


def test_a_pipe_gets_whole_lines_and_never_blocks():
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 65536)
        os.set_blocking(writing, False)
        sink = DescriptorSink("pipe", writing)
        batch = b"".join(b"%d %s\n" % (number, b"x" * 97) for number in range(100))
        for _ in range(20):
            sink.write(batch, 100)
        lost, why = sink.take_losses()
        assert why == "nobody reads it"
        os.set_blocking(reading, False)
        got = os.read(reading, 1 << 20)
        assert got.endswith(b"\n")
        assert got.count(b"\n") == 2000 - lost > 0
        assert all(len(line.partition(b" ")[2]) == 97 for line in got.splitlines())
    finally:
        os.close(reading)
        os.close(writing)


def test_a_line_behind_a_torn_one_stands_by_itself(monkeypatch):
    written = []

    def some(_fd, data):
        room = 8 - len(b"".join(written)) if not opened else len(data)
        if room <= 0:
            raise OSError(28, "No space left on device")
        written.append(data[:room])
        return min(room, len(data))

    opened = False
    with open(os.devnull, "wb") as file:
        sink = DescriptorSink("log", file.fileno())
        monkeypatch.setattr(os, "write", some)
        sink.write(b"one\ntwothree\nfour\n", 3)
        assert sink.lost == 2
        sink.write(b"five\n", 1)
        assert sink.lost == 3
        opened = True
        sink.write(b"six\n", 1)
        monkeypatch.undo()
    assert b"".join(written) == b"one\ntwot\nsix\n"
    assert sink.take_losses() == (3, "No space left on device")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file:a.log", "file:/srv/x/a.log"),
        ("file:./logs/a.log", "file:/srv/x/./logs/a.log"),
        ("err file:/var/a.log", "err file:/var/a.log"),
        ("file file:file", "file file:/srv/x/file"),
        ("e file:logfile=a,maxsize=5,backupname=b", "e file:logfile=/srv/x/a,maxsize=5,backupname=/srv/x/b"),
        ("stdio", "stdio"),
        ("file:/dev/stdout", "file:/dev/stdout"),
        ("syslog:a,daemon", "syslog:a,daemon"),
    ],
)
def test_a_relative_logger_is_taken_from_the_working_directory(text, expected):
    assert specs.rooted(text, "/srv/x") == expected
    assert specs.parse(expected).kind == specs.parse(text).kind
