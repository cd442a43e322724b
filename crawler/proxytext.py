"""Proxies as people write them: a URL, or the environment variables that curl reads.

Decides which proxy a text names, and which of the environment's a URL takes. Must not know jobs, sockets or the
process's own environment (it is given). Invariant: no ValueError shows a user or a password; a host that NO_PROXY
names is never sent through a proxy of the environment.

Default ports are curl's (CURLOPT_PROXY): 443 for https, 1080 for all others, http too. Without a scheme it is http.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal, NamedTuple, get_args
from urllib.parse import unquote_to_bytes

from crawler.routes import Proxy
from crawler.urls import BadURL, parse

_Scheme = Literal["http", "https", "socks5", "socks5h"]
_SCHEMES: dict[str, _Scheme] = {name: name for name in get_args(_Scheme)}
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(?:([^/?#]*)@)?([^/?#@]*)/?\Z")
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+)(?::([0-9]{1,5}))?\Z")
_MAX_SOCKS = 255  # bytes of a user or a password (RFC 1929 2)


def parse_proxy(text: str) -> Proxy:
    """The proxy that a URL names; user and password are percent-decoded. Raises ValueError with a sentence."""
    match = _URL.match(text.strip())
    if not match:
        raise ValueError("is no proxy; write it like 'http://host:3128' or 'socks5h://user:password@host:1080'")
    scheme = _SCHEMES.get((match[1] or "http").lower())
    if scheme is None:
        raise ValueError(f"has a scheme that no proxy here speaks; it may be {', '.join(_SCHEMES)}")
    host, port = _place(match[3], 443 if scheme == "https" else 1080)
    user, password = _credentials(match[2], scheme)
    return Proxy(scheme, host, port, user, password)


def _place(text: str, default: int) -> tuple[str, int]:
    match = _PLACE.match(text)
    port = int(match[2] or default) if match else 0
    if not match or not 1 <= port <= 65535:
        raise ValueError("has no host and port as a proxy needs them; write it like 'http://host:3128'")
    try:
        return parse(f"http://{match[1]}/").host.strip("[]"), port
    except BadURL:
        raise ValueError("has a host that is none; write it like 'http://host:3128'") from None


def _credentials(text: str | None, scheme: _Scheme) -> tuple[str | None, str | None]:
    if text is None:
        return None, None
    user, colon, password = text.partition(":")
    found = _decoded(user), _decoded(password) if colon else None
    if ":" in found[0] and scheme in ("http", "https"):
        raise ValueError("has a user with a colon, which Basic cannot carry (RFC 7617 2)")
    return found


def _decoded(text: str) -> str:
    try:
        plain = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError("has a user or password that is not UTF-8 when percent-decoded") from None
    if re.search(r"[\x00-\x1f\x7f]", plain):
        raise ValueError("has a user or password with control characters")
    return plain


def authorization(proxy: Proxy) -> str | None:
    """The value of Proxy-Authorization, None where there is no user (RFC 7617 2: UTF-8)."""
    if proxy.user is None:
        return None
    return "Basic " + b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()


def socks_credentials(proxy: Proxy) -> tuple[str, str] | None:
    """User and password as SOCKS5 carries them, or None for none. Raises ValueError where it cannot (RFC 1929 2)."""
    if proxy.user is None:
        return None
    pair = proxy.user, proxy.password or ""
    if not all(text.isascii() and 1 <= len(text) <= _MAX_SOCKS for text in pair):
        raise ValueError("SOCKS5 needs a user and a password, of 1 to 255 ASCII characters each")
    return pair


class _Exception(NamedTuple):
    """One entry of NO_PROXY: a host and all below it, or a network; `port` None means any."""

    name: str
    network: IPv4Network | IPv6Network | None
    port: int | None

    def holds(self, host: str, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is None:
            return host == self.name or host.endswith(f".{self.name}")
        try:
            return ip_address(host) in self.network
        except ValueError:
            return False


class EnvProxies:
    """The proxies of an environment."""

    def __init__(self, http: Proxy | None, https: Proxy | None, direct: str) -> None:
        """`direct` is what NO_PROXY says."""
        self._proxies = {"http": http, "https": https, "ws": http, "wss": https}
        self._never = direct.strip() == "*"
        self._direct = [_exception(entry) for entry in re.split(r"[,\s]+", direct) if entry.strip(".")]

    def __repr__(self) -> str:
        return f"<EnvProxies http={self._proxies['http']} https={self._proxies['https']} direct={len(self._direct)}>"

    @property
    def passwords(self) -> list[str]:
        """Those of the proxies; what they are is for a mask to know."""
        return [proxy.password for proxy in self._proxies.values() if proxy is not None and proxy.password]

    def of(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy for a URL of this scheme, canonical host and port; None means none."""
        proxy = self._proxies.get(scheme)
        if proxy is None or self._never:
            return None
        name = host.strip("[]").rstrip(".").lower()
        return None if any(entry.holds(name, port) for entry in self._direct) else proxy


def proxies_from(environ: Mapping[str, str]) -> EnvProxies:
    """What http_proxy, https_proxy, all_proxy and no_proxy say, lower case before upper; an empty one says nothing.

    HTTP_PROXY counts only outside of CGI, where a client's header "Proxy" would set it (httpoxy, CVE-2016-5385).
    Raises ValueError naming the variable that holds no proxy.
    """
    http = ("http_proxy",) if "REQUEST_METHOD" in environ else ("http_proxy", "HTTP_PROXY")
    everything = ("all_proxy", "ALL_PROXY")
    direct = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return EnvProxies(
        _first(environ, (*http, *everything)), _first(environ, ("https_proxy", "HTTPS_PROXY", *everything)), direct
    )


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> Proxy | None:
    name = next((name for name in names if environ.get(name)), None)
    if name is None:
        return None
    try:
        return parse_proxy(environ[name])
    except ValueError as error:
        raise ValueError(f"the environment variable {name} {error}") from None


def _exception(entry: str) -> _Exception:
    """As curl reads it (CURLOPT_NOPROXY: suffixes with or without a dot, CIDR), and with a port as wget and Go do."""
    text = entry.lower()
    try:
        return _Exception("", ip_network(text.strip("[]"), strict=False), None)
    except ValueError:
        pass
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        return _Exception(text.strip("."), None, None)
    try:
        return _Exception("", ip_network(host.strip("[]"), strict=False), int(port))
    except ValueError:
        return _Exception(host.strip("."), None, int(port))
