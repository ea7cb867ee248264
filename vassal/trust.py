"""Which peers may speak for somebody else: ``trusted-proxies``, for X-Forwarded-* and the PROXY protocol.

The one danger is believing a client about its own address. Only the rightmost address that no trusted proxy has can be
believed: everything left of it was written by strangers.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import Any

LOOPBACK = ("127.0.0.0/8", "::1")
"""Trusted where trusted-proxies names nobody; peers on UNIX sockets always are."""
YES = ("on", "1", "true", "yes")
"""What web servers write into the variable ``HTTPS`` where TLS was spoken."""
_KEPT = 4096

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_network = functools.cache(functools.partial(ipaddress.ip_network, strict=False))
"""Kept, so that all vassals of a fork server share those that nobody changes."""


class Trust:
    """The trusted proxies of a vassal."""

    def __init__(self, proxies: tuple[str, ...] = (), *, forwarded_for: bool = False) -> None:
        """Take addresses and networks; none: loopback; the one word ``none``: nobody, ``*``: everybody.

        With `forwarded_for` the client's address is taken from X-Forwarded-For (log-x-forwarded-for).

        Raises:
            ValueError: something that is no address and no network.
        """
        words = [word for text in proxies for word in text.replace(",", " ").split()] or list(LOOPBACK)
        self._everybody = "*" in words
        self._networks: list[_Network] = []
        for word in words:
            if word in ("none", "*"):
                continue
            try:
                self._networks.append(_network(word))
            except ValueError:
                raise ValueError(f"trusted-proxies = {word}: neither an address nor a network") from None
        self._known: dict[str, bool] = {}
        self.forwarded_for = forwarded_for

    def holds(self, peer: str) -> bool:
        """Tell whether the address `peer` is a trusted proxy's."""
        known = self._known.get(peer)
        if known is None:
            known = self._everybody or self._look(peer)
            if len(self._known) < _KEPT:
                self._known[peer] = known
        return known

    def _look(self, peer: str) -> bool:
        address = _parse(peer)
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )

    def believe(self, environ: dict[str, Any]) -> None:
        """Take scheme and client from what a trusted proxy says; its own, the last word of a list, counts.

        A web server that speaks the uwsgi protocol and names the scheme itself is asked no further: it may have passed
        on a header that its client made up.
        """
        known = environ.get("UWSGI_SCHEME") or environ.get("HTTPS", "").lower() in YES
        if "HTTP_X_FORWARDED_PROTO" in environ and not known:
            scheme = environ["HTTP_X_FORWARDED_PROTO"].rpartition(",")[2].strip().lower()
            if scheme in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
                if scheme == "https":
                    environ["HTTPS"] = "on"
        if self.forwarded_for and "HTTP_X_FORWARDED_FOR" in environ:
            client = self.client_of(environ["HTTP_X_FORWARDED_FOR"])
            if client:
                environ["REMOTE_ADDR"] = client
                environ.pop("REMOTE_PORT", None)

    def client_of(self, forwarded: str) -> str:
        """Return the client's address out of an X-Forwarded-For header, ``""`` if there is none to believe."""
        client = ""
        for word in reversed(forwarded.split(",")):
            address = _parse(_without_port(word.strip()))
            if address is None:
                break
            client = str(address)
            if not self.holds(client):
                break
        return client


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, colon, port = text.partition(":")
    return host if colon and port.isdigit() else text
