"""The way to a server: through which proxy, from which address, with which TLS; words alone.

Decides nothing. Must not know sockets, ssl or the job. Invariant: two requests share a connection only if their routes
are equal, since a connection that was opened with other credentials or checks is not the one that was asked for
(CVE-2024-35195 and some twenty others). What may be a secret never shows in a repr.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Proxy(NamedTuple):
    """One proxy. `scheme`: http and https speak HTTP to it; socks5 looks names up here, socks5h lets it do so."""

    scheme: Literal["http", "https", "socks5", "socks5h"]
    host: str  # canonical; IPv6 without brackets
    port: int
    user: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Proxy {self}{' with credentials' if self.user is not None else ''}>"


class ClientCert(NamedTuple):
    """PEM files; `key` is None where it stands in `cert`. `password` is that of the key."""

    cert: str
    key: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"<ClientCert {self.cert}>"


class Tls(NamedTuple):
    """How a server proves who it is, and we ourselves. `fingerprints`: SHA-256 of acceptable leaf certificates, as 64
    lower hexadecimal digits; none means any that is verified.
    """

    ca_bundle: str | None = None
    client_cert: ClientCert | None = None
    min_version: Literal["1.2", "1.3"] = "1.2"
    fingerprints: tuple[str, ...] = ()
    verify: bool = True


class Route(NamedTuple):
    """All that tells one connection from another, beside the server's name and port."""

    proxy: Proxy | None = None
    tls: Tls = Tls()
    local_address: str | None = None
    family: Literal["any", "ipv4", "ipv6"] = "any"
    unix_socket: str | None = None
    tunnel: bool = False  # an HTTP proxy must lead on, even to what speaks no TLS

    @property
    def leads_on(self) -> bool:
        """Does the proxy connect us with whatever target."""
        return self.tunnel or self.proxy is None or self.proxy.scheme not in ("http", "https")


DIRECT = Route()
