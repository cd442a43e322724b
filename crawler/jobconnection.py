"""[connection] and [hosts."X".connection]: proxies, TLS, addresses, the pool.

Decides what may be said. Must not know files, secrets' values or sockets. Invariant: no password stands in a job; it
is referred to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from crawler.addresses import parse_pins
from crawler.proxytext import parse_proxy
from crawler.secretrefs import Reference, is_reference
from crawler.units import Duration

_SHA256 = re.compile(r"(?:sha256:|sha256//)?([0-9A-Fa-f]{2}(?::?[0-9A-Fa-f]{2}){31})\Z")


def _pins(value: dict[str, str]) -> dict[str, str]:
    parse_pins(value)
    return value


def _proxy_url(value: str) -> str:
    if not is_reference(value):
        proxy = parse_proxy(value)
        if proxy.password is not None:
            raise ValueError(
                'has a password; write { url = "...", user = "...", password = "env:NAME" }, or proxy = "env:NAME"'
            )
    return value


def _fingerprint(value: str) -> str:
    match = _SHA256.match(value)
    if not match:
        raise ValueError("is no SHA-256 fingerprint; write its 64 hexadecimal digits, with or without colons")
    return match[1].replace(":", "").lower()


def _address(value: str) -> str:
    return str(ip_address(value))


def _some(value: list[str | ProxySaid]) -> list[str | ProxySaid]:
    if not value:
        raise ValueError('names no proxy; write "direct" where none is meant')
    return value


ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]


class ProxySaid(BaseModel):
    """One proxy with credentials of its own; a `user` may be a reference too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: ProxyUrl
    user: str | None = None
    password: Reference | None = None

    @model_validator(mode="after")
    def _user(self) -> ProxySaid:
        named = self.user is not None or is_reference(self.url) or parse_proxy(self.url).user is not None
        if self.password is not None and not named:
            raise ValueError("has a password, but no user that it belongs to")
        return self


class CertSaid(BaseModel):
    """A client certificate: PEM files, the password of the key by reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cert: str
    key: str | None = None
    password: Reference | None = None


class Ways(BaseModel):
    """What both the job and a host may say. `proxy` is "direct", one, or several to rotate through."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    proxy: (
        Literal["direct"] | ProxyUrl | ProxySaid | Annotated[list[ProxyUrl | ProxySaid], AfterValidator(_some)] | None
    ) = None
    ca_bundle: str | None = None
    client_cert: str | CertSaid | None = None
    tls_min_version: Literal["1.2", "1.3"] = "1.2"
    fingerprints: list[Annotated[str, AfterValidator(_fingerprint)]] = []
    verify: bool = True
    local_address: Annotated[str, AfterValidator(_address)] | None = None
    family: Literal["any", "ipv4", "ipv6"] = "any"
    unix_socket: str | None = None

    @property
    def proxies(self) -> Sequence[ProxySaid]:
        """All proxies in one form; none means a direct way."""
        if self.proxy is None or self.proxy == "direct":
            return ()
        said = self.proxy if isinstance(self.proxy, list) else [self.proxy]
        return [ProxySaid(url=one) if isinstance(one, str) else one for one in said]

    @property
    def cert(self) -> CertSaid | None:
        """The client certificate in one form."""
        return CertSaid(cert=self.client_cert) if isinstance(self.client_cert, str) else self.client_cert


class Connection(Ways):
    """[connection]: the pool, names, addresses and ways."""

    keepalive: Duration = Field(30.0, ge=0)
    dns_ttl: Duration = Field(60.0, ge=0)
    resolve: Annotated[dict[str, str], AfterValidator(_pins)] = {}
    allow_private: bool = False
    trust_env: bool = False
    proxy_rotate: Literal["each", "host"] = "each"
