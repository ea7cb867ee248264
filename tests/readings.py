"""What our parser and h11 make of the same bytes: the requests, and whether the connection ends in a refusal.

The danger here is to feed them differently: each gets everything (ours maybe in pieces), and then the end of the
connection.
"""

from dataclasses import dataclass

import h11

from vassal.body import Body
from vassal.protocol import Refused, Request, Talk
from vassal.protocol.http import HttpProtocol

LIMIT = 1 << 20
BUFFER = 32768


@dataclass(frozen=True)
class Outcome:
    """The requests as (method, target, body), and whether the connection ended in a refusal."""

    requests: tuple[tuple[str, str, bytes], ...]
    refused: bool


class Reading:
    """What a connection makes of bytes that come in pieces."""

    def __init__(self) -> None:
        self.http = HttpProtocol(buffer_size=BUFFER, limit_post=LIMIT)
        self.talk = Talk({})
        self.found: list[tuple[str, str, bytes]] = []
        self.closed = False
        self.buffer = b""
        self.request: Request | None = None
        self.body: Body | None = None

    def feed(self, data: bytes) -> None:
        """Take the next piece.

        Raises:
            Refused: no request, and nothing is read after it.
        """
        while not self.closed:
            if self.body is not None:
                rest = self.body.feed(data) if data else None
                if rest is None:
                    return
                self._complete(self.body.open().read())
                data = rest
                continue
            data, self.buffer = self.buffer + data, b""
            parsed = self.http.parse(data, self.talk) if data else None
            if parsed is None:
                self.buffer = data
                return
            self.request, data = parsed
            if self.request.length:
                self.body = Body(self.request.length, in_memory=LIMIT, limit=LIMIT)
            else:
                self._complete(b"")

    def _complete(self, body: bytes) -> None:
        assert self.request is not None
        environ = self.request.environ
        self.found.append((environ["REQUEST_METHOD"], environ["REQUEST_URI"], body))
        self.closed = not self.request.keep_alive
        self.body = None

    def outcome(self, *pieces: bytes) -> Outcome:
        """What becomes of the pieces, and then the end of the connection."""
        try:
            for piece in pieces:
                self.feed(piece)
        except Refused:
            return Outcome(tuple(self.found), refused=True)
        # The client has said all it will: what is left is a request that never becomes whole.
        left = bool(self.buffer) or self.body is not None
        return Outcome(tuple(self.found), refused=left and not self.closed)


def ours(*pieces: bytes) -> Outcome:
    return Reading().outcome(*pieces)


def theirs(raw: bytes) -> Outcome:
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=BUFFER)
    found = []
    method, target, body = "", "", b""
    peer.receive_data(raw)
    peer.receive_data(b"")
    try:
        while True:
            event = peer.next_event()
            if isinstance(event, h11.Request):
                method, target, body = event.method.decode(), event.target.decode(), b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                found.append((method, target, body))
                # Not 200: after a CONNECT that would make a tunnel.
                peer.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
                peer.send(h11.EndOfMessage())
                if peer.states[h11.CLIENT] is not h11.DONE or peer.states[h11.SERVER] is not h11.DONE:
                    break
                peer.start_next_cycle()
            else:
                break
    except h11.RemoteProtocolError:
        return Outcome(tuple(found), refused=True)
    return Outcome(tuple(found), refused=False)
