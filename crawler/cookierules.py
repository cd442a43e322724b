"""Which cookie a server may leave with us, and what may be in a jar at all: RFC 6265bis 5.1 and 5.7.

Decides about one cookie by its words alone. Must not know the jar, files or messages. Invariant: a Cookie that passes
`fault` goes to one host, or to those below a domain that somebody registered; its name keeps what its prefix promises.

There is no site that we visit, so SameSite says nothing here; loopback counts as any other host: Secure needs https.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from crawler.setcookie import MAX_ATTRIBUTE, SetCookie, octets, unsendable, unsound

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


class Cookie(NamedTuple):
    """One cookie. `domain` is a canonical host; with `host_only` it goes to that host alone, else to those below too.

    `expires` is in wall seconds, None for the end of the session.
    """

    name: str
    value: str
    domain: str
    path: str
    host_only: bool
    expires: float | None = None
    secure: bool = False
    http_only: bool = False

    def __repr__(self) -> str:
        return f"<Cookie {self.name!r} of {self.domain}>"


def fault(cookie: Cookie) -> str | None:
    """Why this may be in no jar, in words that show nothing of its value; None where it may."""
    if why := unsound(cookie.name, cookie.value):
        return why
    if not cookie.path.startswith("/") or unsendable(cookie.path) or ";" in cookie.path:
        return "has a path that is none"
    if octets(cookie.path) > MAX_ATTRIBUTE:
        return f"has a path of more than {MAX_ATTRIBUTE} bytes"
    if not cookie.host_only and (_is_address(cookie.domain) or public_suffix(cookie.domain)):
        return "is for a whole public suffix, or all below an IP address"
    prefixed = (cookie.name or cookie.value).lower()
    if not prefixed.startswith(("__secure-", "__host-")):
        return None
    if not cookie.name:
        return "has no name, and a value that would be taken for a prefixed one"
    if not cookie.secure:
        return "has a name that promises Secure, which it is not"
    if prefixed.startswith("__host-") and not (cookie.host_only and cookie.path == "/"):
        return "has a name that promises one host and the path /, which it does not keep"
    return None


@lru_cache(maxsize=4096)
def public_suffix(domain: str) -> bool:
    """Can anybody register names below it (publicsuffix.org, both parts; a single label always is one).

    A domain with an empty label (a final dot) counts as one, since the list would not be matched against it.
    """
    return "" in domain.split(".") or _suffixes().is_public(domain)


@cache
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList  # reading the list takes some 40 ms

    return PublicSuffixList()


def received(said: SetCookie, secure: bool, host: str, path: str) -> Cookie | None:
    """The cookie that a host leaves by a request to `path`; None where it may not (5.7, steps 8 to 21)."""
    domain = said.domain or None
    if domain == host and (_is_address(host) or public_suffix(host)):
        domain = None
    if (said.secure and not secure) or (domain is not None and not domain_match(host, domain)):
        return None
    if said.name.lower().startswith("__host-") and said.path != "/":  # the default path is not enough
        return None
    return Cookie(
        said.name,
        said.value,
        host if domain is None else domain,
        said.path or _default_path(path),
        domain is None,
        said.expires,
        said.secure,
        said.http_only,
    )


def _is_address(host: str) -> bool:
    """A canonical host whose last label is a number is an IPv4 address (WHATWG URL 3.5)."""
    return host.startswith("[") or host.rpartition(".")[2].isdigit()


def domain_match(host: str, domain: str) -> bool:
    """RFC 6265bis 5.1.3."""
    return host == domain or (host.endswith("." + domain) and not _is_address(host))


def path_match(path: str, cookie_path: str) -> bool:
    """RFC 6265bis 5.1.4."""
    return path.startswith(cookie_path) and (
        len(path) == len(cookie_path) or cookie_path.endswith("/") or path[len(cookie_path)] == "/"
    )


def _default_path(path: str) -> str:
    """The folder of the request (5.1.4)."""
    return path[: path.rfind("/")] or "/"
