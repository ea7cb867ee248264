"""What stands in place of a vassal: it holds a real link to the emperor and breaks its contract, one way a function.

A test writes a wrapper around it that ``python = …`` of a vassal file names; Emperor has read the file, bound the
sockets and said `hello` and `facts` by then. The danger here: an attack that ends its own process by accident would
pass as "killed by the emperor". So whoever returns from an attack waits, deaf to every signal that can be ignored.
"""

import array
import contextlib
import json
import os
import signal
import socket
import struct
import tempfile
import time

LIFETIME = 60
"""Seconds after which whatever a test left behind ends by itself: it must not outlive a broken Emperor for long."""


def find_sockets():
    """What was inherited: the link (SEQPACKET) and the TCP socket that Emperor bound for the vassal, by its file."""
    link = bound = None
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            found = socket.socket(fileno=int(name))
            if found.type == socket.SOCK_SEQPACKET:
                link = found
            elif found.family == socket.AF_INET and found.getsockname()[1]:
                bound = found
            else:
                found.detach()
    link.setblocking(True)
    return link, bound


class Attack:
    """What the process holds (its link, its bound socket), what the test gave it, and the ways to lie.

    Every public method is one attack, named by the test. `sink` is a port whose peer never reads.
    """

    def __init__(self, directory, sink):
        self._link, self._bound = find_sockets()
        self._address = "{}:{}".format(*self._bound.getsockname())
        self._directory = directory
        self._sink = sink
        self._held = []

    # -- what attacks are made of

    def _send(self, record, fds=()):
        raw = record if isinstance(record, bytes) else json.dumps(record).encode()
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self._link.sendmsg([raw], ancillary)

    def _listening(self, fds, addresses=None, inodes=None):
        addresses = [self._address] * len(fds) if addresses is None else addresses
        inodes = [""] * len(addresses) if inodes is None else inodes
        self._send({"type": "listening", "addresses": addresses, "inodes": inodes}, fds)

    def _listener(self):
        self._bound.listen(16)
        return self._bound.fileno()

    def _ready(self):
        self._listening([self._listener()])
        self._send({"type": "ready", "workers": 1, "mercy": 0})

    # -- packets

    def flood(self):
        while True:
            self._send({"type": "heartbeat"})

    def flood_with_failures(self):
        while True:
            self._send({"type": "failed", "stage": "bind", "reason": "no " * 20000})

    def not_json(self):
        self._send(b"{hello")

    def not_unicode(self):
        self._send(b'{"type": "\xff\xfe"}')

    def not_an_object(self):
        self._send(b"[1, 2]")

    def deeply_nested(self):
        self._send(b"[" * 60_000)

    def nested_objects(self):
        self._send(b'{"type":' * 7_000)

    def endless_number(self):
        self._send(b'{"type": "ready", "workers": ' + b"9" * 60_000 + b"}")

    def oversized(self):
        self._send(b'{"type": "heartbeat", "padding": "' + b"x" * 100_000 + b'"}')

    def empty(self):
        self._send(b"")

    def unknown_type(self):
        self._send({"type": "promote-me"})

    def type_that_is_a_list(self):
        self._send({"type": ["ready"]})

    def command_of_the_emperor(self):
        self._send({"type": "spawn", "spawn": 1})

    def unknown_field(self):
        self._send({"type": "heartbeat", "uid": 0})

    def wrong_value(self):
        self._send({"type": "ready", "workers": True})

    def future_protocol(self):
        self._send({"type": "hello", "protocol": 99})

    def hello_twice(self):
        self._send({"type": "hello", "protocol": 1})

    def facts_twice(self):
        self._send({"type": "facts", "uid": 0})

    def ready_before_listening(self):
        self._send({"type": "ready", "workers": 1})

    def loyal_before_ready(self):
        self._send({"type": "loyal"})

    def ready_twice(self):
        self._ready()
        self._send({"type": "ready", "workers": 1})

    def unknown_stage(self):
        self._send({"type": "failed", "stage": "\x1b[2Jgone", "reason": "x"})

    # -- listeners

    def another_address(self):
        self._listening([self._listener()], ["127.0.0.1:1"])

    def does_not_listen(self):
        self._listening([self._bound.fileno()])

    def a_file(self):
        with tempfile.TemporaryFile() as file:
            self._listening([file.fileno()])

    def a_fifo(self):
        path = os.path.join(self._directory, "fifo")
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path)
        self._listening([os.open(path, os.O_RDWR | os.O_NONBLOCK)])

    def a_path(self):
        self._listening([os.open("/", os.O_PATH)])

    def a_datagram_socket(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(self._bound.getsockname())
            self._listening([sock.fileno()])

    def a_socket_of_another_kind(self):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
            self._listening([sock.fileno()])

    def its_own_link(self):
        self._listening([self._link.fileno()])

    def a_connection(self):
        self._listener()
        client = socket.create_connection(self._bound.getsockname())
        served, _ = self._bound.accept()
        self._held += [client, served]
        self._listening([served.fileno()])

    def a_forged_name(self):
        name = f"emperor-hostile-{os.getpid()}"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(f"\0{name}")
        sock.listen(1)
        self._listening([sock.fileno()], [f"@{name}\n2030-01-01 00:00:00 [emperor] forged \x1b[31m"])

    def too_many_listeners(self):
        self._listening([self._listener()] * 65)

    def too_many_descriptors(self):
        self._listening([self._listener()] * 200)

    def lists_that_differ(self):
        self._listening([self._listener()], ["127.0.0.1:1", "127.0.0.1:2"])

    def no_descriptors(self):
        self._listening([], [self._address])

    def listening_twice(self):
        self._listening([self._listener()])
        self._listening([self._listener()])

    def listening_after_ready(self):
        self._ready()
        self._listening([self._listener()])

    def descriptors_with_a_heartbeat(self):
        self._send({"type": "heartbeat"}, [0] * 30)

    def descriptors_alone(self):
        self._send(b"", [0] * 30)

    def slow_to_close(self):
        """Connections whose close waits for a peer that never reads (SO_LINGER with unsent data, socket(7))."""
        fds = [_lingering(self._sink) for _ in range(40)]
        self._listening(fds)
        os.closerange(3, 1024)  # the emperor's are the last copies: closing them is closing the connections

    # -- what is not said

    def never_ready(self):
        pass

    def never_reads(self):
        self._ready()

    def stops_itself(self):
        self._ready()
        os.kill(os.getpid(), signal.SIGSTOP)

    def hangs_up(self):
        self._link.close()

    def hangs_up_when_ready(self):
        self._ready()
        self._link.close()

    def exits(self):
        os._exit(0)

    def exits_ready(self):
        self._ready()
        os._exit(0)

    # -- what the emperor repeats to people

    def forged_reason(self):
        line = "2030-01-01 00:00:00 [emperor] vassal good: forged"
        self._send({"type": "failed", "stage": "bind", "reason": f"x\n{line}\n\x1b[2J"})

    def reason_without_an_address(self):
        self._send({"type": "failed", "stage": "bind", "reason": "in use: address"})

    def absurd_counters(self):
        self._ready()
        pids = [-1, 0, 1, 2**31, 2**62, os.getppid()]
        self._send({"type": "stats", "workers": 2**62, "requests": -5, "pids": pids, "respawns": -(2**62)})

    def wants_reloads(self):
        self._ready()
        for _ in range(100):
            self._send({"type": "reload-wanted", "reason": "\x1b[2J\n" * 1000})

    # -- processes

    def leaves_processes(self):
        self._leave_all()
        os._exit(0)

    def leaves_processes_when_ready(self):
        self._leave_all()
        self._ready()

    def _leave_all(self):
        """A child and a grandchild without a parent; each once in this session and once in one of its own."""
        for orphan in (False, True):
            for leads in (False, True):
                self._leave(orphan=orphan, leads=leads)
        while len([name for name in os.listdir(self._directory) if name.startswith("left-")]) < 4:
            time.sleep(0.01)

    def _leave(self, *, orphan, leads):
        child = os.fork()
        if child != 0:
            if orphan:
                os.waitpid(child, 0)
            return
        signal.alarm(LIFETIME)
        if leads:
            os.setsid()
        if orphan and os.fork() != 0:
            os._exit(0)
        signal.alarm(LIFETIME)
        self._link.close()
        with open(os.path.join(self._directory, f"left-{orphan}-{leads}"), "w") as file:
            file.write(f"{os.getpid()}\n")
        rest()

    def hops(self):
        """A process that is never found where it was seen: it forks and its parent ends, again and again."""
        if os.fork() == 0:
            end = time.monotonic() + LIFETIME
            self._link.close()
            while time.monotonic() < end:
                time.sleep(0.001)
                if os.fork() != 0:
                    os._exit(0)
        os._exit(0)


def _lingering(port):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(b"x" * 65536)
    return sock.detach()


def rest():
    while True:
        signal.pause()


def main(attack, directory, sink):
    signal.alarm(LIFETIME)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        attacker = Attack(directory, sink)  # kept: with it the link would be closed
        getattr(attacker, attack)()
    rest()
