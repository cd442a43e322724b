"""Who may read the monitor, and who may order: Host, Origin, Sec-Fetch-Site, token.

Decides each question from the texts of headers. Must not know aiohttp, sockets or what is asked for. Invariant: a page
of another origin, or of another name that leads to our address (DNS rebinding), is refused whatever else it sends; no
repr shows a token; tokens are compared in constant time.

A WebSocket or request without Origin passes: browsers send one with every WebSocket and every POST, so that it is no
page that asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hmac import compare_digest
from ipaddress import ip_address
from typing import NamedTuple

LEAST = 16  # characters of a token
_SITES = ("same-origin", "none")  # of Sec-Fetch-Site (Fetch Metadata): from our own page, or typed by the user


class Refused(NamedTuple):
    """The status to answer with, and why, as a sentence."""

    status: int
    why: str


class Doors:
    """By which names the monitor may be addressed; `port` is the one it listens at.

    A wildcard address has any IP address as its name: rebinding needs a name.
    """

    def __init__(self, port: int, bound: Iterable[str] = ()) -> None:
        self._port = port
        names = {"127.0.0.1", "localhost", "[::1]", *(_bracketed(name.lower()) for name in bound)}
        self._any = bool(names & {"0.0.0.0", "[::]"})
        self._hosts = {f"{name}:{port}" for name in names} | (names if port == 80 else set())

    def __repr__(self) -> str:
        return f"<Doors {', '.join(sorted(self._hosts))}>"

    def refuse(self, hosts: Sequence[str], origins: Sequence[str], sites: Sequence[str]) -> Refused | None:
        """Why a request with these values of Host, Origin and Sec-Fetch-Site is refused; None where it is not."""
        if len(hosts) != 1 or not self._ours(hosts[0].lower()):
            return Refused(403, "this is not the name of the monitor; ask for it by its address")
        if origins and origins != [f"http://{hosts[0].lower()}"] and list(origins) != [f"http://{hosts[0]}"]:
            return Refused(403, "another site's page may not ask here")
        if any(site not in _SITES for site in sites):
            return Refused(403, "another site may not ask here; type the address")
        return None

    def _ours(self, host: str) -> bool:
        if host in self._hosts:
            return True
        name, _, port = host.rpartition(":")
        return self._any and port == str(self._port) and _is_address(name)


class Keys:
    """The token, and what it is asked for. `session` is what the cookie holds instead of it.

    `reading`: whoever reads must show it too. Without a token nothing can be ordered.
    """

    def __init__(self, token: str | None, session: str, *, reading: bool, control: bool) -> None:
        self._token = token
        self.session = session
        self.reading = reading and token is not None
        self.control = control and token is not None

    def __repr__(self) -> str:
        return f"<Keys reading={self.reading} control={self.control}>"

    def is_token(self, said: str) -> bool:
        """Is this the token."""
        return self._token is not None and _same(said, self._token)

    def may_order(self, authorization: str | None) -> bool:
        """May the sender of this Authorization order: a cookie is not enough, since browsers send it unasked."""
        scheme, _, said = (authorization or "").partition(" ")
        return self.control and scheme.lower() == "bearer" and self.is_token(said.strip())

    def may_read(self, authorization: str | None, cookie: str | None) -> bool:
        """May the sender of these read."""
        if not self.reading or (cookie is not None and _same(cookie, self.session)):
            return True
        scheme, _, said = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(said.strip())


def is_loopback(addresses: Iterable[str]) -> bool:
    """Do all of these addresses, of which there must be one, lead to this machine alone."""
    found = [ip_address(address.partition("%")[0]) for address in addresses]
    return bool(found) and all(address.is_loopback for address in found)


def _same(said: str, known: str) -> bool:
    return compare_digest(said.encode("utf-8", "surrogatepass"), known.encode("utf-8", "surrogatepass"))


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _is_address(name: str) -> bool:
    try:
        ip_address(name.removeprefix("[").removesuffix("]") if name.startswith("[") else name)
    except ValueError:
        return False
    return True
