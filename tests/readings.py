"""What our parser and h11 make of the same bytes: the requests, and whether the connection ends in a refusal.

The danger here is to feed them differently: both get everything at once, and then the end of the connection.
"""

from dataclasses import dataclass

import h11

from vassal.body import Body
from vassal.protocol import Refused, Talk
from vassal.protocol.http import HttpProtocol

LIMIT = 1 << 20
BUFFER = 32768


@dataclass(frozen=True)
class Outcome:
    """The requests as (method, target, body), and whether the connection ended in a refusal."""

    requests: tuple[tuple[str, str, bytes], ...]
    refused: bool


def ours(raw: bytes) -> Outcome:
    http, talk = HttpProtocol(buffer_size=BUFFER, limit_post=LIMIT), Talk({})
    found = []
    try:
        while raw and (parsed := http.parse(raw, talk)) is not None:
            request, raw = parsed
            body = Body(request.length, in_memory=LIMIT, limit=LIMIT)
            rest = body.feed(raw) if request.length else raw
            if rest is None:
                break
            raw = rest
            found.append((request.environ["REQUEST_METHOD"], request.environ["REQUEST_URI"], body.open().read()))
            if not request.keep_alive:
                raw = b""
    except Refused:
        return Outcome(tuple(found), refused=True)
    # The client has said all it will: what is left is a request that never becomes whole.
    return Outcome(tuple(found), refused=bool(raw))


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
