"""A crowd of bad clients, in a process of its own so that it does not hold up the ones who are timed.

``crowd.py PORT PATH``: a thousand idle on keep-alive, 500 whose headers come a byte a second, 500 who read a large body
slowly. Prints a line when all are there; they leave when standard input ends. The one thing that can go wrong here is a
crowd that is none: a client that gets no answer, or is refused, ends it with an error.
"""

import contextlib
import select
import socket
import sys

IDLE, HEADERS, READERS = 1000, 500, 500
STEPS = 50
"""Parts of a second over which the slow ones spread their bytes."""


def client(port: int, *, buffer: int = 0) -> socket.socket:
    """Connect; `buffer` is the size of the socket's receive buffer in bytes, 0 for the system's."""
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(20)
    sock.connect(("127.0.0.1", port))
    return sock


def main(port: int, path: str) -> None:
    """Come, be slow, and go."""
    idle = []
    for _ in range(IDLE):
        sock = client(port)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        if b" 200 " not in sock.recv(4096):
            raise SystemExit("a client of the crowd got no answer")
        idle.append(sock)
    slow = [client(port) for _ in range(HEADERS)]
    for sock in slow:
        sock.sendall(b"GET / HTTP/1.1\r\nX: ")
    readers = [client(port, buffer=4096) for _ in range(READERS)]
    for sock in readers:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    for sock in slow + readers:
        sock.setblocking(False)
    print("all are there", flush=True)
    step = 0
    while not select.select([sys.stdin], [], [], 1 / STEPS)[0]:
        step = (step + 1) % STEPS
        for sock in slow[step::STEPS]:
            with contextlib.suppress(OSError):
                sock.send(b"x")
        for sock in readers[step::STEPS]:
            with contextlib.suppress(OSError):
                sock.recv(512)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
