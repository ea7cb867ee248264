"""Many slow downloads, in a process of its own so that it does not hold up the ones who are timed.

``downloads.py PORT PATH``: 200 clients read PATH at 100 KB/s each. Prints a line when all are being sent to; they leave
when standard input ends. The one thing that can go wrong here is a download that is none: a client whose answer is
no 200, or that ends before its time, ends it with an error.
"""

import select
import sys

from crowd import client

CLIENTS = 200
RATE = 100_000
"""Bytes a second that each reads."""
BUFFER = 16384
"""Of a client's socket: what it has not read waits at the server."""
READS = 20
"""Of each, a second."""
SLICES = 5
"""Groups that read one after the other, so that they do not all come at once."""


def main(port: int, path: str) -> None:
    """Come, read slowly, and go."""
    readers = [client(port, buffer=BUFFER) for _ in range(CLIENTS)]
    for sock in readers:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    for sock in readers:
        if b" 200 " not in sock.recv(64):
            raise SystemExit("a download did not begin")
        sock.setblocking(False)
    print("all are there", flush=True)
    step = 0
    while not select.select([sys.stdin], [], [], 1 / READS / SLICES)[0]:
        step = (step + 1) % SLICES
        for sock in readers[step::SLICES]:
            try:
                if not sock.recv(RATE // READS):
                    raise SystemExit("a download ended before its time")
            except BlockingIOError:
                continue


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
